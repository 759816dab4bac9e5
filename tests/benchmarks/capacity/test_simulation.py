"""The simulation beside what queueing theory knows: Kleinrock, Queueing Systems I (1975), chapters 3 to 5."""

import math
import statistics

import pytest

from benchmarks.capacity.arrivals import Arrival, Bursts, arrivals
from benchmarks.capacity.costs import Costs, Forward
from benchmarks.capacity.simulation import Outcome, Replica, simulate

SERVICE_S = 0.01
FREE = Forward.constant(0.0)
ONE_AT_A_TIME = Costs(FREE, Forward.constant(SERVICE_S), FREE, 0.0, 0.0, 0.0)
ONE_SERVER = Replica(cores=1.0, decoders=1, places=10**9, download_s=0.0)
REQUESTS = 12_000


def run(costs: Costs, replica: Replica, load: float, known_share: float = 0.0) -> Outcome:
    """A long stream that asks for so large a part of one server's time."""
    rate = load / SERVICE_S
    return simulate(costs, replica, arrivals(rate, REQUESTS / rate, known_share, seed=3), seed=4)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_deterministic_work_waits_as_in_an_m_d_1_queue(load: float) -> None:
    """Pollaczek and Khinchine: the mean time in the house is s + s load / (2 (1 - load))."""
    mean_s = statistics.mean(run(ONE_AT_A_TIME, ONE_SERVER, load).latencies_s)
    assert mean_s == pytest.approx(SERVICE_S * (1 + load / (2 * (1 - load))), rel=0.05)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_exponential_work_waits_as_in_an_m_m_1_queue(load: float) -> None:
    """The time in the house is exponential with mean s / (1 - load), at the 99th percentile, too."""
    replica = Replica(cores=1.0, decoders=1, places=10**9, download_s=0.0, variation=1.0)
    outcome = run(ONE_AT_A_TIME, replica, load)
    mean_s = SERVICE_S / (1 - load)
    assert statistics.mean(outcome.latencies_s) == pytest.approx(mean_s, rel=0.08)
    assert outcome.quantile_s(0.99) == pytest.approx(mean_s * math.log(100), rel=0.12)


def test_a_bounded_house_refuses_as_an_m_m_1_k_queue() -> None:
    """With K places a share (1 - load) load^K / (1 - load^(K + 1)) gets a 503, and the others scores."""
    replica = Replica(cores=1.0, decoders=1, places=5, download_s=0.0, variation=1.0)
    outcome = run(ONE_AT_A_TIME, replica, 0.9)
    assert outcome.refused_share == pytest.approx(0.1 * 0.9**5 / (1 - 0.9**6), rel=0.08)
    assert len(outcome.latencies_s) == outcome.offered - outcome.refused


def test_shared_cores_slow_everybody_down_alike() -> None:
    """Processor sharing: the mean time in the house is s / (1 - load), whatever the work's distribution."""
    decoding = Costs(FREE, FREE, FREE, SERVICE_S, 0.0, 0.0)
    replica = Replica(cores=1.0, decoders=10**9, places=10**9, download_s=0.0)
    outcome = run(decoding, replica, 0.6)
    assert statistics.mean(outcome.latencies_s) == pytest.approx(SERVICE_S / 0.4, rel=0.05)
    assert outcome.quantile_s(0.5) > SERVICE_S


def test_downloads_wait_for_nobody() -> None:
    """However many are under way, each takes its own time: exponential, with the mean that was asked for."""
    free = Costs(FREE, FREE, FREE, 0.0, 0.0, 0.0)
    outcome = run(free, Replica(places=10**9, download_s=0.2), 5.0)
    assert statistics.mean(outcome.latencies_s) == pytest.approx(0.2, rel=0.03)
    assert outcome.quantile_s(0.5) == pytest.approx(0.2 * math.log(2), rel=0.03)


def test_a_known_video_costs_the_fusion_and_the_event_loop_alone() -> None:
    """It meets neither tower, nor a decoder, nor a download."""
    costs = Costs(Forward.constant(9), Forward.constant(9), Forward.constant(0.001), 9, 0.002, 9)
    outcome = simulate(costs, Replica(), arrivals(1, 20, 1.0, seed=1), seed=2)
    assert outcome.latencies_s[0] == pytest.approx(0.003)


def test_batches_grow_with_the_queue() -> None:
    """Beyond what single videos allow, full batches keep up: nobody is refused, eight cost what one does."""
    batched = Costs(FREE, Forward.constant(SERVICE_S, sizes=8), FREE, 0.0, 0.0, 0.0)
    assert run(batched, Replica(cores=1.0, places=64, download_s=0.0), 4.0).refused == 0
    assert run(ONE_AT_A_TIME, Replica(cores=1.0, places=64, download_s=0.0), 4.0).refused_share > 0.7


def test_a_partial_batch_of_texts_waits_for_the_pictures() -> None:
    """The second request's text could begin at 0.15 s; it begins with the second pictures' end, at 0.2 s."""
    costs = Costs(Forward.constant(0.15, 8), Forward.constant(0.1, 8), FREE, 0.0, 0.0, 0.0)
    stream = [Arrival(at_s, known=False) for at_s in (0.0, 0.05, 0.16)]
    outcome = simulate(costs, Replica(download_s=0.0), stream, seed=1)
    assert outcome.latencies_s == pytest.approx([0.15, 0.35 - 0.16, 0.35 - 0.05])


def test_the_same_seed_is_the_same_day() -> None:
    """Every figure of the documents can be had again."""
    stream = arrivals(50, 20, 0.5, seed=1)
    costs = Costs(Forward.constant(0.005), Forward.constant(0.01), FREE, 0.002, 0.001, 0.002)
    replica = Replica(variation=0.3)
    assert simulate(costs, replica, stream, seed=2) == simulate(costs, replica, stream, seed=2)
    assert simulate(costs, replica, stream, seed=2) != simulate(costs, replica, stream, seed=3)


def test_bursts_keep_the_mean_and_raise_the_peak() -> None:
    """Three times as many in a tenth of the time, as many in all."""
    stream = arrivals(40, 500, 0.25, seed=5, bursts=Bursts(3.0, 5.0, 50.0))
    in_peaks = sum(arrival.at_s % 50 < 5 for arrival in stream)
    assert len(stream) == pytest.approx(20_000, rel=0.02)
    assert in_peaks == pytest.approx(6_000, rel=0.04)
    assert sum(arrival.known for arrival in stream) == pytest.approx(5_000, rel=0.04)
