"""What a host's response says: its head, and what a broken exchange means."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ssl import SSLError
from typing import Self

import httpcore2

from preprocessing.image import ImageTooLargeError, NotAnImageError
from preprocessing.thumbnails.policy import UnreachableError

# How long to wait before the one retry, in seconds, unless the host says so (RFC 9110, Retry-After).
RETRY_AFTER_S = {429: 1.0, 502: 0.2, 503: 0.2, 504: 0.2}

_ONE_TYPE = re.compile(rb"[^\s,;]*\s*(;[^,]*)?")
_ETAG = re.compile(rb'(W/)?"[\x21\x23-\x7e]{0,256}"')
_HTTP_DATE = re.compile(rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_SECONDS = re.compile(rb"[0-9]{1,19}")


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


def vet_head(response: httpcore2.Response, host: str, max_bytes: int) -> None:
    """Raises `ImageError` for a response whose status or headers promise no picture."""
    # The status first: YouTube answers 404 with a valid JPEG.
    status = response.status
    if status != 200:
        delay = RETRY_AFTER_S.get(status)
        told = set(header(response, b"retry-after"))
        if delay is not None and len(told) == 1:
            delay = _seconds(told.pop(), delay)
        raise UnreachableError(f"{host} answered {status}, expected 200", f"http_{status}", delay)
    lengths = header(response, b"content-length")
    if lengths and header(response, b"transfer-encoding"):
        raise UnreachableError(f"{host} sent both Content-Length and Transfer-Encoding")
    for length in lengths:  # digits, or the parser had refused it
        if int(length) > max_bytes:
            raise ImageTooLargeError(f"{host} announced {int(length)} bytes, the limit is {max_bytes}")
    types = {each.strip() for line in header(response, b"content-type") for each in line.split(b",")}
    # Which one type is claimed does not matter, the bytes are looked at; many hosts send a wrong one.
    if len(types) > 1 or not all(_ONE_TYPE.fullmatch(each) for each in types):
        raise NotAnImageError(f"{host} sent more than one Content-Type")


def broken(host: str, exc: Exception) -> UnreachableError:
    """What a failed exchange of HTTP means, and whether another one may succeed."""
    if isinstance(exc, httpcore2.TimeoutException):
        return UnreachableError(f"{host} timed out ({type(exc).__name__})", "timeout")
    if "complete message body" in str(exc) or "incomplete chunked read" in str(exc):
        return UnreachableError(f"{host} cut the body off before its end", "truncated", 0.0)
    if isinstance(exc.__cause__, SSLError) or isinstance(exc, SSLError):
        return UnreachableError(f"TLS with {host} failed ({getattr(exc.__cause__, 'reason', exc)})")
    is_reset = isinstance(exc, httpcore2.NetworkError) or "disconnected" in str(exc)
    text = f"{host} sent no valid HTTP response ({type(exc).__name__})"
    return UnreachableError(text, retry_s=0.0 if is_reset else None)


def header(response: httpcore2.Response, name: bytes) -> list[bytes]:
    """The values of a header, one a line."""
    return [value for key, value in response.headers if key.lower() == name]


def _seconds(retry_after: bytes, default: float) -> float:
    """How long a host asks to wait, as a number or a date; the default where it is neither."""
    if _SECONDS.fullmatch(retry_after):
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after.decode("ascii")).timestamp() - time.time())
    except (ValueError, OverflowError):
        return default


def _single(values: list[bytes], form: re.Pattern[bytes]) -> bytes | None:
    """A header that was sent once and in its form."""
    return values[0] if len(values) == 1 and form.fullmatch(values[0]) else None
