"""Image bytes to the pixels that the image tower was trained on: uint8, height x width x RGB.

Bit-identical to `convert("RGB")` followed by torchvision's `Resize` on a PIL image (bilinear, the whole
image, no crop). EXIF rotation and alpha are left alone, because training left them alone. Scaling to
[0, 1] and normalising are the network's first step, not this module's.
"""

import io
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Damaged EXIF and odd palettes only warn, once per process; `catch_warnings` is not safe between threads.
warnings.filterwarnings("ignore", module=r"PIL\..*")

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")


class ImageError(ValueError):
    """Bytes that do not become an image. The root of what `decode_image` raises.

    The text is for the log; `reason` is the word a client sees.
    """

    reason: ClassVar[str]


class NotAnImageError(ImageError):
    """Not a JPEG, PNG, WebP or GIF, or a damaged one."""

    reason = "not_an_image"


class ImageTooLargeError(ImageError):
    """More bytes or pixels than the limits allow."""

    reason = "too_large"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The size that a checkpoint's image tower takes, in pixels."""

    height: int = 224
    width: int = 224


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before any pixel is decoded."""

    max_bytes: int = 8 * 1024 * 1024
    max_pixels: int = 25_000_000


def decode_image(
    encoded: bytes, spec: ImageSpec | None = None, limits: ImageLimits | None = None
) -> NDArray[np.uint8]:
    """The first frame of a JPEG, PNG, WebP or GIF as (height, width, 3) uint8.

    Raises `ImageTooLargeError` for too many bytes or pixels and `NotAnImageError` for everything else
    that does not decode.
    """
    spec, limits = spec or ImageSpec(), limits or ImageLimits()
    if len(encoded) > limits.max_bytes:
        raise ImageTooLargeError(f"{len(encoded)} bytes, the limit is {limits.max_bytes}")
    return _decode(encoded, spec, limits)


def _decode(encoded: bytes, spec: ImageSpec, limits: ImageLimits) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(encoded), formats=ALLOWED_FORMATS) as image:
            width, height = image.size
            if width * height > limits.max_pixels:
                raise ImageTooLargeError(f"{width}x{height} pixels, the limit is {limits.max_pixels}")
            rgb = image.convert("RGB")
            resized = rgb.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
            return np.asarray(resized, dtype=np.uint8)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        # The warning arrives as an exception where the operator turned warnings into errors.
        raise ImageTooLargeError(str(exc)) from exc
    except Exception as exc:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError, MemoryError and
        # more on damaged files; whatever they raise, the bytes are at fault.
        raise NotAnImageError(
            f"not a readable JPEG, PNG, WebP or GIF ({len(encoded)} bytes, {type(exc).__name__})"
        ) from exc
