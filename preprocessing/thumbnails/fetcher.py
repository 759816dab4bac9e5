"""Fetches thumbnails from untrusted URLs; with `connect`, the only code that opens connections.

What is fetched is bytes: whether they are an image is decided by `decode_image`. The text of a URL is vetted
by `urls`, addresses by `policy`; here are the request, its redirects, its size and its deadline.

Why httpcore2: its network backend is asked for every connection, even to a literal address, before a socket
exists. It is given the name and decides what is dialled, while SNI, certificate and Host keep the name. There
are no proxies from the environment, cookies, redirects or decompression to switch off, and huggingface_hub
installs it anyway. aiohttp would need two hooks (its resolver never sees a literal, its socket factory never
a name) and does all four unless told not to. httpx is built on httpcore 1, and neither has changed since
2025; httpx2 adds the four to httpcore2.
"""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from ssl import SSLContext
from types import TracebackType
from typing import Self

import httpcore2

from preprocessing.image import ImageError, decode_data_url, is_data_url
from preprocessing.thumbnails.connect import Resolve, SystemResolver, VettingBackend
from preprocessing.thumbnails.policy import ThumbnailPolicy, UnreachableError
from preprocessing.thumbnails.response import BodyReader, Validators, broken, header, vet_head
from preprocessing.thumbnails.turns import Breaker, Turns, TurnsByKey
from preprocessing.thumbnails.urls import VettedUrl, vet_redirect, vet_url
from preprocessing.thumbnails.youtube import smaller_pictures

REDIRECT_STATUSES = (301, 302, 303, 307, 308)
KEEPALIVE_S = 5.0
MAX_ADDRESSES = 10_000
HEADERS = (
    # JPEG, PNG, WebP and GIF are what models have seen; a server that negotiates would otherwise send AVIF.
    # Some servers answer 406 without the last one.
    ("Accept", "image/jpeg, image/png, image/webp, image/gif, */*;q=0.1"),
    # No image gets smaller by compression.
    ("Accept-Encoding", "identity"),
)


@dataclass(frozen=True, slots=True)
class Download:
    """A picture's bytes; `validators` is None after a redirect, because they are another URL's.

    `notes` are sentences about what was read instead of what the URL says.
    """

    body: bytes
    validators: Validators | None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Fetch:
    """One fetch: its party, its deadline, the turns that it holds, and whether it has dialled."""

    party: Hashable
    deadline: float = 0.0
    """In the event loop's time; set once the turns for the host and for a connection are taken."""
    turns: list[Turns] = field(default_factory=list)
    has_dialled: bool = False

    async def take(self, turns: Turns) -> None:
        """Wait for a turn, unless the fetch holds one of these."""
        if turns not in self.turns:
            await turns.take(self.party)
            self.turns.append(turns)

    def release(self) -> None:
        """Give all turns back."""
        for turns in self.turns:
            turns.release(self.party)


_current: ContextVar[_Fetch] = ContextVar("_current")


