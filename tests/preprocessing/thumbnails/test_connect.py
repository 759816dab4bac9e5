"""From names to connections: resolved once, every address vetted, and a vetted address dialled."""

import asyncio
import os
import socket
import ssl
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from preprocessing.thumbnails.connect import SystemResolver, worth_trying
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import ThumbnailPolicy, UnreachableError
from tests.support.site import PATIENCE_S, PUBLIC, CountingNetwork, Detour, Names, ok, raw, serving, trusting

pytestmark = pytest.mark.anyio
OTHER_PUBLIC, PUBLIC_IPV6 = "93.184.215.15", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


async def test_a_name_is_resolved_once_and_dialled_by_address() -> None:
    """The dial goes to the address that was vetted, while the server sees the name."""
    names = Names([PUBLIC], ["127.0.0.1"])
    async with serving(raw(ok(b"jpeg"))) as site:
        network = Detour(site)
        async with ThumbnailFetcher(resolve=names, network=network) as fetcher:
            assert await fetcher.fetch("http://pictures.example/a.jpg") == b"jpeg"
    assert names.asked == ["pictures.example"]
    assert network.dials == [(PUBLIC, 80)]
    assert "\r\nHost: pictures.example\r\n" in site.heads[0]


async def test_a_literal_is_dialled_without_a_look_up() -> None:
    names = Names(OSError("no look-up is meant"))
    async with serving(raw(ok(b"jpeg"))) as site:
        network = Detour(site)
        async with ThumbnailFetcher(resolve=names, network=network) as fetcher:
            await fetcher.fetch(f"http://{PUBLIC}/")
            await fetcher.fetch(f"http://[{PUBLIC_IPV6}]:443/")
    assert network.dials == [(PUBLIC, 80), (PUBLIC_IPV6, 443)]
    assert f"\r\nHost: [{PUBLIC_IPV6}]:443\r\n" in site.heads[1]
    assert names.asked == []


class Options(CountingNetwork):
    asked: Sequence[tuple[int, int, int]] = ()

    async def connect_tcp(self, *arguments: Any, **named: Any) -> httpcore2.AsyncNetworkStream:
        self.asked = arguments[4]
        return await super().connect_tcp(*arguments, **named)


async def test_little_is_received_ahead() -> None:
    """The event loop reads all that a socket holds, so without a limit many fast hosts would fill memory."""
    network = Options()
    async with serving(raw(ok(b"jpeg"))) as site, ThumbnailFetcher(trusting(), network=network) as fetcher:
        await fetcher.fetch(site.url())
    ((level, option, size),) = network.asked
    assert (level, option) == (socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert size <= 512 * 1024


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["10.0.0.1", PUBLIC],
        [PUBLIC] * 999 + ["169.254.169.254"],
        ["::ffff:93.184.215.14"],
        [PUBLIC, "::1"],
        ["fe80::1%2"],
        ["64:ff9b::808:808"],
        [],
        [PUBLIC, "not an address"],
        ["0x7f000001"],
    ],
    ids=lambda answers: ", ".join(answers[-2:]) or "nothing",
)
async def test_one_bad_answer_refuses_the_name(answers: Sequence[str]) -> None:
    """A name with any address that may not be dialled is unreachable; none of its addresses is dialled."""
    network = CountingNetwork()
    async with ThumbnailFetcher(resolve=Names(answers), network=network) as fetcher:
        with pytest.raises(UnreachableError, match=r"pictures\.example") as caught:
            await fetcher.fetch("http://pictures.example/")
    assert network.dials == []
    assert not any(answer in str(caught.value) for answer in answers), "no address in the log"


@pytest.mark.parametrize(
    "error",
    [socket.gaierror(-2, "unknown"), UnicodeError("label too long"), TimeoutError(), OSError("SERVFAIL")],
)
async def test_a_name_that_does_not_resolve_is_unreachable(error: Exception) -> None:
    """Whatever the resolver raises, the thumbnail is unreachable."""
    network = CountingNetwork()
    async with ThumbnailFetcher(resolve=Names(error), network=network) as fetcher:
        with pytest.raises(UnreachableError, match="resolve"):
            await fetcher.fetch("http://pictures.example/")
    assert network.dials == []


