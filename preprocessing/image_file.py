"""A picture file to RGB bytes of a fixed size, within limits. Pillow and the standard library, no more.

Kept so small because a process of its own runs it (`preprocessing.decoding.worker`), and each process costs
what it imports; `preprocessing.image` returns the same as an array.
"""

import io
import warnings
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image, WebPImagePlugin

# Imported because Pillow loads all of its plugins when it is asked for one outside its first five.
assert WebPImagePlugin

# Damaged EXIF and odd palettes only warn, once per process; `catch_warnings` is not safe between threads.
warnings.filterwarnings("ignore", module=r"PIL\..*")

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
# Of a WebP, Pillow holds the canvas four times; of the others at most twice.
COUNTED_TWICE = "WEBP"


class ImageError(ValueError):
    """Bytes that do not become an image. The root of what decoding raises.

    The text is for the log; `reason` is the word a client sees.
    """

    reason: ClassVar[str]


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