class ThumbnailFetcher:
    """Fetches within one `ThumbnailPolicy`; an async context manager that owns its connections.

    `resolve` replaces the system's resolver and `network` the system's sockets; both see only
    what was vetted to reach them. `ssl_context` is for authorities that the system does not know.
    """

    def __init__(
        self,
        policy: ThumbnailPolicy | None = None,
        *,
        resolve: Resolve | None = None,
        network: httpcore2.AsyncNetworkBackend | None = None,
        ssl_context: SSLContext | None = None,
    ) -> None:
        self.policy = policy or ThumbnailPolicy()
        # Turns are awaited before the deadline starts; a caller that must not wait sets a limit of its own.
        self._turns = Turns(self.policy.max_connections)
        self._turns_by_host = TurnsByKey(self.policy.max_connections_per_host)
        self._turns_by_address = TurnsByKey(self.policy.max_connections_per_host)
        self._bodies = BodyReader(self.policy.max_bytes)
        self._breaker = Breaker()
        self._addresses: dict[str, str] = {}
        """The address last dialled for a host and port."""
        self._system_resolver = SystemResolver()
        network = network or httpcore2.AnyIOBackend()
        vetting = VettingBackend(self.policy, resolve or self._system_resolver, network, self._before_dial)
        self._pool = httpcore2.AsyncConnectionPool(
            # Given here, because the library would read the certificates again for every connection.
            ssl_context=ssl_context or httpcore2.default_ssl_context(),
            max_connections=self.policy.max_connections,
            keepalive_expiry=KEEPALIVE_S,
            proxy=httpcore2.Proxy(self.policy.proxy) if self.policy.proxy else None,
            # A proxy is the operator's own, and resolves and dials itself.
            network_backend=network if self.policy.proxy else vetting,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.aclose()
        self._system_resolver.close()

    async def fetch(self, url: str) -> bytes:
        """The bytes behind an http, https or `data:image/...;base64,` URL. Raises `ImageError`."""
        if is_data_url(url):
            return decode_data_url(url, self.policy.max_bytes)
        return (await self.download(url)).body

    async def download(self, url: str, party: Hashable = None) -> Download:
        """The bytes behind an http or https URL, and how to ask for a change. Raises `ImageError`.

        Turns are shared fairly between parties, such as the requests of a service.
        """
        download = await self._read(vet_url(url, self.policy), None, party)
        assert download is not None, "_follow takes a 304 only where validators were sent"
        return download

    async def download_if_changed(
        self, url: str, validators: Validators, party: Hashable = None
    ) -> Download | None:
        """The same, or None where the server says that nothing has changed. Raises `ImageError`."""
        return await self._read(vet_url(url, self.policy), validators, party)

    async def _read(self, url: VettedUrl, validators: Validators | None, party: Hashable) -> Download | None:
        try:
            found = await self._within_deadline(url, validators, party)
        except UnreachableError as exc:
            if exc.reason != "http_404":
                raise
            found = await self._smaller(url, party, exc)
        return found and replace(found, notes=(*url.notes, *found.notes))

    async def _smaller(self, url: VettedUrl, party: Hashable, missing: UnreachableError) -> Download:
        """A smaller picture of the same YouTube video. Raises `missing` where there is none."""
        for target in smaller_pictures(url.host, url.target):
            try:
                found = await self._within_deadline(replace(url, target=target), None, party)
            except UnreachableError as exc:
                if exc.reason != "http_404":
                    raise
            else:
                assert found is not None, "no validators were sent"
                names = (url.target.partition("?")[0].rpartition("/")[2], target.rpartition("/")[2])
                note = f"YouTube has no {names[0]} of this video (HTTP 404); {names[1]} was read."
                # Its validators are another URL's.
                return replace(found, validators=None, notes=(note,))
        raise missing

    async def _within_deadline(
        self, url: VettedUrl, validators: Validators | None, party: Hashable
    ) -> Download | None:
        arrived, place = self._breaker.now(), f"{url.host}:{url.port}"
        fetch = _Fetch(party)
        _current.set(fetch)
        try:
            await fetch.take(self._turns_by_host.of(url.host))
            await fetch.take(self._turns)
            fetch.deadline = asyncio.get_running_loop().time() + self.policy.timeout_s
            with self._breaker.watch(place, arrived):
                async with asyncio.timeout_at(fetch.deadline):
                    return await self._try_twice(url, validators, fetch)
        except TimeoutError as exc:
            host, limit_s = f"{url.scheme}://{url.host}", self.policy.timeout_s
            text = f"{host} did not send a complete response within {limit_s:g} s"
            raise UnreachableError(text, "timeout") from exc
        finally:
            fetch.release()

    async def _try_twice(
        self, url: VettedUrl, validators: Validators | None, fetch: _Fetch
    ) -> Download | None:
        """Ask again once where that may help, and as often as it takes to find a connection that is open."""
        has_retried = False
        while True:
            fetch.has_dialled = False
            try:
                return await self._follow(url, validators, fetch)
            except UnreachableError as exc:
                left = fetch.deadline - asyncio.get_running_loop().time()
                # What an earlier answer left behind on a connection is not an answer to this request.
                is_garbled = isinstance(exc.__cause__, httpcore2.RemoteProtocolError)
                retry_s = 0.0 if is_garbled and not fetch.has_dialled else exc.retry_s
                if retry_s is None or retry_s >= left or (has_retried and fetch.has_dialled):
                    raise
                has_retried |= fetch.has_dialled
                await asyncio.sleep(retry_s)

    async def _follow(self, url: VettedUrl, validators: Validators | None, fetch: _Fetch) -> Download | None:
        """What `url` leads to; None for a 304 to `validators`, which are sent to no other URL."""
        for redirects in range(self.policy.max_redirects + 1):
            sent = validators if redirects == 0 else None
            async with self._open(url, sent, fetch) as response:
                if response.status == 304 and sent is not None:
                    await response.aread()  # nothing, by definition; the connection can be used again
                    return None
                if response.status not in REDIRECT_STATUSES:
                    vet_head(response, url.host, self.policy.max_bytes)
                    body = await self._bodies.read(response, url.host)
                    return Download(body, Validators.of(response.headers) if redirects == 0 else None)
            locations = set(header(response, b"location"))
            if len(locations) != 1:
                raise UnreachableError(f"{url.host} redirects to {len(locations)} places, expected 1")
            url = vet_redirect(url, locations.pop(), self.policy)
        raise UnreachableError(f"more than {self.policy.max_redirects} redirects, the last to {url.host}")

    @asynccontextmanager
    async def _open(
        self, url: VettedUrl, validators: Validators | None, fetch: _Fetch
    ) -> AsyncGenerator[httpcore2.Response]:
        request = httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        headers = [("Host", url.authority), ("User-Agent", self.policy.user_agent), *HEADERS]
        headers += self.policy.headers_for(url.host)
        conditions = validators.conditions if validators else []
        known = self._addresses.get(f"{url.host}:{url.port}")
        if known is not None:
            await fetch.take(self._turns_by_address.of(known))
        try:
            async with self._pool.stream("GET", request, headers=[*headers, *conditions]) as response:
                yield response
        except ImageError:
            raise
        except Exception as exc:
            # The library, its HTTP parser and TLS each have errors of their own, and not all are translated
            # on the way; any exception about this response means that the server is at fault.
            raise broken(url.host, exc) from exc

    async def _before_dial(self, place: str, address: str) -> None:
        fetch = _current.get()
        fetch.has_dialled = True
        # So that many names for one server get no more turns than one name.
        await fetch.take(self._turns_by_address.of(address))
        self._addresses.pop(place, None)
        self._addresses[place] = address
        if len(self._addresses) > MAX_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]
