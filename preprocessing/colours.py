"""The colours that a viewer makes of a picture's numbers: its colour profile, or the gamma of a PNG.

Imports Pillow and the standard library only: each decoding process costs what it imports.
"""

import io
from functools import lru_cache

from PIL import Image, ImageChops, ImageCms, ImageStat

# In levels: how far a profile is from sRGB at most, and how far it moves a picture on average, to be ignored.
MAX_NEAR_SRGB, MIN_SHIFT = 8, 1.0
SRGB_GAMMA, MAX_GAMMA_ERROR = 1 / 2.2, 0.1


def printed_in_srgb(image: Image.Image) -> Image.Image | None:
    """A CMYK picture in the colours of its profile; None where it has none that can be read."""
    profile = image.info.get("icc_profile")
    transform = _transform(profile, "CMYK") if profile and image.mode == "CMYK" else None
    return None if transform is None else ImageCms.applyTransform(image, transform)


def in_srgb(rgb: Image.Image, image: Image.Image) -> Image.Image | None:
    """A picture with the profile or the gamma of `image` applied; None if that hardly changes it."""
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile and image.mode != "CMYK":
        shown = _transformed(rgb, profile, is_grey=image.mode in ("1", "L", "LA", "I;16"))
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


def _transformed(rgb: Image.Image, profile: bytes, *, is_grey: bool) -> Image.Image | None:
    """A picture with a profile of its kind applied; of a grey one the profile may be of grey or of RGB."""
    for mode in ("L", "RGB") if is_grey else ("RGB",):
        transform = _transform(profile, mode)
        if transform is not None:
            return ImageCms.applyTransform(rgb.convert(mode), transform)
    return None


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile for pixels of this mode to sRGB; None if it is for others, close to sRGB, or damaged."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        colours = _palette().convert(mode)
        shown = ImageCms.applyTransform(colours, transform)
    except Exception:  # damaged profiles raise all kinds of errors; the picture itself may be fine
        return None
    assert shown is not None, "it is not applied in place"
    furthest = max(ImageChops.difference(colours.convert("RGB"), shown).tobytes())
    return transform if furthest > MAX_NEAR_SRGB else None


def _palette() -> Image.Image:
    """Colours from all over the cube."""
    levels = range(0, 256, 51)
    colours = Image.new("RGB", (len(levels) ** 2, len(levels)))
    colours.putdata([(red, green, blue) for red in levels for green in levels for blue in levels])
    return colours
