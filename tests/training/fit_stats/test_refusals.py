"""Rows and files that cannot be used: each is named, with one sentence."""

import csv

from tests.training.fit_stats.first_csv import DAYS, first_rows, write_rows
from tests.training.fit_stats.owners import WEEKDAY, assert_fitted, matrix, run
from training.fit_stats.__main__ import main

BAD = {
    "views": ("many", "views is 'many', expected a number"),
    "likes": ("", "likes is empty, expected a number"),
    "shares": (-1, "shares is '-1', expected at least 0"),
    "saves": ("nan", "saves is 'nan', expected a finite number"),
    "completion_rate": (73.2, "completion_rate is '73.2', expected 0 to 1"),
    "upload_hour": (24, "upload_hour is '24', expected 0 to 23"),
    "is_weekend": ("maybe", "is_weekend is 'maybe', expected a number"),
    "has_emoji": (2, "has_emoji is '2', expected 0 or 1"),
    "publish_dayofweek": ("Someday", "publish_dayofweek is 'Someday', expected an English weekday's name"),
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
    "a missing column": (
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
    "weekdays in an unknown coding": (
        [row | {WEEKDAY: (DAYS.index(row[WEEKDAY]) + 2) % 7} for row in first_rows(40)],
        [],
        "publish_dayofweek holds numbers, and no known coding fit is_weekend. Name the coding",
    ),
    "codes that the option lacks": (
        [row | {WEEKDAY: DAYS.index(row[WEEKDAY])} for row in first_rows(40)],
        ["--weekday-codes", "iso"],
        "publish_dayofweek holds 0, but --weekday-codes iso has Monday 1, Tuesday 2",
    ),
    "a weekday in two spellings": (
        [row | {WEEKDAY: "friday"} if index == 4 else row for index, row in enumerate(first_rows(40))],
        [],
        "in one way",
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
