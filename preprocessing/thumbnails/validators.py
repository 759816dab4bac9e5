"""What a server said of its picture's version, kept to ask it later whether the picture has changed.

It is a stranger's text that we send back, so nothing is kept but what RFC 9110 lets a server say, at a
bounded length. Another form is no error: that picture is downloaded anew.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

_ETAG = re.compile(rb'(W/)?"[\x21\x23-\x7e]{0,256}"')
_HTTP_DATE = re.compile(rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")


@dataclass(frozen=True, slots=True)
class Validators:
    """An ETag, a Last-Modified, or both, as the server wrote them."""

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


def _single(values: list[bytes], form: re.Pattern[bytes]) -> bytes | None:
    """A header that was sent once and in its form."""
    return values[0] if len(values) == 1 and form.fullmatch(values[0]) else None
