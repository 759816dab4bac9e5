"""Servers whose TLS cannot be trusted: the handshake fails, and no request is sent."""

import asyncio
import ssl
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import trustme

from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from tests.hostile.conftest import Record
from tests.hostile.judging import JPEG, account, judged, wrong
from tests.hostile.name_server import Rule, always, naming
from tests.hostile.namespace import NAME_SERVER, in_namespace
from tests.hostile.sites import Talk, answering, hear_out, listening, whole

pytestmark = pytest.mark.hostile
LONG_AGO, NOT_YET = datetime(2001, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=2)
Context = ssl.SSLContext


@dataclass(frozen=True)
class Case:
    """A server for a host name, what becomes of its picture, and how many requests it gets to see."""

    host: str
    context: Context | None
    end: str = "unreachable"
    requests: int = 0
    talk: Talk | None = None


def serving(certificate: trustme.LeafCert, **settings: Any) -> Context:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def outdated(certificate: trustme.LeafCert, version: ssl.TLSVersion) -> Context:
    """A server that speaks only one old version of TLS."""
    context = serving(certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the version is the case
        context.minimum_version = context.maximum_version = version
    return context


def without_chain(authority: trustme.CA, host: str) -> Context:
    """A server that does not send its intermediate certificate."""
    leaf = authority.create_child_ca().issue_cert(host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with leaf.private_key_pem.tempfile() as key, leaf.cert_chain_pems[0].tempfile() as certificate:
        context.load_cert_chain(certificate, key)
    return context


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.transport.abort()


def saying(text: bytes) -> Talk:
    """Answer the ClientHello with something that is not TLS."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await hear_out(reader, writer)

    return talk


def cases(authority: trustme.CA) -> dict[str, Case]:
    """Every server by name; only the sound ones are trusted."""
    issue: Callable[..., trustme.LeafCert] = authority.issue_cert
    host = "pictures.example"
    sound = serving(issue(host))
    v1, v11, v12 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2
    return {
        "sound": Case(host, sound, "used", 1),
        "sound, TLS 1.2": Case(host, serving(issue(host), maximum_version=v12), "used", 1),
        "sound, by wildcard": Case("a.b.example", serving(issue("*.b.example")), "used", 1),
        "sound, by intermediate": Case(
            host, serving(authority.create_child_ca().issue_cert(host)), "used", 1
        ),
        "expired": Case(host, serving(issue(host, not_before=LONG_AGO, not_after=LONG_AGO + timedelta(1)))),
        "not yet valid": Case(
            host, serving(issue(host, not_before=NOT_YET, not_after=NOT_YET + timedelta(1)))
        ),
        "self-signed": Case(host, serving(trustme.CA().issue_cert(host))),
        "intermediate missing": Case(host, without_chain(authority, host)),
        "wrong host": Case(host, serving(issue("other.example"))),
        "parent host": Case("a.pictures.example", sound),
        "wildcard too deep": Case("a.b.c.example", serving(issue("*.c.example"))),
        "name in common name alone": Case(host, serving(issue("other.example", common_name=host))),
        "TLS 1.0": Case(host, outdated(issue(host), v1)),
        "TLS 1.1": Case(host, outdated(issue(host), v11)),
        "client certificate wanted": Case(host, serving(issue(host), verify_mode=ssl.CERT_REQUIRED)),
        "plain HTTP": Case(host, None, talk=saying(whole(200, JPEG))),
        "fatal alert": Case(host, None, talk=saying(b"\x15\x03\x01\x00\x02\x02\x28")),
        "record of 64 kB": Case(host, None, talk=saying(b"\x16\x03\x03\xff\xff" + bytes(65535))),
        "garbage": Case(host, None, talk=saying(bytes(range(256)))),
        "hang-up": Case(host, None, talk=hang_up),
        "reset": Case(host, None, talk=reset),
    }


async def old_client(address: str) -> bool:
    """Whether a client that still speaks old TLS gets through: the server does speak its old version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    _, writer = await asyncio.open_connection(address, 443, ssl=context)
    spoken = writer.get_extra_info("ssl_object").version()
    writer.transport.abort()
    return spoken in ("TLSv1", "TLSv1.1")


async def shake() -> dict[str, Any]:
    authority, client = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(client)
    ends: dict[str, list[Any]] = {}
    old: list[Awaitable[bool]] = []
    rules: dict[str, Rule] = {}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(naming(NAME_SERVER, rules))
        for number, (name, case) in zip(count(100), cases(authority).items(), strict=False):
            address, requests = f"9.9.9.{number}", []
            talk = case.talk or answering(lambda _: whole(200, JPEG), requests)
            await stack.enter_async_context(listening(address, 443, talk, case.context))
            rules[case.host] = always(address)
            async with ThumbnailFetcher(ssl_context=client) as fetcher:
                ends[name] = [await judged(fetcher, f"https://{case.host}/a.jpg"), len(requests)]
            if name in ("TLS 1.0", "TLS 1.1"):
                old.append(old_client(address))
        return {"ends": ends, "old": [await each for each in old]}


def test_tls_faults(promise: Record) -> None:
    seen = in_namespace(shake)
    wanted = {name: [case.end, case.requests] for name, case in cases(trustme.CA()).items()}
    assert seen["old"] == [True, True], "the old servers do speak"
    assert seen["ends"].keys() == wanted.keys()
    missed = wrong(seen["ends"], wanted)
    promise("TLS faults", figure=account(seen["ends"], missed), kept=not missed)
