"""What a file holds, in a few words for an error: names, types and shapes. Bounded, whatever the file."""

from collections.abc import Mapping
from typing import Any

MOST_GROUPS = 5
LONGEST_NAME = 40
EXPECTED = (
    "text_encoder.bert.*, fusion.0.weight (1024 x inputs), fusion.3.weight (256 x 1024), classifier.weight "
    "(2 x 256), regressor.weight (1 x 256), and vision_encoder.feature_extractor.* where it reads images"
)


def outline(contents: Mapping[Any, Any]) -> str:
    """The names of `contents` grouped by their first part, each with its number of entries and one shape."""
    groups: dict[str, list[Any]] = {}
    for name in contents:
        groups.setdefault(str(name).partition(".")[0], []).append(name)
    shown = [_describe(group, names, contents) for group, names in list(groups.items())[:MOST_GROUPS]]
    if len(groups) > MOST_GROUPS:
        shown.append(f"{len(groups) - MOST_GROUPS} more groups")
    return f"{len(contents)} entries: {', '.join(shown)}" if contents else "nothing"


def _describe(group: str, names: list[Any], contents: Mapping[Any, Any]) -> str:
    first = names[0]
    kind = _kind(contents[first])
    if len(names) == 1:
        return f"{_short(str(first))} {kind}"
    return f"{_short(group)}.* ({len(names)}, the first {_short(str(first))} {kind})"


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"({' x '.join(str(size) for size in tuple(shape)[:6]) or 'a number'})"
    if isinstance(value, Mapping):
        return f"(dict of {len(value)}: {', '.join(_short(str(key)) for key in list(value)[:3])})"
    return f"({type(value).__name__})"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 3] + "..."
