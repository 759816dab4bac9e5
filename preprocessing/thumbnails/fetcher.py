"""Fetches thumbnails from untrusted URLs; with `connect`, the only code that opens connections.

What is fetched is bytes: whether they are an image is decided by `decode_image`. The text of a URL is vetted
by `urls`, addresses by `policy`; here are the request, its redirects, its size and its deadline.

Why httpcore2: its network backend is asked for every connection, literals included, before a socket exists.
It is given the name and decides what is dialled, while SNI, certificate and Host keep the name. There are no
proxies from the environment, cookies, redirects or decompression to switch off, and huggingface_hub brings it
anyway. aiohttp would need two hooks (its resolver never sees a literal, its socket factory no name) and does
all four unless told. httpx rests on httpcore 1, and neither moves since 2025; httpx2 adds the four to this.
"""

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from ssl import SSLContext
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import anyio
import httpcore2

from preprocessing.image import ImageError, ImageTooLargeError, NotAnImageError, decode_data_url, is_data_url
from preprocessing.thumbnails.connect import Resolve, SystemResolver, VettingBackend
from preprocessing.thumbnails.policy import ThumbnailPolicy, UnreachableError
from preprocessing.thumbnails.urls import VettedUrl, vet_redirect, vet_url

MAX_REDIRECTS = 3
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
KEEPALIVE_S = 5.0
# Pictures are small. Of bodies beyond this size only a few are taken at once, the others wait for them within
# their deadline: 64 servers that each stop one byte below the cap would else hold half a gigabyte.
LARGE_BYTES = 512 * 1024
MAX_LARGE = 8
HEADERS = (
    ("User-Agent", "Miles/1.0"),
    # Formats that `decode_image` reads; a server that negotiates would else send AVIF.
    ("Accept", "image/jpeg, image/png, image/webp, image/gif"),
    # A compressed body could unfold to more than the cap, and no image gets smaller by it.
    ("Accept-Encoding", "identity"),
)

