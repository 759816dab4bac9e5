"""From measurements to a table for people and figures for programs: medians of rounds, and ratios."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.load import Load
from benchmarks.measuring import BATCH_VIDEOS, CACHES, CLIENTS, Phase, Results, Sample

MILES, SEED = "miles", "seed"
CORES = ("f32_gops", "int8_gops", "video_gop")
ONE, MANY = CLIENTS[0], CLIENTS[-1]
Figures = dict[str, float]


def show(results: Results) -> None:
    """Tables: every phase, every server, what all of it is worth as ratios, and who was in the way."""
    for name, reason in results.failures.items():
        print(f"\nNOT MEASURED  {name}: {reason}")
    for cache in CACHES:
        for clients in CLIENTS:
            _show_phase(results, Phase(cache, clients))
    _show_servers(results)
    _show_floor(results)
    print("\nratios within this run, median of the rounds")
    for name, value in ratios(results).items():
        print(f"  {name:58} {value:8.2f}")
    print(f"\ntaken from the servers, of all cores: {_taken(results)}")


def figures(results: Results) -> dict[str, Any]:
    """What the last line of output holds."""
    return {
        "benchmark": "side_by_side",
        "ratios": {name: round(value, 3) for name, value in ratios(results).items()},
        "servers": {name: _summary(results, name) for name in _names(results)},
        "floor": floor(results),
        "failures": results.failures,
    }


def median_of(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """The median of the rounds."""
    return statistics.median(value(sample) for sample in samples)


def ratios(results: Results) -> Figures:
    """Every promise as a ratio within this run; what could not be measured is left out."""
    found: Figures = {}
    latencies: dict[str, Callable[[Load], float]] = {
        "p50": lambda load: load.p50_ms,
        "p95": lambda load: load.p95_ms,
    }
    for name in (peer for peer in _names(results) if peer != MILES):
        for percentile, latency in latencies.items():
            key = f"{percentile}, 1 client, cold: {name} / Miles"
            found |= _ratio(results, key, name, MILES, Phase("cold", ONE), latency)
        for clients in CLIENTS[1:]:
            key = f"throughput, {clients} clients, cold: Miles / {name}"
            found |= _ratio(results, key, MILES, name, Phase("cold", clients), lambda load: load.throughput)
    for clients, latency, key in (
        (ONE, latencies["p50"], "p50, 1 client, known videos: seed / Miles"),
        (MANY, latencies["p50"], f"p50, {MANY} clients, known videos: seed / Miles"),
    ):
        found |= _ratio(results, key, SEED, MILES, Phase("warm", clients), latency)
    if SEED in results.batch_s and MILES in results.batch_s:
        pairs = zip(results.batch_s[SEED], results.batch_s[MILES], strict=False)
        found[f"{BATCH_VIDEOS} videos: seed one by one / Miles one call"] = statistics.median(
            seed / ours for seed, ours in pairs
        )
    return found | _against_floor(results)


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
    cores = {key: statistics.median(row[key] for row in rows) for key in CORES}
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
    return {
        "p50, 1 client, cold: Miles / closed loop, batch 1": median_of(one, lambda s: s.load.p50_ms)
        / measured["batch_1_p50_ms"],
        f"CPU a video, {MANY} clients, cold: Miles / closed loop, batch 8": cpu_ms
        / measured["batch_8_cpu_ms"],
        f"time a video, {MANY} clients, cold: Miles / int8 product's limit": wall_ms / limit_ms,
    }


def _ratio(
    results: Results, key: str, above: str, below: str, phase: Phase, value: Callable[[Load], float]
) -> Figures:
    """The median of the rounds' ratios, empty if either was not measured."""
    pairs = zip(
        results.samples.get((above, phase), []), results.samples.get((below, phase), []), strict=False
    )
    found = [value(one.load) / value(other.load) for one, other in pairs if value(other.load)]
    return {key: statistics.median(found)} if found else {}


def _names(results: Results) -> list[str]:
    return list(dict.fromkeys(name for name, _ in results.samples))


def _summary(results: Results, name: str) -> dict[str, Any]:
    phases = {
        f"{cache}_{clients}": _row(results.samples[name, Phase(cache, clients)])
        for cache in CACHES
        for clients in CLIENTS
        if (name, Phase(cache, clients)) in results.samples
    }
    return {
        "start_s": round(results.start_s[name], 2),
        "resident_mb": round(results.resident_mb[name]),
        f"{BATCH_VIDEOS}_videos_s": [round(seconds, 3) for seconds in results.batch_s.get(name, [])],
        "score_difference": results.score_difference.get(name),
        **phases,
    }


def _row(samples: Sequence[Sample]) -> Figures:
    values: dict[str, Callable[[Sample], float]] = {
        "p50_ms": lambda sample: sample.load.p50_ms,
        "p95_ms": lambda sample: sample.load.p95_ms,
        "p99_ms": lambda sample: sample.load.p99_ms,
        "per_s": lambda sample: sample.load.throughput,
        "cpu_ms": lambda sample: sample.cpu_ms_per_request,
        "failed": lambda sample: sample.load.failed,
    }
    return {key: round(median_of(samples, value), 2) for key, value in values.items()}


def _show_phase(results: Results, phase: Phase) -> None:
    what = "new videos" if phase.cache == "cold" else "known videos, new counts"
    print(f"\n{phase.clients} client{'s' * (phase.clients > 1)}, {what}")
    print(
        f"  {'':10} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9} {'per s':>8} {'CPU ms each':>12} {'failed':>7}"
    )
    for name in _names(results):
        if (name, phase) in results.samples:
            row = _row(results.samples[name, phase])
            print(
                f"  {name:10} {row['p50_ms']:9.1f} {row['p95_ms']:9.1f} {row['p99_ms']:9.1f} "
                f"{row['per_s']:8.1f} {row['cpu_ms']:12.1f} {row['failed']:7.0f}"
            )


def _show_servers(results: Results) -> None:
    head = f"{'start s':>9} {'memory MB':>9} {f'{BATCH_VIDEOS} videos s':>12} {'score differs by':>17}"
    print(f"\n  {'':10} {head}")
    for name in _names(results):
        batch = statistics.median(results.batch_s.get(name, [float("nan")]))
        apart = results.score_difference.get(name)
        print(
            f"  {name:10} {results.start_s[name]:9.2f} {results.resident_mb[name]:9.0f} {batch:12.2f} "
            f"{'(unscaled)' if apart is None else f'{apart:.6f}':>17}"
        )


def _show_floor(results: Results) -> None:
    measured = floor(results)
    if not measured:
        return
    print("\nnothing served: decode, towers and fusion in a closed loop")
    for batch in ("batch_1", "batch_8"):
        cpu, wall = measured[f"{batch}_cpu_ms"], measured[f"{batch}_wall_ms"]
        print(f"  {batch.replace('_', ' ')}: {cpu:.1f} CPU ms and {wall:.1f} ms a video")
    f32, int8, video = (measured[key] for key in CORES)
    print(f"  best matrix product: {f32:.0f} Gop/s in float32, {int8:.0f} in int8")
    print(f"  a video is {video:.1f} Gop, {1000 * video / int8:.1f} ms at the latter rate")


def _taken(results: Results) -> str:
    """The largest shares that load generator, thumbnail host and strangers took in any phase."""
    samples = [sample for some in results.samples.values() for sample in some]
    shares: dict[str, Callable[[Sample], float]] = {
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
