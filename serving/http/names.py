"""The names of a request's fields: the first of several that is known, and warnings about similar names."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from features.parsing import OTHER_NAMES as OTHER_NAMES  # re-exported
from features.parsing import is_unknown_cell as is_unknown_cell

MAX_NAMED = 6
MAX_LOOKED_AT = 300  # names of one request
MAX_LENGTH = 32  # characters of a name that a warning repeats
NESTED = {
    "statistics": ("view_count", "like_count", "comment_count"),
    "snippet": ("title", "description", "published_at"),
    "content_details": ("duration_seconds",),
}
"""YouTube's objects, and the fields to send for what they hold."""
# Other words for a field, as the words of a name in the singular, without those of `FILLERS`.
WORDS = {
    "view_count": ("view", "play"),
    "like_count": ("like", "digg", "heart"),
    "comment_count": ("comment", "reply"),
    "share_count": ("share", "repost"),
    "save_count": ("save", "bookmark", "collect"),
    "duration_seconds": (
        "duration",
        "length",
        "duration second",
        "length second",
        "duration m",
        "duration string",
    ),
    "published_at": (
        *(
            "publish",
            "published",
            "upload",
            "uploaded",
            "posted",
            "release",
            "timestamp",
            "release timestamp",
        ),
        *("create",),
    ),
    "observed_at": (
        "observed",
        "scraped",
        "scrape",
        "fetched",
        "crawled",
        "collected",
        "retrieved",
        "snapshot",
    ),
    "previous_view_count": ("previous view", "prev view", "last view"),
    "previous_observed_at": ("previous observed", "prev observed", "previous scraped", "previous timestamp"),
    "thumbnail_url": ("thumbnail", "thumb", "cover", "cover image", "thumbnail image"),
    "description": ("description", "desc"),
    "completion_rate": ("completion",),
}
FILLERS = {
    "count",
    "number",
    "num",
    "nb",
    "total",
    "of",
    "the",
    "video",
    "at",
    "time",
    "date",
    "on",
    "url",
    "rate",
}
FIELD_BY_LETTERS = {field.replace("_", ""): field for field in WORDS}
FIELD_BY_WORDS = {words: field for field, several in WORDS.items() for words in several}


def read_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by the fields' own names: for each the first of its names that is not null or blank."""
    found = dict(values)
    for field, others in OTHER_NAMES.items():
        for name in others:
            if isinstance(found.get(name), str | int | float | None):
                value = found.pop(name, None)
                found[field] = value if is_blank(found.get(field)) else found[field]
    return found


def is_blank(value: Any) -> bool:
    """Whether a value is null or text of only white space."""
    return value is None or (isinstance(value, str) and not value.strip())


def near_names(values: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """A warning that lists names which are not read and look like fields that are not `known`."""
    found = []
    for name, value in islice(values.items(), MAX_LOOKED_AT):
        if name in known or is_blank(value) or isinstance(value, bool):
            continue
        fields = [field for field in _meant(name) if is_blank(known.get(field))]
        if fields:
            found.append(f"{name[:MAX_LENGTH]} (send {', '.join(fields)})")
    if not found:
        return []
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return [f"Names that are not read: {', '.join(found[:MAX_NAMED])}{more}."]


def _meant(name: str) -> tuple[str, ...]:
    """The fields that a name looks like, if any."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name[:MAX_LENGTH])]
    nested = NESTED.get("_".join(words))
    if nested:
        return nested
    singular = [word if word == "previous" else word.removesuffix("s") for word in words]
    meaning = " ".join(word for word in singular if word not in FILLERS)
    field = FIELD_BY_WORDS.get(meaning) or FIELD_BY_LETTERS.get("".join(words))
    return () if field is None or field == name else (field,)