_ONE_TYPE = re.compile(rb"[^\s,;]*\s*(;[^,]*)?")
_ETAG = re.compile(rb'(W/)?"[\x21\x23-\x7e]{0,256}"')
_HTTP_DATE = re.compile(rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")


@dataclass(frozen=True, slots=True)
class Validators:
    """An ETag, a Last-Modified, or both, to ask the server later whether its picture has changed.

    They are untrusted text that is sent back, so only the forms of RFC 9110 are kept, at a bounded length.
    """

    etag: bytes | None = None
    last_modified: bytes | None = None

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> Self | None:
        """The validators among a response's headers; None where there are none that can be sent back."""
        lines = [(name.lower(), value) for name, value in headers]
        etag = _single([value for name, value in lines if name == b"etag"], _ETAG)
        last_modified = _single([value for name, value in lines if name == b"last-modified"], _HTTP_DATE)
        return cls(etag, last_modified) if etag or last_modified else None

    @property
    def conditions(self) -> list[tuple[bytes, bytes]]:
        """The headers that make a request conditional."""
        named = ((b"If-None-Match", self.etag), (b"If-Modified-Since", self.last_modified))
        return [(name, value) for name, value in named if value is not None]


@dataclass(frozen=True, slots=True)
class Download:
    """A picture's bytes; `validators` is None after a redirect, because they are another URL's."""

    body: bytes
    validators: Validators | None


class ThumbnailFetcher:
    """Fetches within one `ThumbnailPolicy`; an async context manager that owns its connections.

    `resolve` stands in for the system's resolver and `network` for the system's sockets; both see only
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
        # A turn is waited for before the deadline starts: a batch of 256 is queued, not timed out.
        self._turns = anyio.Semaphore(self.policy.max_connections)
        self._large_turns = anyio.Semaphore(MAX_LARGE)
        # A host's semaphore lives as long as somebody holds or awaits it.
        self._turns_by_host: WeakValueDictionary[str, anyio.Semaphore] = WeakValueDictionary()
        self._system_resolver = SystemResolver()
        backend = VettingBackend(
            self.policy, resolve or self._system_resolver, network or httpcore2.AnyIOBackend()
        )
        self._pool = httpcore2.AsyncConnectionPool(
            # Given here, because the library would read the certificates again for every connection.
            ssl_context=ssl_context or httpcore2.default_ssl_context(),
            max_connections=self.policy.max_connections,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=backend,
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

    async def download(self, url: str) -> Download:
        """The bytes behind an http or https URL, and how to ask for a change. Raises `ImageError`."""
        download = await self._within_deadline(url, None)
        assert download is not None, "_follow takes a 304 only where validators were sent"
        return download

    async def download_if_changed(self, url: str, validators: Validators) -> Download | None:
        """The same, or None where the server says that nothing has changed. Raises `ImageError`."""
        return await self._within_deadline(url, validators)

    async def _within_deadline(self, url: str, validators: Validators | None) -> Download | None:
        vetted = vet_url(url, self.policy)
        async with self._turns_at(vetted.host), self._turns:
            try:
                with anyio.fail_after(self.policy.timeout_s):
                    return await self._follow(vetted, validators)
            except TimeoutError as exc:
                raise UnreachableError(
                    f"{vetted.host} did not send a complete response within {self.policy.timeout_s} s"
                ) from exc

    def _turns_at(self, host: str) -> anyio.Semaphore:
        """One host gets a part of the connections, so that a slow one leaves some for the others."""
        turns = self._turns_by_host.get(host)
        if turns is None:
            turns = anyio.Semaphore(self.policy.max_connections_per_host)
            self._turns_by_host[host] = turns
        return turns

    async def _follow(self, url: VettedUrl, validators: Validators | None) -> Download | None:
        """What `url` leads to; None for a 304 to `validators`, which no other URL gets to see."""
        for redirects in range(MAX_REDIRECTS + 1):
            sent = validators if redirects == 0 else None
            async with self._open(url, sent) as response:
                if response.status == 304 and sent is not None:
                    await response.aread()  # nothing, by definition; the connection can be used again
                    return None
                if response.status not in REDIRECT_STATUSES:
                    body = await self._read_body(response, url.host)
                    return Download(body, Validators.of(response.headers) if redirects == 0 else None)
            locations = _header(response, b"location")
            if len(locations) != 1:
                raise UnreachableError(f"{url.host} sent {len(locations)} Location headers, expected 1")
            url = vet_redirect(url, locations[0], self.policy)
        raise UnreachableError(f"more than {MAX_REDIRECTS} redirects, the last to {url.host}")

    async def _read_body(self, response: httpcore2.Response, host: str) -> bytes:
        max_bytes = self.policy.max_bytes
        _vet_head(response, host, max_bytes)
        body = bytearray()
        async with AsyncExitStack() as stack:
            chunks = await stack.enter_async_context(aclosing(response.aiter_stream()))
            is_large = False
            async for chunk in chunks:
                body += chunk
                if len(body) > max_bytes:
                    raise ImageTooLargeError(f"{host} sent more than {max_bytes} bytes")
                if len(body) > LARGE_BYTES and not is_large:
                    is_large = True
                    await stack.enter_async_context(self._large_turns)
            if not body:
                raise UnreachableError(f"{host} answered 200 without a body")
            return bytes(body)

    @asynccontextmanager
    async def _open(
        self, url: VettedUrl, validators: Validators | None
    ) -> AsyncGenerator[httpcore2.Response]:
        request = httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        headers = [("Host", url.authority), *HEADERS, *(validators.conditions if validators else ())]
        try:
            async with self._pool.stream("GET", request, headers=headers) as response:
                yield response
        except ImageError:
            raise
        except Exception as exc:
            # The library, its HTTP parser and TLS each have errors of their own, and not all are translated
            # on the way; any exception about this response means that the server is at fault.
            raise UnreachableError(f"{url.host} sent no valid HTTP response ({type(exc).__name__})") from exc


def _vet_head(response: httpcore2.Response, host: str, max_bytes: int) -> None:
    # The status first: YouTube answers 404 with a valid JPEG.
    if response.status != 200:
        raise UnreachableError(f"{host} answered {response.status}, expected 200")
    if any(
        coding.strip().lower() not in (b"", b"identity") for coding in _header(response, b"content-encoding")
    ):
        raise UnreachableError(f"{host} sent a compressed body, expected Content-Encoding: identity")
    lengths = _header(response, b"content-length")
    if lengths and _header(response, b"transfer-encoding"):
        raise UnreachableError(f"{host} sent both Content-Length and Transfer-Encoding")
    for length in lengths:  # digits, or the parser had refused it
        if int(length) > max_bytes:
            raise ImageTooLargeError(f"{host} announced {int(length)} bytes, the limit is {max_bytes}")
    types = _header(response, b"content-type")
    # Which one type is claimed does not matter, the bytes are looked at; many hosts send a wrong one.
    if len(types) > 1 or not all(_ONE_TYPE.fullmatch(each) for each in types):
        raise NotAnImageError(f"{host} sent more than one Content-Type")


def _header(response: httpcore2.Response, name: bytes) -> list[bytes]:
    return [value for key, value in response.headers if key.lower() == name]


def _single(values: list[bytes], form: re.Pattern[bytes]) -> bytes | None:
    """A header that was sent once and in its form."""
    return values[0] if len(values) == 1 and form.fullmatch(values[0]) else None
