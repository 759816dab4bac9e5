"""deploy/CAPACITY.md holds the tables of the committed measurement, and their arithmetic is right."""

import json

import pytest

from benchmarks.capacity import BLOCK, DOCUMENT, MEASUREMENT, SHARE, replicas, saturated_per_s, tables
from serving.scoring.cache import VectorCache
from serving.settings import Settings

KIND = {"cpu_ms": 1.0, "paced_per_s": 1.0, "p50_ms": 1.0, "p99_ms": 1.0, "failed": 0, "other_share": 0.0}
MEASURED = {
    **{"processor": "a processor", "cores": 2, "seconds": 1},
    **{"thumbnail_bytes": 50_000, "known_video_bytes": 1_000},
    "new": KIND | {"saturated_per_s": 100.0},
    "known": KIND | {"saturated_per_s": 900.0},
}


def test_the_document_holds_the_tables_of_the_committed_measurement() -> None:
    """No figure is typed by hand or left over from another measurement."""
    measured = json.loads(MEASUREMENT.read_text(encoding="utf-8"))
    assert BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")) == [tables(measured)]


def test_replicas_are_planned_at_a_share_of_the_saturated_rate() -> None:
    """Half known: 1 / (0.5/100 + 0.5/900) = 180 a second saturated, 108 planned, 10 replicas for 1,000."""
    assert SHARE == 0.6
    assert saturated_per_s(MEASURED, 0.5) == pytest.approx(180)
    assert [replicas(MEASURED, 0.5, rate) for rate in (1, 108, 109, 1000)] == [1, 1, 2, 10]


def test_the_tables_show_what_else_runs_out() -> None:
    """Half known, 1,000 a second: 500 downloads of 50 kB are 200 Mbit/s; 5.14 core hours per million."""
    row = next(line for line in tables(MEASURED).splitlines() if "500 x 50,000 bytes x 8" in line)
    assert "= 200 |" in row
    assert row.endswith("= 5.14 |")


def test_a_disturbed_measurement_is_marked() -> None:
    """Above a tenth of the cores for other processes the tables ask for another measurement."""
    disturbed = MEASURED | {"known": MEASURED["known"] | {"other_share": 0.2}}  # type: ignore[operator]
    assert "measure again" not in tables(MEASURED)
    assert "measure again" in tables(disturbed)


def test_the_cache_holds_the_number_of_videos_in_the_document() -> None:
    """One more video than the document's count exceeds MILES_CACHE_BYTES."""
    each = json.loads(MEASUREMENT.read_text(encoding="utf-8"))["known_video_bytes"]
    cache_bytes = VectorCache(Settings.model_fields["cache_bytes"].default).max_bytes
    assert f"holds {cache_bytes // each:,} videos" in DOCUMENT.read_text(encoding="utf-8")
