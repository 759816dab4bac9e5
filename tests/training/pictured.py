"""Generated videos whose views depend on what their thumbnail files show.

Each picture shows a sun or a moon somewhere above grey stripes, as JPEG, PNG or WebP of several sizes. Videos
with a sun gain several times as many views; no other value of a row depends on it.
"""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("jpg", "png", "webp")
SIZES = ((320, 180), (480, 360), (160, 90))
WORDS = ("recipe", "goal", "cat", "news", "song", "trailer")
FIRST = datetime(2024, 1, 1, 6, tzinfo=UTC)
HOURS_APART = 3.0
GAIN = 6.0  # factor on the views of a video whose picture shows a sun
NOISE = 0.3  # standard deviation of the unexplained part, in log


def write_pictured(folder: Path, videos: int, seed: int, *, informative: bool = True) -> Path:
    """Write pictures and `videos.csv` into `folder`, return the CSV; views follow them if `informative`."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(videos):
        name, sun = f"v{number:05d}", bool(draw.random() < 0.3)
        kind, size = KINDS[number % len(KINDS)], SIZES[int(draw.integers(len(SIZES)))]
        picture(draw, size, sun=sun).save(folder / f"{name}.{kind}")
        rows.append(_row(draw, name, number, sun if informative else bool(draw.random() < 0.3)))
    path = folder / "videos.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def picture(draw: np.random.Generator, size: tuple[int, int], *, sun: bool) -> Image.Image:
    """A warm disc or a cold one, anywhere above grey stripes."""
    width, height = size
    image = Image.new("RGB", size, _grey(draw))
    pen = ImageDraw.Draw(image)
    step = int(draw.integers(8, 40))
    ink = _grey(draw)
    for left in range(0, width, 2 * step):
        pen.rectangle((left, 0, left + step - 1, height), fill=ink)
    radius = float(draw.uniform(0.25, 0.4)) * height
    x, y = draw.uniform(radius, width - radius), draw.uniform(radius, height - radius)
    bright, dark = int(draw.integers(190, 256)), int(draw.integers(0, 80))
    colour = (bright, int(draw.integers(80, 190)), dark)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour if sun else colour[::-1])
    return image


def _grey(draw: np.random.Generator) -> tuple[int, int, int]:
    level = int(draw.integers(40, 216))
    return (level, level, level)


def _row(draw: np.random.Generator, name: str, number: int, gains: bool) -> dict[str, object]:
    published = FIRST + timedelta(hours=number * HOURS_APART)
    age, views = float(draw.uniform(10, 60)), int(10 ** draw.uniform(4, 5))
    per_day = 24 * views / age * (GAIN if gains else 1.0) * float(draw.lognormal(0, NOISE))
    return {
        "video_id": name,
        "title": f"{WORDS[int(draw.integers(len(WORDS)))]} {number}",
        "published_at": published.isoformat(),
        "observed_at": (published + timedelta(hours=age)).isoformat(),
        "view_count": views,
        "like_count": int(views * draw.uniform(0.01, 0.08)),
        "comment_count": int(views * draw.uniform(0.001, 0.01)),
        "duration_seconds": round(float(draw.uniform(5, 60)), 1),
        "views_per_day": round(per_day, 1),
    }
