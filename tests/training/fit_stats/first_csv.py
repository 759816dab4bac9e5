"""A training CSV with the first file's columns, as a spreadsheet or pandas would have written it.

Rates follow from the counts, the weekend from the weekday, length and emoji from the title.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WORDS = ("pasta", "goal", "cat", "trailer", "news", "song", "routine")
# Ends of titles that the owner's training removed before it tokenised them, and ones that it kept.
ENDINGS = (
    "",
    "",
    " #fyp @friend",
    " https://example.com/x?y=1",
    " www.example.com",
    "?! (100%)",
    " — naïve, Ünïcödé",
)
LANGUAGES = ("en", "English", "en-US", "de", "")
VIRAL_VELOCITY = 30_000


def first_rows(count: int = 200, seed: int = 5) -> list[dict[str, Any]]:
    """`count` videos of all sizes, one in five German and one in five of no stated language."""
    draw = np.random.default_rng(seed)
    return [_row(draw, index) for index in range(count)]


def _row(draw: np.random.Generator, index: int) -> dict[str, Any]:
    views = int(10 ** draw.uniform(2, 6))
    likes, comments, shares, saves = (int(views * draw.uniform(0, most)) for most in (0.2, 0.02, 0.05, 0.04))
    day = int(draw.integers(0, 7))
    title = f"{draw.choice(WORDS)}, {draw.choice(WORDS)} {index}" + (" 🔥" if draw.random() < 0.3 else "")
    title += str(draw.choice(ENDINGS))
    velocity = round(views * float(draw.uniform(0.05, 0.5)), 2)
    return {
        "row_id": index,
        "title": title,
        "views": views,
        "likes": likes,
        "comments": comments,
        "shares": shares,
        "saves": saves,
        "engagement_rate": (likes + comments + shares + saves) / views,
        "completion_rate": round(float(draw.uniform(0.1, 1)), 3),
        "like_rate": likes / views,
        "comment_ratio": comments / views,
        "share_rate": shares / views,
        "save_rate": saves / views,
        "upload_hour": int(draw.integers(0, 24)),
        "is_weekend": day >= DAYS.index("Friday"),
        "duration_sec": int(draw.integers(5, 180)),
        "title_length": len(title),
        "has_emoji": int("🔥" in title),
        "creator_avg_views": round(float(10 ** draw.uniform(3, 6)), 1),
        "publish_dayofweek": DAYS[day],
        "publish_date_approx": f"2024-03-{1 + index % 28:02}",
        "language": LANGUAGES[index % len(LANGUAGES)],
        "view_velocity": velocity,
        "is_viral": int(velocity > VIRAL_VELOCITY),
    }


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write `rows` as a CSV with a byte order mark, as spreadsheets do, and return `path`."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
