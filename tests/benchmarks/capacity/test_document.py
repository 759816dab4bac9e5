"""deploy/CAPACITY.md says what the commands print, from the measurements that are committed."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.capacity.__main__ import on_gpu, parser
from benchmarks.capacity.arrivals import STEADY, arrivals
from benchmarks.capacity.comparison import misses, read_checked
from benchmarks.capacity.costs import Costs, Forward, beside_each_other, read_measured
from benchmarks.capacity.document import DOCUMENT, blocks
from benchmarks.capacity.limits import break_even_per_s, cost_per_million, known_video_bytes, remembered
from benchmarks.capacity.markdown import block, replace_block
from benchmarks.capacity.simulation import Replica, simulate
from benchmarks.capacity.sizing import SECONDS, SEED, Sized, holds, size_all
from serving.scoring.cache import VectorCache
from serving.settings import Settings

NAMES = ("measured", "replica", "cores", "outgoing", "memory", "price", "gpu", "check")
FORWARD = {
    "1": {"cpu_ms": 10.0, "wall_ms": 8.0},
    "2": {"cpu_ms": 16.0, "wall_ms": 10.0},
    "4": {"cpu_ms": 24.0, "wall_ms": 48.0},
}


@pytest.fixture(scope="module")
def costs() -> Costs:
    """The committed ones."""
    return Costs.of(read_measured())


@pytest.fixture(scope="module")
def sized(costs: Costs) -> list[Sized]:
    """Every scenario, simulated anew."""
    options = parser().parse_args([])
    return size_all(costs, Replica(places=options.places, download_s=options.download_ms / 1000))


@pytest.fixture(scope="module")
def written(sized: list[Sized]) -> dict[str, str]:
    """Every block as the command writes it by default."""
    price = parser().parse_args([]).price_per_core_hour
    return blocks(read_measured(), read_checked(), sized, price)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_holds_what_the_command_prints(written: dict[str, str], name: str) -> None:
    """No figure is typed, and none is left over from another measurement."""
    assert block(DOCUMENT, name) == written[name]


def test_every_table_has_its_place(written: dict[str, str]) -> None:
    """A block that the command writes is on the page, and none is there that it does not write."""
    page = DOCUMENT.read_text(encoding="utf-8")
    assert tuple(written) == NAMES
    assert page.count("<!-- ") == 2 * len(NAMES)


def test_a_replica_at_its_limit_is_at_its_limit(costs: Costs, sized: list[Sized]) -> None:
    """The rate that is written holds; a tenth more does not."""
    for each in (sized[0], sized[3]):
        assert holds(each.outcome)
        stream = arrivals(1.1 * each.rate, SECONDS, each.scenario.known_share, SEED, each.scenario.bursts)
        assert not holds(simulate(costs, Replica(), stream, SEED))


def test_what_is_known_is_cheaper_and_peaks_are_dearer(sized: list[Sized]) -> None:
    """The more videos are known the fewer replicas; the same mean with peaks needs more."""
    steady = [each for each in sized if each.scenario.bursts == STEADY]
    peaks = [each for each in sized if each.scenario.bursts != STEADY]
    assert [each.rate for each in steady] == sorted(each.rate for each in steady)
    assert all(calm.rate > wild.rate for calm, wild in zip(steady, peaks, strict=True))
    assert steady[0].replicas(steady[0].rate * 2.5) == 3


def test_at_break_even_a_gpu_costs_what_cores_cost(costs: Costs, sized: list[Sized]) -> None:
    """With the throughput and the ratio of prices of the table, a million new videos cost the same."""
    videos_per_s = break_even_per_s(costs, sized[0], price_ratio=20)
    with_gpu = on_gpu(costs, sized[0], 0.3, videos_per_s, 20 * 0.3)
    assert with_gpu == pytest.approx(cost_per_million(sized[0], 0.3))


def test_the_cache_holds_as_many_videos_as_the_page_says() -> None:
    """So many pairs of vectors fit into MILES_CACHE_BYTES, and one more does not."""
    cache_bytes = VectorCache(Settings.model_fields["cache_bytes"].default).max_bytes
    videos, each = remembered(read_measured()), known_video_bytes(read_measured())
    assert videos * each <= cache_bytes < (videos + 1) * each


def test_a_batch_costs_what_was_measured_at_its_size() -> None:
    """Between sizes, a padded step is the next larger one, a packed one lies between; one core at least."""
    padded, packed = (Forward.of(FORWARD, 2.0, padded=padded) for padded in (True, False))
    assert padded.cpu_s == pytest.approx((0.02, 0.032, 0.048, 0.048))
    assert packed.cpu_s == pytest.approx((0.02, 0.032, 0.04, 0.048))
    assert padded.parallel == pytest.approx((1.25, 1.6, 1.0, 1.0))


def test_the_service_s_forwards_are_weighed_against_those_alone() -> None:
    """Measured at the service's own batch sizes: 12 CPU ms a video where the steps alone make 8 + 8 + 8."""
    served = {"engine_ms": 12.0, "mean_batch": {"text": 2.0, "image": 2.0, "fusion": 2.0}}
    measured = {"forwards": dict.fromkeys(("text", "image", "fusion"), FORWARD), "served": {"new": served}}
    assert beside_each_other(measured) == pytest.approx(0.5)


def row(**measured: float) -> dict[str, Any]:
    """A comparison in which all is well but for `measured`."""
    fine = {"per_s": 50.0, "p50_ms": 100.0, "p99_ms": 300.0, "refused": 0.0}
    return {"measured": fine | measured, "simulated": fine}


@pytest.mark.parametrize(
    ("name", "within", "outside", "said"),
    [
        ("per_s", 46.0, 44.0, "throughput"),
        ("p50_ms", 51.0, 49.0, "p50"),
        ("p99_ms", 590.0, 610.0, "p99"),
        ("refused", 0.09, 0.11, "503"),
    ],
)
def test_what_is_off_is_named(name: str, within: float, outside: float, said: str) -> None:
    """A row outside the tolerance says in what; one inside says nothing."""
    assert misses(row(**{name: within})) == []
    assert misses(row(**{name: outside})) == [said]


def test_a_block_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    """What stands around it stays; a page without the block is refused."""
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- a -->\nold\n<!-- /a -->\nbelow\n")
    replace_block(page, "a", "new \\1\nlines")
    assert page.read_text() == "above\n<!-- a -->\nnew \\1\nlines\n<!-- /a -->\nbelow\n"
    assert block(page, "a") == "new \\1\nlines"
    with pytest.raises(ValueError, match="<!-- b -->"):
        replace_block(page, "b", "")
