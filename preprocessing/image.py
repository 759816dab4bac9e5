"""What a picture is to the service: its errors, its limits, how its file is read, and the `data:` URL.

Imports the standard library only: every import adds to the cost of each decoding process.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIGEST_BYTES = 32
# The same picture at this many places is not a picture of one video.
MANY_PLACES = 8
EMPTY_REASONS = ("tiny", "blank", "repeated")
"""Those of a picture that shows nothing of its video."""
REPEATED = ("repeated", "The host serves the same picture for other videos too, probably a placeholder.")
# Pillow holds the canvas of these four times, and of the others at most twice.
COUNTED_TWICE = ("WEBP", "AVIF")
# How base64 of a JPEG, PNG, GIF or WebP begins, which other image APIs take without `data:`.
_BARE_BASE64 = re.compile(r"/9j/|iVBORw0KGgo|R0lGOD|UklGR")
WHITE_SPACE = b" \t\n\r\f\v"
MAX_ESCAPES = 1000
USUAL_ESCAPES = tuple(
    (escape, unquote_to_bytes(escape)) for escape in (b"%2B", b"%2b", b"%2F", b"%2f", b"%3D", b"%3d", b"%0A")
)
DECODED_AT_ONCE = 4 * 64 * 1024  # characters of base64
_DATA_URL = re.compile(
    r"data:(image/[a-z0-9.+-]+|application/octet-stream)( *;[a-z0-9 -]+=[^;,]*)* *; *base64 *,",
    re.IGNORECASE | re.ASCII,
)
_MEDIA_TYPE = re.compile(r"data:([a-z]+/[a-z0-9.+-]{1,40})", re.IGNORECASE | re.ASCII)


class ImageError(ValueError):
    """A picture that cannot be fetched or used. The base class of fetching and decoding errors.

    A client sees `reason`, one word, and the text, which names a host at most, never what it resolved to:
    that would reveal which internal hosts and ports exist.
    """

    reason = "not_an_image"

    def __init__(self, text: str, reason: str | None = None) -> None:
        super().__init__(text)
        if reason is not None:
            self.reason = reason


class BadUrlError(ImageError):
    """An unsupported URL: syntax, length, characters, or a `data:` URL without a base64 image."""

    reason = "bad_url"


class NotAnImageError(ImageError):
    """Another kind of file (`unsupported_format`), or a damaged one (`truncated`, `not_an_image`)."""


class ImageTooLargeError(ImageError):
    """More bytes or pixels (`too_many_pixels`) than the limits allow, or than there is memory for."""

    reason = "too_large"


class Trait(IntFlag):
    """What is unusual about a picture."""

    TURNED = 1
    """Its EXIF data asks for another orientation."""
    TRANSPARENT = 2
    DEEP = 4
    """16 bits of grey."""
    BARRED = 8
    """Black bars at both sides."""
    TINY = 16
    BLANK = 32
    """Hardly any difference between its pixels."""
    CUT_OFF = 64
    """Its end is missing, but all of its rows are there."""
    PROFILED = 128
    """Its colour profile or gamma gives its numbers other colours than sRGB."""


NO_TRAITS = Trait(0)


@dataclass(frozen=True, slots=True)
class ImageReading:
    """How to read files that a viewer shows differently from what they store."""

    orientation: Literal["stored", "exif"] = "stored"
    background: Literal["ignored", "white"] = "ignored"
    depth: Literal["clipped", "scaled"] = "clipped"
    bars: Literal["kept", "cut"] = "kept"
    colours: Literal["stored", "srgb"] = "stored"
    scale: Literal["full", "half"] = "full"
    """`half` decodes a JPEG at half its size where that is still as large as the network's input."""


