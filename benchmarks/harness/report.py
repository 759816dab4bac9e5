"""From measurements to a table for people and figures for programs: medians of rounds, and ratios."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.harness.measuring import BATCH_VIDEOS, CACHES, CLIENTS, Phase, Results, Sample
from benchmarks.harness.ratios import CORES, Figures, disturbed, floor, guards_ms, median_of, names, ratios

VIDEOS = {"cold": "new videos", "warm": "known videos, new counts"}


def show(results: Results) -> None:
    """Tables: every phase, every server, what all of it is worth as ratios, and who was in the way."""
    for name, reason in results.failures.items():
        print(f"\nNOT MEASURED  {name}: {reason}")
    for cache in CACHES:
        for clients in CLIENTS:
            _show_phase(results, Phase(cache, clients))
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
    print(f"\ntaken from the servers, of all cores: {_taken(results)}")


def figures(results: Results) -> dict[str, Any]:
    """What the last line of output holds."""
    return {
        "benchmark": "side_by_side",
        "ratios": {name: round(value, 3) for name, value in ratios(results).items()},
        "servers": {name: _summary(results, name) for name in names(results)},
        "guards_ms": {cache: round(value, 3) for cache, value in guards_ms(results).items()},
        "floor": floor(results),
        "disturbed_phases": disturbed(results),
        "failures": results.failures,
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
            print(
                f"  {name:10} {row['p50_ms']:9.1f} {row['p95_ms']:9.1f} {row['p99_ms']:9.1f} "
                f"{row['per_s']:8.1f} {row['cpu_ms']:12.1f} {row['failed']:7.0f} {row['others']:7.0%}"
            )


def _show_servers(results: Results) -> None:
    head = f"{'start s':>9} {'memory MB':>9} {f'{BATCH_VIDEOS} videos s':>12} {'score differs by':>17}"
    print(f"\n  {'':10} {head}")
    for name in names(results):
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
