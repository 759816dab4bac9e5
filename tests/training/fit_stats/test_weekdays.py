"""Facts that a training file does not state: the codes of weekdays, the label, the cleaning of titles."""

import math

import numpy as np
from sklearn.preprocessing import LabelEncoder

from tests.training.fit_stats.first_csv import DAYS, first_rows
from tests.training.fit_stats.owners import CODED, WEEKDAY, owners_file, run

SUNDAY_FIRST = (*DAYS[-1:], *DAYS[:-1])


# How a column writes a day, the options, and the codes of Monday to Sunday in training.
WEEKDAYS = {
    "names": (str, [], [1, 5, 6, 4, 0, 2, 3]),
    "lower case": (str.lower, [], [1, 5, 6, 4, 0, 2, 3]),
    "capitals for some": (lambda day: day.lower() if day == "Friday" else day, [], [0, 4, 5, 3, 6, 1, 2]),
    "three letters": (lambda day: day[:3], [], [1, 5, 6, 4, 0, 2, 3]),
    "names coded by hand": (str, ["--weekday-codes", "monday"], [0, 1, 2, 3, 4, 5, 6]),
    "LabelEncoder's numbers": (CODED.index, [], [1, 5, 6, 4, 0, 2, 3]),
    "numbers from Monday": (DAYS.index, [], [0, 1, 2, 3, 4, 5, 6]),
    "numbers from Sunday": (SUNDAY_FIRST.index, [], [1, 2, 3, 4, 5, 6, 0]),
    "ISO's numbers, Monday 1": (lambda day: DAYS.index(day) + 1, [], [1, 2, 3, 4, 5, 6, 7]),
    "Excel's numbers, Sunday 1": (lambda day: SUNDAY_FIRST.index(day) + 1, [], [2, 3, 4, 5, 6, 7, 1]),
}


def test_the_codes_of_weekdays_follow_from_names_or_weekends(tmp_path, checkpoint):
    """For every format of the column, its statistics are those of its codes, and each day's code is kept."""
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


def test_the_checkpoints_encoder_decides(tmp_path):
    """A LabelEncoder of all days also codes days that the file lacks; numbers then need no is_weekend."""
    encoder = LabelEncoder().fit(DAYS)
    path = owners_file(tmp_path / "model_full.pt", encoders={WEEKDAY: encoder})
    rows = [row for row in first_rows(60) if row[WEEKDAY] != "Friday"]
    for write in (str, CODED.index):
        _, sidecar = run(
            tmp_path, path, [row | {WEEKDAY: write(row[WEEKDAY]), "is_weekend": 0} for row in rows]
        )
        assert sidecar["feature_stats"][WEEKDAY]["codes"] == [1, 5, 6, 4, 0, 2, 3]


def test_assumptions_about_the_file_are_printed(tmp_path, checkpoint, capsys):
    """Assumed codes and cleaning, a derived label and a scaled velocity are printed as CHECK lines."""
    rows = [row | {"engagement_velocity": row["view_velocity"] / 1e6} for row in first_rows(60)]
    rows[2]["likes"] = 1.234
    for row in rows:
        del row["view_velocity"], row["is_viral"]
    code, sidecar = run(tmp_path, checkpoint, rows, "--split-seed", "42")
    looks = [line for line in capsys.readouterr().out.splitlines() if line.startswith("CHECK: ")]
    assert code == 0
    assert sidecar["text"] == {"cleaning": "words"}
    assert [look.split()[1] for look in looks] == [
        *(WEEKDAY, "likes", "engagement_velocity", "there", "titles")
    ]
    assert "likes is 1.234 in row 4, and not a whole number in 1 of 60 rows" in looks[1]
    assert "viral is taken as engagement_velocity > " in looks[3]
