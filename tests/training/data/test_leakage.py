"""Targets that can be read off an input are refused, and honest ones are not."""

import numpy as np
import pytest

from tests.training.synthetic import dataset, rows, write_csv
from training.data.dataset import DatasetError, Reading, read_dataset
from training.data.leakage import refuse_leaks


@pytest.fixture
def table():
    return rows()


def refused(tmp_path, table, **reading):
    path = write_csv(tmp_path / "rows.csv", table)
    with pytest.raises(DatasetError) as error:
        refuse_leaks(read_dataset(path, Reading(**reading)))
    return str(error.value)


def test_honest_rows_pass():
    """Rows whose next views follow from views, age, a word and chance are not a leak."""
    refuse_leaks(dataset())


def test_a_monotone_function_of_an_input_is_refused(tmp_path, table):
    """A target that is the likes on another scale is found, with the column, strength and next step."""
    draw = np.random.default_rng(1)
    for row in table:
        row["like_count"] = str(draw.integers(0, 100_000))
        row["views_per_day"] = str(float(row["like_count"]) ** 1.5)
    said = refused(tmp_path, table)
    assert "like_count determines the target: the feature log_like_count (log1p(like_count)) ranks" in said
    assert "Spearman's 1.0000, expected less than 0.98" in said
    assert "--column NAME=" in said


def test_views_per_day_since_publication_are_refused(tmp_path, table):
    """The views divided by the age are not a future velocity."""
    for row in table:
        age = np.datetime64(row["observed_at"][:19]) - np.datetime64(row["published_at"][:19])
        row["views_per_day"] = str(24 * int(row["view_count"]) / (age / np.timedelta64(1, "h")))
    said = refused(tmp_path, table)
    assert "view_count, published_at, observed_at determine the target" in said
    assert "log_views_per_hour" in said


def test_a_function_that_goes_up_and_down_is_refused(tmp_path, table):
    """A target that a single input explains without ranking it is found."""
    for row in table:
        row["views_per_day"] = str((np.log10(float(row["view_count"])) - 4.5) ** 2 * 1e4)
    assert "view_count determines the target" in refused(tmp_path, table)


def test_a_label_that_is_a_threshold_on_a_count_is_refused(tmp_path, table):
    """A given label that the views alone decide is found, although views per day are honest."""
    for row in table:
        row["is_viral"] = str(int(int(row["view_count"]) > 100_000))
    assert "separates is_viral with an AUROC of 1.0000" in refused(tmp_path, table)


def test_a_function_of_two_inputs_is_refused(tmp_path, table):
    """A target made of likes and comments together is found, though neither determines it alone."""
    draw = np.random.default_rng(3)
    for row in table:
        likes, comments = draw.integers(10, 1_000_000, 2)
        row.update(like_count=str(likes), comment_count=str(comments))
        row["views_per_day"] = str(np.exp(np.log(likes) * 0.5 + np.log(comments) * 0.5))
    said = refused(tmp_path, table)
    assert "the features together" in said
    assert "like_count" in said
    assert "comment_count" in said


@pytest.mark.parametrize("column", ["next_views", "views_per_day"])
def test_an_input_from_a_column_of_the_future_is_refused(tmp_path, table, column):
    """A mapping that reads the likes from what happens later is refused by name."""
    for row in table:
        row["views_per_day"] = "1"
    said = refused(tmp_path, table, columns={"like_count": column})
    assert f"like_count is read from {column}, which is measured after observed_at" in said


def test_counts_that_were_copied_onto_all_snapshots_are_refused(tmp_path, table):
    """Views that do not change while a video gains views were read later."""
    last = {row["video_id"]: row["view_count"] for row in table}
    for row in table:
        row["views_per_day"] = str(int(row["next_views"]) - int(row["view_count"]))
        row["view_count"] = last[row["video_id"]]
    said = refused(tmp_path, table)
    assert "view_count is the same in all snapshots of" in said
    assert "was read after observed_at" in said