AS_STORED = ImageReading()
AS_SEEN = ImageReading("exif", "white", "scaled", "cut", "srgb")


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The input of a checkpoint's image tower: its size in pixels, and how files are read."""

    height: int = 224
    width: int = 224
    reading: ImageReading = AS_STORED


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before any pixel is decoded. For WebP and AVIF the limit is half of `max_pixels`."""

    max_bytes: int = 8 * 1024 * 1024
    max_pixels: int = 25_000_000

    def check_bytes(self, encoded: bytes) -> None:
        """Raises `ImageTooLargeError` for more bytes than these limits take."""
        if len(encoded) > self.max_bytes:
            raise ImageTooLargeError(f"{len(encoded)} bytes, the limit is {self.max_bytes}")

    def check_pixels(self, width: int, height: int, kind: str | None, factor: int = 1) -> None:
        """Raises `ImageTooLargeError` for more pixels than `factor` times the limit of this format."""
        limit = (self.max_pixels // 2 if kind in COUNTED_TWICE else self.max_pixels) * factor
        if width * height > limit:
            text = f"{width}x{height} = {width * height} pixels, the limit of a {kind} is {limit}"
            raise ImageTooLargeError(text, "too_many_pixels")


@dataclass(frozen=True, slots=True)
class Decoded:
    """`spec.height` rows of `spec.width` RGB triples, and the size and traits of the file they are from."""

    rgb: bytes | memoryview
    spec: ImageSpec
    width: int
    height: int
    traits: Trait = NO_TRAITS

    @property
    def pixels(self) -> "NDArray[np.uint8]":
        """(height, width, 3)."""
        import numpy as np  # the decoding processes do without

        return np.frombuffer(self.rgb, dtype=np.uint8).reshape(self.spec.height, self.spec.width, 3)


def emptiness(traits: Trait, width: int, height: int) -> tuple[str, str] | None:
    """A reason and a sentence for a picture that shows nothing of a video; None for others."""
    size = f"{width}x{height} pixels"
    if traits & Trait.TINY:
        return "tiny", f"The thumbnail is tiny ({size} with hardly any detail), probably a placeholder."
    if traits & Trait.BLANK:
        return "blank", f"The thumbnail has hardly any detail ({size}, one colour), probably a placeholder."
    return None


def digest_of(content: bytes) -> bytes:
    """A digest of a picture's content, `DIGEST_BYTES` long."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def is_data_url(url: str) -> bool:
    """Whether the text carries its image itself, as a `data:` URL or as bare base64."""
    return url[:5].lower() == "data:" or _BARE_BASE64.match(url) is not None


def decode_data_url(url: str, max_bytes: int) -> bytes:
    """The bytes of `data:image/...;base64,...`, read as leniently as browsers do.

    White space, missing padding, percent-encoding, parameters and bare base64 are accepted. Raises
    `BadUrlError` for any other kind of `data:` and `ImageTooLargeError` beyond `max_bytes`.
    """
    head = _DATA_URL.match(url)
    if head is None and not _BARE_BASE64.match(url):
        named = _MEDIA_TYPE.match(url)
        kind = f" ({named[1].lower()})" if named else ""
        raise BadUrlError(f"a data: URL of another kind{kind}; expected data:image/...;base64,")
    decoded = _lenient_base64(url[head.end() if head else 0 :], max_bytes)
    if not decoded:
        raise BadUrlError("a data: URL without a payload")
    if len(decoded) > max_bytes:
        raise ImageTooLargeError(f"a data: URL of {len(decoded)} bytes, the limit is {max_bytes}")
    return decoded


def _lenient_base64(text: str, max_bytes: int) -> bytes:
    try:
        payload = _unescaped(text.encode("ascii")).translate(None, WHITE_SPACE)
        payload += b"=" * (-len(payload) % 4 if not payload.endswith(b"=") else 0)
        if len(payload) // 4 * 3 > max_bytes + 2:  # padding hides up to two bytes
            raise ImageTooLargeError(
                f"a data: URL of {len(payload)} characters, the limit is {max_bytes} bytes"
            )
        if b"=" in payload[:-2]:
            raise ValueError("padding before the end")
        # In parts, because other threads wait for each.
        starts = range(0, len(payload), DECODED_AT_ONCE)
        return b"".join(base64.b64decode(payload[at : at + DECODED_AT_ONCE], validate=True) for at in starts)
    except ImageError:
        raise
    except ValueError as exc:
        raise BadUrlError("a data: URL whose payload is not base64") from exc


def _unescaped(payload: bytes) -> bytes:
    """Without percent-encoding, which base64 needs for one character in 30.

    Raises `ValueError` where there is much more.
    """
    escapes = payload.count(b"%")
    if escapes > MAX_ESCAPES + len(payload) // 8:
        raise ValueError(f"{escapes} characters are percent-encoded")
    if escapes > MAX_ESCAPES:  # unquote_to_bytes takes a microsecond for each
        for escape, character in USUAL_ESCAPES:
            payload = payload.replace(escape, character)
    if payload.count(b"%") > MAX_ESCAPES:
        raise ValueError("percent-encoded characters that need not be")
    return unquote_to_bytes(payload) if b"%" in payload else payload
