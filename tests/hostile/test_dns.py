"""Names against a real name server, through the operating system's resolver: flips, lies, silence."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from preprocessing.image import ImageError
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from tests.hostile.conftest import Record
from tests.hostile.judging import kind_of
from tests.hostile.name_server import (
    AAAA,
    CNAME,
    REFUSED,
    SERVFAIL,
    TXT,
    A,
    Answer,
    Rule,
    addresses,
    always,
    flipping,
    naming,
    spelled,
)
from tests.hostile.namespace import NAME_SERVER, SEARCHED, in_namespace, opened_connections
from tests.hostile.sites import answering, canaries, listening, whole
from tests.support.site import trusting

pytestmark = pytest.mark.hostile
PUBLIC = "9.9.9.9"
FLIPS = 1000
INWARD = (
    "127.0.0.1",
    "127.0.0.53",
    "0.0.0.0",
    "::1",
    "::ffff:127.0.0.1",
    "169.254.169.254",
    "10.0.0.1",
    "fd00::1",
)
PARALLEL = 16
HANGS = 20
LOOK_UP_S, TOLERANCE_S = 2.0, 0.3


async def outcome(fetcher: ThumbnailFetcher, url: str) -> tuple[str, float]:
    """`fetched`, or the reason why it was not, and the seconds that it took."""
    began = time.monotonic()
    try:
        await fetcher.fetch(url)
    except ImageError as exc:
        return kind_of(exc), time.monotonic() - began
    return "fetched", time.monotonic() - began


async def flip() -> dict[str, Any]:
    """Look up a name that is public and internal by turns: 1,000 times in a URL, 1,000 in a redirect."""
    turns = [text for inward in INWARD for text in (PUBLIC, inward)]
    rules: dict[str, Rule] = {"flip.example": flipping(*turns), "hop.example": flipping(*turns)}

    def answer(path: str) -> bytes:
        return (
            whole(302, b"", b"Location: http://hop.example/a.jpg") if path == "/hop" else whole(200, b"jpeg")
        )

    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(naming(NAME_SERVER, rules))
        await stack.enter_async_context(listening(PUBLIC, 80, answering(answer)))
        inward = await stack.enter_async_context(canaries())
        room = asyncio.Semaphore(PARALLEL)

        async def one(fetcher: ThumbnailFetcher, url: str) -> str:
            async with room:
                return (await outcome(fetcher, url))[0]

        async with ThumbnailFetcher() as fetcher:
            ends = {
                url: Counter(await asyncio.gather(*(one(fetcher, url) for _ in range(FLIPS))))
                for url in ("http://flip.example/a.jpg", f"http://{PUBLIC}/hop")
            }
        seen = {"asked": names.count("flip.example"), "hops": names.count("hop.example")}
        seen["inward"] = sum(site.connections for site in inward)
        async with ThumbnailFetcher(trusting(timeout_s=0.2)) as loosened:
            await asyncio.gather(*(one(loosened, "http://flip.example/a.jpg") for _ in range(len(turns))))
        caught = sum(site.connections for site in inward) - seen["inward"]
    return {**seen, "ends": list(ends.values()), "caught": caught}


def test_a_name_that_flips(promise: Record) -> None:
    seen = in_namespace(flip)
    assert seen["caught"] > 0, "a fetcher that trusts loopback is seen by the canaries"
    half = FLIPS // 2
    kept = (
        seen["inward"] == 0
        and seen["asked"] == seen["hops"] == FLIPS
        # Concurrent look-ups may get halves of each other's turns, and a mixed answer is refused.
        and all(
            end.keys() == {"fetched", "unreachable"} and sum(end.values()) == FLIPS for end in seen["ends"]
        )
        and all(0.99 * half <= end["fetched"] <= half for end in seen["ends"])
    )
    promise(
        "DNS rebinding",
        figure=f"{seen['asked']} flips at the URL and {seen['hops']} at a redirect, one look-up each: "
        f"{seen['inward']} connections inward, {sum(end['fetched'] for end in seen['ends'])} pictures",
        kept=kept,
    )


def chain(name: str, kind: int, _: int) -> Answer:
    """A CNAME that leads to a private address."""
    target = "inside.example"
    return [(name, CNAME, spelled(target)), *addresses(target, kind, "10.0.0.1")]


def noisy(name: str, kind: int, _: int) -> Answer:
    """A valid answer in another letter case, with an extra kilobyte of text."""
    return [
        *addresses(name.upper(), kind, PUBLIC),
        (name, TXT, b"".join(b"\xff" + b"n" * 255 for _ in range(4))),
    ]


def silence(_name: str, _kind: int, _count: int) -> Answer:
    return None


CLOSED = [f"9.9.9.{100 + i % 100}" for i in range(1000)]  # nothing listens there
RULES: dict[str, tuple[Rule, str, int]] = {  # rule, expected reason, connections begun
    "sound.example": (always(PUBLIC), "fetched", 1),
    "under_score.example": (always(PUBLIC), "fetched", 1),
    "noisy.example": (noisy, "fetched", 1),
    "loopback.example": (always("127.0.0.1"), "unreachable", 0),
    "zero.example": (always("0.0.0.0"), "unreachable", 0),
    "chain.example": (chain, "unreachable", 0),
    "mixed.example": (always(PUBLIC, "127.0.0.1"), "unreachable", 0),
    "mixed-six.example": (always(PUBLIC, "::1"), "unreachable", 0),
    "mapped.example": (always("::ffff:9.9.9.9"), "unreachable", 0),
    "translated.example": (always("64:ff9b::909:909"), "unreachable", 0),
    "metadata.example": (always("169.254.169.254"), "unreachable", 0),
    "thousand.example": (always(*CLOSED), "unreachable", 2),
    "thousand-one-bad.example": (always(*CLOSED, "192.168.0.1"), "unreachable", 0),
    "empty.example": (always(), "unreachable", 0),
    "no-such-name.example": (lambda *_: 3, "unreachable", 0),
    "relative.example": (lambda *_: 3, "unreachable", 0),
    "servfail.example": (lambda *_: SERVFAIL, "unreachable", 0),
    "refused.example": (lambda *_: REFUSED, "unreachable", 0),
    "itself.example": (lambda name, *_: [(name, CNAME, spelled(name))], "unreachable", 0),
    "short.example": (lambda name, *_: [(name, A, b"\x09"), (name, AAAA, b"")], "unreachable", 0),
    "silent.example": (silence, "unreachable", 0),
}


async def lie() -> dict[str, Any]:
    """Each kind of answer in turn: what became of the fetch, and how many connections it began."""
    ends: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        rules = {name: rule for name, (rule, *_) in RULES.items()}
        rules[f"relative.example.{SEARCHED}"] = always(PUBLIC)  # what a search list would find
        names = await stack.enter_async_context(naming(NAME_SERVER, rules))
        await stack.enter_async_context(listening(PUBLIC, 80, answering(lambda _: whole(200, b"jpeg"))))
        inward = await stack.enter_async_context(canaries())
        fetcher = await stack.enter_async_context(ThumbnailFetcher())
        for name in RULES:
            before = opened_connections() - names.streams
            reason, _ = await outcome(fetcher, f"http://{name}/a.jpg")
            ends[name] = [reason, opened_connections() - names.streams - before]
        return {"ends": ends, "inward": sum(site.connections for site in inward)}


def test_answers_of_a_name_server(promise: Record) -> None:
    seen = in_namespace(lie)
    wrong = {name: end for name, end in seen["ends"].items() if end != list(RULES[name][1:])}
    promise(
        "DNS answers",
        wanted="one bad address refuses the name, at most two are tried",
        figure=f"{len(RULES) - len(wrong)} of {len(RULES)} as wanted, {seen['inward']} connections inward"
        + (f"; not {wrong}" if wrong else ""),
        kept=not wrong and not seen["inward"],
    )


async def hang() -> dict[str, Any]:
    rules: dict[str, Rule] = {f"silent{i}.example": silence for i in range(200)}
    rules |= {f"sound{i}.example": always(PUBLIC) for i in range(HANGS + 1)}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(naming(NAME_SERVER, rules))
        await stack.enter_async_context(listening(PUBLIC, 80, answering(lambda _: whole(200, b"jpeg"))))
        fetcher = await stack.enter_async_context(ThumbnailFetcher())

        async def wave(first: int, size: int) -> list[tuple[str, float]]:
            urls = [f"http://silent{i}.example/" for i in range(first, first + size)]
            return list(await asyncio.gather(*(outcome(fetcher, url) for url in urls)))

        hanging = asyncio.create_task(wave(0, HANGS))
        await asyncio.sleep(0.1)
        sound = [outcome(fetcher, f"http://sound{i}.example/") for i in range(HANGS)]
        beside = list(await asyncio.gather(*sound))
        hung = await hanging
        await wave(HANGS, fetcher.policy.max_connections)
        return {
            "hung": hung,
            "beside": beside,
            "after": await outcome(fetcher, f"http://sound{HANGS}.example/"),
        }


def test_look_ups_that_hang(promise: Record) -> None:
    """A silent name server costs its own fetch 2 s, and others nothing, not even right after."""
    seen = in_namespace(hang)
    times = [seconds for _, seconds in seen["hung"]]
    beside = max(seconds for _, seconds in seen["beside"])
    reasons = [reason for reason, _ in seen["beside"]] + [seen["after"][0]]
    promise(
        "DNS hangs",
        figure=f"{len(times)} hung for {min(times):.2f} to {max(times):.2f} s; "
        f"{len(seen['beside'])} others meanwhile took {beside:.2f} s at most, "
        f"one after 64 more {seen['after'][1]:.2f} s",
        kept=all(reason == "unreachable" for reason, _ in seen["hung"])
        and all(abs(seconds - LOOK_UP_S) < TOLERANCE_S for seconds in times)
        and reasons == ["fetched"] * (HANGS + 1)
        and beside < 1
        and seen["after"][1] < 1,
    )
