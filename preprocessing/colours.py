"""The colours that a viewer makes of a picture's numbers: its colour profile, or the gamma of a PNG.

Imports Pillow and the standard library only: each decoding process costs what it imports.
"""

import io
from functools import lru_cache

from PIL import Image, ImageChops, ImageCms, ImageStat

# In levels: how far a profile is from sRGB at most, and how far it moves a picture on average, to be ignored.
MAX_NEAR_SRGB, MIN_SHIFT = 8, 1.0
SRGB_GAMMA, MAX_GAMMA_ERROR = 1 / 2.2, 0.1


def in_srgb(rgb: Image.Image, image: Image.Image) -> Image.Image | None:
    """A picture with the profile or the gamma of `image` applied; None if that hardly changes it."""
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile and image.mode in ("RGB", "RGBA", "RGBX", "P", "PA"):
        transform = _transform(profile)
        shown = None if transform is None else ImageCms.applyTransform(rgb, transform)
    elif gamma and not profile and "srgb" not in image.info:
        exponent = SRGB_GAMMA / gamma
        if not MAX_GAMMA_ERROR < abs(exponent - 1) < 1 / MAX_GAMMA_ERROR:
            return None
        shown = rgb.point([round(255 * (level / 255) ** exponent) for level in range(256)] * 3)
    else:
        return None
    if shown is None:
        return None
    shift = ImageStat.Stat(ImageChops.difference(rgb, shown)).mean
    return shown if max(shift) >= MIN_SHIFT else None


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; None for one that is close to it, or that cannot be read."""
    levels = range(0, 256, 51)
    colours = Image.new("RGB", (len(levels) ** 2, len(levels)))
    colours.putdata([(red, green, blue) for red in levels for green in levels for blue in levels])
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        shown = ImageCms.applyTransform(colours, transform)
    except Exception:  # damaged profiles raise all kinds of errors; the picture itself may be fine
        return None
    assert shown is not None, "it is not applied in place"
    furthest = max(ImageChops.difference(colours, shown).tobytes())
    return transform if furthest > MAX_NEAR_SRGB else None
