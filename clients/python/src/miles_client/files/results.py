"""The new columns of a file, and their counts at the end."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from miles_client.service import Refusal, Score
from miles_client.settings import shown

# The new columns and their types in a Parquet file.
RESULTS: dict[str, type] = {
    **dict.fromkeys(("viral_score", "predicted_velocity", "low", "high", "confidence"), float),
    "in_range": bool,
    **dict.fromkeys(("image", "image_reason", "warnings", "model_version", "error"), str),
}


def typed(cell: str, kind: type) -> float | bool | str | None:
    if not cell:
        return None
    return cell == "true" if kind is bool else kind(cell)


def image_of(outcome: Score | Refusal) -> Mapping[str, Any]:
    """What became of a row's thumbnail: `state` and `reason`."""
    answer = outcome.answer if isinstance(outcome, Score) else {}
    return (answer.get("modalities") or {}).get("image") or {}


def result_of(outcome: Score | Refusal) -> list[str]:
    """The result cells of a row, in the order of `RESULTS`."""
    if isinstance(outcome, Refusal):
        return [*[""] * (len(RESULTS) - 1), outcome.reason]
    said = outcome.answer
    interval = said.get("velocity_interval") or {}
    values: dict[str, Any] = {
        "viral_score": outcome.viral_score,
        "predicted_velocity": outcome.predicted_velocity,
        "low": interval.get("low"),
        "high": interval.get("high"),
        "image": image_of(outcome).get("state"),
        "image_reason": image_of(outcome).get("reason"),
        "in_range": {True: "true", False: "false"}.get(said.get("in_range")),  # type: ignore[arg-type]
        "warnings": " | ".join(map(str, said.get("warnings") or ())),
        "error": "",
    }
    cells = [values.get(name, said.get(name)) for name in RESULTS]
    return ["" if cell is None else str(cell) for cell in cells]


def closing(results: Iterator[list[str]], unknown: Counter[str]) -> tuple[str, int]:
    """The counts of rows with warnings, outside the training data, without a thumbnail, and with each error.

    Also the number of errors. `unknown` counts the texts that were read as unknown.
    """
    counts, errors, images = Counter[str](), Counter[str](), Counter[str]()
    for result in results:
        row = dict(zip(RESULTS, result, strict=True))
        counts["with warnings"] += bool(row["warnings"])
        counts["outside the range of the training data"] += row["in_range"] == "false"
        if row["image_reason"] not in ("", "no_thumbnail", "no_image_tower"):
            images[row["image_reason"]] += 1
        if row["error"]:
            errors[shown(re.sub(r"'[^']*'", "...", row["error"]), 120)] += 1
    parts = [f"{count} {kind}" for kind, count in counts.items() if count or kind == "with warnings"]
    if unknown:
        texts = ", ".join(text for text, _ in unknown.most_common(5))
        parts.append(f"{unknown.total()} cells read as unknown: {texts} (--na names more)")
    reasons = ", ".join(f"{count} {reason}" for reason, count in images.most_common(10))
    lines = [f"\n  {images.total()} of the thumbnails were not usable: {reasons}"] if images else []
    lines += [f"\n  {count} rows: {error}" for error, count in errors.most_common(10)]
    return "".join([f"; {', '.join(parts)}" if parts else "", *lines]), errors.total()
