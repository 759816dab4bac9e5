"""What the service does not rely on: unchanged files, an honest shared cache, modest clients."""

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

import httpx
import pytest

from model.checkpoint.file import check_file
from model.compiled.files import MANIFEST, bundle_directory
from tests.hostile.conftest import Record
from tests.hostile.crowd import Visitor, metrics, percentile
from tests.hostile.probes import probed
from tests.serving.scoring.test_shared_cache import REPLIES, VECTOR, Reply, forged, lying_server
from tests.support.process import LIMIT_S, until
from tests.support.service import ready_service
from tests.support.tiny import write_tiny

pytestmark = [pytest.mark.hostile, pytest.mark.anyio]
FLOODS = 4
KEYS = ("flood-flood-flood-flood", "other-other-other-other")


def scores(url: str, count: int = 8) -> list[float]:
    videos = [{"title": f"title number {n}", "view_count": 100 * n} for n in range(count)]
    answer = httpx.post(f"{url}/predict/batch", json={"videos": videos}, timeout=LIMIT_S)
    return [entry["viral_score"] for entry in answer.json()["predictions"]]


def test_files_that_change(tmp_path: Path, promise: Record) -> None:
    (tmp_path / "models").mkdir()
    path = write_tiny(tmp_path / "models" / "model_full.pt")
    digest = check_file(path, None)
    settings = {
        "checkpoint": path,
        "checkpoint_sha256": digest,
        "precision": "f32",
        "threads": 1,
        "cache_bytes": 0,
    }
    bundle = bundle_directory(path, digest)
    with ready_service(tmp_path / "first", **settings) as service:
        before = scores(service.url)
        sizes = sum(file.stat().st_size for file in bundle.iterdir())
        for file in bundle.iterdir():
            os.truncate(file, 0)
        cut = scores(service.url)
        code = service.stop()
    with ready_service(tmp_path / "second", **settings) as service:  # which compiles again
        service.stop()
    values = json.loads((bundle / MANIFEST).read_text())
    values["card"]["velocity"]["mean"] += 5
    values["card"]["golden"] = {}
    (bundle / MANIFEST).write_text(json.dumps(values))
    with ready_service(tmp_path / "third", **settings) as service:
        edited = scores(service.url)
    promise(
        "files of a model",
        wanted="a bundle truncated while in use, or edited next to a pinned checkpoint: the same scores",
        figure=f"{sizes / 1e6:.0f} MB truncated: {cut == before}, exit {code}; edited: {edited == before}",
        kept=before == cut == edited and code == 0,
    )


def test_a_shared_cache_that_lies(tiny_bundle: Path, tmp_path: Path, promise: Record) -> None:
    lies = REPLIES | {"40 MB": b"*1\r\n$40000000\r\n" + bytes(40_000_000) + b"\r\n"}
    nothing: Reply = b"*1\r\n$-1\r\n"
    replies = [nothing]
    with ready_service(tmp_path / "alone", checkpoint=tiny_bundle, cache_bytes=0) as service:
        expected = scores(service.url)
    with (
        lying_server(replies) as url,
        ready_service(
            tmp_path / "log",
            checkpoint=tiny_bundle,
            cache_bytes=0,
            shared_cache_url=url,
            shared_cache_timeout_s=1,
        ) as service,
    ):
        seen = {}
        for name, reply in lies.items():
            replies.append(reply)
            seen[name] = scores(service.url) == expected
        replies.append(nothing)
        until(lambda: "miles_shared_cache_up 1.0" in httpx.get(f"{service.url}/metrics").text)
        code = service.stop()
    promise(
        "the shared cache",
        figure=f"{sum(seen.values())} of {len(seen)} lies: the same scores; then read again; exit {code}",
        wanted="12 lies of a server: the same scores as without it, and it is used again",
        kept=all(seen.values()) and code == 0,
    )


def test_a_shared_cache_that_forges(tiny_bundle: Path, tmp_path: Path, promise: Record) -> None:
    replies: list[Reply] = [forged(VECTOR)]
    settings = {"checkpoint": tiny_bundle, "cache_bytes": 0, "shared_cache_timeout_s": 1}
    found = {}
    with ready_service(tmp_path / "alone", checkpoint=tiny_bundle, cache_bytes=0) as service:
        expected = scores(service.url)
    with lying_server(replies) as url:
        for name, secret in {"with": {"shared_cache_secret": "a secret of replicas"}, "without": {}}.items():
            log = tmp_path / name
            with ready_service(log, **settings, **secret, shared_cache_url=url) as service:
                until(lambda: "miles_shared_cache_up 1.0" in httpx.get(f"{service.url}/metrics").text)
                found[name] = scores(service.url) == expected
    promise(
        "the shared cache",
        wanted="vectors made up for every key, with a secret: the same scores",
        figure=f"the same scores with a secret: {found['with']}, without: {found['without']}",
        kept=found == {"with": True, "without": False},
    )


def post(path: str, key: str, body: object) -> bytes:
    text = json.dumps(body).encode()
    fields = f"Host: miles\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json"
    return f"POST {path} HTTP/1.1\r\n{fields}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


async def test_a_key_that_takes_everything(demo_bundle: Path, tmp_path: Path, promise: Record) -> None:
    statuses: Counter[int] = Counter()
    seconds = []

    async def flood(service: object, number: int) -> None:
        videos = [{"title": f"{number} {n}", "view_count": n, "explain": True} for n in range(256)]
        async with Visitor(service) as visitor:  # type: ignore[arg-type]
            while True:
                await visitor.ask(post("/predict/batch", KEYS[0], {"videos": videos}))

    settings = {"checkpoint": demo_bundle, "api_keys": ",".join(KEYS)}
    with ready_service(tmp_path / "log", **settings) as service, probed(service) as times:
        floods = [asyncio.create_task(flood(service, n)) for n in range(FLOODS)]
        while (await metrics(service))["miles_queue_videos"] < 200:  # noqa: ASYNC110 there is no event
            await asyncio.sleep(0.05)
        async with Visitor(service) as visitor:
            for n in range(20):
                answer = await visitor.ask(
                    post("/predict", KEYS[1], {"title": f"mine {n}", "explain": n % 2 == 0})
                )
                statuses[answer.status] += 1
                seconds.append(answer.seconds)
        for each in floods:
            each.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    promise(
        "one request",
        wanted="four full explain batches of one key: 20 of 20 videos of another scored; probes in 100 ms",
        figure=f"{dict(statuses)}, {max(seconds):.2f} s at most; "
        f"/health/live {1000 * percentile(times, 0.99):.0f} ms at p99",
        kept=statuses == {200: 20} and percentile(times, 0.99) < 0.1,
    )
