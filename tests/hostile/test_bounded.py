"""One small anonymous request has a bounded cost: in event-loop time, in memory, and for other clients."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.conftest import Record
from tests.hostile.crowd import Visitor, percentile, resident_bytes
from tests.hostile.probes import probed, slowest
from tests.support.service import Service, ready_service

pytestmark = [pytest.mark.hostile, pytest.mark.anyio, pytest.mark.usefixtures("probes")]
MEBIBYTE = 1024 * 1024
PROMPT_S = 0.1
METRICS_CLIENTS, METRICS_S = 32, 3.0
STALLED = 160  # videos of one batch


def post(path: str, body: bytes, media_type: str = "application/json") -> bytes:
    fields = f"Host: miles\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}"
    return f"POST {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body


def request_of(line: str, field: str) -> bytes:
    return f"{line} HTTP/1.1\r\nHost: miles\r\n{field}\r\n\r\n".encode()


def what_if(fields: bytes) -> bytes:
    return b'{"title":"x","what_if":[{' + fields + b"}]}"


CHUNKED = b"POST /predict HTTP/1.1\r\nHost: miles\r\nContent-Type: application/json\r\n"
CHUNKED += b"Transfer-Encoding: chunked\r\n\r\n"
LISTS = b"[" + b"[]," * 80_000 + b"0]"
MARKS = json.dumps("a" + "\u0315\u0300" * 4_999).encode()
COSTLY: dict[str, bytes] = {
    "a media type of 30 kB": post("/predict", b"{}", "application/json" + ";" * 30_000),
    "40,000 wrong modalities": post("/predict", b'{"title":"x","require":[' + b"0," * 40_000 + b"0]}"),
    "the same in a batch": post(
        "/predict/batch", b'{"videos":[{"title":"x","require":[' + b"0," * 40_000 + b"0]}]}"
    ),
    "16,000 wrong changes": post("/explain", what_if(b",".join(b'"%x":{}' % n for n in range(16_000)))),
    "40,000 unknown changes": post("/explain", what_if(b",".join(b'"%x":1' % n for n in range(40_000)))),
    "40,000 unknown fields": post(
        "/predict", b'{"title":"x",' + b",".join(b'"v%x":1' % n for n in range(40_000)) + b"}"
    ),
    "240 kB of lists": post("/predict", b'{"title":"x","a":' + LISTS + b"}"),
    "15 MB of lists": post("/predict", b'{"title":"x","a":[' + b"[]," * 5_000_000 + b"0]}"),
    "15 MB of numbers": post("/predict", b'{"title":"x","a":[' + (b"9" * 4_299 + b",") * 3_500 + b"0]}"),
    "15 MB of numbers of 999 digits": post(
        "/predict", b'{"title":"x","a":[' + b",".join([b"9" * 999] * 15_000) + b"]}"
    ),
    "250 kB of fractions": post(
        "/predict", b'{"title":"x","a":[' + b",".join([b"0." + b"1" * 990] * 250) + b"]}"
    ),
    "15 MB of one title": post("/predict", b'{"title":"' + b"a" * 15_000_000 + b'"}'),
    "15 MB of escapes": post("/predict", b'{"title":"' + rb"\n" * 7_500_000 + b'"}'),
    "45,000 levels": post("/predict", b"[" * 45_000),
    "marks out of order": post("/predict", b'{"title":' + MARKS + b"}"),
    "a batch of them": post(
        "/predict/batch", b'{"videos":[' + b",".join([b'{"title":' + MARKS + b"}"] * 256) + b"]}"
    ),
    "a query of 30 kB": post("/predict?" + "%41=%41&" * 3_700, b'{"title":"x"}'),
    "cookies of 30 kB": request_of("GET /health/ready", "Cookie: " + "a=b; " * 6_000),
    "3,000 ranges": request_of(
        "GET /docs/assets/swagger-ui-bundle.js",
        "Range: bytes=" + ",".join(f"{3 * n}-{3 * n}" for n in range(3_000)),
    ),
    "media types of 30 kB": request_of("GET /", "Accept: " + "text/html;q=0.5," * 1_800),
    "an origin of 28 kB": request_of("GET /", "Origin: https://" + "a." * 14_000),
    "an extension of 8 MB": CHUNKED + b"d;" + b"a" * 8_000_000,
    "trailers of 20 MB": CHUNKED + b'd\r\n{"title":"x"}\r\n0\r\n' + b"X: " + b"a" * 20_000_000,
    "a million chunks": CHUNKED + b"1\r\n \r\n" * 1_000_000 + b'd\r\n{"title":"x"}\r\n0\r\n\r\n',
    "a duration of 10 MB": post("/predict", b'{"title":"x","duration":"' + b"1:" * 5_000_000 + b'"}'),
    "a count of 10 MB": post("/predict", b'{"title":"x","view_count":"' + b"9," * 5_000_000 + b'"}'),
    "an address of 15 MB": post(
        "/predict", b'{"title":"x","thumbnail_url":"http://' + b"a" * 15_000_000 + b'"}'
    ),
    "a description of 15 MB": post("/predict", b'{"title":"x","description":"' + b"a " * 7_400_000 + b'"}'),
    "a batch of the longest texts": post(
        "/predict/batch",
        json.dumps({"videos": [{"title": "! " * 4_999, "description": "?!" * 4_999}] * 256}).encode(),
    ),
    "a batch of 76,800 errors": post(
        "/predict/batch", json.dumps({"videos": [{f"k{n}": 1 for n in range(300)}] * 256}).encode()
    ),
    "300 requests at once": b"GET /health/ready HTTP/1.1\r\nHost: miles\r\n\r\n" * 300,
}


@pytest.fixture(scope="module")
def service(demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The demo, which may fetch thumbnails from this machine."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    with ready_service(
        log, checkpoint=demo_bundle, thumbnail_trusted_networks="127.0.0.0/8", receive_timeout_s=5
    ) as running:
        yield running


async def probe(service: Service, times: list[float]) -> None:
    async with Visitor(service) as visitor:
        while True:
            times.append((await visitor.get("/health/live")).seconds)
            await asyncio.sleep(0.005)


async def beside(service: Service, message: bytes | None) -> list[float]:
    """The probes' answer times while a message is answered, or for a second without one."""
    times: list[float] = []
    probing = asyncio.create_task(probe(service, times))
    await asyncio.sleep(0.1)
    if message is None:
        await asyncio.sleep(1)
    else:
        async with Visitor(service) as visitor:
            answer = await visitor.ask(message)
            assert answer.status < 500, answer
    await asyncio.sleep(0.05)
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    return times


