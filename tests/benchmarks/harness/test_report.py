"""From samples to medians and ratios."""

from dataclasses import replace

import pytest

from benchmarks.harness.load import Load
from benchmarks.harness.measuring import DEFAULT, Phase, Results, Sample, Sweep
from benchmarks.harness.report import figures, ratios, show

BATCH = {"cpu_ms": 4.0, "wall_ms": 2.0, "p50_ms": 6.0}
FLOOR = {
    **{"cores": 2, "instructions": "VNNI", "batch_1": BATCH, "batch_8": BATCH},
    **{"f32_gops": 100.0, "int8_gops": 1000.0, "video_gop": 10.0},
}


def sample(milliseconds: float, per_second: float = 10.0) -> Sample:
    """A round's phase with this median latency and throughput."""
    load = Load(round(per_second * 2), 0, 2.0, milliseconds, 2 * milliseconds, 3 * milliseconds)
    return Sample(load, cpu_ms_per_request=5.0, host_share=0.01, wrk_share=0.02, other_share=0.03)


@pytest.fixture
def results() -> Results:
    """Three rounds of Miles and of the seed; the machine was ten times slower in the second."""
    found = Results(start_s={"miles": 1.0, "seed": 7.0}, memory_mb={"miles": 500, "seed": 1000})
    one, many = Phase("cold", 1), Phase("cold", 32)
    found.samples["miles", one] = [sample(10), sample(100), sample(12)]
    found.samples["seed", one] = [sample(150), sample(1500), sample(180)]
    found.samples["miles", many] = [sample(300, 100), sample(3000, 10), sample(300, 90)]
    found.samples["seed", many] = [sample(6000, 5), sample(60000, 0.5), sample(6000, 5)]
    found.batch_s = {"miles": [0.5, 5.0, 0.5], "seed": [10.0, 100.0, 11.0]}
    return found


def test_a_ratio_is_the_median_of_the_rounds_ratios(results: Results) -> None:
    """A slow round slows both sides and changes nothing."""
    found = ratios(results)
    assert found["p50, 1 client: seed / Miles"] == pytest.approx(15)
    assert found["throughput, 32 clients: Miles / seed"] == pytest.approx(20)
    assert found["50 videos: seed one by one / Miles one call"] == pytest.approx(20)


def test_a_phase_that_was_not_measured_has_no_ratio(results: Results) -> None:
    """The key is absent, rather than zero or infinite."""
    assert not [key for key in ratios(results) if "8 clients" in key or "closed loop" in key]


def test_a_phase_without_answers_has_no_ratio(results: Results) -> None:
    results.samples["seed", Phase("cold", 1)] = [sample(0, 0)] * 3
    assert "p50, 1 client: seed / Miles" not in ratios(results)


def test_a_disturbed_run_is_marked(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    """A phase of which other processes took half is counted in the report, and its row is marked."""
    quiet = sample(10)
    results.samples["miles", Phase("cold", 1)] = [replace(quiet, other_share=0.5)] * 3
    show(results)
    shown = capsys.readouterr().out
    assert "in 3 of 12 phases" in shown
    assert [line.split()[0] for line in shown.splitlines() if line.endswith("BUSY")] == ["miles"]


def test_the_floor_is_compared_with_miles(results: Results) -> None:
    """CPU time per video over the loop's at batch 8, latency over the loop's at batch 1."""
    results.floors = [FLOOR]
    found = ratios(results)
    assert found["p50, 1 client: Miles / closed loop, batch 1"] == pytest.approx(12 / 6)
    assert found["CPU a video, 32 clients: Miles / closed loop, batch 8"] == pytest.approx(5 / 4)
    # 90 a second is 11.1 ms each, and 10 Gop take 10 ms at 1000 Gop/s.
    limit = found["time a video, 32 clients: Miles / int8 product's limit"]
    assert limit == pytest.approx(1.11, abs=0.01)


def test_the_guards_cost_is_a_difference_within_a_round(results: Results) -> None:
    """In milliseconds, not as a ratio: the cost does not depend on the engine."""
    assert figures(results)["guards_ms"] == {}
    results.start_s["unguarded"] = results.memory_mb["unguarded"] = 1.0
    results.samples["unguarded", Phase("cold", 1)] = [sample(9.5), sample(90), sample(11.7)]
    assert figures(results)["guards_ms"] == {"cold": pytest.approx(0.5)}
    assert not [key for key in ratios(results) if "unguarded" in key]


def test_the_remaining_headroom_is_a_ratio(results: Results) -> None:
    """Two cores that never idle could answer in 2 ms, and 500 times a second, with any server."""
    results.floors = [FLOOR]
    assert not [key for key in ratios(results) if "best peer" in key]
    results.samples["threaded", Phase("cold", 1)] = [sample(3)] * 3
    results.samples["threaded", Phase("cold", 32)] = [sample(300, 250)] * 3
    found = ratios(results)
    assert found["p50, 1 client: best peer / no core ever idle"] == pytest.approx(1.5)
    assert found["throughput, 32 clients: no core ever idle / best peer"] == pytest.approx(2)


def test_a_server_that_failed_is_named(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    """Above the tables and in the JSON, with its reason, even when no server starts."""
    for measured in (results, Results()):
        measured.failures["litserve"] = "its packages were not installed"
        show(measured)
        assert "NOT MEASURED  litserve: its packages were not installed" in capsys.readouterr().out
        assert figures(measured)["failures"] == measured.failures


def test_a_peer_is_measured_with_its_best_settings(results: Results) -> None:
    """The sweep's default keeps its own ratio, to Miles in the same sweep."""
    results.sweep = Sweep({"miles": {DEFAULT: 60.0}, "litserve": {DEFAULT: 40.0, (32, 2): 50.0}})
    assert (results.sweep.best("litserve"), results.sweep.best("mosec")) == ((32, 2), DEFAULT)
    key = "throughput, 32 clients, in the sweep: Miles / litserve with batches of 8"
    assert ratios(results)[key] == pytest.approx(1.5)
