"""Image bytes to the pixels that the image tower was trained on: uint8, height x width x RGB.

Bit-identical to `convert("RGB")` followed by torchvision's `Resize` on a PIL image (bilinear, the whole
image, no crop). EXIF rotation and alpha are left alone, because training left them alone. Scaling to
[0, 1] and normalising are the network's first step, not this module's.
"""

import numpy as np
from numpy.typing import NDArray

from preprocessing.image_file import (
    ALLOWED_FORMATS,
    ImageError,
    ImageLimits,
    ImageSpec,
    ImageTooLargeError,
    NotAnImageError,
    read_rgb,
)

__all__ = [
    "ALLOWED_FORMATS",
    "ImageError",
    "ImageLimits",
    "ImageSpec",
    "ImageTooLargeError",
    "NotAnImageError",
    "decode_image",
]


def decode_image(
    encoded: bytes, spec: ImageSpec | None = None, limits: ImageLimits | None = None
) -> NDArray[np.uint8]:
    """The first frame of a JPEG, PNG, WebP or GIF as (height, width, 3) uint8.

    Raises `ImageTooLargeError` for too many bytes or pixels and `NotAnImageError` for everything else
    that does not decode.
    """
    spec = spec or ImageSpec()
    rgb = read_rgb(encoded, spec, limits or ImageLimits())
    return np.frombuffer(rgb, dtype=np.uint8).reshape(spec.height, spec.width, 3)
