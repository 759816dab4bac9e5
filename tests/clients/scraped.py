"""Rows as a scraper writes them."""

from typing import Any

NULLABLE = (
    *("video_id", "platform", "title", "description", "thumbnail_url", "channel_name", "upload_date"),
    *("view_count", "like_count", "comment_count", "tags", "duration_seconds", "scraped_at", "created_at"),
)


def scraped(count: int = 22) -> list[dict[str, Any]]:
    """Complete rows."""
    return [
        {
            "video_id": f"v{index:04d}",
            "platform": "youtube",
            "title": f"Video {index}: five things to know",
            "description": "A walk through the old town, with maps.",
            "thumbnail_url": None,
            "channel_name": "Old towns",
            "upload_date": "2026-01-01T00:00:00Z",
            "view_count": 1000 * (index + 1),
            "like_count": 40 * index,
            "comment_count": 3 * index,
            "tags": ["travel", "history"],
            "duration_seconds": 20 + index,
            "scraped_at": "2026-01-02T12:00:00Z",
        }
        for index in range(count)
    ]


def with_nulls() -> list[dict[str, Any]]:
    """22 rows: each nullable column but the title is null in one row, and all of them are in another."""
    rows = scraped(22)
    emptied = [name for name in NULLABLE if name != "title"]
    for row, name in zip(rows, emptied, strict=False):
        row[name] = None
    rows[len(emptied)] |= dict.fromkeys(emptied)
    return rows
