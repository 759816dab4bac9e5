"""From a training file to the sidecar with its statistics, and one sentence for every fault."""

import csv
import gzip
import json
import math
import subprocess
import sys

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from features import MILES_V0, Distribution
from model.checkpoint.store import sidecar_path
from tests.support.service import ROOT
from tests.training.fit_stats.first_csv import DAYS, first_rows, write_rows
from training.fit_stats.__main__ import main

SHAPES = {
    "fusion.0.weight": (16, 64 + 18),
    "text_encoder.bert.embeddings.word_embeddings.weight": (50, 64),
}


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


@pytest.fixture
def checkpoint(tmp_path):
    """The owner's file."""
    return owners_file(tmp_path / "model_full.pt")


WEEKDAY = "publish_dayofweek"
CODED = sorted(DAYS)  # Friday 0, Monday 1, Saturday 2, ...


def raw_matrix(rows):
    """The same with weekdays as the service counts them, Monday 0."""
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
    """Of each column in the training part only, and the scripts of the titles."""
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


SUNDAY_FIRST = (*DAYS[-1:], *DAYS[:-1])
# How a column writes a day, and the code of Monday to Sunday in training, or why it cannot be known.
WEEKDAYS = {
    "names": (str, [], [1, 5, 6, 4, 0, 2, 3]),
    "lower case": (str.lower, [], [1, 5, 6, 4, 0, 2, 3]),
    "three letters": (lambda day: day[:3], [], [1, 5, 6, 4, 0, 2, 3]),
    "names coded by hand": (str, ["--weekday-codes", "monday"], [0, 1, 2, 3, 4, 5, 6]),
    "LabelEncoder's numbers": (CODED.index, [], [1, 5, 6, 4, 0, 2, 3]),
    "numbers from Monday": (DAYS.index, [], [0, 1, 2, 3, 4, 5, 6]),
    "numbers from Sunday": (SUNDAY_FIRST.index, [], [1, 2, 3, 4, 5, 6, 0]),
}


def test_the_codes_of_weekdays_follow_from_names_or_weekends(tmp_path, checkpoint):
    """Whatever a column holds, its statistics are those of its codes, and the service knows each day's."""
    failures = []
    for case, (write, options, codes) in WEEKDAYS.items():
        rows = [{**row, WEEKDAY: write(row[WEEKDAY])} for row in first_rows(60)]
        _, sidecar = run(tmp_path, checkpoint, rows, *options)
        expected = np.mean([codes[DAYS.index(row[WEEKDAY])] for row in first_rows(60)])
        stats = sidecar["feature_stats"][WEEKDAY]
        if stats["codes"] != codes or not math.isclose(stats["mean"], expected):
            failures.append((case, stats))
    assert failures == []


def test_a_day_that_training_never_had_has_no_code(tmp_path, checkpoint):
    """LabelEncoder numbers only the names that occur."""
    rows = [row for row in first_rows(60) if row[WEEKDAY] != "Monday"]
    _, sidecar = run(tmp_path, checkpoint, rows)
    assert sidecar["feature_stats"][WEEKDAY]["codes"] == [None, 4, 5, 3, 0, 1, 2]


def test_what_the_file_does_not_state_is_said(tmp_path, checkpoint, capsys):
    """Codes and cleaning that are assumed, a label that is derived and a scaled velocity are LOOK lines."""
    rows = [row | {"engagement_velocity": row["view_velocity"] / 1e6} for row in first_rows(60)]
    for row in rows:
        del row["view_velocity"], row["is_viral"]
    code, sidecar = run(tmp_path, checkpoint, rows, "--split-seed", "42")
    looks = [line for line in capsys.readouterr().out.splitlines() if line.startswith("LOOK: ")]
    assert code == 0
    assert sidecar["text"] == {"cleaning": "words"}
    assert [look.split()[1] for look in looks] == [WEEKDAY, "engagement_velocity", "there", "titles"]
    assert "viral is taken as engagement_velocity > " in looks[2]


BAD = {
    "views": ("many", "views is 'many', expected a number"),
    "likes": ("", "likes is empty, expected a number"),
    "shares": (-1, "shares is '-1', expected at least 0"),
    "saves": ("nan", "saves is 'nan', expected a finite number"),
    "completion_rate": (73.2, "completion_rate is '73.2', expected 0 to 1"),
    "upload_hour": (24, "upload_hour is '24', expected 0 to 23"),
    "is_weekend": ("maybe", "is_weekend is 'maybe', expected a number"),
    "has_emoji": (2, "has_emoji is '2', expected 0 or 1"),
    "publish_dayofweek": ("Someday", "publish_dayofweek is 'Someday', expected a weekday's name"),
    "view_velocity": ("inf", "view_velocity is 'inf', expected a finite number"),
}


def spoiled():
    rows = first_rows(40)
    for index, (name, (value, _)) in enumerate(BAD.items()):
        rows[3 * index][name] = value
    return rows


