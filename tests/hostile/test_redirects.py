"""Redirects of every kind: section H, each hop vetted like the URL."""

import ssl
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trustme

from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from tests.hostile.conftest import Record
from tests.hostile.judging import JPEG, PUBLIC, account, judged, site, wrong
from tests.hostile.name_server import always, naming
from tests.hostile.namespace import NAME_SERVER, in_namespace, opened_connections
from tests.hostile.sites import canaries, listening, whole

pytestmark = pytest.mark.hostile

# H. Locations, what becomes of each, and how many connections that takes: another for each allowed hop.
REFUSED: list[bytes] = [
    b"http://[::1]/", b"http://127.0.0.1/", b"//169.254.169.254/", b"http://169.254.169.254/latest/",
    b"http://user:p@127.0.0.1/", b"///127.0.0.1/", b"http:ok", b"http:/127.0.0.1/", b"//\tok",
    b"http://user:p@9.9.9.9/ok", b"http://9.9.9.9:6379/", b"http://9.9.9.9:8080/",
    b"http://9.9.9.9:22/", b"http://10.0.0.1/", b"http://[::ffff:9.9.9.9]/", b"http://[fd00::1]/", b"http://0/",
    b"http://0x7f.1/", b"http://127.1/", b"http://localhost/", b"http://inside.example/", b"http:///ok",
    b"\\\\127.0.0.1\\a", b"http:\\\\127.0.0.1", b"/\\127.0.0.1/", b"file:///etc/passwd", b"ftp://9.9.9.9/",
    b"gopher://127.0.0.1:6379/_INFO", b"data:image/png;base64,aGk=", b"javascript:alert(1)", b"http://[",
    b"http://9.9.9.9@127.0.0.1/", b"http://127.0.0.1#@9.9.9.9/", b"/" + b"a" * 70_000, b"/ok\x00",
    b"/\xff", b"/ok\x0b", b"http://127.0.0.1.nip.example/", b"http://9.9.9.9%2f@127.0.0.1/",
]  # fmt: skip
SPECIAL: dict[str, tuple[bytes, str, int]] = {
    "UTF-8 and a space": (whole(302, b"", b"Location: /\xc3\xbc b"), "used", 2),
    "relative": (whole(302, b"", b"Location: ok"), "used", 2),
    "query alone": (whole(302, b"", b"Location: ?ok"), "used", 2),
    "empty": (whole(302, b"", b"Location: "), "unreachable", 6),  # the same page again
    "fragment alone": (whole(302, b"", b"Location: #a"), "unreachable", 6),
    "other host": (whole(302, b"", b"Location: http://sound.example/ok"), "used", 2),
    "no Location": (whole(302), "unreachable", 1),
    "two Locations": (whole(302, b"", b"Location: /ok", b"Location: http://127.0.0.1/"), "unreachable", 1),
    "CRLF in Location": (whole(302, b"", b"Location: /ok\r\n\r\nHTTP/1.1 200 OK"), "used", 2),
    "folded Location": (whole(302, b"", b"Location: http:\r\n //127.0.0.1/"), "unreachable", 1),
    "with a picture": (whole(302, JPEG, b"Location: http://127.0.0.1/"), "unreachable", 1),
    "300 with Location": (whole(300, JPEG, b"Location: /ok"), "unreachable", 1),
    "304 with Location": (whole(304, b"", b"Location: /ok"), "unreachable", 1),
    "201 with Location": (whole(201, JPEG, b"Location: /ok"), "unreachable", 1),
    "Refresh": (whole(200, b"<html>", b"Refresh: 0; url=/ok"), "not_an_image", 1),
    "meta refresh": (whole(200, b'<meta http-equiv="refresh" content="0; url=/ok">'), "not_an_image", 1),
}


def redirects() -> dict[str, tuple[bytes, str, int]]:
    """Answer, outcome and number of connections, by the name of the case."""
    cases = {
        f"refused {i}": (whole(302, b"", b"Location: " + text), "unreachable", 1)
        for i, text in enumerate(REFUSED)
    }
    for status in (301, 302, 303, 307, 308):
        cases[f"{status} inward"] = (whole(status, b"", b"Location: http://[::1]/"), "unreachable", 1)
        cases[f"{status} to a picture"] = (whole(status, b"", b"Location: /ok"), "used", 2)
    return cases | SPECIAL


async def redirect() -> dict[str, Any]:
    cases, authority, ends = redirects(), trustme.CA(), {}
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("sound.example").configure_cert(server)
    authority.configure_trust(client)
    down = whole(302, b"", b"Location: http://sound.example/ok")
    along = whole(302, b"", b"Location: //sound.example/ok")
    up = whole(302, b"", b"Location: https://sound.example/ok")
    answers = [answer for answer, *_ in cases.values()]
    rules = {"sound.example": always(PUBLIC), "inside.example": always("10.0.0.1")}
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(naming(NAME_SERVER, rules))
        await stack.enter_async_context(listening(PUBLIC, 80, site([*answers, up])))
        await stack.enter_async_context(listening(PUBLIC, 443, site([down, along]), server))
        inward = await stack.enter_async_context(canaries())
        fetcher = await stack.enter_async_context(ThumbnailFetcher(ssl_context=client))
        urls = {name: f"http://{PUBLIC}/{i}" for i, name in enumerate(cases)}
        urls |= {"http to https": f"http://{PUBLIC}/{len(cases)}"}
        urls |= {"https to http": "https://sound.example/0", "https to https": "https://sound.example/1"}
        urls |= {f"{i} redirects": f"http://{PUBLIC}/hop/{i}" for i in range(1, 8)}
        urls |= {"loop": f"http://{PUBLIC}/self"}
        for name, url in urls.items():
            before = opened_connections() - names.streams
            ends[name] = [await judged(fetcher, url), opened_connections() - names.streams - before]
        return {"ends": ends, "inward": sum(canary.connections for canary in inward)}


def test_redirects(promise: Record) -> None:
    wanted = {name: [end, opened] for name, (_, end, opened) in redirects().items()}
    wanted |= {
        "http to https": ["used", 2],
        "https to http": ["unreachable", 1],
        "https to https": ["used", 2],
    }
    wanted |= {f"{i} redirects": ["used", i + 1] for i in range(1, 6)}
    wanted |= {f"{i} redirects": ["unreachable", 6] for i in (6, 7)} | {"loop": ["unreachable", 6]}
    seen = in_namespace(redirect)
    missed = wrong(seen["ends"], wanted)
    promise(
        "redirects",
        figure=f"{account(seen['ends'], missed)}, {seen['inward']} connections inward",
        kept=not missed and not seen["inward"] and len(seen["ends"]) == len(wanted),
    )
