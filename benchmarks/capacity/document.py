"""The tables of deploy/CAPACITY.md, from the committed measurements alone."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.capacity import limits
from benchmarks.capacity.comparison import check_table, disturbed
from benchmarks.capacity.costs import Costs, beside_each_other
from benchmarks.capacity.markdown import table
from benchmarks.capacity.sizing import Sized
from benchmarks.harness.contestants import ROOT

DOCUMENT = ROOT / "deploy" / "CAPACITY.md"
RATES = (10, 1_000, 100_000)
KNOWN_VIDEOS = (10_000, 100_000, 1_000_000, 10_000_000)
PRICE_RATIOS = (2, 5, 10, 20, 50)
SIZES = ("1", "2", "4", "8")
MEGA, GIGA = 1e6, 1e9


def blocks(
    measured: Mapping[str, Any], checked: Mapping[str, Any], sized: Sequence[Sized], price: float
) -> dict[str, str]:
    """Every block of the document by its name."""
    costs = Costs.of(measured)
    return {
        "measured": measured_table(measured),
        "replica": replica_table(costs, sized),
        "cores": cores_table(sized),
        "outgoing": outgoing_table(measured, sized),
        "memory": memory_table(measured),
        "price": price_table(sized, price),
        "gpu": gpu_table(costs, sized),
        "check": check_table(checked),
    }


def measured_table(measured: Mapping[str, Any]) -> str:
    """What went into the simulation."""
    served, loop = measured["served"], measured["closed_loop"]
    rows = [
        [f"{step}, a forward", *(f"{measured['forwards'][step][size]['cpu_ms']:.2f}" for size in SIZES)]
        for step in ("text", "image", "fusion")
    ]
    floor = " and ".join(
        f"{loop[f'batch_{batch}']['cpu_ms']:.1f} CPU ms at batch {batch}" for batch in (1, 8)
    )
    lines = [
        f"{measured['cores']} cores; {measured['precision']}.",
        "",
        *table(["CPU ms", *(f"batch {size}" for size in SIZES)], rows),
        "",
        *table(
            ["CPU ms a video, in the service", "event loop", "engine", "decoders", "other processes had"],
            [
                [
                    f"{kind} videos",
                    *(f"{served[kind][part]:.2f}" for part in ("loop_ms", "engine_ms", "decode_ms")),
                    f"{served[kind]['other_share']:.0%}",
                ]
                for kind in ("new", "known")
            ],
        ),
        "",
        f"Under load a forward costs {beside_each_other(measured):.2f} times what it costs alone. Nothing "
        f"served, a new video is {floor}. A thumbnail has {_thumbnail_kb(measured):.0f} kB.",
        *disturbed(max(served[kind]["other_share"] for kind in served)),
    ]
    return "\n".join(lines)


def replica_table(costs: Costs, sized: Sequence[Sized]) -> str:
    """One replica at its limit."""
    rows = [
        [
            *_scenario(each),
            f"{each.rate:.0f}",
            f"{1000 * each.outcome.quantile_s(0.5):.0f}",
            f"{1000 * each.outcome.quantile_s(0.99):.0f}",
            f"{each.rate * costs.cpu_s(each.scenario.known_share) / each.cores:.0%}",
        ]
        for each in sized
    ]
    return "\n".join(
        table(["known videos", "requests come", "a second", "p50 ms", "p99 ms", "cores busy"], rows)
    )


def cores_table(sized: Sequence[Sized]) -> str:
    """Cores, and replicas in brackets, by rate."""
    rows = [
        [
            *_scenario(each),
            *(f"{each.replicas(rate) * each.cores:,.0f} ({each.replicas(rate):,})" for rate in RATES),
        ]
        for each in sized
    ]
    heads = [f"{rate:,} a second" for rate in RATES]
    return "\n".join(table(["known videos", "requests come", *heads], rows))


def outgoing_table(measured: Mapping[str, Any], sized: Sequence[Sized]) -> str:
    """Thumbnails: bytes, look-ups, and when connections run out."""
    rows = []
    for each in sized:
        if each.scenario.bursts.factor > 1:
            continue
        for rate in RATES:
            out = limits.outgoing(measured, each, rate)
            rows.append(
                [
                    f"{rate:,}",
                    f"{each.scenario.known_share:.0%}",
                    f"{out.downloads_per_s:,.0f}",
                    f"{8 * out.bytes_per_s / MEGA:,.0f}",
                    f"{8 * out.bytes_per_s / out.replicas / MEGA:,.0f}",
                    f"{1000 * out.host_latency_s:,.0f}",
                ]
            )
    heads = ["requests a second", "known videos", "downloads a second = look-ups at most", "Mbit/s in all"]
    return "\n".join(table([*heads, "Mbit/s a replica", "one host's connections are busy from, ms"], rows))


def memory_table(measured: Mapping[str, Any]) -> str:
    """What remembering vectors takes, in each replica."""
    each = limits.known_video_bytes(measured)
    rows = [[f"{videos:,}", f"{videos * each / GIGA:,.2f}"] for videos in KNOWN_VIDEOS]
    lines = [
        f"{each:,} bytes a video ({measured['entry_bytes']['text']:,} text, "
        f"{measured['entry_bytes']['image']:,} picture): `MILES_CACHE_BYTES` as it ships holds "
        f"{limits.remembered(measured):,} videos, and a replica remembers {limits.URLS:,} URLs.",
        "",
        *table(["known videos", "GB in each replica"], rows),
    ]
    return "\n".join(lines)


def price_table(sized: Sequence[Sized], price: float) -> str:
    """A million requests."""
    rows = [
        [
            *_scenario(each),
            f"{limits.cost_per_million(each, 1.0):.2f}",
            f"{limits.cost_per_million(each, price):.2f}",
        ]
        for each in sized
    ]
    heads = ["core hours", f"cost at {price:g} a core hour"]
    return "\n".join(table(["known videos", "requests come", *heads], rows))


def gpu_table(costs: Costs, sized: Sequence[Sized]) -> str:
    """How fast a GPU must be."""
    rows = [
        [f"{ratio}", *(f"{limits.break_even_per_s(costs, each, ratio):,.0f}" for each in _of_new(sized))]
        for ratio in PRICE_RATIOS
    ]
    heads = [_scenario(each)[1] for each in _of_new(sized)]
    return "\n".join(
        table(
            ["a GPU hour in core hours", *(f"new videos a second on average, {head}" for head in heads)], rows
        )
    )


def _thumbnail_kb(measured: Mapping[str, Any]) -> float:
    return float(mean(measured["thumbnail_bytes"])) / 1000


def _of_new(sized: Sequence[Sized]) -> list[Sized]:
    return [each for each in sized if each.scenario.known_share == 0]


def _scenario(each: Sized) -> list[str]:
    bursts = each.scenario.bursts
    when = "steadily" if bursts.factor == 1 else f"with peaks of {bursts.factor:g} times the mean"
    return [f"{each.scenario.known_share:.0%}", when]
