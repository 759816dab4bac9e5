"""Reading the data: targets, weights, splits, and what is refused."""

import gzip

import numpy as np
import pytest

from features import MILES_V1, compute_features
from tests.training.synthetic import SPLIT_SIZES, rows, write_csv
from training.dataset import SPLITS, DatasetError, read_dataset, without_age


@pytest.fixture
def table():
    return rows()


def test_velocity_is_views_gained_per_day(tmp_path, table):
    """A thousand views in two days are five hundred views a day."""
    table[0].update(view_count="100", next_views="1100", hours_to_next="48")
    assert read_dataset(write_csv(tmp_path / "rows.csv", table)).train.views_per_day[0] == 500


def test_viral_is_the_top_fifth_of_the_train_rows(tmp_path, table):
    """The threshold is the 80th percentile of train and holds for the other splits too."""
    found = read_dataset(write_csv(tmp_path / "rows.csv", table))
    assert found.viral_threshold == np.quantile(found.train.views_per_day, 0.8)
    assert found.train.is_viral.mean() == pytest.approx(0.2, abs=0.01)
    assert np.array_equal(found.test.is_viral, found.test.views_per_day > found.viral_threshold)


def test_every_video_weighs_the_same(tmp_path, table):
    """A split's weights add up to its number of videos."""
    found = read_dataset(write_csv(tmp_path / "rows.csv", table))
    for name in SPLITS:
        assert found.split(name).weights.sum() == pytest.approx(SPLIT_SIZES[name])


def test_no_video_is_in_two_splits(tmp_path, table):
    """A video with rows in train and in test is refused by name, since its rows are near copies."""
    table[0]["video_id"] = next(row["video_id"] for row in table if row["split"] == "test")
    with pytest.raises(DatasetError, match=r"video test-0 is in train and test; split by video"):
        read_dataset(write_csv(tmp_path / "rows.csv", table))


def test_purged_rows_are_in_no_split(tmp_path, table):
    """Purged rows are counted and dropped."""
    found = read_dataset(write_csv(tmp_path / "rows.csv", table))
    assert found.purged_rows == sum(row["split"] == "purged" for row in table)
    assert not any(
        video_id.startswith("purged") for name in SPLITS for video_id in found.split(name).video_ids
    )


def test_descriptions_are_masked(tmp_path, table):
    """A description in the file does not reach the features: it would tell the month."""
    found = read_dataset(write_csv(tmp_path / "rows.csv", table))
    features = compute_features(found.train.videos)
    assert not features[:, MILES_V1.index("has_description")].any()
    assert not features[:, MILES_V1.index("description_word_count")].any()


def test_without_age_leaves_everything_else(tmp_path, table):
    """Dropping the age changes the three features that know it, and no other."""
    videos = read_dataset(write_csv(tmp_path / "rows.csv", table)).val.videos
    before, after = compute_features(videos), compute_features(without_age(videos))
    changed = {
        name for name, a, b in zip(MILES_V1, before.T, after.T, strict=True) if not np.array_equal(a, b)
    }
    assert changed == {"log_age_hours", "log_views_per_hour", "age_known"}


def test_gzip_is_read_like_plain_text(tmp_path, table):
    """The same rows, gzipped, are the same dataset."""
    plain = write_csv(tmp_path / "rows.csv", table)
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_dataset(packed).train.videos == read_dataset(plain).train.videos


def test_a_missing_column_is_named(tmp_path, table):
    """A file that lacks columns is refused, naming them and those that were found."""
    cut = [{name: row[name] for name in row if name not in ("next_views", "split")} for row in table]
    with pytest.raises(DatasetError, match=r"lacks the columns next_views, split; found video_id, title"):
        read_dataset(write_csv(tmp_path / "rows.csv", cut))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"next_views": "0"}, "expected no fewer views"),
        ({"hours_to_next": "0"}, "division by zero"),
        ({"like_count": "many"}, "many"),
        ({"split": "holdout"}, "split is 'holdout', expected train, val, test, purged"),
        ({"observed_at": "2018-01-31T06:00:00"}, "carries no zone"),
    ],
)
def test_an_unusable_value_is_found_by_line(tmp_path, table, change, message):
    """A bad value is refused with the line that it is on."""
    table[1].update(change)
    with pytest.raises(DatasetError, match=rf"rows\.csv, line 3: .*{message}"):
        read_dataset(write_csv(tmp_path / "rows.csv", table))


def test_a_split_without_rows_is_named(tmp_path, table):
    """A file without validation rows is refused."""
    with pytest.raises(DatasetError, match="no rows of the split val"):
        read_dataset(write_csv(tmp_path / "rows.csv", [row for row in table if row["split"] != "val"]))


@pytest.mark.parametrize("contents", [None, b"\x1f\x8bnot gzip", b"\xff\xfe\x00"])
def test_what_is_no_csv_is_one_clear_error(tmp_path, contents):
    """A missing, damaged or binary file is named."""
    path = tmp_path / "rows.csv"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(DatasetError, match=r"rows\.csv: (cannot be read|is not a CSV)"):
        read_dataset(path)
