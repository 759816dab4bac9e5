"""Malicious pictures: known ones, bombs, Pillow's own corpus and damaged copies of it."""

import asyncio
import base64
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from preprocessing.decoding.pool import DecodePool, WorkerLimits
from preprocessing.file_kinds import without_damaged_extras
from preprocessing.image import ImageLimits, ImageSpec
from preprocessing.pixels import ALLOWED_FORMATS
from tests.hostile.conftest import Record
from tests.hostile.picture_files import HUNGRY, KNOWN
from tests.hostile.picture_outcomes import outcome, told, word_for
from tests.hostile.pillow_files import NoCorpusError, corpus, mutations
from tests.support.pictures import encoded, picture
from tests.support.service import Service

pytestmark = [pytest.mark.hostile, pytest.mark.anyio]

MUTATIONS = 5_000
RISE_MB = 300
ITEMS, BODY_BYTES = 256, 12_000_000  # of one batch call
BATCH_S = 300
GOOD = encoded(picture(), "JPEG")


def plain(file: bytes) -> NDArray[np.uint8]:
    """What training saw: Pillow's first frame as RGB, resized; a photo beyond the limit at reduced scale.

    Pillow refuses a PNG for a damaged chunk that decoders may skip; its pixels are those without the chunk.
    """
    with Image.open(io.BytesIO(without_damaged_extras(file)), formats=ALLOWED_FORMATS) as image:
        if image.format == "JPEG" and image.width * image.height > ImageLimits().max_pixels:
            image.draft(None, (448, 448))  # twice the size that is read, as the reader does
        return np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))


def near(found: NDArray[np.uint8], file: bytes) -> bool:
    """Whether pixels are Pillow's own, within one step of 255, which the resizer may round differently."""
    return int(np.abs(found.astype(np.int16) - plain(file)).max()) <= 1


async def test_known_files(promise: Record) -> None:
    wrong = []
    async with DecodePool(ImageSpec(), ImageLimits(), 2) as decoders:
        for name, (wanted, make) in KNOWN.items():
            file = make()
            found = await outcome(decoders, file)
            if not (found == wanted if isinstance(found, str) else wanted == "pixels" and near(found, file)):
                wrong.append(f"{name}: {found if isinstance(found, str) else 'other pixels'}")
        lost = decoders.lost
    figure = f"{len(KNOWN) - len(wrong)} of {len(KNOWN)}, {lost} decoders lost"
    promise("image files", figure="; ".join([figure, *wrong]), kept=not wrong and not lost)


async def test_bombs(promise: Record) -> None:
    rises: dict[str, float] = {}
    for name, make in HUNGRY.items():
        file = make()
        async with DecodePool(ImageSpec(), ImageLimits(), 1, WorkerLimits(60, 60)) as decoders:
            await decoders.decode(GOOD)
            (worker,) = decoders.process_ids
            before = resident_mb(worker, "VmRSS")
            await outcome(decoders, file)
            rises[name] = resident_mb(worker, "VmHWM") - before
    worst = max(rises, key=lambda name: rises[name])
    promise(
        "bodies, bombs",
        wanted="30 bombs, RSS rise under 300 MB each",
        figure=f"{len(rises)} bombs, the worst {rises[worst]:.0f} MB ({worst})",
        kept=len(rises) >= 30 and rises[worst] < RISE_MB,
    )


def resident_mb(process_id: int, mark: str) -> float:
    """Resident memory now (VmRSS) or at its highest (VmHWM)."""
    status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith(mark))


async def test_the_largest_pictures_fit_the_limit_on_memory() -> None:
    """A file within the limits on bytes and pixels is not refused for a worker's limit on memory.

    A progressive JPEG of four full channels, which no camera writes, is the exception.
    """
    largest = {name: make for name, make in HUNGRY.items() if name.endswith(("25 MP", "12.5 MP"))}
    async with DecodePool(ImageSpec(), ImageLimits(), 1, WorkerLimits(60, 60)) as decoders:
        refused = [name for name, make in largest.items() if isinstance(await outcome(decoders, make()), str)]
    assert len(largest) >= 14
    assert refused == ["jpeg progressive CMYK, 25 MP"]


