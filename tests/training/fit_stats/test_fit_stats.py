"""From a training file to the sidecar with its statistics."""

import json
import subprocess
import sys

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from sklearn.model_selection import train_test_split

from features import MILES_V0, Distribution
from model.checkpoint.store import sidecar_path
from tests.support.service import ROOT
from tests.training.fit_stats.first_csv import first_rows, write_rows
from tests.training.fit_stats.owners import assert_fitted, matrix, raw_matrix, run
from training.fit_stats.__main__ import main


def test_statistics_are_those_of_scikit_learn(tmp_path, checkpoint):
    """Means, scales and the velocity's bounds are StandardScaler's and MinMaxScaler's."""
    rows = first_rows()
    for row in rows:
        row["has_emoji"] = 0  # a constant column has scale 1
    code, sidecar = run(tmp_path, checkpoint, rows)
    assert code == 0
    assert sidecar["scalar_features"] == list(MILES_V0)
    assert_fitted(sidecar, matrix(rows), [row["view_velocity"] for row in rows])
    assert sidecar["feature_stats"]["has_emoji"] == {"mean": 0, "scale": 1, "low": None, "high": None}


def test_a_seed_fits_on_the_same_split_as_the_training(tmp_path, checkpoint, capsys):
    """With a seed the statistics are those of scikit-learn's stratified 70 %, ranges those of all rows."""
    rows = first_rows()
    code, sidecar = run(tmp_path, checkpoint, rows, "--split-seed", "42")
    labels = [row["is_viral"] for row in rows]
    train, _ = train_test_split(np.arange(200), test_size=0.3, random_state=42, stratify=labels)
    assert code == 0
    assert_fitted(sidecar, matrix(rows)[train], [rows[index]["view_velocity"] for index in train])
    everything, stats = matrix(rows), [sidecar["feature_stats"][name] for name in MILES_V0]
    assert [moments["low"] for moments in stats] == everything.min(axis=0).tolist()
    assert [moments["high"] for moments in stats] == everything.max(axis=0).tolist()
    assert (everything[train].min(axis=0) > everything.min(axis=0)).any(), "or the split would not show"
    assert "fitted on 140 of them: the 70% of seed 42, stratified by is_viral" in capsys.readouterr().out


def test_a_spreadsheets_file_has_the_same_statistics(tmp_path, checkpoint):
    """Semicolons with decimal commas after a line that states them, and Excel's Unicode text with tabs."""
    rows = first_rows(40)
    expected = run(tmp_path, checkpoint, rows)[1]
    for delimiter, point, encoding in ((";", ",", "utf-8"), ("\t", ".", "utf-16")):
        lines = [*["sep=;"] * (delimiter == ";"), delimiter.join(rows[0])]
        for row in rows:
            cells = {name: str(value).replace(";", "") for name, value in row.items()}
            numbers = {name: cell.replace(".", point) for name, cell in cells.items() if name != "title"}
            lines.append(delimiter.join((cells | numbers).values()))
        (tmp_path / "sheet.csv").write_text("\n".join(lines), encoding=encoding)
        assert main([str(tmp_path / "sheet.csv"), "--checkpoint", str(checkpoint)]) == 0
        assert json.loads(sidecar_path(checkpoint).read_text()) == expected, delimiter


def test_only_english_rows_are_fitted_when_asked(tmp_path, checkpoint, capsys):
    """Other languages, and rows without a language, are left out and counted."""
    rows = first_rows()
    code, sidecar = run(tmp_path, checkpoint, rows, "--english-only")
    english = [row for row in rows if row["language"] in ("en", "English", "en-US")]
    assert code == 0
    assert_fitted(sidecar, matrix(english), [row["view_velocity"] for row in english])
    output = capsys.readouterr().out
    assert "200 rows, 120 used; left out: 40 not English (column language), 40 without" in output


def test_the_sidecar_has_the_rows_distributions(tmp_path, checkpoint):
    """For each column of the training part only, and the scripts of the titles."""
    rows = first_rows()
    for row in rows[::4]:
        row["title"] = "паста"
    _, sidecar = run(tmp_path, checkpoint, rows, "--split-seed", "42")
    train, _ = train_test_split(
        np.arange(len(rows)), test_size=0.3, random_state=42, stratify=[row["is_viral"] for row in rows]
    )
    columns = raw_matrix(rows)[train]
    assert sidecar["distributions"].keys() == set(MILES_V0)
    for name, column in zip(MILES_V0, columns.T, strict=True):
        known = Distribution.from_plain(sidecar["distributions"][name])
        assert known.stability_index(known.count(column)) == pytest.approx(0, abs=1e-9), name
    cyrillic = np.mean([rows[index]["title"] == "паста" for index in train])
    assert sidecar["titles"]["scripts"] == pytest.approx({"Latin": 1 - cyrillic, "Cyrillic": cyrillic})


def test_parquet_is_read_like_csv(tmp_path, checkpoint):
    """The same rows with Parquet's own types give the same sidecar."""
    rows = first_rows(40)
    _, expected = run(tmp_path, checkpoint, rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert main([str(tmp_path / "rows.parquet"), "--checkpoint", str(checkpoint)]) == 0
    assert json.loads(sidecar_path(checkpoint).read_text()) == expected


def test_other_keys_of_a_sidecar_are_kept(tmp_path, checkpoint, capsys):
    sidecar_path(checkpoint).write_text('{"calibration": {"temperature": 2.0}, "velocity": null}')
    code, sidecar = run(tmp_path, checkpoint, first_rows(20))
    assert code == 0
    assert sidecar["calibration"] == {"temperature": 2.0}
    assert sidecar["velocity"]["transform"] == "min-max"
    assert "calibration kept from the older file" in capsys.readouterr().out


def test_the_command_needs_neither_torch_nor_scikit_learn(tmp_path, checkpoint):
    """Without a split it runs where the service runs: on NumPy, with a CSV."""
    path = write_rows(tmp_path / "training.csv", first_rows(20))
    block = (
        "import sys; sys.modules.update(torch=None, sklearn=None, pyarrow=None); "
        "from training.fit_stats.__main__ import main; "
    )
    command = [sys.executable, "-c", f"{block}sys.exit(main())", str(path), "--checkpoint", str(checkpoint)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    split = subprocess.run(
        [*command, "--split-seed", "1"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert split.returncode == 1
    assert split.stderr.startswith("--split-seed needs scikit-learn, which is not installed here")
