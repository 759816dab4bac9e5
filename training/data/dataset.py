"""From a file of video snapshots to videos, targets and weights per split.

Every row is one video at one time, with the views that it gained afterwards. Features are computed
elsewhere, by `features.compute_features` only.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.video import Video
from training.data.fields import PURGED, Columns, command, find_columns
from training.data.fields import SPLITS as SPLITS
from training.data.rows import BadRows, Row, read_rows
from training.data.splits import SHARES, assign_splits, overlap
from training.data.stale_counts import refuse_stale_counts
from training.data.table import DatasetError as DatasetError  # re-exported
from training.data.table import read_table

FloatArray = NDArray[np.float64]
VIRAL_QUANTILE = 0.8
TITLE_ONLY = ("title",)
TITLE_AND_DESCRIPTION = ("title", "description")
# Descriptions are read only if their share in the split with the fewest is at least this fraction of the
# largest share: descriptions of one period only would reveal the time to the head.
MIN_SHARE_RATIO = 0.5


@dataclass(frozen=True)
class Reading:
    """Options for reading a file. `text` None reads descriptions if splits have similar shares of them."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Field to column, for columns with other names than a request's fields; "" leaves a field out."""
    text: tuple[str, ...] | None = None
    allow_bad_rows: bool = False
    viral_quantile: float = VIRAL_QUANTILE
    viral_velocity: float | None = None
    """Views per day above which a row is viral, instead of the quantile."""
    shares: tuple[float, float, float] = SHARES
    """Shares of the videos in train, val and test, oldest first, if the file has no column split."""
    seed: int = 0
    """Decides the split of rows that have neither a split nor a time."""


@dataclass(frozen=True)
class Split:
    """The N snapshots of one split.

    `weights` are 1 / number of snapshots of the row's video: every video counts the same.
    """

    videos: list[Video]
    video_ids: list[str]
    views_per_day: FloatArray
    is_viral: NDArray[np.bool_]
    weights: FloatArray
    thumbnail_urls: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.videos)


@dataclass(frozen=True)
class Dataset:
    """The three splits, the views per day above which a video is viral, and the file.

    `viral_threshold` is NaN if the file has a column `is_viral`.
    """

    train: Split
    val: Split
    test: Split
    viral_threshold: float
    name: str
    sha256: str
    purged_rows: int
    text_fields: tuple[str, ...] = TITLE_ONLY
    split_method: str = ""
    rows_in_file: int = 0
    bad_rows: BadRows = field(default_factory=BadRows)
    notes: tuple[str, ...] = ()
    """Sentences about the file, for people."""

    def split(self, name: str) -> Split:
        """The split called `name`: train, val or test."""
        found: Split = getattr(self, name)
        return found


def read_dataset(path: Path, reading: Reading | None = None) -> Dataset:
    """Read a CSV, CSV.gz or Parquet file. Without a column `is_viral`, the top fifth of train is viral.

    Raises `DatasetError` for a file, a column or a value that cannot be used, and for values that a request
    cannot know.
    """
    reading = reading or Reading()
    table = read_table(path)
    columns = find_columns(table, reading.columns)
    found, bad, total = read_rows(table, columns)
    bad.refuse(path, total, "--allow-bad-rows", allowed=reading.allow_bad_rows)
    rows, method = assign_splits(found, reading.seed, reading.shares)
    by_split = {name: [row for row in rows if row.split == name] for name in SPLITS}
    _check_splits(path, by_split, method)
    refuse_stale_counts(path, rows)
    text_fields, text_note = fields_to_read(
        {name: [row.video for row in members] for name, members in by_split.items()}, reading.text
    )
    threshold = _viral_threshold(path, by_split["train"], columns, reading)
    splits = {name: _split(members, threshold, text_fields) for name, members in by_split.items()}
    dataset = Dataset(
        **splits,
        viral_threshold=threshold,
        name=path.name,
        sha256=table.sha256,
        purged_rows=sum(row.split == PURGED for row in rows),
        text_fields=text_fields,
        split_method=method,
        rows_in_file=total,
        bad_rows=bad,
        notes=tuple(filter(None, (text_note, overlap(rows), *_absent(columns), *_near(path, columns)))),
    )
    _check_classes(path, dataset)
    return dataset


def without_description(videos: Sequence[Video]) -> list[Video]:
    """The same videos as in a request without a description."""
    return [replace(video, description="") for video in videos]


