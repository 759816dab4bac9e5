"""The running service reveals no address behind a name, neither to a client nor in its log."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.hostile.conftest import Record
from tests.hostile.name_server import naming
from tests.hostile.namespace import NAME_SERVER, in_namespace
from tests.hostile.test_dns import RULES
from tests.support.service import ready_service
from tests.support.tiny import write_tiny

pytestmark = pytest.mark.hostile
# What the names resolve to. With a port, 127.0.0.1 is the service itself.
ADDRESS = re.compile(
    r"9\.9\.9\.|10\.0\.0\.1|169\.254\.|192\.168\.|0\.0\.0\.0|127\.0\.0\.1(?!:)|::ffff|64:ff9b|::1"
)


async def tell() -> dict[str, Any]:
    answers: list[str] = []
    async with AsyncExitStack() as stack:
        rules = {name: rule for name, (rule, *_) in RULES.items()}
        await stack.enter_async_context(naming(NAME_SERVER, rules))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        checkpoint = write_tiny(folder / "tiny.pt")
        # In a thread, because the name server has to answer meanwhile.
        started = ready_service(folder / "log", checkpoint=checkpoint, engine="torch")
        service = await asyncio.to_thread(stack.enter_context, started)
        begun = len(service.log.read_text())  # earlier lines have the address that the service listens on
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=service.url, timeout=60))
        for name in RULES:
            video = {"title": "a", "thumbnail_url": f"http://{name}/a.jpg"}
            for asked in (video, video | {"require": ["image"]}):
                answer = await client.post("/predict", json=asked)
                answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return {"answers": answers, "log": service.log.read_text()[begun:]}


def test_what_a_name_resolves_to_is_not_revealed(promise: Record) -> None:
    seen = in_namespace(tell, limit_s=300)
    failed = sum('"unreachable"' in answer for answer in seen["answers"] if answer.startswith("200 "))
    refused = sum(answer.startswith("422 ") for answer in seen["answers"])
    texts = [*seen["answers"], *seen["log"].splitlines()]
    telling = [text for text in texts if ADDRESS.search(text)]
    assert "thumbnail_failed" in seen["log"], "a failure is logged"
    promise(
        "DNS answers",
        wanted="no resolved address in an answer or in the log",
        figure=f"{failed} scores without an image, {refused} refusals, {len(telling)} of {len(texts)} leak"
        + (f": {telling[0]}" if telling else ""),
        kept=failed == refused == len(RULES) and not telling,
    )