def test_bad_rows_are_reported_by_number_and_nothing_is_written(tmp_path, checkpoint, capsys):
    """Every bad row is named with its cell in one run."""
    code, sidecar = run(tmp_path, checkpoint, spoiled())
    assert (code, sidecar) == (1, None)
    error = capsys.readouterr().err
    assert "10 of 40 rows cannot be used; correct them, or leave them out with --skip-bad-rows" in error
    for index, (_, sentence) in enumerate(BAD.values()):
        assert f"row {2 + 3 * index}: {sentence}" in error


def test_bad_rows_may_be_left_out(tmp_path, checkpoint, capsys):
    """With --skip-bad-rows the others are fitted, and the bad ones are in the report."""
    code, sidecar = run(tmp_path, checkpoint, spoiled(), "--skip-bad-rows")
    good = [row for index, row in enumerate(first_rows(40)) if index % 3 or index >= 30]
    assert code == 0
    assert_fitted(sidecar, matrix(good), [row["view_velocity"] for row in good])
    output = capsys.readouterr().out
    assert "40 rows, 30 used; left out: 10 that cannot be used" in output
    assert "row 2: views is 'many'" in output


def without(name):
    return [{key: value for key, value in row.items() if key != name} for row in first_rows(20)]


REFUSED = {
    "a column too few": (
        without("saves"),
        [],
        "lacks saves. The checkpoint's scalar_features are views, likes",
    ),
    "its columns are named": (without("views"), [], "the file has row_id, title, likes, comments"),
    "no velocity": (without("view_velocity"), [], "has no column view_velocity or velocity or views_per_day"),
    "another velocity": (
        first_rows(20),
        ["--velocity-column", "speed"],
        "has no column speed; name the column",
    ),
    "a label that is not there": (
        first_rows(20),
        ["--split-seed", "1", "--label-column", "hit"],
        "with --label-column",
    ),
    "weekdays in a coding of their own": (
        [row | {WEEKDAY: (DAYS.index(row[WEEKDAY]) + 2) % 7} for row in first_rows(40)],
        [],
        "publish_dayofweek holds numbers, and no known coding fit is_weekend. Name the coding",
    ),
    "weekdays as names and numbers": (
        [row | {WEEKDAY: 3 if index == 4 else row[WEEKDAY]} for index, row in enumerate(first_rows(20))],
        [],
        "publish_dayofweek has 1 numbers and 19 names, expected one kind",
    ),
    "no language": (without("language"), ["--english-only"], "with --language-column"),
    "one viral video": (
        [row | {"is_viral": index == 3} for index, row in enumerate(first_rows(20))],
        ["--split-seed", "1"],
        "20 rows cannot be split 70/15/15 by is_viral",
    ),
    "a velocity of one value": (
        [row | {"view_velocity": 7} for row in first_rows(5)],
        [],
        "view_velocity ranges from 7 to 7, expected views per day that vary",
    ),
    "nothing in English": (
        [row | {"language": "de"} for row in first_rows(5)],
        ["--english-only"],
        "none of its 5 rows can be used (5 not English",
    ),
}


def test_a_file_that_cannot_be_fitted_is_one_sentence(tmp_path, checkpoint, capsys):
    """A missing column or unusable values are one sentence and exit code 1, and no sidecar is written."""
    failures = []
    for case, (rows, options, sentence) in REFUSED.items():
        result = run(tmp_path, checkpoint, rows, *options)
        error = capsys.readouterr().err
        if result != (1, None) or sentence not in error:
            failures.append((case, result, error))
    assert failures == []


RAW = {
    "latin-1": ("title\nä".encode("latin-1"), "is not a CSV in UTF-8"),
    "empty": (b"", "the file has none"),
    "half a gzip": (gzip.compress(b"views,likes\n1,2\n")[:-9], "is not a CSV in UTF-8"),
    "a quote that never ends": (b'"views,likes\n1,2\n', "row 1: is not CSV"),
}


def test_an_unreadable_file_is_one_sentence(tmp_path, checkpoint, capsys):
    """Another encoding, an empty file, a truncated one and an open quote."""
    failures = []
    for case, (encoded, sentence) in RAW.items():
        (tmp_path / "raw.csv").write_bytes(encoded)
        code = main([str(tmp_path / "raw.csv"), "--checkpoint", str(checkpoint)])
        error = capsys.readouterr().err
        if code != 1 or sentence not in error:
            failures.append((case, code, error))
    assert failures == []