async def test_a_resolver_that_hangs_is_abandoned() -> None:
    """A look-up has its own timeout, shorter than the overall deadline."""

    async def hang(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with ThumbnailFetcher(ThumbnailPolicy(timeout_s=PATIENCE_S), resolve=hang) as fetcher:
        with pytest.raises(UnreachableError, match="does not resolve"):
            await fetcher.fetch("http://pictures.example/")


async def test_at_most_two_addresses_are_dialled() -> None:
    """Of a thousand addresses two are tried, the second of the other IP version."""
    answers = [f"93.184.216.{i % 256}" for i in range(999)] + [PUBLIC_IPV6]
    async with serving(raw(ok(b"jpeg"))) as site:
        network = Detour(site, dead=answers)
        async with ThumbnailFetcher(resolve=Names(answers), network=network) as fetcher:
            with pytest.raises(UnreachableError, match=r"connection to .* refused"):
                await fetcher.fetch("http://pictures.example/")
    assert network.dials == [("93.184.216.0", 80), (PUBLIC_IPV6, 80)]


async def test_the_second_address_is_used_if_the_first_is_dead() -> None:
    """A host with one dead address is reached at its other one."""
    async with serving(raw(ok(b"jpeg"))) as site:
        network = Detour(site, dead=[PUBLIC])
        async with ThumbnailFetcher(resolve=Names([PUBLIC, OTHER_PUBLIC]), network=network) as fetcher:
            assert await fetcher.fetch("http://pictures.example/") == b"jpeg"
    assert network.dials == [(PUBLIC, 80), (OTHER_PUBLIC, 80)]


@pytest.mark.parametrize(
    ("addresses", "tried"),
    [
        (["1.1.1.1"], ["1.1.1.1"]),
        (["1.1.1.1", "1.1.1.1"], ["1.1.1.1"]),
        (["1.1.1.1", "2.2.2.2", "3.3.3.3"], ["1.1.1.1", "2.2.2.2"]),
        (["1.1.1.1", "2.2.2.2", "2600::1"], ["1.1.1.1", "2600::1"]),
        (["2600::1", "2600::2", "1.1.1.1"], ["2600::1", "1.1.1.1"]),
    ],
)
def test_what_is_worth_trying(addresses: list[str], tried: list[str]) -> None:
    """The resolver's first address, then the first of the other IP version, else the second."""
    assert worth_trying([ip_address(a) for a in addresses]) == [ip_address(a) for a in tried]


async def test_any_port_is_allowed_if_every_address_is_trusted() -> None:
    """A name may have any port if all its addresses are in a trusted network."""
    async with (
        serving(raw(ok(b"jpeg"))) as site,
        ThumbnailFetcher(trusting(), resolve=Names(["127.0.0.1"])) as fetcher,
    ):
        assert await fetcher.fetch(f"http://pictures:{site.port}/") == b"jpeg"
    network = CountingNetwork()
    async with ThumbnailFetcher(trusting(), resolve=Names(["127.0.0.1", PUBLIC]), network=network) as fetcher:
        with pytest.raises(UnreachableError, match="port 8080"):
            await fetcher.fetch("http://pictures:8080/")
    assert network.dials == []


async def test_the_system_resolver_knows_this_machine() -> None:
    """The operating system's resolver answers with addresses as text, also for names in /etc/hosts."""
    resolver = SystemResolver()
    try:
        for name in ("127.0.0.1", "localhost", "LOCALHOST."):
            assert "127.0.0.1" in await resolver(name, 80)
    finally:
        resolver.close()


def test_the_c_library_gives_up_when_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver's own timeout is set to ours, unless the operator has set one."""
    for before, after in ((None, "timeout:1 attempts:2"), ("timeout:9", "timeout:9")):
        monkeypatch.delenv("RES_OPTIONS", raising=False)
        if before is not None:
            monkeypatch.setenv("RES_OPTIONS", before)
        SystemResolver().close()
        assert os.environ["RES_OPTIONS"] == after


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "pictures.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=pictures", "-addext", "subjectAltName=DNS:pictures.example"]
    subprocess.run(
        [*command, "-keyout", path, "-out", path.with_suffix(".crt")], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def tls_server(certificate: Path, names: list[str | None]) -> ssl.SSLContext:
    """A server's context that remembers the names it was asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    return context


async def test_tls_asks_for_the_name_and_checks_it(certificate: Path) -> None:
    """The handshake names the host, though the dial went to an address, and the certificate must match."""
    known = ssl.create_default_context(cafile=str(certificate))
    asked: list[str | None] = []
    async with serving(raw(ok(b"jpeg")), tls_server(certificate, asked)) as site:
        fetcher = ThumbnailFetcher(resolve=Names([PUBLIC]), network=Detour(site), ssl_context=known)
        async with fetcher:
            assert await fetcher.fetch("https://pictures.example/") == b"jpeg"
            assert asked == ["pictures.example"]
            with pytest.raises(UnreachableError, match=r"other\.example sent no valid HTTP response"):
                await fetcher.fetch("https://other.example/")


async def test_an_unknown_certificate_is_refused(certificate: Path) -> None:
    async with serving(raw(ok(b"jpeg")), tls_server(certificate, [])) as site:
        async with ThumbnailFetcher(resolve=Names([PUBLIC]), network=Detour(site)) as fetcher:
            with pytest.raises(UnreachableError):
                await fetcher.fetch("https://pictures.example/")
        assert site.heads == []


async def test_a_stalled_handshake_leaves_no_socket() -> None:
    """A server that never finishes its handshake is disconnected at the deadline."""
    gone = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, ThumbnailFetcher(trusting(timeout_s=0.3)) as fetcher:
        with pytest.raises(UnreachableError, match="complete response"):
            await fetcher.fetch(f"https://127.0.0.1:{port}/")
        async with asyncio.timeout(PATIENCE_S):
            await gone.wait()
