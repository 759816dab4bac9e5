"""The first trained file, the command on rows for it, and the statistics to expect."""

import json

import numpy as np
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from features import MILES_V0
from model.checkpoint.store import sidecar_path
from tests.training.fit_stats.first_csv import DAYS, write_rows
from training.fit_stats.__main__ import main

SHAPES = {"fusion.0.weight": (16, 64 + 18), "text_encoder.bert.embeddings.word_embeddings.weight": (50, 64)}


def owners_file(path, **changes):
    """A file with the owner's four keys, and as few weights as its layout needs."""
    whole = {
        "model_state_dict": {name: torch.ones(shape) for name, shape in SHAPES.items()},
        "config": {"dropout": 0.3},
        "scalar_features": list(MILES_V0),
        "test_metrics": {"auroc": np.float64(0.855)},
    }
    contents = {key: value for key, value in (whole | changes).items() if value is not None}
    torch.save(contents, path)
    return path


WEEKDAY = "publish_dayofweek"


CODED = sorted(DAYS)  # Friday 0, Monday 1, Saturday 2, ...


def raw_matrix(rows):
    """The columns of `matrix` with weekdays as the service counts them, Monday 0."""
    columns = matrix(rows)
    columns[:, MILES_V0.index(WEEKDAY)] = [DAYS.index(row[WEEKDAY]) for row in rows]
    return columns


def matrix(rows):
    """The eighteen columns as numbers, read by hand; weekdays as scikit-learn's LabelEncoder codes them."""
    numbers = [{**row, "publish_dayofweek": CODED.index(row["publish_dayofweek"])} for row in rows]
    return np.array([[float(row[name]) for name in MILES_V0] for row in numbers])


def run(tmp_path, checkpoint, rows, *options):
    """Write the rows, fit on them, and return the exit code and the sidecar's contents, None without one."""
    path = write_rows(tmp_path / "training.csv", rows)
    code = main([str(path), "--checkpoint", str(checkpoint), *options])
    sidecar = sidecar_path(checkpoint)
    return code, json.loads(sidecar.read_text()) if sidecar.exists() else None


def assert_fitted(sidecar, columns, velocities):
    scaler = StandardScaler().fit(columns)
    stats = [sidecar["feature_stats"][name] for name in MILES_V0]
    np.testing.assert_allclose([moments["mean"] for moments in stats], scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose([moments["scale"] for moments in stats], scaler.scale_, rtol=1e-12)
    bounds = MinMaxScaler().fit(np.reshape(velocities, (-1, 1)))
    assert sidecar["velocity"] == {
        "transform": "min-max",
        "low": bounds.data_min_[0],
        "high": bounds.data_max_[0],
    }
