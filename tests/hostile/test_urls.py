"""Hostile URLs in the running service: each is refused for its reason, and nothing is sent for any."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.hostile.conftest import Record
from tests.hostile.namespace import in_namespace, opened_connections, sent_datagrams
from tests.preprocessing.test_data_urls import BAD_DATA
from tests.preprocessing.thumbnails.hostile_urls import BAD, FORBIDDEN
from tests.support.service import ready_service
from tests.support.tiny import write_tiny

pytestmark = pytest.mark.hostile
URLS = dict.fromkeys([*BAD, *BAD_DATA], "bad_url") | dict.fromkeys(FORBIDDEN, "forbidden")


async def ask(url: str, client: httpx.AsyncClient) -> list[Any]:
    """What the service says of a URL: status, the image's state, and the status if it is required."""
    video: dict[str, Any] = {"title": "a", "thumbnail_url": url}
    headers = {"Content-Type": "application/json"}  # httpx's own JSON cannot carry a lone surrogate
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
        figure=f"{len(URLS) - len(seen['wrong'])} of {len(URLS)}, twice each: "
        f"{seen['sent'][0]} connections begun, {seen['sent'][1]} datagrams sent"
        + (f"; not {seen['wrong']}" if seen["wrong"] else ""),
        kept=not seen["wrong"] and seen["sent"] == [0, 0] and not seen["traceback"] and len(URLS) >= 250,
    )
