"""Image hosts that are dead, slow or throttling: every video is scored, and good pictures do not wait."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.hostile.conftest import Record
from tests.hostile.promises import PROMISES
from tests.support.pictures import encoded, picture
from tests.support.service import Service, ready_service
from tests.support.site import Answer, ok, raw, raw_then_close, response, serving
from tests.support.tiny import write_tiny

pytestmark = [pytest.mark.hostile, pytest.mark.anyio]
BATCH, PATIENCE_S, MAX_WAIT_S = 250, 120, 8.0
GOOD = ok(encoded(picture(), "JPEG"))
SLOW_S = 2.0
LOST, LEFT_ALONE, IN_TURN = PROMISES["slow image hosts"]


async def slow(_path: str, writer: asyncio.StreamWriter) -> None:
    """A healthy host that takes 2 s for a picture."""
    await asyncio.sleep(SLOW_S)
    writer.write(GOOD)


async def dead_but_one(path: str, writer: asyncio.StreamWriter) -> None:
    """A host that answers for one picture only."""
    if path == "/good.jpg":
        writer.write(GOOD)


HOSTS: dict[str, Answer] = {
    "slow": slow,
    "throttling": raw(response(429, b"", b"Retry-After: 1")),
    "hanging up": raw_then_close(b""),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on the tiny checkpoint that may fetch from this machine."""
    folder = tmp_path_factory.mktemp("service")
    settings: dict[str, Any] = {"checkpoint": write_tiny(folder / "tiny.pt"), "engine": "torch", "threads": 1}
    with ready_service(folder / "log", thumbnail_trusted_networks="127.0.0.0/8", **settings) as running:
        yield running


async def lost(client: httpx.AsyncClient, name: str, urls: list[str]) -> int:
    """How many videos of a batch with these thumbnails get no score."""
    videos = [{"title": f"{name} {index}", "thumbnail_url": url} for index, url in enumerate(urls)]
    answer = await client.post("/predict/batch", json={"videos": videos})
    entries = answer.json()["predictions"] if answer.status_code == 200 else []
    return len(videos) - sum("viral_score" in entry for entry in entries)


async def test_no_score_is_lost_to_a_host(service: Service, promise: Record) -> None:
    missing: dict[str, int] = {}
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client:
        async with serving(dead_but_one) as site:
            urls = [site.url(f"/{index}.jpg") for index in range(BATCH)]
            dead = asyncio.create_task(lost(client, "dead", urls))
            await site.asked.wait()
            began = time.monotonic()
            video = {"title": "beside", "thumbnail_url": site.url("/good.jpg")}
            beside = (await client.post("/predict", json=video)).json()
            wait_s = time.monotonic() - began
            missing["dead"] = await dead
        for name, answer in HOSTS.items():
            async with serving(answer) as site:
                urls = [site.url(f"/{index}.jpg") for index in range(BATCH)]
                missing[name] = await lost(client, name, urls)
    state = beside["modalities"]["image"]["state"]
    promise(
        "slow image hosts",
        wanted=LOST,
        figure=f"{sum(missing.values())} of {BATCH * len(missing)} scores lost ({missing}); during {BATCH} "
        f"dead pictures a good one of the same host is {state} after {wait_s:.1f} s",
        kept=not any(missing.values()) and state == "used" and wait_s < MAX_WAIT_S,
    )


async def test_a_dead_host_is_left_alone(service: Service, promise: Record) -> None:
    async with (
        httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client,
        serving(dead_but_one) as site,
    ):
        urls = [site.url(f"/{index}.jpg") for index in range(2 * BATCH)]
        first = await lost(client, "dead", urls[:BATCH])
        before = site.connections
        second = await lost(client, "dead", urls[BATCH:])
        asked = site.connections - before
    promise(
        "slow image hosts",
        wanted=LEFT_ALONE,
        figure=f"{before} of the first {BATCH} asked it, {asked} of the next; {first + second} scores lost",
        kept=asked <= 2 and first + second == 0,
    )


async def test_turns_at_a_slow_host_are_shared(service: Service, promise: Record) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client, serving(slow) as site:
        urls = [site.url(f"/{index}.jpg") for index in range(BATCH)]
        batch = asyncio.create_task(lost(client, "slow", urls))
        await site.asked.wait()
        began = time.monotonic()
        video = {"title": "beside", "thumbnail_url": site.url("/beside.jpg")}
        state = (await client.post("/predict", json=video)).json()["modalities"]["image"]["state"]
        wait_s = time.monotonic() - began
        await batch
    promise(
        "slow image hosts",
        wanted=IN_TURN,
        figure=f"{state} after {wait_s:.1f} s, where an answer takes {SLOW_S:g} s",
        kept=state == "used" and wait_s < 2 * SLOW_S + 2,
    )
