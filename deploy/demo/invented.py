"""Short videos that are invented, and how their counts grow, for the demo's loop.

Ages and lengths are like those of the demo's training data, but the videos are smaller and grow faster, as on
a platform that the model has not seen: so a model that learns from their outcomes can be better. The data
that the demo was trained on is not in the repository; `--data` reads such a file.
"""

import csv
import gzip
import io
import math
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

HOOKS = {
    **{"I tried": 1.0, "Why nobody talks about": 1.3, "POV:": 1.6, "Tutorial:": 0.5, "Day 1 of": 0.8},
    **{"Ranking": 1.0, "The truth about": 1.2, "Goal!": 2.0, "Recipe:": 0.6, "Wait for it...": 1.7},
}
"""The beginnings of titles, and how they change the growth."""
TOPICS = (
    *("street food in Naples", "cold showers", "a tiny kitchen", "learning the drums", "night trains"),
    *("one pan pasta", "city pigeons", "the last minute", "old cameras", "my first marathon", "sourdough"),
    *("a robot vacuum", "the longest queue", "paper planes", "desert camping", "chess openings"),
    *("thrift store coats", "ice swimming", "the quiet carriage", "balcony tomatoes", "a 5 am routine"),
    *("skateboard tricks", "rescue kittens", "watch repair", "the new stadium", "street magic"),
    *("budget travel", "mountain huts"),
)
SPREAD_DAYS = 40  # over which the videos are first seen
LOOKS = 4
DAY_HOURS = 24.0


@dataclass(frozen=True)
class Look:
    """A video's counts at one time."""

    moment: datetime
    views: int
    likes: int | None
    comments: int | None


@dataclass(frozen=True)
class Video:
    """A video and its looks, the first one first."""

    name: str
    title: str
    published_at: datetime
    seconds: int
    looks: tuple[Look, ...]


def invented_videos(count: int, until: datetime, seed: int = 18) -> list[Video]:
    """`count` videos in the order in which they are first seen, with their last look before `until`."""
    draw = random.Random(seed)  # noqa: S311  not a secret
    titles = [f"{hook} {topic}" for topic in TOPICS for hook in HOOKS]
    draw.shuffle(titles)
    start = until - timedelta(days=SPREAD_DAYS + LOOKS + 1)
    return [
        _invented(draw, number, titles[number % len(titles)], start + number * timedelta(SPREAD_DAYS) / count)
        for number in range(count)
    ]


def _invented(draw: random.Random, number: int, title: str, first: datetime) -> Video:
    age = math.exp(draw.uniform(math.log(8), math.log(160)))  # hours at the first look
    views = math.exp(draw.gauss(10.2, 1.6))
    hook = max((hook for hook in HOOKS if title.startswith(hook)), key=len)
    power = math.sqrt(HOOKS[hook]) * math.exp(draw.gauss(0.5, 0.35))  # views grow with the age to this power
    likes, comments = draw.uniform(0.01, 0.08), draw.uniform(0.0003, 0.004)
    looks = []
    for day in range(LOOKS):
        later = day * DAY_HOURS + (draw.uniform(-2, 2) if day else 0.0)
        now = views * ((age + later) / age) ** power
        moment = first + timedelta(hours=later)
        looks.append(Look(moment, round(now), round(likes * now), round(comments * now)))
    published = first - timedelta(hours=age)
    return Video(f"invented-{number:03}", title, published, draw.randint(8, 175), tuple(looks))


def videos_of(path: Path, count: int, split: str = "test", looks: int = LOOKS) -> list[Video]:
    """At most `count` videos of a data file's split with `looks` looks, first seen first.

    They are spread over the whole split, so that their outcomes are, too. The file has the columns of
    `youtube_short_form_2026.csv.gz`, gzipped or not.
    """
    read = path.read_bytes()
    text = (gzip.decompress(read) if path.suffix == ".gz" else read).decode("utf-8-sig")
    found: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text, newline="")):
        if row["split"] == split:
            found[row["video_id"]].append(row)
    videos = [_video(name, rows, looks) for name, rows in found.items()]
    videos = sorted((video for video in videos if len(video.looks) >= looks), key=_first)
    step = max(len(videos) / count, 1.0)
    return [videos[int(number * step)] for number in range(min(count, len(videos)))]


def _video(name: str, rows: list[dict[str, str]], count: int) -> Video:
    rows = sorted(rows, key=lambda row: row["observed_at"])
    looks = [_look(row) for row in rows]
    last = rows[-1]
    later = looks[-1].moment + timedelta(hours=float(last["hours_to_next"]))
    looks.append(Look(later, int(last["next_views"]), looks[-1].likes, looks[-1].comments))
    first = rows[0]
    seconds = round(float(first["duration_seconds"]))
    return Video(name, first["title"], _time(first["published_at"]), seconds, tuple(looks[:count]))


def _look(row: dict[str, str]) -> Look:
    # Zero likes or comments usually mean that they are hidden.
    likes, comments = (int(row[name]) or None for name in ("like_count", "comment_count"))
    return Look(_time(row["observed_at"]), int(row["view_count"]), likes, comments)


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _first(video: Video) -> datetime:
    return video.looks[0].moment
