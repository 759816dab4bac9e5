"""How many cores, what runs out next and what it costs: the tables of deploy/CAPACITY.md.

    python -m benchmarks.capacity [--price-per-core-hour 1] [--download-ms 50] [--places 320] [--write]

From measured.json and checked.json alone, with fixed seeds: the same input gives the same tables on any
machine, in a few seconds. `--gpu-videos-per-s` and `--gpu-price-per-hour` add what a million new videos cost
on that GPU.
The last line of output is JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from benchmarks.capacity import limits
from benchmarks.capacity.comparison import read_checked
from benchmarks.capacity.costs import Costs, read_measured
from benchmarks.capacity.document import DOCUMENT, blocks
from benchmarks.capacity.markdown import replace_block
from benchmarks.capacity.simulation import Replica
from benchmarks.capacity.sizing import Sized, size_all
from serving.settings import Settings


def parser() -> argparse.ArgumentParser:
    """What may be asked for; without anything, the committed document."""
    shipped = Replica(places=int(Settings.model_fields["max_queue_size"].default))
    known = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description=(__doc__ or "").splitlines()[0]
    )
    known.add_argument(
        "--price-per-core-hour", type=float, default=1.0, help="of one core, in your currency; 1: core hours"
    )
    known.add_argument(
        "--download-ms", type=float, default=1000 * shipped.download_s, help="mean of a thumbnail"
    )
    known.add_argument("--places", type=int, default=shipped.places, help="MILES_MAX_QUEUE_SIZE")
    known.add_argument("--gpu-videos-per-s", type=float, help="new videos that your GPU encodes a second")
    known.add_argument("--gpu-price-per-hour", type=float, help="of the GPU alone, in the same currency")
    known.add_argument("--write", action="store_true", help="put the tables into deploy/CAPACITY.md")
    return known


def on_gpu(costs: Costs, sized: Sized, price: float, videos_per_s: float, gpu_price: float) -> float:
    """What a million new videos cost with a GPU for the towers and cores for the rest."""
    rest = limits.cost_per_million(sized, price) * costs.host_s(0.0) / costs.cpu_s(0.0)
    return rest + limits.MILLION / videos_per_s / limits.SECONDS_PER_HOUR * gpu_price


def main(arguments: Sequence[str]) -> int:
    """Simulate, print, and write if asked to."""
    options = parser().parse_args(arguments)
    measured = read_measured()
    costs = Costs.of(measured)
    replica = Replica(places=options.places, download_s=options.download_ms / 1000)
    sized = size_all(costs, replica)
    for name, text in blocks(measured, read_checked(), sized, options.price_per_core_hour).items():
        print(f"\n{name}\n\n{text}")
        if options.write:
            replace_block(DOCUMENT, name, text)
    rates = [
        {"known_share": each.scenario.known_share, "peak": each.scenario.bursts.factor, "per_s": each.rate}
        for each in sized
    ]
    found: dict[str, object] = {"cores": replica.cores, "rates": rates}
    if options.gpu_videos_per_s and options.gpu_price_per_hour:
        gpu = (options.gpu_videos_per_s, options.gpu_price_per_hour)
        cost = found["gpu_cost_per_million"] = on_gpu(costs, sized[0], options.price_per_core_hour, *gpu)
        print(f"\nwith that GPU, a million new videos cost {cost:.2f}")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
