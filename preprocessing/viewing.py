"""What a viewer makes of a picture's pixels: transparency on a white page, colours, and no black bars.

The colours are those of its profile, or of the gamma of a PNG; bars are added by a video's page, or filmed.

Imports Pillow, its resizer and the standard library only: every import adds to each decoding process's cost.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import cast

from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image, ImageChops, ImageCms, ImageStat

STRIP_ROWS = 64
# Offsets of the depth and the colour type in a PNG's header, and two of the types.
DEPTH_AT, COLOUR_AT = 24, 25
GREY, RGB = 0, 2
# In levels: a profile this close to sRGB, or one that shifts a picture by less on average, is ignored.
MAX_NEAR_SRGB, MIN_SHIFT = 8, 1.0
SRGB_GAMMA, MAX_GAMMA_ERROR = 1 / 2.2, 0.1
MEAN = ResizeOptions(ResizeAlg.convolution(FilterType.box))
# Limits of a black bar, in grey levels: its brightest pixel, which JPEG lifts at the edge, and brightest row.
BAR_PEAK, BAR_MEAN = 40, 12
IS_CONTENT = bytes(level > BAR_MEAN for level in range(256))
IS_BRIGHT = [255 * (level > BAR_PEAK) for level in range(256)]
# Shares of a side: the least for a bar, the least between two bars, the most by which the two differ.
MIN_BAR, MIN_BETWEEN, MAX_DIFFERENCE = 0.03, 0.2, 0.02


def rescale_key(image: Image.Image, encoded: bytes) -> None:
    """Convert the transparent colour of a PNG to the 8 bits that Pillow converts its pixels to.

    Grey of 16 bits stays as it is.
    """
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None:
        return
    depth, colour = encoded[DEPTH_AT], encoded[COLOUR_AT]
    if colour == GREY and depth in (2, 4):
        highest = 2**depth - 1
        image.info["transparency"] = (key & highest) * (255 // highest)
    elif colour == RGB and depth == 16:
        image.info["transparency"] = tuple(level >> 8 for level in key)


def has_transparency(image: Image.Image) -> bool:
    """Whether a pixel may be transparent: by alpha, by a key colour, or outside a GIF's first frame."""
    return image.has_transparency_data or _frame(image) != (0, 0, *image.size)


def is_transparent(image: Image.Image, base: Image.Image | None) -> bool:
    """Whether a pixel is transparent; paints the picture on a white `base`, strip by strip for memory."""
    left, top, right, bottom = frame = _frame(image)
    found = frame != (0, 0, *image.size)
    for row in range(top, bottom, STRIP_ROWS):
        box = (left, row, right, min(row + STRIP_ROWS, bottom))
        strip = _rgba(image.crop(box))
        found |= min(strip.getchannel("A").tobytes(), default=255) < 255
        if base is not None:
            white = Image.new("RGBA", strip.size, "white")
            base.paste(Image.alpha_composite(white, strip).convert("RGB"), box)
        elif found:
            break
    return found


def _frame(image: Image.Image) -> tuple[int, int, int, int]:
    """The part of the canvas that a GIF's first frame covers; for other formats, all of it."""
    covered: tuple[int, int, int, int] | None = None
    if image.format == "GIF":
        covered = getattr(image, "dispose_extent", None)
    return covered or (0, 0, *image.size)


def _rgba(strip: Image.Image) -> Image.Image:
    if strip.mode != "I;16":
        return strip.convert("RGBA")
    levels, key = strip.tobytes(), strip.info["transparency"]
    high, low = (Image.frombytes("L", strip.size, levels[start::2]) for start in (1, 0))
    alpha = ImageChops.lighter(_differs(high, key >> 8), _differs(low, key & 255))
    return Image.merge("LA", (high, alpha)).convert("RGBA")


def _differs(grey: Image.Image, level: int) -> Image.Image:
    """White where a picture's level differs, black elsewhere."""
    return grey.point([255 * (each != level) for each in range(256)])


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
    """A picture with a profile of its kind applied; a grey picture's profile may be for grey or RGB."""
    for mode in ("L", "RGB") if is_grey else ("RGB",):
        transform = _transform(profile, mode)
        if transform is not None:
            return ImageCms.applyTransform(rgb.convert(mode), transform)
    return None


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile for this mode to sRGB; None if it is for another mode, close to sRGB, or damaged."""
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


def between_bars(rgb: Image.Image) -> tuple[int, int, int, int] | None:
    """The part between black bars at the top and bottom, or left and right; None without them."""
    width, height = rgb.size
    left, top, right, bottom = 0, 0, width, height
    right_end, bottom_end, middle = width - 1, height - 1, (width // 2, height // 2)
    if not _are_dark(rgb, (0, 0), (right_end, 0), (0, bottom_end), (right_end, bottom_end)):
        return None  # most pictures, decided by four pixels
    has_rows = _are_dark(rgb, (middle[0], 0), (middle[0], bottom_end))
    has_columns = _are_dark(rgb, (0, middle[1]), (right_end, middle[1]))
    if has_rows and _is_dark(rgb, (0, 0, width, 1)) and _is_dark(rgb, (0, height - 1, width, height)):
        means = _means(rgb, (1, height))
        top, bottom = _inner(means, lambda start, end: _content(rgb.crop((0, start, width, end)))[1::2])
    if has_columns and _is_dark(rgb, (0, 0, 1, height)) and _is_dark(rgb, (width - 1, 0, width, height)):
        means = _means(rgb, (width, 1))
        left, right = _inner(means, lambda start, end: _content(rgb.crop((start, 0, end, height)))[::2])
    return None if (left, top, right, bottom) == (0, 0, width, height) else (left, top, right, bottom)


def _are_dark(rgb: Image.Image, *places: tuple[int, int]) -> bool:
    return all(max(cast("tuple[int, ...]", rgb.getpixel(place))) <= BAR_PEAK for place in places)


def _is_dark(rgb: Image.Image, box: tuple[int, int, int, int]) -> bool:
    channels = cast("tuple[tuple[int, int], ...]", rgb.crop(box).getextrema())
    return max(highest for _, highest in channels) <= BAR_PEAK


def _means(rgb: Image.Image, size: tuple[int, int]) -> bytes:
    """The mean level of each line; `size` is one pixel wide or high."""
    lines = Image.new("RGB", size)
    Resizer().resize_pil(rgb, lines, MEAN)
    return lines.convert("L").tobytes()


def _content(bar: Image.Image) -> tuple[int, ...]:
    """The box around the bright pixels of a part of a picture; empty where there are none."""
    grey = bar.convert("L")
    _, highest = cast("tuple[int, int]", grey.getextrema())
    return () if highest <= BAR_PEAK else grey.point(IS_BRIGHT).getbbox() or ()


def _inner(means: bytes, content: Callable[[int, int], tuple[int, ...]]) -> tuple[int, int]:
    """Where the content of a side starts and ends; the whole side without bars.

    `means` are those of its lines; `content` gives the first and last bright line in a range of lines.
    """
    size = len(means)
    bright = means.translate(IS_CONTENT)
    start, end = bright.find(1), bright.rfind(1) + 1
    if not end:
        return 0, size
    bars = (start, size - end)
    if min(bars) < MIN_BAR * size:
        return 0, size
    start = min((start, *content(0, start)))
    end = end + max((0, *content(end, size)))
    bars = (start, size - end)
    if min(bars) < MIN_BAR * size or end - start < MIN_BETWEEN * size:
        return 0, size
    return (start, end) if abs(bars[0] - bars[1]) <= max(2, MAX_DIFFERENCE * size) else (0, size)
