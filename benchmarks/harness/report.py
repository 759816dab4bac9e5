"""From measurements to tables, ratios and JSON.

Ratios within one run are the only figures that carry over to another machine or another hour. Each is the
median of the rounds' ratios.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.harness.measuring import BATCH_VIDEOS, CACHES, CLIENTS, DEFAULT, Phase, Results, Sample

MILES, SEED, UNGUARDED = "miles", "seed", "unguarded"
VIDEOS = {"cold": "new videos", "warm": "known videos, new counts"}
CORES = ("f32_gops", "int8_gops", "video_gop")
ONE, MANY = CLIENTS[0], CLIENTS[-1]
MAX_OTHER_SHARE = 0.1
"""Share of all cores that other processes may take before a phase counts as disturbed."""
Figures = dict[str, float]
Value = Callable[[Sample], float]


def show(results: Results) -> None:
    """Print every table, the ratios, and how much other processes disturbed the run."""
    for name, reason in results.failures.items():
        print(f"\nNOT MEASURED  {name}: {reason}")
    for cache in CACHES:
        for clients in CLIENTS:
            _show_phase(results, Phase(cache, clients))
    _show_sweep(results)
    _show_servers(results)
    _show_floor(results)
    for cache, milliseconds in guards_ms(results).items():
        print(f"\nthe guards cost {milliseconds:+.2f} ms of p50, 1 client, {VIDEOS[cache]}")
    print("\nratios within this run, median of the rounds")
    for name, value in ratios(results).items():
        print(f"  {name:58} {value:8.2f}")
    count, phases = disturbed(results)
    if count:
        print(f"\nDISTURBED: other processes took over a tenth of the cores in {count} of {phases} phases.")
        print("Run it again on an idle machine before you quote a ratio.")
    print(f"\nshare of all cores taken from the servers: {_taken(results)}")


def figures(results: Results) -> dict[str, Any]:
    """What the last line of output holds."""
    return {
        "benchmark": "side_by_side",
        "ratios": {name: round(value, 3) for name, value in ratios(results).items()},
        "servers": {name: _summary(results, name) for name in names(results)},
        "guards_ms": {cache: round(value, 3) for cache, value in guards_ms(results).items()},
        "floor": floor(results),
        "sweep": {
            name: {f"{batch}x{workers}": round(rate, 1) for (batch, workers), rate in rates.items()}
            for name, rates in results.sweep.rates.items()
        },
        "disturbed_phases": disturbed(results),
        "failures": results.failures,
    }


def median_of(samples: Sequence[Sample], value: Value) -> float:
    return statistics.median(value(sample) for sample in samples)


def names(results: Results) -> list[str]:
    return list(dict.fromkeys(name for name, _ in results.samples))


def disturbed(results: Results) -> tuple[int, int]:
    """The number of disturbed phases, and of all phases."""
    shares = [sample.other_share for samples in results.samples.values() for sample in samples]
    return sum(share > MAX_OTHER_SHARE for share in shares), len(shares)


def ratios(results: Results) -> Figures:
    """Every ratio of which both sides were measured."""
    found: Figures = {}
    for name in (peer for peer in names(results) if peer not in (MILES, UNGUARDED)):
        found |= _beside(results, name)
    for clients, seeds in ((ONE, "warm"), (MANY, "cold")):  # the seed has no cache
        key = f"p50, {clients} client{'s' * (clients > 1)}, known videos: seed / Miles"
        phases = Phase(seeds, clients), Phase("warm", clients)
        found |= _ratio(results, key, SEED, MILES, phases, lambda s: s.load.p50_ms)
    if SEED in results.batch_s and MILES in results.batch_s:
        pairs = zip(results.batch_s[SEED], results.batch_s[MILES], strict=False)
        found[f"{BATCH_VIDEOS} videos: seed one by one / Miles one call"] = statistics.median(
            seed / ours for seed, ours in pairs
        )
    return found | _beside_default(results) | _against_floor(results)


def _beside_default(results: Results) -> Figures:
    """Peers with default settings, instead of those that the sweep found best."""
    rates = {name: found[DEFAULT] for name, found in results.sweep.rates.items() if DEFAULT in found}
    ours = rates.pop(MILES, None)
    if ours is None:
        return {}
    key = f"throughput, {MANY} clients, in the sweep: Miles / {{}} with batches of {DEFAULT[0]}"
    return {key.format(name): ours / rate for name, rate in rates.items()}


def _beside(results: Results, name: str) -> Figures:
    """New videos, one peer."""
    one, many = (Phase("cold", ONE),) * 2, (Phase("cold", MANY),) * 2
    found = _ratio(results, f"p50, 1 client: {name} / Miles", name, MILES, one, lambda s: s.load.p50_ms)
    found |= _ratio(results, f"p95, 1 client: {name} / Miles", name, MILES, one, lambda s: s.load.p95_ms)
    for clients in CLIENTS[1:]:
        key = f"throughput, {clients} clients: Miles / {name}"
        found |= _ratio(results, key, MILES, name, (Phase("cold", clients),) * 2, lambda s: s.load.throughput)
    key = f"CPU a video, {MANY} clients: {name} / Miles"
    return found | _ratio(results, key, name, MILES, many, lambda s: s.cpu_ms_per_request)


def _ratio(
    results: Results, key: str, above: str, below: str, phases: tuple[Phase, Phase], value: Value
) -> Figures:
    """The median of the rounds' ratios, empty if either was not measured."""
    upper, lower = (results.samples.get(key, []) for key in zip((above, below), phases, strict=True))
    pairs = zip(upper, lower, strict=False)
    found = [value(one) / value(other) for one, other in pairs if value(one) and value(other)]
    return {key: statistics.median(found)} if found else {}


