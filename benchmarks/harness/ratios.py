"""Ratios within one run: the only figures that mean something on another machine, or at another hour."""

import statistics
from collections.abc import Callable, Sequence

from benchmarks.harness.measuring import BATCH_VIDEOS, CACHES, CLIENTS, Phase, Results, Sample

MILES, SEED, UNGUARDED = "miles", "seed", "unguarded"
CORES = ("f32_gops", "int8_gops", "video_gop")
ONE, MANY = CLIENTS[0], CLIENTS[-1]
Figures = dict[str, float]
DISTURBED = 0.1
"""The share of all cores that strangers may take before a phase means little."""


def median_of(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """The median of the rounds."""
    return statistics.median(value(sample) for sample in samples)


def disturbed(results: Results) -> tuple[int, int]:
    """In how many phases strangers took too much, and of how many."""
    shares = [sample.other_share for samples in results.samples.values() for sample in samples]
    return sum(share > DISTURBED for share in shares), len(shares)


def names(results: Results) -> list[str]:
    """The servers that were measured."""
    return list(dict.fromkeys(name for name, _ in results.samples))


def ratios(results: Results) -> Figures:
    """Every promise as a ratio within this run; what could not be measured is left out."""
    found: Figures = {}
    for name in (peer for peer in names(results) if peer not in (MILES, UNGUARDED)):
        found |= _beside(results, name)
    for clients, seeds in ((ONE, "warm"), (MANY, "cold")):  # the seed remembers nothing
        key = f"p50, {_clients(clients)}, known videos: seed / Miles"
        phases = Phase(seeds, clients), Phase("warm", clients)
        found |= _ratio(results, key, SEED, MILES, phases, lambda s: s.load.p50_ms)
    if SEED in results.batch_s and MILES in results.batch_s:
        pairs = zip(results.batch_s[SEED], results.batch_s[MILES], strict=False)
        found[f"{BATCH_VIDEOS} videos: seed one by one / Miles one call"] = statistics.median(
            seed / ours for seed, ours in pairs
        )
    if MILES in results.singles_s:
        found[f"{BATCH_VIDEOS} single requests: one by one / at once"] = statistics.median(
            one_by_one / at_once for one_by_one, at_once in results.singles_s[MILES]
        )
    return found | _against_floor(results)


def _beside(results: Results, name: str) -> Figures:
    """New videos: above 1, Miles is the better one."""
    one, many = (Phase("cold", ONE),) * 2, (Phase("cold", MANY),) * 2
    found = _ratio(results, f"p50, 1 client: {name} / Miles", name, MILES, one, lambda s: s.load.p50_ms)
    found |= _ratio(results, f"p95, 1 client: {name} / Miles", name, MILES, one, lambda s: s.load.p95_ms)
    for clients in CLIENTS[1:]:
        key = f"throughput, {clients} clients: Miles / {name}"
        found |= _ratio(results, key, MILES, name, (Phase("cold", clients),) * 2, lambda s: s.load.throughput)
    key = f"CPU a video, {MANY} clients: {name} / Miles"
    return found | _ratio(results, key, name, MILES, many, lambda s: s.cpu_ms_per_request)


def guards_ms(results: Results) -> Figures:
    """What one client's request costs more than without the guards: of p50, the median of the rounds."""
    found: Figures = {}
    for cache in CACHES:
        ours, bare = (results.samples.get((name, Phase(cache, ONE)), []) for name in (MILES, UNGUARDED))
        pairs = [
            (one.load.p50_ms, other.load.p50_ms)
            for one, other in zip(ours, bare, strict=False)
            if one.load.requests and other.load.requests
        ]
        if pairs:
            found[cache] = statistics.median(one - other for one, other in pairs)
    return found


def floor(results: Results) -> Figures:
    """The closed loop and the cores, medians of the rounds."""
    if not results.floors:
        return {}
    rows = results.floors
    loops = {
        f"{batch}_{value}": statistics.median(row[batch][value] for row in rows)
        for batch in ("batch_1", "batch_8")
        for value in ("cpu_ms", "wall_ms", "p50_ms")
    }
    cores = {key: statistics.median(row[key] for row in rows) for key in (*CORES, "cores")}
    return {key: round(value, 3) for key, value in (loops | cores).items()}


def _against_floor(results: Results) -> Figures:
    """Miles beside a loop that serves nobody, and beside the cores' own limit."""
    measured = floor(results)
    one, many = (results.samples.get((MILES, Phase("cold", clients)), []) for clients in (ONE, MANY))
    if not measured or not one or not many:
        return {}
    wall_ms = 1000 / median_of(many, lambda sample: sample.load.throughput)
    limit_ms = 1000 * measured["video_gop"] / measured["int8_gops"]
    cpu_ms = median_of(many, lambda sample: sample.cpu_ms_per_request)
    return _most_to_gain(results, measured) | {
        "p50, 1 client: Miles / closed loop, batch 1": median_of(one, lambda s: s.load.p50_ms)
        / measured["batch_1_p50_ms"],
        f"CPU a video, {MANY} clients: Miles / closed loop, batch 8": cpu_ms / measured["batch_8_cpu_ms"],
        f"time a video, {MANY} clients: Miles / int8 product's limit": wall_ms / limit_ms,
    }


def _most_to_gain(results: Results, measured: Figures) -> Figures:
    """What a server could gain at most over the best peer: the loop's work alone, and no core ever idle."""
    peers = [name for name in names(results) if name not in (MILES, SEED, UNGUARDED)]
    one = {name: results.samples.get((name, Phase("cold", ONE)), []) for name in peers}
    many = {name: results.samples.get((name, Phase("cold", MANY)), []) for name in peers}
    if not peers or not all(one.values()) or not all(many.values()):
        return {}
    quickest = min(median_of(samples, lambda sample: sample.load.p50_ms) for samples in one.values())
    busiest = max(median_of(samples, lambda sample: sample.load.throughput) for samples in many.values())
    return {
        "p50, 1 client: best peer / no core ever idle": quickest
        * measured["cores"]
        / measured["batch_1_cpu_ms"],
        f"throughput, {MANY} clients: no core ever idle / best peer": 1000
        * measured["cores"]
        / measured["batch_8_cpu_ms"]
        / busiest,
    }


def _ratio(
    results: Results,
    key: str,
    above: str,
    below: str,
    phases: tuple[Phase, Phase],
    value: Callable[[Sample], float],
) -> Figures:
    """The median of the rounds' ratios, empty if either was not measured."""
    upper, lower = (results.samples.get(key, []) for key in zip((above, below), phases, strict=True))
    pairs = zip(upper, lower, strict=False)
    found = [value(one) / value(other) for one, other in pairs if value(one) and value(other)]
    return {key: statistics.median(found)} if found else {}


def _clients(number: int) -> str:
    return f"{number} client{'s' * (number > 1)}"
