"""A file of video snapshots to videos, targets and weights per split.

Every row is one video at one time with what it gained afterwards. Features are not computed here:
`features.compute_features` is the only way from a video to numbers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.video import DEFAULT_DURATION_SECONDS, Video
from training.data.bad_rows import BadRows
from training.data.descriptions import TITLE_ALONE, fields_to_read
from training.data.fields import PURGED, Columns, find_columns
from training.data.fields import SPLITS as SPLITS
from training.data.rows import Row, read_rows
from training.data.splits import assign_splits, overlap
from training.data.stale_counts import refuse_copied_counts
from training.data.table import DatasetError as DatasetError  # part of this module's interface
from training.data.table import read_table

FloatArray = NDArray[np.float64]
VIRAL_QUANTILE = 0.8


@dataclass(frozen=True)
class Reading:
    """How a file is to be read. `text` None: title and description if descriptions are known throughout."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Field to column, where a column has another name than the request's; to "" leaves a field out."""
    text: tuple[str, ...] | None = None
    allow_bad_rows: bool = False
    viral_quantile: float = VIRAL_QUANTILE
    seed: int = 0
    """Decides the split of rows that carry neither a split nor a time."""


@dataclass(frozen=True)
class Split:
    """The N snapshots of one split; `weights` are 1 / snapshots of the row's video, so videos count alike."""

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
    """The three splits, the views per day above which a video is viral, and which file they came from.

    `viral_threshold` is NaN where the file itself says which rows are viral.
    """

    train: Split
    val: Split
    test: Split
    viral_threshold: float
    name: str
    sha256: str
    purged_rows: int
    text_fields: tuple[str, ...] = TITLE_ALONE
    split_account: str = ""
    rows_in_file: int = 0
    bad_rows: BadRows = field(default_factory=BadRows)
    notes: tuple[str, ...] = ()
    """Sentences about what was found in the file, for people."""

    def split(self, name: str) -> Split:
        """The split called `name`: train, val or test."""
        found: Split = getattr(self, name)
        return found


def read_dataset(path: Path, reading: Reading | None = None) -> Dataset:
    """Read a CSV, CSV.gz or Parquet; viral is what it says, else the top fifth of the train rows' velocity.

    Raises `DatasetError` for a file, a column or a value that cannot be used, and for rows that tell what a
    request cannot know.
    """
    reading = reading or Reading()
    table = read_table(path)
    columns = find_columns(table, reading.columns)
    found, bad, total = read_rows(table, columns)
    _refuse_bad_rows(path, bad, total, reading)
    rows, account = assign_splits(found, reading.seed)
    by_split = {name: [row for row in rows if row.split == name] for name in SPLITS}
    _check_splits(path, by_split, account)
    refuse_copied_counts(path, rows)
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
        split_account=account,
        rows_in_file=total,
        bad_rows=bad,
        notes=tuple(note for note in (text_note, overlap(rows), *_absent(columns)) if note),
    )
    _check_classes(path, dataset)
    return dataset


def without_age(videos: Sequence[Video]) -> list[Video]:
    """The same videos as a request tells them that does not say when they went up."""
    return [replace(video, published_at=None) for video in videos]


def without_description(videos: Sequence[Video]) -> list[Video]:
    """The same videos as a request tells them that carries a title alone."""
    return [replace(video, description="") for video in videos]


def _refuse_bad_rows(path: Path, bad: BadRows, total: int, reading: Reading) -> None:
    if len(bad) == total:
        lines = "".join(f"\n{line}" for line in bad.lines())
        raise DatasetError(f"{path}: has no row that can be used, of {total}{lines}")
    if bad.faults and not reading.allow_bad_rows:
        lines = "\n".join(bad.lines())
        raise DatasetError(
            f"{path}: {len(bad)} of {total} rows cannot be used; correct them, or leave them out with "
            f"--allow-bad-rows\n{lines}"
        )


def _viral_threshold(path: Path, train: Sequence[Row], columns: Columns, reading: Reading) -> float:
    if columns.has("is_viral"):
        return float("nan")
    velocities = [row.views_per_day for row in train]
    threshold = float(np.quantile(velocities, reading.viral_quantile))
    if threshold == max(velocities):
        raise DatasetError(
            f"{path}: no train row has more than {threshold:g} views per day, the {reading.viral_quantile:g} "
            "quantile of train, so none would be viral; choose another --viral-quantile, or give is_viral"
        )
    return threshold


def _split(rows: Sequence[Row], threshold: float, text_fields: tuple[str, ...]) -> Split:
    snapshots = Counter(row.video_id for row in rows)
    views_per_day = np.array([row.views_per_day for row in rows])
    given = [row.is_viral for row in rows]
    videos = [row.video for row in rows]
    return Split(
        videos=without_description(videos) if text_fields == TITLE_ALONE else videos,
        video_ids=[row.video_id for row in rows],
        views_per_day=views_per_day,
        is_viral=views_per_day > threshold if given[0] is None else np.array(given, dtype=np.bool_),
        weights=np.array([1.0 / snapshots[row.video_id] for row in rows]),
        thumbnail_urls=[row.thumbnail_url for row in rows],
    )


def _check_splits(path: Path, by_split: Mapping[str, Sequence[Row]], account: str) -> None:
    """Rows of one video are copies of each other but for the day: across splits they would leak."""
    for name, rows in by_split.items():
        if not rows:
            raise DatasetError(
                f"{path}: has no rows of the split {name} ({account}); name train, val and test in "
                "the column split, or bring more videos over a longer time"
            )
    seen: dict[str, str] = {}
    for name, rows in by_split.items():
        for video_id in sorted({row.video_id for row in rows}):
            if video_id in seen:
                raise DatasetError(
                    f"{path}: video {video_id} is in {seen[video_id]} and {name}; split by video, or "
                    "leave the column out (--column split=) to have it done"
                )
            seen[video_id] = name


def _check_classes(path: Path, dataset: Dataset) -> None:
    for name in SPLITS:
        split = dataset.split(name)
        viral = int(split.is_viral.sum())
        if viral in (0, len(split)):
            raise DatasetError(
                f"{path}: of {len(split)} rows of {name}, {viral} are viral; expected some and not "
                "all. Bring more videos, or choose another --viral-quantile"
            )


def _absent(columns: Columns) -> list[str]:
    """A sentence about each input that the file does not have."""
    defaults = {
        "view_count": "every row counts as 0",
        "like_count": "every row counts as 0",
        "comment_count": "every row counts as 0",
        "duration_seconds": f"every row counts as {DEFAULT_DURATION_SECONDS:g}",
        "published_at": "no row has an age",
        "observed_at": "no row has an age",
    }
    notes = [f"There is no {name}: {what}." for name, what in defaults.items() if not columns.has(name)]
    if not columns.has("video_id"):
        notes.append("There is no video_id: rows of the same title and published_at are taken for one video.")
    return notes
