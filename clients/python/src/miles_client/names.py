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
# Fields that the service reads as another name of the first.
SAME = (
    *(("thumbnail_url", "thumbnail"), ("duration_seconds", "duration")),
    *(("published_at", "upload_date"), ("observed_at", "scraped_at")),
)
# Other names of fields, without signs and in lower case: they are proposed, never guessed.
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
# Texts that programs write for a value that is not there.
NULLS = ("n/a", "na", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "\\n")
BARE = {field.replace("_", ""): field for field in REQUEST_FIELDS} | NEAR


def is_unknown(field: str, value: Any) -> bool:
    """Whether a value says that there is none: null, or in a number or time what programs write for it."""
    if field in TEXTS or not isinstance(value, str):
        return value is None
    return value.strip().lower() in NULLS


def field_like(column: str) -> str | None:
    """The field whose name this column's is near to."""
    return BARE.get(re.sub(r"[\W_]", "", column.lower()))


def with_other_names(fields: Iterable[str]) -> set[str]:
    """The fields, and those that mean the same."""
    found = set(fields)
    return found.union(*(pair for pair in SAME if found & {*pair}))


def near(columns: Iterable[str], found: Mapping[str, str]) -> dict[str, str]:
    """Columns that look like fields which are not read, by field; `found` has the columns that are."""
    looks = {field_like(name): name for name in columns}
    read = with_other_names(found)
    return {
        field: name
        for field, name in looks.items()
        if field and field not in read and name not in found.values()
    }
