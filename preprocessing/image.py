"""A picture file, or the `data:` URL that holds one, to the pixels that the image tower was trained on.

Bit-identical to `convert("RGB")` followed by torchvision's `Resize` on a PIL image (bilinear, the whole
image, no crop). EXIF rotation and alpha are left alone, because training left them alone. Scaling to
[0, 1] and normalising are the network's first step, not this module's.

Imports Pillow and the standard library only: each decoding process costs what it imports
(`preprocessing.decoding.worker`).
"""

import base64
import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from PIL import Image, WebPImagePlugin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Imported because Pillow loads all of its plugins when it is asked for one outside its first five.
assert WebPImagePlugin

# Damaged EXIF and odd palettes only warn, once per process; `catch_warnings` is not safe between threads.
warnings.filterwarnings("ignore", module=r"PIL\..*")

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
# Of a WebP, Pillow holds the canvas four times; of the others at most twice.
COUNTED_TWICE = "WEBP"
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE | re.ASCII)


class ImageError(ValueError):
    """A picture that cannot be had or used. The root of what fetching and decoding one raise.

    The text is for the log and names a host at most, never what it resolved to. `reason` is the word a client
    sees; a more detailed answer would reveal which internal hosts and ports exist.
    """

    reason: ClassVar[str]


class BadUrlError(ImageError):
    """An unsupported URL: syntax, length, characters, or a `data:` URL without a base64 image."""

    reason = "bad_url"


class NotAnImageError(ImageError):
    """Not a JPEG, PNG, WebP or GIF, or a damaged one."""

    reason = "not_an_image"


class ImageTooLargeError(ImageError):
    """More bytes or pixels than the limits allow, or than there is memory for."""

    reason = "too_large"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The size that a checkpoint's image tower takes, in pixels."""

    height: int = 224
    width: int = 224


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before any pixel is decoded. Of a WebP, half of `max_pixels` is the limit."""

    max_bytes: int = 8 * 1024 * 1024
    max_pixels: int = 25_000_000

    def check_bytes(self, encoded: bytes) -> None:
        """Raises `ImageTooLargeError` for more bytes than these limits take."""
        if len(encoded) > self.max_bytes:
            raise ImageTooLargeError(f"{len(encoded)} bytes, the limit is {self.max_bytes}")

    def check_pixels(self, width: int, height: int, kind: str | None) -> None:
        """Raises `ImageTooLargeError` for a picture of this format that has more pixels than these limits."""
        limit = self.max_pixels // 2 if kind == COUNTED_TWICE else self.max_pixels
        if width * height > limit:
            raise ImageTooLargeError(f"{width}x{height} pixels, the limit of a {kind} is {limit}")


def is_data_url(url: str) -> bool:
    """Whether the text carries its image itself."""
    return url[:5].lower() == "data:"


def decode_data_url(url: str, max_bytes: int) -> bytes:
    """The bytes of `data:image/...;base64,...`.

    Raises `BadUrlError` for any other kind of `data:` and `ImageTooLargeError` beyond `max_bytes`.
    """
    head = _DATA_URL.match(url)
    if head is None:
        raise BadUrlError("a data: URL of another kind than data:image/...;base64,")
    if (len(url) - head.end()) // 4 * 3 > max_bytes + 2:  # padding hides up to two bytes
        raise ImageTooLargeError(f"a data: URL of {len(url)} characters, the limit is {max_bytes} bytes")
    try:
        decoded = base64.b64decode(url[head.end() :], validate=True)
    except ValueError as exc:
        raise BadUrlError("a data: URL whose payload is not base64") from exc
    if not decoded:
        raise BadUrlError("a data: URL without a payload")
    if len(decoded) > max_bytes:
        raise ImageTooLargeError(f"a data: URL of {len(decoded)} bytes, the limit is {max_bytes}")
    return decoded


def decode_image(
    encoded: bytes, spec: ImageSpec | None = None, limits: ImageLimits | None = None
) -> "NDArray[np.uint8]":
    """The first frame of a JPEG, PNG, WebP or GIF as (height, width, 3) uint8.

    Raises `ImageTooLargeError` for too many bytes or pixels and `NotAnImageError` for everything else
    that does not decode.
    """
    import numpy as np  # the decoding processes do without

    spec = spec or ImageSpec()
    rgb = read_rgb(encoded, spec, limits or ImageLimits())
    return np.frombuffer(rgb, dtype=np.uint8).reshape(spec.height, spec.width, 3)


def read_rgb(encoded: bytes, spec: ImageSpec, limits: ImageLimits) -> bytes:
    """The first frame of a JPEG, PNG, WebP or GIF as spec.height rows of spec.width RGB triples.

    Raises `ImageTooLargeError` for too many bytes or pixels and `NotAnImageError` for everything else
    that does not decode.
    """
    limits.check_bytes(encoded)
    try:
        with Image.open(io.BytesIO(encoded), formats=ALLOWED_FORMATS) as image:
            limits.check_pixels(*image.size, image.format)
            image.load()
            # What is RGB already would only be copied, a hundred megabytes of the largest picture.
            rgb = image if image.mode == "RGB" else image.convert("RGB")
            return rgb.resize((spec.width, spec.height), Image.Resampling.BILINEAR).tobytes()
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        # The warning arrives as an exception where the operator turned warnings into errors.
        raise ImageTooLargeError(str(exc)) from exc
    except MemoryError as exc:
        raise ImageTooLargeError(f"{len(encoded)} bytes need more memory than is available") from exc
    except Exception as exc:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and more on damaged
        # files; any exception means that the bytes are at fault.
        raise NotAnImageError(
            f"not a readable JPEG, PNG, WebP or GIF ({len(encoded)} bytes, {type(exc).__name__})"
        ) from exc
