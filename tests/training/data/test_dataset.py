"""Reading the data: targets, weights, splits, and what is refused."""

import gzip
import re
from datetime import datetime

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from features import MILES_V1, compute_features
from tests.training.synthetic import SPLIT_SIZES, rows, write_csv
from training.data.dataset import SPLITS, DatasetError, Reading, read_dataset


@pytest.fixture
def table():
    return rows()


def read(tmp_path, table, **reading):
    return read_dataset(write_csv(tmp_path / "rows.csv", table), Reading(**reading))


def refusal(tmp_path, table, **reading):
    with pytest.raises(DatasetError) as error:
        read(tmp_path, table, **reading)
    return str(error.value)


def test_velocity_is_views_gained_per_day(tmp_path, table):
    """A thousand views in two days are five hundred views a day."""
    table[0].update(view_count="100", next_views="1100", hours_to_next="48")
    assert read(tmp_path, table).train.views_per_day[0] == 500


def test_viral_is_the_top_fifth_of_the_train_rows(tmp_path, table):
    """The threshold is the 80th percentile of train and holds for the other splits too."""
    found = read(tmp_path, table)
    assert found.viral_threshold == np.quantile(found.train.views_per_day, 0.8)
    assert found.train.is_viral.mean() == pytest.approx(0.2, abs=0.01)
    assert np.array_equal(found.test.is_viral, found.test.views_per_day > found.viral_threshold)


def test_every_video_weighs_the_same(tmp_path, table):
    """A split's weights add up to its number of videos."""
    found = read(tmp_path, table)
    for name in SPLITS:
        assert found.split(name).weights.sum() == pytest.approx(SPLIT_SIZES[name])


def test_no_video_is_in_two_splits(tmp_path, table):
    """A video with rows in train and in test is refused by name, since its rows are near copies."""
    table[0]["video_id"] = next(row["video_id"] for row in table if row["split"] == "test")
    assert "video test-0 is in train and test; split by video" in refusal(tmp_path, table)


def test_purged_rows_are_in_no_split(tmp_path, table):
    found = read(tmp_path, table)
    assert found.purged_rows == sum(row["split"] == "purged" for row in table)
    assert not any(
        video_id.startswith("purged") for name in SPLITS for video_id in found.split(name).video_ids
    )


def test_descriptions_of_one_month_are_masked(tmp_path, table):
    """Descriptions that only some train rows have do not reach the features, and a note says why."""
    found = read(tmp_path, table)
    assert found.text_fields == ("title",)
    assert "Descriptions are not read" in found.notes[0]
    features = compute_features(found.train.videos, MILES_V1)
    assert not features[:, MILES_V1.index("has_description")].any()
    assert not features[:, MILES_V1.index("description_word_count")].any()


def test_descriptions_that_are_known_throughout_are_read(tmp_path, table):
    """Where every split has them, title and description are read, unless the title alone is asked for."""
    for row in table:
        row["description"] = "links below"
    path = write_csv(tmp_path / "rows.csv", table)
    assert read_dataset(path).text_fields == ("title", "description")
    assert read_dataset(path).test.videos[0].description == "links below"
    alone = read_dataset(path, Reading(text=("title",)))
    assert (alone.text_fields, alone.test.videos[0].description) == (("title",), "")


def test_gzip_is_read_like_plain_text(tmp_path, table):
    plain = write_csv(tmp_path / "rows.csv", table)
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_dataset(packed).train.videos == read_dataset(plain).train.videos


def test_a_missing_column_is_named(tmp_path, table):
    """A file that lacks columns is refused, naming them and those that were found."""
    cut = [{name: row[name] for name in row if name not in ("next_views",)} for row in table]
    assert "lacks the columns views_per_day, or next_views and hours_to_next; it has video_id" in refusal(
        tmp_path, cut
    )


