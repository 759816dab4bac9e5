"""Rows without a split are split by video and by time, and rows that cross a border are in no split."""

from datetime import timedelta

import pytest

from tests.training.synthetic import rows, write_csv
from training.data.dataset import SPLITS, DatasetError, read_dataset
from training.data.splits import BY_SEED, BY_TIME, SHARES


@pytest.fixture
def table():
    return [{name: row[name] for name in row if name != "split"} for row in rows()]


def test_later_videos_are_the_test(tmp_path, table):
    """Train is first, then val, then test; no video is in two splits, no target reaches into the next."""
    found = read_dataset(write_csv(tmp_path / "rows.csv", table))
    assert found.split_method == BY_TIME.format(*SHARES)
    first = {name: min(video.observed_at for video in found.split(name).videos) for name in SPLITS}
    last = {name: max(video.observed_at for video in found.split(name).videos) for name in SPLITS}
    assert last["train"] + timedelta(hours=24) <= first["val"]
    assert last["val"] + timedelta(hours=24) <= first["test"]
    ids = [set(found.split(name).video_ids) for name in SPLITS]
    assert sum(map(len, ids)) == len(set.union(*ids))


def test_rows_whose_target_is_read_later_are_purged(tmp_path, table):
    """They are counted, and nothing else is missing."""
    found = read_dataset(write_csv(tmp_path / "rows.csv", table))
    kept = sum(len(found.split(name)) for name in SPLITS)
    assert found.purged_rows > 0
    assert kept + found.purged_rows == len(table)


def test_seventy_percent_of_videos_are_train(tmp_path, table):
    """By when they were first seen; purged videos are missing from their split."""
    found = read_dataset(write_csv(tmp_path / "rows.csv", table))
    total = len({row["video_id"] for row in table})
    assert len(set(found.test.video_ids)) == pytest.approx(0.15 * total, abs=2)
    assert 0.55 * total < len(set(found.train.video_ids)) <= 0.7 * total + 1


def test_rows_without_times_are_split_by_the_seed(tmp_path, table):
    """By video, the same way each time, and the split method says so."""
    bare = [{name: row[name] for name in row if not name.endswith("_at")} for row in table]
    path = write_csv(tmp_path / "rows.csv", bare)
    once, again = read_dataset(path), read_dataset(path)
    assert once.split_method == BY_SEED
    assert once.test.video_ids == again.test.video_ids
    assert not set(once.train.video_ids) & set(once.test.video_ids)


def test_a_split_that_ignores_time_is_reported(tmp_path):
    """A given split whose train reaches beyond the first test row is used, with a note about it."""
    table = rows()
    assert any(
        "by video only" in note for note in read_dataset(write_csv(tmp_path / "rows.csv", table)).notes
    )


def test_too_few_videos_are_refused(tmp_path, table):
    """A handful of rows does not make three splits, and the error says what is needed."""
    with pytest.raises(DatasetError, match=r"has no rows|are viral, expected some"):
        read_dataset(write_csv(tmp_path / "rows.csv", table[:4]))