def test_parquet_is_read_like_csv(tmp_path, checkpoint):
    """The same rows with Parquet's own types give the same sidecar."""
    rows = first_rows(40)
    _, expected = run(tmp_path, checkpoint, rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert main([str(tmp_path / "rows.parquet"), "--checkpoint", str(checkpoint)]) == 0
    assert json.loads(sidecar_path(checkpoint).read_text()) == expected


def test_a_row_of_another_width_is_reported(tmp_path, checkpoint, capsys):
    """A row that lacks cells is named; a title of two lines is one row."""
    rows = first_rows(6)
    rows[1]["title"] = "two\nlines"
    path = write_rows(tmp_path / "t.csv", rows)
    with path.open("a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(["6", "short"])
    assert main([str(path), "--checkpoint", str(checkpoint)]) == 1
    assert "row 8: has 2 cells, the header has 24" in capsys.readouterr().err


def test_columns_that_the_service_computes_differently_are_reported(tmp_path, checkpoint, capsys):
    """A rate in percent, which the service would compute as a share, is a warning with its first row."""
    rows = first_rows()
    run(tmp_path, checkpoint, rows)
    assert "WARNING" not in capsys.readouterr().out
    for row in rows:
        row["like_rate"] *= 100
    rows[7]["is_weekend"] = not rows[7]["is_weekend"]
    run(tmp_path, checkpoint, rows)
    output = capsys.readouterr().out
    assert "WARNING: like_rate differs from what the service computes (like_count / view_count) in " in output
    assert "WARNING: is_weekend differs from what the service computes" in output
    assert "in 1 of 200 rows. The first is row 9:" in output


def test_other_keys_of_a_sidecar_are_kept(tmp_path, checkpoint, capsys):
    """A calibration in the sidecar survives a new fit."""
    sidecar_path(checkpoint).write_text('{"calibration": {"temperature": 2.0}, "velocity": null}')
    code, sidecar = run(tmp_path, checkpoint, first_rows(20))
    assert code == 0
    assert sidecar["calibration"] == {"temperature": 2.0}
    assert sidecar["velocity"]["transform"] == "min-max"
    assert "calibration kept from the older file" in capsys.readouterr().out


def test_a_file_without_column_names_is_identified_by_its_shapes(tmp_path, capsys):
    """A bare text-only state dict with eighteen columns has the first list, and the report says so."""
    path = tmp_path / "model_full.pt"
    torch.save(
        {f"module.{name}": torch.nn.Parameter(torch.ones(shape)) for name, shape in SHAPES.items()}, path
    )
    code, sidecar = run(tmp_path, path, first_rows(20))
    assert code == 0
    assert sidecar["scalar_features"] == list(MILES_V0)
    assert (
        "has no scalar_features; its layout is that of the first text-only models" in capsys.readouterr().out
    )


def test_the_format_before_zip_files_is_read(tmp_path):
    """torch wrote it before version 1.6."""
    path = tmp_path / "model_full.pt"
    contents = torch.load(owners_file(path), weights_only=False)
    torch.save(contents, path, _use_new_zipfile_serialization=False)
    assert run(tmp_path, path, first_rows(20))[0] == 0


class _Runs:
    """An object whose unpickling would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


CHECKPOINTS = {
    "other columns": ({"scalar_features": ["views", "mood"]}, "unknown features mood; this version defines"),
    "no names": ({"scalar_features": [1, 2]}, "scalar_features is not a list of names"),
    "its own statistics": (
        {"feature_stats": {"views": {"mean": 1}}, "velocity": {"transform": "min-max"}},
        "has its own feature_stats and velocity",
    ),
    "images and no names": (
        {
            "scalar_features": None,
            "model_state_dict": {name: torch.ones(shape) for name, shape in SHAPES.items()}
            | {"vision_encoder.x": torch.ones(1)},
        },
        "has no scalar_features, and is not of the first text-only layout",
    ),
}


def test_a_checkpoint_without_columns_or_with_statistics_is_refused(tmp_path, capsys):
    """The checkpoint decides whether there is anything to fit."""
    failures = []
    for case, (changes, sentence) in CHECKPOINTS.items():
        result = run(tmp_path, owners_file(tmp_path / "model_full.pt", **changes), first_rows(5))
        error = capsys.readouterr().err
        if result != (1, None) or sentence not in error:
            failures.append((case, result, error))
    assert failures == []


def test_reading_a_checkpoint_runs_nothing_of_it(tmp_path):
    """A function that a pickle names is not called, and the columns are read."""
    canary = tmp_path / "canary"
    path = owners_file(tmp_path / "model_full.pt", config=_Runs(canary))
    assert run(tmp_path, path, first_rows(20))[0] == 0
    assert not canary.exists()


def test_a_broken_checkpoint_is_one_sentence(tmp_path, capsys):
    """For any bytes, the error names the file and the next step."""
    path, failures = tmp_path / "model_full.pt", []
    for encoded in (b"", b"PK\x03\x04 torn", b"\x80\x02.", b"no pickle at all"):
        path.write_bytes(encoded)
        result = run(tmp_path, path, first_rows(5))
        error = capsys.readouterr().err
        if result != (1, None) or f"{path}: is " not in error or "not a torch.save file" not in error:
            failures.append((encoded, result, error))
    assert failures == []


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
