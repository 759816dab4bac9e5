"""The names of a request's fields: the first of several that is known, and warnings about similar names."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from features.near_names import MAX_LENGTH, field_like, words_of
from features.parsing import OTHER_NAMES as OTHER_NAMES  # re-exported
from features.parsing import is_unknown_cell as is_unknown_cell
from features.parsing import parse_text

MAX_NAMED = 6
MAX_LOOKED_AT = 300  # names of one request
NESTED = {
    **dict.fromkeys(
        ("statistics", "stats", "metrics", "public_metrics"),
        ("view_count", "like_count", "comment_count"),
    ),
    "snippet": ("title", "description", "published_at"),
    "content_details": ("duration_seconds",),
}
"""Objects of platforms' APIs, and the fields to send for what they hold."""


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
        fields = [field for field in _meant(name) if field in known and is_blank(known[field])]
        if fields:
            found.append(f"{parse_text(name[:MAX_LENGTH])} (send {', '.join(fields)})")
    if not found:
        return []
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return [f"Names that are not read: {', '.join(found[:MAX_NAMED])}{more}."]


def names_like(values: Any, field: str) -> list[str]:
    """The first names of a request that look like a field which it lacks."""
    names = islice(values, MAX_LOOKED_AT) if isinstance(values, Mapping) else ()
    return [name[:MAX_LENGTH] for name in names if isinstance(name, str) and field in _meant(name)][
        :MAX_NAMED
    ]


def _meant(name: str) -> tuple[str, ...]:
    """The fields that a name looks like, if any."""
    nested = NESTED.get("_".join(words_of(name)))
    if nested:
        return nested
    field = field_like(name)
    return () if field is None or field == name else (field,)