def guards_ms(results: Results) -> Figures:
    """By how many milliseconds of p50 the guards slow down a single client."""
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
    """The closed loop and the best matrix products, medians of the rounds."""
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
    """Miles compared with the closed loop and with the cores' peak."""
    measured = floor(results)
    one, many = (results.samples.get((MILES, Phase("cold", clients)), []) for clients in (ONE, MANY))
    if not measured or not one or not many:
        return {}
    wall_ms = 1000 / median_of(many, lambda sample: sample.load.throughput)
    limit_ms = 1000 * measured["video_gop"] / measured["int8_gops"]
    cpu_ms = median_of(many, lambda sample: sample.cpu_ms_per_request)
    p50_ms = median_of(one, lambda sample: sample.load.p50_ms)
    return _headroom(results, measured) | {
        "p50, 1 client: Miles / closed loop, batch 1": p50_ms / measured["batch_1_p50_ms"],
        f"CPU a video, {MANY} clients: Miles / closed loop, batch 8": cpu_ms / measured["batch_8_cpu_ms"],
        f"time a video, {MANY} clients: Miles / int8 product's limit": wall_ms / limit_ms,
    }


def _headroom(results: Results, measured: Figures) -> Figures:
    """What a server without any cost of its own, and no idle core, would gain over the best peer."""
    peers = [name for name in names(results) if name not in (MILES, SEED, UNGUARDED)]
    one = [results.samples.get((name, Phase("cold", ONE)), []) for name in peers]
    many = [results.samples.get((name, Phase("cold", MANY)), []) for name in peers]
    if not peers or not all(one) or not all(many):
        return {}
    best_ms = min(median_of(samples, lambda sample: sample.load.p50_ms) for samples in one)
    best_per_s = max(median_of(samples, lambda sample: sample.load.throughput) for samples in many)
    ideal_ms = measured["batch_1_cpu_ms"] / measured["cores"]
    ideal_per_s = 1000 * measured["cores"] / measured["batch_8_cpu_ms"]
    return {
        "p50, 1 client: best peer / no core ever idle": best_ms / ideal_ms,
        f"throughput, {MANY} clients: no core ever idle / best peer": ideal_per_s / best_per_s,
    }


def _summary(results: Results, name: str) -> dict[str, Any]:
    phases = {
        f"{cache}_{clients}": _row(results.samples[name, Phase(cache, clients)])
        for cache in CACHES
        for clients in CLIENTS
        if (name, Phase(cache, clients)) in results.samples
    }
    return {
        "start_s": round(results.start_s[name], 2),
        "resident_mb": round(results.memory_mb[name]),
        f"{BATCH_VIDEOS}_videos_s": [round(seconds, 3) for seconds in results.batch_s.get(name, [])],
        "score_difference": results.score_difference.get(name),
        **phases,
    }