@pytest.fixture(scope="module")
def pillows() -> dict[str, bytes]:
    try:
        return corpus()
    except NoCorpusError as exc:
        pytest.skip(f"the image corpus: {exc}")


async def test_pillows_own_files_give_pillows_pixels(pillows: dict[str, bytes], promise: Record) -> None:
    wrong, seen = [], Counter[str]()
    async with DecodePool(ImageSpec(), ImageLimits(), 2) as decoders:
        for name, file in pillows.items():
            found = await outcome(decoders, file)
            seen["pixels" if not isinstance(found, str) else found] += 1
            if not isinstance(found, str) and not near(found, file):
                wrong.append(name)
        lost = decoders.lost
    figure = f"{len(pillows)} files: {told(seen)}; {len(wrong)} with other pixels, {lost} decoders lost"
    kept = len(pillows) > 1000 and seen["pixels"] > 200 and not wrong and not lost
    promise(
        "image corpus", wanted="Pillow's files: its own pixels or an error of ours", figure=figure, kept=kept
    )


async def test_damaged_files(pillows: dict[str, bytes], promise: Record) -> None:
    seen = Counter[str]()
    files = mutations(pillows, MUTATIONS)
    async with DecodePool(ImageSpec(), ImageLimits(), 2) as decoders:
        for first in range(0, len(files), 50):
            for found in await asyncio.gather(
                *(outcome(decoders, file) for file in files[first : first + 50])
            ):
                seen["pixels" if not isinstance(found, str) else found] += 1
        lost = decoders.lost
    figure = f"{len(files)} files: {told(seen)}; {lost} decoders lost"
    kept = len(files) == MUTATIONS and not lost and seen["pixels"] > 0
    promise("image corpus", wanted="5,000 mutations: no decoder crashes", figure=figure, kept=kept)


def test_no_picture_causes_a_server_error(
    pillows: dict[str, bytes], tiny_service: Service, promise: Record
) -> None:
    files = [*pillows.values(), *mutations(pillows, MUTATIONS)]
    seen = Counter[str]()
    with httpx.Client(base_url=tiny_service.url, timeout=BATCH_S) as client:
        for videos in batches(files):
            answer = client.post("/predict/batch", json={"videos": videos})
            entries = answer.json()["predictions"] if answer.status_code == 200 else []
            seen[f"status {answer.status_code}"] += answer.status_code != 200
            seen.update(word_for(entry) for entry in entries)
        healthy = client.get("/health/ready").status_code == 200 and tiny_service.process.poll() is None
    allowed = {"used", "not_an_image", "too_large", "bad_url", "status 200"}  # an empty file: not a data URL
    allowed |= {"unsupported_format", "truncated", "too_many_pixels", "tiny", "blank"}
    kept = healthy and +seen and set(+seen) <= allowed and (+seen).total() == len(files)
    figure = f"{len(files)} files: {told(+seen)}; the service {'is healthy' if healthy else 'is not healthy'}"
    wanted = "Pillow's files from its sdist and 5,000 mutations: no crash, no 5xx"
    promise("image corpus", wanted=wanted, figure=figure, kept=bool(kept))


def batches(files: Iterable[bytes]) -> Iterator[list[dict[str, str]]]:
    videos: list[dict[str, str]] = []
    size = 0
    for number, file in enumerate(files):
        url = "data:image/png;base64," + base64.b64encode(file).decode()
        if videos and (len(videos) == ITEMS or size + len(url) > BODY_BYTES):
            yield videos
            videos, size = [], 0
        videos.append({"title": f"picture {number}", "thumbnail_url": url})
        size += len(url) + 100
    yield videos