def with_titles_only(dataset: Dataset) -> Dataset:
    """The same rows without their descriptions."""
    train, val, test = (
        replace(split, videos=without_description(split.videos))
        for split in (dataset.train, dataset.val, dataset.test)
    )
    return replace(dataset, train=train, val=val, test=test, text_fields=TITLE_ONLY)


def fields_to_read(
    videos: Mapping[str, Sequence[Video]], asked: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str | None]:
    """The text fields that a head reads, given the videos by split, and a sentence about them or None."""
    shares = {
        name: sum(bool(video.description) for video in members) / len(members)
        for name, members in videos.items()
    }
    low, high = min(shares.values()), max(shares.values())
    known = ", ".join(f"{share:.1%} of {name}" for name, share in shares.items())
    if high == 0:
        is_asked = asked in (None, TITLE_AND_DESCRIPTION)
        return asked or TITLE_ONLY, "The file has no descriptions." if is_asked else None
    if low >= MIN_SHARE_RATIO * high or asked == TITLE_ONLY:
        return asked or TITLE_AND_DESCRIPTION, None
    if asked == TITLE_AND_DESCRIPTION:
        return asked, f"Only {known} rows have a description: a head that reads them may learn the time."
    return TITLE_ONLY, (
        f"Only {known} rows have a description. Descriptions are not read, because a head would learn the "
        "time "
        "from them; --text title,description reads them anyway."
    )


def _viral_threshold(path: Path, train: Sequence[Row], columns: Columns, reading: Reading) -> float:
    if columns.has("is_viral"):
        return float("nan")
    if reading.viral_velocity is not None:
        return reading.viral_velocity
    velocities = [row.views_per_day for row in train]
    threshold = float(np.quantile(velocities, reading.viral_quantile))
    if threshold == max(velocities):
        raise DatasetError(
            f"{path}: no train row is above the {reading.viral_quantile:g} quantile of its views per day, "
            f"{threshold:g}, so none would be viral; choose another --viral-quantile, or add a column "
            "is_viral"
        )
    return threshold


def _split(rows: Sequence[Row], threshold: float, text_fields: tuple[str, ...]) -> Split:
    snapshots = Counter(row.video_id for row in rows)
    views_per_day = np.array([row.views_per_day for row in rows])
    given = [row.is_viral for row in rows]
    videos = [row.video for row in rows]
    return Split(
        videos=without_description(videos) if text_fields == TITLE_ONLY else videos,
        video_ids=[row.video_id for row in rows],
        views_per_day=views_per_day,
        is_viral=views_per_day > threshold if given[0] is None else np.array(given, dtype=np.bool_),
        weights=np.array([1.0 / snapshots[row.video_id] for row in rows]),
        thumbnail_urls=[row.thumbnail_url for row in rows],
    )


def _check_splits(path: Path, by_split: Mapping[str, Sequence[Row]], method: str) -> None:
    """Every split has rows, and no video is in two: a video's snapshots are near copies of each other."""
    for name, rows in by_split.items():
        if not rows:
            raise DatasetError(
                f"{path}: the split {name} has no rows (split {method}); use train, val and test in the "
                "column split, or use more videos over a longer time"
            )
    seen: dict[str, str] = {}
    for name, rows in by_split.items():
        for video_id in sorted({row.video_id for row in rows}):
            if video_id in seen:
                raise DatasetError(
                    f"{path}: video {video_id} is in {seen[video_id]} and {name}; split by video, or ignore "
                    "the column with --column split="
                )
            seen[video_id] = name


def _check_classes(path: Path, dataset: Dataset) -> None:
    for name in SPLITS:
        split = dataset.split(name)
        viral = int(split.is_viral.sum())
        if viral in (0, len(split)):
            raise DatasetError(
                f"{path}: {viral} of {len(split)} rows of {name} are viral, expected some of each class; "
                "use more videos, or choose another --viral-quantile"
            )


def _near(path: Path, columns: Columns) -> list[str]:
    """A sentence about columns that look like missing fields."""
    if not columns.near:
        return []
    return [f"Columns with near names were not read. To read them: {command(path, columns.near)}"]


def _absent(columns: Columns) -> list[str]:
    """A sentence about each missing column."""
    meanings = {
        **dict.fromkeys(("view_count", "like_count", "comment_count"), "it is unknown in every row"),
        "duration_seconds": "it is unknown in every row",
        "published_at": "the age of every row is unknown",
        "observed_at": "the age of every row is unknown",
    }
    notes = [f"The file has no {name}: {value}." for name, value in meanings.items() if not columns.has(name)]
    if not columns.has("video_id"):
        notes.append(
            "The file has no video_id: rows with the same title and published_at count as one video."
        )
    return notes