UNUSABLE = [
    ({"title": " "}, "title", "title is empty; every video needs a title"),
    ({"next_views": "0"}, "next_views", "next_views is 0, expected at least the view_count"),
    ({"next_views": ""}, "next_views", "next_views is empty, expected the view count of the next look"),
    ({"hours_to_next": "0"}, "hours_to_next", "expected hours until the next count, above 0"),
    ({"like_count": "many"}, "like_count", "like_count is 'many', expected a whole number"),
    ({"view_count": "1.2K"}, "view_count", "'1.2K', expected a whole number"),
    ({"view_count": "-5"}, "view_count", "view_count is '-5', expected a whole number in digits"),
    ({"view_count": "1e30"}, "view_count", "such as 120000 (not 1.2K)"),
    ({"split": "holdout"}, "split", "split is 'holdout', expected train, val, test, purged"),
    ({"observed_at": "yesterday"}, "observed_at", "is 'yesterday', expected ISO 8601"),
    (
        {"published_at": "2031-01-01T00:00:00Z"},
        "published_at",
        "more than a day after the video was observed",
    ),
    ({"video_id": ""}, "video_id", "video_id is empty"),
]


def test_an_unusable_row_is_found_by_number(tmp_path):
    """A file with a bad value is refused with its row number in a spreadsheet; the row may be skipped."""
    failures = []
    for change, kind, message in UNUSABLE:
        table = rows()
        table[1].update(change)
        error = refusal(tmp_path, table)
        expected = (f"1 of {len(table)} rows cannot be used", "--allow-bad-rows", message)
        failures += [(change, part, error) for part in expected if part not in error]
        failures += [(change, error)] * (f"  {kind}: 1 row\n    row 3: " not in error)
        found = read(tmp_path, table, allow_bad_rows=True)
        kept = sum(len(found.split(name)) for name in SPLITS) + found.purged_rows
        if found.bad_rows.counts() != {kind: 1} or kept != len(table) - 1:
            failures.append((change, found.bad_rows.counts(), kept))
    assert failures == []


def test_the_first_rows_of_each_kind_are_listed(tmp_path, table):
    """Bad rows are listed by kind with their count: the first five in full, the next by number only."""
    for row in table[:40]:
        row["view_count"] = "?"
    table[50]["title"] = ""
    error = refusal(tmp_path, table)
    assert "view_count: 40 rows\n    row 2: " in error
    assert "    row 6: " in error
    assert "    row 7: " not in error
    assert "and rows 7, 8, 9" in error
    assert error.endswith("every video needs a title")


def test_a_row_of_another_width_is_found_by_number(tmp_path, table):
    """A line with one cell too many does not shift into other columns."""
    path = write_csv(tmp_path / "rows.csv", table)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[3] + ",more", *lines[4:]]))
    with pytest.raises(DatasetError, match="row 4: has 12 cells, the header has 11"):
        read_dataset(path)


def test_the_same_snapshot_twice_counts_once(tmp_path, table):
    """A repeated row is reported with the row that it repeats."""
    table.append(dict(table[4]))
    expected = f"row {len(table) + 1}: is the same video at the same time as row 6"
    assert expected in refusal(tmp_path, table)


def test_empty_cells_are_unknown(tmp_path, table):
    table[0].update(like_count="", published_at="")
    found = read(tmp_path, table)
    assert (found.train.videos[0].like_count, found.train.videos[0].published_at) == (None, None)
    assert found.bad_rows.empty == {"like_count": 1, "published_at": 1}


def test_the_previous_look_and_a_second_name_are_read(tmp_path, table):
    """Half a previous look is a bad row; of several columns for a field, the first non-empty one counts."""
    for row in table:
        row.update(previous_view_count="", previous_observed_at="", upload_date=row["published_at"])
    table[0].update(previous_view_count="5", previous_observed_at="2018-01-03T12:00:00Z", published_at="N/A")
    first = read(tmp_path, table).train.videos[0]
    assert (first.previous_view_count, first.previous_observed_at.hour) == (5, 12)
    assert first.published_at.isoformat() == table[0]["upload_date"]
    table[0]["previous_observed_at"] = "-"
    assert "both previous_view_count and previous_observed_at, or neither" in refusal(tmp_path, table)


