"""Compares decoding thumbnails in worker processes, which can be killed, with decoding in threads.

    python -m benchmarks.decoding [--pictures 400]

JPEGs in YouTube's sizes are decoded by `decode_image` in a pool of threads and by `DecodePool`, in turns, one
at a time. A process adds a round trip through a socket and two wake-ups; a thread competes with the event
loop for the interpreter. Memory is the private memory of an idle worker process after the run. The last line
of output is JSON.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks.harness.thumbnail_host import SIZES, Pictures
from preprocessing.decoding.pool import DecodePool
from preprocessing.image import ImageLimits, ImageSpec, decode_image

WORKERS = 2
WARM = 2 * len(SIZES) * WORKERS
Decode = Callable[[bytes], Awaitable[NDArray[np.uint8]]]


async def measure(ways: dict[str, Decode], bodies: Sequence[bytes]) -> dict[str, list[float]]:
    """Seconds per picture by method. Raises `ValueError` if two methods decode different pixels."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for body in bodies:
        pixels = []
        for name, decode in ways.items():
            await asyncio.sleep(0.001)  # as in the service, the event loop is asleep when a picture arrives
            started = time.perf_counter()
            pixels.append(await decode(body))
            seconds[name].append(time.perf_counter() - started)
        if any(not np.array_equal(pixels[0], others) for others in pixels[1:]):
            raise ValueError(f"{' and '.join(ways)} decode different pixels from the same picture")
    return seconds


def private_megabytes(process_id: int) -> float:
    """Private memory of a process in MB (10^6)."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6


async def compare(pictures: int) -> dict[str, Any]:
    """Median milliseconds by picture size and over all pictures."""
    source = Pictures()
    bodies = [source.body(number) for number in range(pictures)]
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(WORKERS) as executor:
        async with DecodePool(ImageSpec(), ImageLimits(), WORKERS) as pool:
            ways: dict[str, Decode] = {
                "threads": lambda body: loop.run_in_executor(executor, decode_image, body),
                "processes": pool.decode,
            }
            await measure(ways, bodies[:WARM])
            seconds = await measure(ways, bodies)
            memory = [private_megabytes(process_id) for process_id in pool.process_ids]
    result: dict[str, Any] = {"pictures": pictures, "worker_mb": round(max(memory), 1)}
    rows = {f"{w}x{h}": [n for n in range(pictures) if SIZES[n % len(SIZES)] == (w, h)] for w, h in SIZES}
    for label, numbers in {**rows, "all": list(range(pictures))}.items():
        row = {
            name: 1000 * statistics.median(all_seconds[number] for number in numbers)
            for name, all_seconds in seconds.items()
        }
        row["added"] = row["processes"] - row["threads"]
        print(f"{label:>10}: " + ", ".join(f"{name} {value:.2f} ms" for name, value in row.items()))
        result[label] = {name: round(value, 3) for name, value in row.items()}
    return result


def main(arguments: Sequence[str]) -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=400, help="number of pictures for each method")
    print(json.dumps(uvloop.run(compare(parser.parse_args(arguments).pictures))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
