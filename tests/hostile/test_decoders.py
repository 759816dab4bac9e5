"""Decoders that are killed, hang or are kept busy: only the pictures that they hold are refused."""

import asyncio
import base64
import os
import signal
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from preprocessing.decoding import worker
from preprocessing.decoding.pool import DecodePool, WorkerLimits
from preprocessing.image import ImageLimits, ImageSpec
from preprocessing.pixels import decode_image
from tests.hostile.conftest import Record
from tests.hostile.picture_outcomes import outcome, told, word_for
from tests.preprocessing.decoding.slow_jpeg import slow_jpeg
from tests.support.pictures import encoded, picture
from tests.support.service import Service

pytestmark = [pytest.mark.hostile, pytest.mark.anyio]

PATIENCE_S = 300
GOOD = encoded(picture(), "JPEG")


async def test_the_limit_on_work_is_per_picture(promise: Record) -> None:
    good, seconds = slow_jpeg(side=2500, scans=10), 0.0
    async with DecodePool(ImageSpec(), ImageLimits(), 1, WorkerLimits(120, 1)) as decoders:
        while seconds < 3:
            await decoders.decode(good)
            (worker,) = decoders.process_ids
            ticks = Path(f"/proc/{worker}/stat").read_text(encoding="ascii").split()[13:15]  # noqa: ASYNC240
            seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        assert decoders.lost == 0
        endless = await outcome(decoders, slow_jpeg())
        after = await outcome(decoders, GOOD)
    kept = endless == "not_an_image" and np.array_equal(after, decode_image(GOOD)) and decoders.lost == 1
    figure = (
        f"a JPEG of 20,000 scans: {endless}, {decoders.lost} of 1 worker replaced, the next picture right"
    )
    promise("decoders", wanted="a picture of endless work costs only itself", figure=figure, kept=kept)


async def test_decoders_of_a_service(tiny_service: Service, promise: Record) -> None:
    kills, at_once = 20, 12
    seen = Counter[str]()
    async with httpx.AsyncClient(base_url=tiny_service.url, timeout=PATIENCE_S) as client:
        for round_ in range(kills):
            first = [score(client, fresh_picture(round_ * at_once + number)) for number in range(at_once)]
            tasks = [asyncio.create_task(each) for each in first]
            await asyncio.sleep(0.05)
            os.kill(workers_of(tiny_service)[round_ % 2], signal.SIGKILL)
            seen.update(await asyncio.gather(*tasks))
        pictures = [score(client, fresh_picture(10_000 + number)) for number in range(at_once)]
        endless, *others = await asyncio.gather(score(client, slow_jpeg()), *pictures)
        ready = (await client.get("/health/ready")).status_code
    kept = ready == 200 and len(workers_of(tiny_service)) == 2 and endless == "not_an_image"
    kept = kept and set(seen) <= {"used", "not_an_image"} and seen["not_an_image"] <= kills
    figure = f"{kills} kills: {told(seen)}; during an endless picture ({endless}): {told(Counter(others))}"
    wanted = "through the service: a killed or busy decoder costs only its picture"
    promise("decoders", wanted=wanted, figure=figure, kept=kept and set(others) == {"used"})


def workers_of(service: Service) -> list[int]:
    everyone = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [number for number in everyone if decodes_for(service.process.pid, number)]


def decodes_for(parent: int, process_id: int) -> bool:
    """Whether a process is a decoder that this parent started and that has not ended."""
    process = Path(f"/proc/{process_id}")
    try:
        is_child = int((process / "stat").read_text().rpartition(")")[2].split()[1]) == parent
        return is_child and worker.__name__.encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False


def fresh_picture(number: int) -> bytes:
    return encoded(Image.new("RGB", (640, 480), (number % 256, number // 256, 77)), "JPEG")


async def score(client: httpx.AsyncClient, file: bytes) -> str:
    """What becomes of one video's picture; any other answer than 200 is given as its status."""
    url = "data:image/jpeg;base64," + base64.b64encode(file).decode()
    answer = await client.post("/predict", json={"title": "a picture", "thumbnail_url": url})
    return word_for(answer.json()) if answer.status_code == 200 else f"status {answer.status_code}"
