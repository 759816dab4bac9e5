"""A CSV of video snapshots to videos, targets and weights per split.

Every row is one video on one day with the view count of its next snapshot. Descriptions are known for one
month of the data only, so they are masked: a head that saw them would learn the month. Features are not
computed here: `features.compute_features` is the only way from a video to numbers.
"""

import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features import Video

FloatArray = NDArray[np.float64]

SPLITS = ("train", "val", "test")
PURGED = "purged"  # rows whose next snapshot lies beyond their split's end
VIRAL_QUANTILE = 0.8
HOURS_PER_DAY = 24.0
# The data holds no durations; a constant column gets no weight.
DURATION_SECONDS = 30.0
COLUMNS = (
    "video_id",
    "title",
    "published_at",
    "observed_at",
    "view_count",
    "like_count",
    "comment_count",
    "next_views",
    "hours_to_next",
    "split",
)
GZIP_MAGIC = b"\x1f\x8b"


class DatasetError(ValueError):
    """A data file that cannot be used: names the file, the line or column, and what was expected."""


@dataclass(frozen=True)
class Split:
    """The N snapshots of one split; `weights` are 1 / snapshots of the row's video, so videos count alike."""

    videos: list[Video]
    video_ids: list[str]
    views_per_day: FloatArray
    is_viral: NDArray[np.bool_]
    weights: FloatArray

    def __len__(self) -> int:
        return len(self.videos)


@dataclass(frozen=True)
class Dataset:
    """The three splits, the views per day above which a video is viral, and which file they came from."""

    train: Split
    val: Split
    test: Split
    viral_threshold: float
    name: str
    sha256: str
    purged_rows: int

    def split(self, name: str) -> Split:
        """The split called `name`: train, val or test."""
        found: Split = getattr(self, name)
        return found


@dataclass(frozen=True, slots=True)
class _Row:
    video_id: str
    video: Video
    views_per_day: float
    split: str


def read_dataset(path: Path) -> Dataset:
    """Read a CSV, gzipped or plain. Viral is above the 80th percentile of the train rows' velocity.

    Raises `DatasetError` for a file, a column or a value that cannot be used.
    """
    encoded = _read_bytes(path)
    rows = list(_rows(path, encoded))
    by_split = {name: [row for row in rows if row.split == name] for name in SPLITS}
    for name, members in by_split.items():
        if not members:
            raise DatasetError(f"{path}: has no rows of the split {name}; its column split must name them")
    _check_apart(path, by_split)
    threshold = float(np.quantile([row.views_per_day for row in by_split["train"]], VIRAL_QUANTILE))
    splits = {name: _split(members, threshold) for name, members in by_split.items()}
    return Dataset(
        **splits,
        viral_threshold=threshold,
        name=path.name,
        sha256=hashlib.sha256(encoded).hexdigest(),
        purged_rows=sum(row.split == PURGED for row in rows),
    )


def without_age(videos: Sequence[Video]) -> list[Video]:
    """The same videos as a request tells them that does not say when they went up."""
    return [replace(video, published_at=None) for video in videos]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise DatasetError(f"{path}: cannot be read ({exc.strerror}); name the CSV or CSV.gz file") from exc


def _rows(path: Path, encoded: bytes) -> Iterator[_Row]:
    try:
        text = (gzip.decompress(encoded) if encoded.startswith(GZIP_MAGIC) else encoded).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{path}: is not a CSV in UTF-8, gzipped or plain ({exc})") from exc
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise DatasetError(
            f"{path}: lacks the columns {', '.join(missing)}; "
            f"found {', '.join(reader.fieldnames or ['none'])}"
        )
    for values in reader:
        try:
            yield _row(values)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as exc:
            raise DatasetError(f"{path}, line {reader.line_num}: {exc}") from exc


def _row(values: Mapping[str, str]) -> _Row:
    views, next_views, hours = (float(values[name]) for name in ("view_count", "next_views", "hours_to_next"))
    views_per_day = (next_views - views) / (hours / HOURS_PER_DAY)
    if not 0 <= views_per_day < np.inf:
        raise ValueError(f"next_views {next_views:.0f} from {views:.0f}: expected no fewer views, later")
    if values["split"] not in (*SPLITS, PURGED):
        raise ValueError(f"split is {values['split']!r}, expected {', '.join((*SPLITS, PURGED))}")
    video = Video(
        title=values["title"],
        view_count=int(views),
        like_count=int(values["like_count"]),
        comment_count=int(values["comment_count"]),
        duration_seconds=DURATION_SECONDS,
        published_at=_time(values["published_at"]),
        observed_at=_time(values["observed_at"]),
    )
    return _Row(values["video_id"], video, views_per_day, values["split"])


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"time {text!r} carries no zone; write it like 2018-01-31T06:00:00Z")
    return time


def _split(rows: Sequence[_Row], threshold: float) -> Split:
    snapshots = Counter(row.video_id for row in rows)
    views_per_day = np.array([row.views_per_day for row in rows])
    return Split(
        videos=[row.video for row in rows],
        video_ids=[row.video_id for row in rows],
        views_per_day=views_per_day,
        is_viral=views_per_day > threshold,
        weights=np.array([1.0 / snapshots[row.video_id] for row in rows]),
    )


def _check_apart(path: Path, by_split: Mapping[str, Sequence[_Row]]) -> None:
    """Rows of one video are copies of each other but for the day: across splits they would leak."""
    seen: dict[str, str] = {}
    for name, rows in by_split.items():
        for video_id in {row.video_id for row in rows}:
            if video_id in seen:
                raise DatasetError(
                    f"{path}: video {video_id} is in {seen[video_id]} and {name}; split by video"
                )
            seen[video_id] = name
