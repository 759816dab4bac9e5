"""What the care for a thumbnail costs: fetched and read as the service does, beside the least that would do.

    python -m benchmarks.picture_alone [--pictures 50]

The least is a GET over a connection that is kept, Pillow's decoder and the resizer. The care is what keeps
scores from being lost and pictures from being misread: vetted addresses, turns, the breaker, retries,
orientation, transparency, bars, profiles and placeholders. The host is a process of its own, and its pictures
have YouTube's sizes. The last line of output is JSON; `added_ms` may be 0.2 at most.
"""

import argparse
import asyncio
import io
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import httpcore2
from PIL import Image

from benchmarks.harness.contestants import thumbnails
from preprocessing.image import AS_SEEN, ImageLimits, ImageSpec
from preprocessing.pixels import read_picture, resized
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import ThumbnailPolicy

SPEC, LIMITS = ImageSpec(reading=AS_SEEN), ImageLimits()
START_LIMIT_S = 20.0
CALLS = 7
LOOPBACK = ThumbnailPolicy(trusted_networks=(ip_network("127.0.0.0/8"),))


async def measure(urls: Sequence[str]) -> dict[str, float]:
    """CPU milliseconds of the median picture in both ways, and what lies between them."""
    async with httpcore2.AsyncConnectionPool() as pool, ThumbnailFetcher(LOOPBACK) as fetcher:

        async def plain(url: str) -> None:
            answer = await pool.request("GET", url)
            with Image.open(io.BytesIO(answer.content)) as image:
                resized(image.convert("RGB"), SPEC)

        async def careful(url: str) -> None:
            read_picture((await fetcher.download(url)).body, SPEC, LIMITS)

        least = [await _fastest(plain, url) for url in urls]
        whole = [await _fastest(careful, url) for url in urls]
    pairs = list(zip(least, whole, strict=True))
    return {
        "plain_ms": statistics.median(least),
        "careful_ms": statistics.median(whole),
        # Picture by picture, because they have several sizes.
        "added_ms": statistics.median(one - other for other, one in pairs),
        "ratio": statistics.median(one / other for other, one in pairs),
    }


async def _fastest(way: Callable[[str], Awaitable[None]], url: str) -> float:
    """Milliseconds of this thread in the fastest of several calls: other programs make some slower."""
    times = []
    for _ in range(CALLS):
        began = time.thread_time()
        await way(url)
        times.append(1000 * (time.thread_time() - began))
    return min(times)


def _await(url: str) -> None:
    """Return once the host listens."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)):
                return
        except OSError:
            time.sleep(0.1)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=50, help="how many are fetched, each in both ways")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, thumbnails(Path(folder)) as (_, workload):
        urls = [video["thumbnail_url"] for video in workload.new_videos(options.pictures)]
        _await(urls[0])
        found = asyncio.run(measure(urls))
    print(f"a picture costs {found['ratio']:.2f} times the least, {found['added_ms']:+.2f} CPU ms")
    print(
        json.dumps({"benchmark": "picture_alone", **{name: round(each, 3) for name, each in found.items()}})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
