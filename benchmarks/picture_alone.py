"""What careful handling of a thumbnail costs: fetched and read as by the service, and without its safeguards.

    python -m benchmarks.picture_alone [--pictures 50]

Three ways, in turn: `plain` is a GET over a connection that is kept, Pillow's decoder and the resizer;
`vetted` adds the checks against private addresses; `whole` is the service's own way, which also keeps scores
from being lost (turns, the breaker, retries, the budget) and pictures from being misread (orientation,
transparency, bars, profiles, placeholders). The host is a process of its own, and its pictures have YouTube's
sizes. The last line of output is JSON; `care_ms`, what `whole` takes beyond `vetted`, may be 0.2 at most.
"""

import argparse
import asyncio
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

import httpcore2
from PIL import Image

from benchmarks.harness.contestants import thumbnails
from preprocessing.image import AS_SEEN, ImageLimits, ImageSpec, emptiness
from preprocessing.pixels import ALLOWED_FORMATS, read_picture, resized
from preprocessing.thumbnails.connect import SystemResolver, VettingBackend
from preprocessing.thumbnails.fetcher import HEADERS, ThumbnailFetcher
from preprocessing.thumbnails.policy import ThumbnailPolicy
from preprocessing.thumbnails.response import vet_head
from preprocessing.thumbnails.urls import vet_url
from serving.scoring.encoders import PictureBudget
from serving.scoring.warnings import picture_warnings

SPEC, LIMITS = ImageSpec(reading=AS_SEEN), ImageLimits()
CALLS = 15
LOOPBACK = ThumbnailPolicy(trusted_networks=(ip_network("127.0.0.0/8"),))
TIME_S = 15.0
Given = TypeVar("Given")


async def _ready_to_dial(_place: str, _address: str) -> None:
    """Without turns an address may be dialled at once."""


async def measure(urls: Sequence[str]) -> dict[str, float]:
    """CPU milliseconds of the median picture in each way, and the difference of the last two by step."""
    vetting = VettingBackend(LOOPBACK, SystemResolver(), httpcore2.AnyIOBackend(), _ready_to_dial)
    async with (
        httpcore2.AsyncConnectionPool() as pool,
        httpcore2.AsyncConnectionPool(network_backend=vetting) as vetted_pool,
        ThumbnailFetcher(LOOPBACK) as fetcher,
    ):

        async def plain(url: str) -> bytes:
            return (await pool.request("GET", url)).content

        async def vetted(url: str) -> bytes:
            place = vet_url(url, LOOPBACK)
            target = httpcore2.URL(scheme=place.scheme, host=place.host, port=place.port, target=place.target)
            async with vetted_pool.stream(
                "GET", target, headers=[("Host", place.authority), *HEADERS]
            ) as answer:
                vet_head(answer, place.host, LOOPBACK.max_bytes)
                return await answer.aread()

        async def whole(url: str) -> bytes:
            budget = PictureBudget(asyncio.get_running_loop().time() + TIME_S, object())
            async with budget.limit():
                return (await fetcher.download(url, budget.party)).body

        async def read_plainly(file: bytes) -> None:
            with Image.open(io.BytesIO(file), formats=ALLOWED_FORMATS) as image:
                LIMITS.check_pixels(*image.size, image.format)
                resized(image.convert("RGB"), SPEC).tobytes()

        async def read_wholly(file: bytes) -> None:
            async with PictureBudget(asyncio.get_running_loop().time() + TIME_S).limit():
                picture = read_picture(file, SPEC, LIMITS)
            picture_warnings(picture.traits, SPEC.reading)
            emptiness(picture.traits, picture.width, picture.height)

        fetched = [await _fastest((plain, vetted, whole), url) for url in urls]
        files = [await plain(url) for url in urls]
        read = [await _fastest((read_plainly, read_wholly), file) for file in files]
    rows = [
        (start + one, vet + one, full + other, full - vet, other - one)
        for (start, vet, full), (one, other) in zip(fetched, read, strict=True)
    ]
    # Picture by picture, because they have several sizes.
    plain_ms, vetted_ms, whole_ms, fetching, reading = map(statistics.median, zip(*rows, strict=True))
    return {
        "plain_ms": plain_ms,
        "vetted_ms": vetted_ms,
        "whole_ms": whole_ms,
        "care_ms": statistics.median(more + most for *_, more, most in rows),
        "care_of_fetching_ms": fetching,
        "care_of_reading_ms": reading,
    }


async def _fastest(ways: Sequence[Callable[[Given], Awaitable[object]]], given: Given) -> list[float]:
    """Milliseconds of this thread in the fastest of several calls of each way, which take turns."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(CALLS):
        for way, taken in zip(ways, times, strict=True):
            began = time.thread_time()
            await way(given)
            taken.append(1000 * (time.thread_time() - began))
    return [min(taken) for taken in times]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=50, help="pictures, each fetched in every way")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, thumbnails(Path(folder)) as (_, workload):
        urls = [video["thumbnail_url"] for video in workload.new_videos(options.pictures)]
        found = {name: round(each, 3) for name, each in asyncio.run(measure(urls)).items()}
    print("\n".join(f"{name:20} {each:6.3f}" for name, each in found.items()))
    print(json.dumps({"benchmark": "picture_alone", **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