def _row(samples: Sequence[Sample]) -> Figures:
    values: dict[str, Value] = {
        "p50_ms": lambda sample: sample.load.p50_ms,
        "p95_ms": lambda sample: sample.load.p95_ms,
        "p99_ms": lambda sample: sample.load.p99_ms,
        "per_s": lambda sample: sample.load.throughput,
        "cpu_ms": lambda sample: sample.cpu_ms_per_request,
        "failed": lambda sample: sample.load.failed,
        "others": lambda sample: sample.other_share,
    }
    return {key: round(median_of(samples, value), 2) for key, value in values.items()}


def _show_phase(results: Results, phase: Phase) -> None:
    print(f"\n{phase.clients} client{'s' * (phase.clients > 1)}, {VIDEOS[phase.cache]}")
    latencies = f"{'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9}"
    print(f"  {'':10} {latencies} {'per s':>8} {'CPU ms each':>12} {'failed':>7} {'others':>7}")
    for name in names(results):
        if (name, phase) in results.samples:
            row = _row(results.samples[name, phase])
            busy = "  BUSY" if row["others"] > MAX_OTHER_SHARE else ""
            print(
                f"  {name:10} {row['p50_ms']:9.1f} {row['p95_ms']:9.1f} {row['p99_ms']:9.1f} "
                f"{row['per_s']:8.1f} {row['cpu_ms']:12.1f} {row['failed']:7.0f} {row['others']:7.0%}{busy}"
            )


def _show_sweep(results: Results) -> None:
    if results.sweep.rates:
        print(f"\nanswers a second with {MANY} clients, by the largest batch and the number of workers")
    for name, rates in results.sweep.rates.items():
        words = ", ".join(f"{batch}x{workers} {rate:.1f}" for (batch, workers), rate in rates.items())
        batch, workers = results.sweep.best(name)
        print(f"  {name:10} {words}" + (f"; measured with {batch}x{workers}" if len(rates) > 1 else ""))


def _show_servers(results: Results) -> None:
    head = f"{'start s':>9} {'memory MB':>9} {f'{BATCH_VIDEOS} videos s':>12} {'score differs by':>17}"
    print(f"\n  {'':10} {head}")
    for name in names(results):
        batch = statistics.median(results.batch_s.get(name, [float("nan")]))
        apart = results.score_difference.get(name)
        print(
            f"  {name:10} {results.start_s[name]:9.2f} {results.memory_mb[name]:9.0f} {batch:12.2f} "
            f"{'(unscaled)' if apart is None else f'{apart:.6f}':>17}"
        )


def _show_floor(results: Results) -> None:
    measured = floor(results)
    if not measured:
        return
    print("\nwithout a server: decode, towers and fusion in a closed loop")
    for batch in ("batch_1", "batch_8"):
        cpu, wall = measured[f"{batch}_cpu_ms"], measured[f"{batch}_wall_ms"]
        print(f"  {batch.replace('_', ' ')}: {cpu:.1f} CPU ms and {wall:.1f} ms a video")
    f32, int8, video = (measured[key] for key in CORES)
    instructions = results.floors[-1]["instructions"]
    print(f"  best matrix product: {f32:.0f} Gop/s in float32, {int8:.0f} in int8 ({instructions})")
    print(f"  a video is {video:.1f} Gop, {1000 * video / int8:.1f} ms at the latter rate")


def _taken(results: Results) -> str:
    """Median and largest share of the load generator, the thumbnail host and other processes."""
    samples = [sample for some in results.samples.values() for sample in some]
    shares: dict[str, Value] = {
        "wrk": lambda sample: sample.wrk_share,
        "thumbnail host": lambda sample: sample.host_share,
        "other processes": lambda sample: sample.other_share,
    }
    if not samples:
        return "nothing was measured"
    words = [
        f"{name} {median_of(samples, share):.1%} (at most {max(map(share, samples)):.1%})"
        for name, share in shares.items()
    ]
    return "; ".join(words)
