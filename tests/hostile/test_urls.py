"""Hostile URLs: each is refused for its reason, and no socket is opened for any, counted below us."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from preprocessing.image import ImageError
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from tests.hostile.conftest import Record
from tests.hostile.namespace import in_namespace, opened_connections, sent_datagrams
from tests.preprocessing.test_data_urls import BAD_DATA
from tests.preprocessing.thumbnails.hostile_urls import BAD, FORBIDDEN
from tests.support.service import ready_service
from tests.support.site import ok, raw, serving, trusting
from tests.support.tiny import write_tiny

pytestmark = [pytest.mark.hostile, pytest.mark.anyio]
URLS = dict.fromkeys([*BAD, *BAD_DATA], "bad_url") | dict.fromkeys(FORBIDDEN, "forbidden")
WANTED = "250 strings; zero sockets for each refusal, counted"
IN_THE_SERVICE = (
    "the same through the running service, by the kernel's counters; 422 where the image is required"
)
EVENTS = ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_watchers: list[Counter[str]] = []


def _hear(event: str, _: tuple[Any, ...]) -> None:
    if event in EVENTS:
        for seen in _watchers:
            seen[event] += 1


@contextmanager
def sockets_counted() -> Iterator[Counter[str]]:
    """What this process does with sockets meanwhile, as the interpreter itself reports it (PEP 578)."""
    if not hasattr(sys, "_hostile_hook"):
        sys.addaudithook(_hear)  # for good: a hook cannot be taken away
        sys._hostile_hook = True  # type: ignore[attr-defined]
    _watchers.append(Counter())
    try:
        yield _watchers[-1]
    finally:
        _watchers.pop()


async def test_refusals_open_no_socket(promise: Record) -> None:
    wrong: dict[str, str] = {}
    async with ThumbnailFetcher() as fetcher:
        with sockets_counted() as seen:
            for url, wanted in URLS.items():
                try:
                    await fetcher.fetch(url)
                except ImageError as exc:
                    if exc.reason != wanted:
                        wrong[url] = exc.reason
                else:
                    wrong[url] = "fetched"
    async with serving(raw(ok(b"jpeg"))) as site, ThumbnailFetcher(trusting()) as loosened:
        with sockets_counted() as control:
            await loosened.fetch(site.url())
            await loosened.fetch(f"http://localhost:{site.port}/")
    assert control["socket.connect"] >= 2, "a fetch that is allowed is seen"
    assert control["socket.getaddrinfo"] >= 1, "and so is a look-up"
    promise(
        "hostile URLs",
        wanted=WANTED,
        figure=f"{len(URLS) - len(wrong)} of {len(URLS)} refused for their reason, "
        f"{seen.total()} sockets and look-ups" + (f"; not {wrong}" if wrong else ""),
        kept=not wrong and not seen.total() and len(URLS) >= 250,
    )


async def ask(url: str, client: httpx.AsyncClient) -> list[Any]:
    """What the service says of a URL: status, the image's state, and the status where it is required."""
    video: dict[str, Any] = {"title": "a", "thumbnail_url": url}
    headers = {"Content-Type": "application/json"}  # httpx's own JSON cannot carry half a character
    answer = await client.post("/predict", content=json.dumps(video), headers=headers)
    video |= {"require": ["image"]}
    strict = await client.post("/predict", content=json.dumps(video), headers=headers)
    image = answer.json().get("modalities", {}).get("image", {})
    return [answer.status_code, {name: image.get(name) for name in ("state", "reason")}, strict.status_code]


async def ask_service() -> dict[str, Any]:
    wrong: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        checkpoint = write_tiny(Path(folder, "tiny.pt"))
        with ready_service(Path(folder, "log"), checkpoint=checkpoint, engine="torch") as service:
            async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
                await ask("", client)  # opens the connection that all share
                begun = opened_connections(), sent_datagrams()
                for url, reason in URLS.items():
                    image = {"state": "failed", "reason": reason}
                    if not url.strip():
                        image = {"state": "missing", "reason": "no_thumbnail"}
                    said = await ask(url, client)
                    if said != [200, image, 422]:
                        wrong[url] = said
                ended = opened_connections(), sent_datagrams()
                for url in ("http://9.9.9.9/a.jpg", "http://a.example/"):
                    await ask(url, client)
                control = opened_connections() - ended[0], sent_datagrams() - ended[1]
            log = service.log.read_text()
    sent = ended[0] - begun[0], ended[1] - begun[1]
    return {"wrong": wrong, "sent": sent, "control": control, "traceback": "Traceback" in log}


def test_the_service_sends_nothing_for_a_refusal(promise: Record) -> None:
    seen = in_namespace(ask_service, limit_s=300)
    assert seen["control"][0] >= 1, "a URL that is allowed is dialled"
    assert seen["control"][1] >= 1, "and a name is looked up"
    promise(
        "hostile URLs",
        wanted=IN_THE_SERVICE,
        figure=f"{len(URLS) - len(seen['wrong'])} of {len(URLS)}, twice each: "
        f"{seen['sent'][0]} connections begun, {seen['sent'][1]} datagrams sent"
        + (f"; not {seen['wrong']}" if seen["wrong"] else ""),
        kept=not seen["wrong"] and seen["sent"] == [0, 0] and not seen["traceback"],
    )