def test_columns_may_have_other_names(tmp_path, table):
    """A mapping says which column holds a field; an empty one leaves the field out."""
    renamed = [
        {f"col_{name}" if name in ("title", "like_count") else name: row[name] for name in row}
        for row in table
    ]
    path = write_csv(tmp_path / "rows.csv", renamed)
    found = read_dataset(path, Reading(columns={"title": "col_title", "comment_count": ""}))
    assert found.train.videos[0].title == table[0]["title"]
    assert not any(video.comment_count for video in found.train.videos)
    assert "The file has no comment_count: it is unknown in every row." in found.notes
    error = refusal(tmp_path, renamed, columns={"title": "col_x"})
    assert "has no column col_x (--column title=col_x); it has video_id" in error
    error = refusal(tmp_path, renamed, columns={"titel": "col_title"})
    assert "--column titel: unknown field; the fields are title, description" in error


def test_parquet_is_read_like_csv(tmp_path, table):
    """The same rows with numbers and times as Parquet's own types give the same videos."""
    plain = read(tmp_path, table)
    numbers = ("view_count", "like_count", "comment_count", "next_views")
    times = ("published_at", "observed_at")
    typed = [
        {
            **row,
            **{name: int(row[name]) for name in numbers},
            **{name: datetime.fromisoformat(row[name]) for name in times},
            "hours_to_next": float(row["hours_to_next"]),
        }
        for row in table
    ]
    parquet.write_table(pyarrow.Table.from_pylist(typed), tmp_path / "rows.parquet")
    found = read_dataset(tmp_path / "rows.parquet")
    assert found.train.videos == plain.train.videos
    assert np.array_equal(found.test.views_per_day, plain.test.views_per_day)


def test_a_parquet_row_is_found_by_number(tmp_path, table):
    """A null where a value is needed is reported by row, counting from 1; NaN is null."""
    typed = [{**row, "next_views": float(row["next_views"])} for row in table]
    typed[2]["next_views"] = float("nan")
    parquet.write_table(pyarrow.Table.from_pylist(typed), tmp_path / "rows.parquet")
    with pytest.raises(DatasetError, match="row 3: next_views is empty"):
        read_dataset(tmp_path / "rows.parquet")


def test_a_given_label_is_taken(tmp_path, table):
    """With a column is_viral the label is its value, and there is no threshold."""
    for number, row in enumerate(table):
        row["is_viral"] = "yes" if number % 3 == 0 else "no"
    found = read(tmp_path, table)
    assert np.isnan(found.viral_threshold)
    assert found.train.is_viral.tolist() == [number % 3 == 0 for number in range(len(found.train))]


def test_views_per_day_may_be_given(tmp_path, table):
    """Instead of the next count a file may contain the velocity itself."""
    given = [{**row, "views_per_day": str(n % 10 + 0.5)} for n, row in enumerate(table)]
    found = read_dataset(write_csv(tmp_path / "rows.csv", given))
    assert found.train.views_per_day[:2].tolist() == [0.5, 1.5]


def test_a_split_without_rows_is_named(tmp_path, table):
    error = refusal(tmp_path, [row for row in table if row["split"] != "val"])
    assert "the split val has no rows" in error


def test_an_unreadable_file_is_one_clear_error(tmp_path):
    path = tmp_path / "rows.csv"
    for contents, message in {
        None: "cannot be read (No such file",
        b"\x1f\x8bnot gzip": "is not a CSV in UTF-8",
        b"\xff\xfe\x00": "is not a CSV in UTF-8",
        b"PAR1 and no more": "cannot be read as Parquet",
        "title\n\u00e4".encode("latin-1"): "is not a CSV in UTF-8",
        gzip.compress(b"views,likes\n1,2\n")[:-9]: "is not a CSV in UTF-8",
        b"PK\x03\x04\x14": "is not a CSV in UTF-8, a CSV.gz or a Parquet file (it is an Excel workbook",
        b"": "lacks the columns title",
        b'"views,likes\n1,2\n': "row 1: is not CSV",
    }.items():
        if contents is not None:
            path.write_bytes(contents)
        with pytest.raises(DatasetError, match=re.escape(f"rows.csv: {message}")):
            read_dataset(path)
