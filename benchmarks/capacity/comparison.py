"""The simulation beside the service, as a table, and how far apart they may be."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.capacity.markdown import table

CHECKED = Path(__file__).parent / "checked.json"
# What is promised of the simulation: the first and last as shares, the second as a factor.
PER_S_WITHIN = 0.1
LATENCY_WITHIN = 2.0
REFUSED_WITHIN = 0.1
DISTURBED = 0.1
"""Strangers that took so large a share of the cores make a measurement worthless."""


def check_table(checked: Mapping[str, Any]) -> str:
    """Measured beside simulated."""
    rows = [
        [
            f"{row['load']:.0%}",
            f"{row['known_share']:.0%}",
            f"{row['offered_per_s']:.0f}",
            *(
                f"{row['measured'][key]:g} / {row['simulated'][key]:g}"
                for key in ("per_s", "p50_ms", "p99_ms")
            ),
            f"{row['measured']['refused']:.1%} / {row['simulated']['refused']:.1%}",
            f"{row['taken_share']:.0%}",
            f"{row['strangers_share']:.0%}",
            ", ".join(misses(row)) or "all within",
        ]
        for row in checked["rows"]
    ]
    heads = ["load", "known", "asked a second", "scored a second", "p50 ms", "p99 ms", "503"]
    lines = [
        f"Measured / simulated; {checked['places']} places, {checked['seconds']:g} s a row.",
        "",
        *table([*heads, "not the service's", "strangers'", "off"], rows),
        *disturbed(max(row["strangers_share"] for row in checked["rows"])),
    ]
    return "\n".join(lines)


def misses(row: Mapping[str, Any]) -> list[str]:
    """What of a row is outside the tolerance."""
    real, ours = row["measured"], row["simulated"]
    found = []
    if abs(ours["per_s"] / real["per_s"] - 1) > PER_S_WITHIN:
        found.append("throughput")
    for name in ("p50", "p99"):
        ratio = ours[f"{name}_ms"] / real[f"{name}_ms"]
        if max(ratio, 1 / ratio) > LATENCY_WITHIN:
            found.append(name)
    if abs(ours["refused"] - real["refused"]) > REFUSED_WITHIN:
        found.append("503")
    return found


def read_checked(path: Path = CHECKED) -> dict[str, Any]:
    """The committed comparison."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def disturbed(share: float) -> list[str]:
    """What is said of a measurement that strangers were in the way of; nothing where they were not."""
    if share <= DISTURBED:
        return []
    return [
        "",
        f"**Other processes took {share:.0%} of all cores at times: measure again on an idle machine.**",
    ]