async def test_the_event_loop_is_free(service: Service, promise: Record) -> None:
    idle = max(await beside(service, None))
    times = {name: await beside(service, message) for name, message in COSTLY.items()}
    p99 = {name: percentile(each, 0.99) for name, each in times.items()}
    worst = max(p99, key=lambda name: p99[name])
    promise(
        "one request",
        wanted="/health/live during each of them: p99 within 100 ms",
        figure=f"{len(COSTLY)} payloads, {sum(map(len, times.values()))} probes: p99 at most "
        f"{p99[worst] * 1e3:.0f} ms ({worst}), longest {max(map(max, times.values())) * 1e3:.0f} ms, "
        f"{max(map(max, times.values())) / idle:.1f} times the longest idle one",
        kept=p99[worst] < PROMPT_S,
    )


async def test_memory_before_admission(service: Service, promise: Record) -> None:
    before, size = resident_bytes(service), 16 * MEBIBYTE
    port = int(service.url.rsplit(":", 1)[1])

    async def send(head: bytes, block: bytes, blocks: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head)
            for _ in range(blocks):
                writer.write(block)
                await writer.drain()
            return int((await reader.readuntil(b"\r\n")).split()[1])
        except (OSError, asyncio.IncompleteReadError):
            return 0  # closed by the service
        finally:
            writer.close()

    endless = b"GET / HTTP/1.1\r\nHost: miles\r\nX: "
    body = post("/predict", b"").replace(b"Length: 0", b"Length: %d" % size)
    heads = await asyncio.gather(*(send(endless, bytes(b"a" * 65_536), 800) for _ in range(4)))
    bodies = await asyncio.gather(*(send(body, b" " * 65_535, 256) for _ in range(60)))
    rise = resident_bytes(service) - before
    promise(
        "one request",
        wanted="4 heads of 50 MB and 60 bodies of 16 MB that do not end: RSS rise under 300 MB",
        figure=f"heads {dict(Counter(heads))}, bodies {dict(Counter(bodies))}, "
        f"RSS rose by {rise / 1e6:.0f} MB to {resident_bytes(service) / 1e6:.0f} MB",
        kept=rise < 300e6 and set(heads) <= {431, 0} and set(bodies) <= {503, 408, 0},
    )


async def test_a_crowd_at_the_metrics(service: Service, promise: Record) -> None:
    """An exposition takes milliseconds of the event loop, so concurrent requests share one."""

    async def ask_again_and_again() -> int:
        async with Visitor(service) as visitor:
            answers, end = 0, time.perf_counter() + METRICS_S
            while time.perf_counter() < end:
                assert (await visitor.get("/metrics")).status == 200
                answers += 1
            return answers

    with probed(service) as times:
        crowd = await asyncio.gather(*(ask_again_and_again() for _ in range(METRICS_CLIENTS)))
    p99 = percentile(times, 0.99)
    promise(
        "one request",
        wanted="32 clients that ask for /metrics again and again for 3 s: /health/live p99 within 100 ms",
        figure=f"{sum(crowd)} answers; {len(times)} probes, p99 {p99 * 1e3:.0f} ms",
        kept=p99 < PROMPT_S,
    )


async def test_stalled_thumbnails_block_nothing_else(service: Service, promise: Record) -> None:
    async with await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        urls = [f"http://127.{1 + n % 200}.0.1:{port}/{n}.jpg" for n in range(2 * STALLED)]
        videos = [{"title": f"stalled {n}", "thumbnail_url": url} for n, url in enumerate(urls)]
        parts = [json.dumps({"videos": part}).encode() for part in (videos[::2], videos[1::2])]
        batches = [post("/predict/batch", part) for part in parts]
        async with Visitor(service) as one, Visitor(service) as two, Visitor(service) as other:
            stalled = [asyncio.create_task(one.ask(batches[0])), asyncio.create_task(two.ask(batches[1]))]
            await asyncio.sleep(1)
            seen = Counter([(await other.score()).status for _ in range(20)])
            await asyncio.gather(*stalled)
    promise(
        "one request",
        wanted="two batches of stalled thumbnails: 20 of 20 videos without one are scored",
        figure=f"{dict(seen)}",
        kept=seen == {200: 20},
    )


def test_memory_under_all_of_it(service: Service, promise: Record) -> None:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    peak = 1024 * int(re.findall(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)[0])
    promise(
        "one request",
        wanted="the process's memory under all of it: under 900 MB",
        figure=f"{peak / 1e6:.0f} MB",
        kept=peak < 900e6,
    )


def test_probes(probe_times: dict[str, list[float]], promise: Record) -> None:
    seconds, figure = slowest(probe_times, "test_bounded")
    promise(
        "probes",
        wanted="/health/live during each attack of one client on the full model: p99 within 100 ms",
        figure=figure,
        kept=seconds < PROMPT_S,
    )
