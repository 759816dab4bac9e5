"""Every form of the owner's file is served with its network's scores, or refused in one line."""

import shutil
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.checkpoint.file import CheckpointError
from model.checkpoint.store import read_checkpoint, sidecar_path
from serving.lifecycle.loading import load_model
from serving.settings import Settings
from tests.owner.pipeline import COLUMNS, FirstPipeline, cleaned, save, untrained
from tests.owner.variants import NAME, SERVED, SHALLOW, VARIANTS, Made, Network, Variant, table
from tests.support.service import ROOT
from tests.training.fit_stats.first_csv import first_rows, write_rows
from training.fit_stats.__main__ import main as fit_stats
from training.fit_stats.feature_rows import Reading, read_feature_rows
from training.fit_stats.saved_columns import read_saved_columns
from training.replay import Replay

ROWS = 6
TOLERANCE = 1e-6
DOCUMENT = ROOT / "docs" / "own-checkpoint.md"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> FirstPipeline:
    """The owner's scalers on a training CSV, and the sidecar of its 18 columns."""
    folder = tmp_path_factory.mktemp("variants")
    training = write_rows(folder / "training.csv", first_rows(120))
    network = untrained(**SHALLOW)
    save(network, folder / NAME)
    assert fit_stats([str(training), "--checkpoint", str(folder / NAME)]) == 0
    return FirstPipeline(network, training, ROOT / "models" / "bert-base-uncased")


@cache
def network(**parts: Any) -> Network:
    """Seeded and slow to draw; copy it before changing it."""
    return Network(**parts)


@torch.no_grad()
def expected(pipeline: FirstPipeline, network: Network, names: tuple[str, ...]) -> np.ndarray:
    """(N, 2): P(viral) and views per day of the first rows, by the owner's own steps."""
    rows = pipeline.rows[:ROWS]
    standard = pipeline.scaler.transform([pipeline._columns(row) for row in rows])
    scalars = torch.tensor(standard[:, [COLUMNS.index(name) for name in names]], dtype=torch.float32)
    titles = [cleaned(row["title"]) for row in rows]
    length = {"padding": "max_length", "truncation": True, "max_length": network.tokens}
    tokens = pipeline.tokenizer(titles, **length, return_tensors="pt")
    viral, target = network(dict(tokens), scalars)
    return np.stack([viral.numpy(), pipeline.bounds.inverse_transform(target[:, None].numpy())[:, 0]], axis=1)


def outcome(variant: Variant, pipeline: FirstPipeline, folder: Path) -> str:
    """`served`, the message of a refusal, or how far the served scores are off."""
    made = Made(folder, deepcopy(network(**variant.network)), pipeline)
    variant.write(made)
    if variant.has_sidecar and variant.names == tuple(COLUMNS):
        shutil.copy(pipeline.folder / sidecar_path(made.path).name, folder)
        columns = () if variant.says else read_saved_columns(made.path).names
        assert variant.says or columns == variant.names, "fit-stats reads every form that is served"
    elif variant.has_sidecar:
        assert fit_stats([str(pipeline.folder / "training.csv"), "--checkpoint", str(made.path)]) == 0
    try:
        checkpoint = read_checkpoint(made.path)
        load_model(Settings(checkpoint=str(made.path), engine="torch", threads=1))
    except CheckpointError as exc:
        return f"refused: {exc}"
    reading = Reading(features=checkpoint.card.scalar_features)
    replay = Replay(checkpoint, read_feature_rows(pipeline.folder / "training.csv", reading), ROWS)
    difference = np.abs(replay.scores(replay.computed) / expected(pipeline, made.network, variant.names) - 1)
    return SERVED if difference.max() <= TOLERANCE else f"scores differ by {difference.max():.1e}"


def test_every_form_has_its_verdict(pipeline: FirstPipeline, tmp_path: Path) -> None:
    """A form is served to within 1e-6 of its own network's scores, or its refusal names what is wrong."""
    failures = []
    for number, (form, variant) in enumerate(VARIANTS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = outcome(variant, pipeline, folder)
        is_right = found == SERVED if not variant.says else variant.says in found and "\n" not in found
        if not is_right:
            failures.append((form, found))
        shutil.rmtree(folder)
    assert failures == [], failures


def test_the_documentation_has_the_table() -> None:
    """docs/own-checkpoint.md lists every form with its verdict."""
    assert table() in DOCUMENT.read_text(encoding="utf-8"), table()
