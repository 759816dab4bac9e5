"""The fields of a request, and columns that look like one."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

NUMBERS = (
    *("view_count", "like_count", "comment_count", "share_count", "save_count"),
    *("previous_view_count", "duration_seconds", "duration", "completion_rate", "creator_avg_views"),
)
TIMES = ("published_at", "upload_date", "observed_at", "scraped_at", "previous_observed_at")
TEXTS = ("title", "description", "thumbnail_url", "thumbnail")
REQUEST_FIELDS = (*TEXTS[:3], *NUMBERS, *TIMES, *TEXTS[3:])
# Pairs of fields; the service reads the second as another name for the first.
SAME = (
    *(("thumbnail_url", "thumbnail"), ("duration_seconds", "duration")),
    *(("published_at", "upload_date"), ("observed_at", "scraped_at")),
)
# Other names of fields, without punctuation and in lower case: they are suggested, never assumed.
NEAR = {
    **dict.fromkeys(("views", "viewcount", "plays", "playcount", "viewscount", "numviews"), "view_count"),
    **dict.fromkeys(("likes", "likecount", "diggcount", "numlikes"), "like_count"),
    **dict.fromkeys(("comments", "commentcount", "numcomments"), "comment_count"),
    **dict.fromkeys(("shares", "sharecount"), "share_count"),
    **dict.fromkeys(("saves", "savecount", "collectcount"), "save_count"),
    **dict.fromkeys(("headline", "videotitle", "name"), "title"),
    **dict.fromkeys(("desc", "caption"), "description"),
    **dict.fromkeys(("thumbnailurl", "thumb", "thumbnails", "cover"), "thumbnail_url"),
    **dict.fromkeys(("durationsec", "durationseconds", "lengthseconds", "length"), "duration_seconds"),
    **dict.fromkeys(("publishedat", "publishtime", "publishdate", "uploaddate", "timestamp"), "published_at"),
    **dict.fromkeys(("observedat", "scrapedat", "crawledat"), "observed_at"),
    **dict.fromkeys(("previousviewcount", "previousviews", "prevviewcount"), "previous_view_count"),
    **dict.fromkeys(("previousobservedat", "previousscrapedat"), "previous_observed_at"),
}
# Texts that programs write for a missing value.
NULLS = ("n/a", "na", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "\\n")
BARE = {field.replace("_", ""): field for field in REQUEST_FIELDS} | NEAR


def is_unknown(field: str, value: Any) -> bool:
    """Whether a value means unknown: null or, for numbers and times, one of `NULLS`."""
    if field in TEXTS or not isinstance(value, str):
        return value is None
    return value.strip().lower() in NULLS


def field_like(column: str) -> str | None:
    """The field whose name resembles this column's."""
    return BARE.get(re.sub(r"[\W_]", "", column.lower()))


def with_other_names(fields: Iterable[str]) -> set[str]:
    """The fields and their other names."""
    found = set(fields)
    return found.union(*(pair for pair in SAME if found & {*pair}))


def near(columns: Iterable[str], found: Mapping[str, str]) -> dict[str, str]:
    """Columns that look like fields that are not read yet, by field; `found` has the columns that are."""
    looks = {field_like(name): name for name in columns}
    read = with_other_names(found)
    return {
        field: name
        for field, name in looks.items()
        if field and field not in read and name not in found.values()
    }
