"""A host whose picture changes, and the thumbnail cache in front of it."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.response import Validators
from serving.scoring.thumbnails import ThumbnailCache
from tests.support.site import Site, response, serving, trusting

TTL_S = 300.0


CONDITIONS = ("If-None-Match", "If-Modified-Since")


# Reading the machine's certificates takes longer than everything else here; all is plain HTTP.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gallery:
    """Shows one picture, in its current version, on every path, and honours conditions as RFC 9110 says.

    /moved leads to /a.jpg. While `closed`, it answers 404.
    """

    def __init__(self) -> None:
        self.site: Site
        self.version = 1
        self.dates = False
        self.etags = True
        self.closed = False
        self.open = asyncio.Event()
        self.open.set()

    @property
    def body(self) -> bytes:
        return b"picture %d" % self.version

    @property
    def validators(self) -> Validators:
        """What the server says of the current version."""
        etag, date = b'"v%d"' % self.version, b"Wed, 21 Oct 2015 07:28:%02d GMT" % (self.version % 60)
        return Validators(etag if self.etags else None, date if self.dates else None)

    def confirms(self, sent: Validators) -> bool:
        """Whether a conditional request is answered with a 304."""
        if sent.etag is not None:
            return sent.etag == self.validators.etag
        return sent.last_modified is not None and sent.last_modified == self.validators.last_modified

    @property
    def conditions(self) -> list[dict[str, str]]:
        """The conditions of each request, in order."""
        return [conditions_of(head) for head in self.site.heads]

    async def __call__(self, path: str, writer: asyncio.StreamWriter) -> None:
        sent = conditions_of(self.site.heads[-1])
        await self.open.wait()
        etag, date = (sent[name].encode() if name in sent else None for name in CONDITIONS)
        headers = [b"%s: %s" % line for line in lines_of(self.validators)]
        if self.closed:
            writer.write(response(404, b"gone"))
        elif path == "/moved":
            writer.write(response(302, b"", b"Location: /a.jpg", *headers))
        elif self.confirms(Validators(etag, date)):
            writer.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        else:
            writer.write(response(200, self.body, *headers))


def lines_of(validators: Validators) -> list[tuple[bytes, bytes]]:
    named = ((b"ETag", validators.etag), (b"Last-Modified", validators.last_modified))
    return [(name, value) for name, value in named if value is not None]


def conditions_of(head: str) -> dict[str, str]:
    """The conditional headers of a request."""
    pairs = [line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line]
    return {name: value for name, value in pairs if name in CONDITIONS}


@asynccontextmanager
async def opened(
    clock: Clock, max_entries: int = 100, ttl_s: float = TTL_S
) -> AsyncGenerator[tuple[Gallery, ThumbnailCache]]:
    """A gallery and a cache in front of it."""
    gallery = Gallery()
    async with serving(gallery) as gallery.site, ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher:
        yield gallery, ThumbnailCache(fetcher, ttl_s, max_entries, clock)
