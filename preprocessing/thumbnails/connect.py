"""Turns a host name into a connection to an address that was vetted; every dial goes through here.

A name is resolved once. All its addresses are vetted, and the very address that passed is dialled, so a
name that resolves to something else a moment later gains nothing.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import httpcore2

from preprocessing.thumbnails.policy import (
    Address,
    ForbiddenUrlError,
    ThumbnailPolicy,
    UnreachableError,
    vet_endpoint,
)

RESOLVE_TIMEOUT_S = 2.0
DIAL_TIMEOUT_S = 2.0
# The event loop reads all that the system has received at once, up to megabytes, even if less is asked for.
RECEIVED_AHEAD = (socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
# One for each of the policy's connections: an awaited look-up never queues behind hung ones.
RESOLVER_THREADS = 64
# The C library gives up when we do, so that a hung look-up frees its thread instead of keeping it for 10 s
# or more, which would also hold up the process's exit. The operator's own setting is kept.
RESOLVER_OPTIONS = f"timeout:{RESOLVE_TIMEOUT_S / 2:.0f} attempts:2"
HOSTS = Path("/etc/hosts")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class SystemResolver:
    """The operating system's resolver, on threads of its own: a hung look-up must not hold up decoding."""

    def __init__(self) -> None:
        os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="thumbnail-dns")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name, as text, in the order in which they are best tried."""
        look_up = partial(_look_up, host, port)
        answers = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [str(answer[4][0]) for answer in answers]

    def close(self) -> None:
        """Release the threads; pending look-ups are dropped, not awaited."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class VettingBackend(httpcore2.AsyncNetworkBackend):
    """The network as the HTTP library sees it: names in, connections to vetted addresses out."""

    def __init__(
        self,
        policy: ThumbnailPolicy,
        resolve: Resolve,
        network: httpcore2.AsyncNetworkBackend,
        before_dial: Callable[[str, str], Awaitable[None]],
    ) -> None:
        """`before_dial` is called with host:port and the address, and may wait."""
        self._policy = policy
        self._resolve = resolve
        self._network = network
        self._before_dial = before_dial

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to one of the host's addresses. Raises only `ImageError`."""
        limit = DIAL_TIMEOUT_S if timeout is None else min(timeout, DIAL_TIMEOUT_S)
        options = [*(socket_options or ()), RECEIVED_AHEAD]
        failure: Exception | None = None
        for address in worth_trying(await self._vetted_addresses(host, port)):
            await self._before_dial(f"{host}:{port}", str(address))
            try:
                stream = await self._network.connect_tcp(str(address), port, limit, local_address, options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as exc:
                failure = exc
            else:
                return _DialledStream(stream)
        is_late = isinstance(failure, httpcore2.ConnectTimeout)
        why = f"timed out after {limit:g} s" if is_late else "refused"
        raise UnreachableError(
            f"connection to {host}:{port} {why}", "timeout" if is_late else None
        ) from failure

    async def _vetted_addresses(self, host: str, port: int) -> list[Address]:
        literal = _parse(host)
        if literal is not None:
            vet_endpoint(literal, port, self._policy.trusted_networks)
            return [literal]
        # One bad address refuses the whole name: it is how a rebinding or a split answer begins.
        addresses = [_parse(text) for text in await self._look_up(host, port)]
        vetted = [address for address in addresses if address is not None]
        # The same text for every refusal below: a difference would tell a client which internal names exist.
        refusal = UnreachableError(f"{host} does not resolve to an address that is allowed on port {port}")
        if not vetted or len(vetted) < len(addresses):
            raise refusal
        try:
            for address in vetted:
                vet_endpoint(address, port, self._policy.trusted_networks)
        except ForbiddenUrlError as exc:
            raise refusal from exc
        return vetted

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        """The answers of the resolver; none after an error or `RESOLVE_TIMEOUT_S`."""
        try:
            with anyio.fail_after(RESOLVE_TIMEOUT_S):
                return await self._resolve(host, port)
        except (OSError, UnicodeError):  # TimeoutError is one
            return []


class _DialledStream(httpcore2.AsyncNetworkStream):
    """A connection that closes when its TLS handshake fails or is cancelled.

    The library closes it only on errors. A server that stalls until our deadline would keep the socket.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def worth_trying(addresses: Sequence[Address]) -> list[Address]:
    """At most two: the resolver's first, and the first of the other IP version, else its second."""
    unique = list(dict.fromkeys(addresses))
    first, rest = unique[0], unique[1:]
    rest.sort(key=lambda address: address.version == first.version)
    return [first, *rest[:1]]


def _look_up(host: str, port: int) -> list[Any]:
    """The system's answers for an absolute name: `pictures` must not become `pictures.ours.internal`.

    The C library finds only names without a final dot in /etc/hosts, so that file is read first.
    """
    name = host.rstrip(".")
    if _parse(host) is None and name.lower() not in _known_here():
        name += "."
    return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)


def _known_here() -> set[str]:
    """The names in /etc/hosts."""
    try:
        lines = HOSTS.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    except OSError:
        return set()
    return {name for line in lines for name in line.partition("#")[0].split()[1:]}


def _parse(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
