"""Where the black bars of a picture end: those that a video's page adds, or that were filmed.

Imports Pillow and its resizer only: each decoding process costs what it imports.
"""

from collections.abc import Callable
from typing import cast

from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

MEAN = ResizeOptions(ResizeAlg.convolution(FilterType.box))
# Of a black bar, in grey levels: its brightest pixel, which JPEG lifts at the edge, and its brightest row.
BAR_PEAK, BAR_MEAN = 40, 12
IS_CONTENT = bytes(level > BAR_MEAN for level in range(256))
IS_BRIGHT = [255 * (level > BAR_PEAK) for level in range(256)]
# Shares of a side: the least of a bar, the least of what is between two, the most by which they differ.
MIN_BAR, MIN_BETWEEN, MAX_DIFFERENCE = 0.03, 0.2, 0.02


def between_bars(rgb: Image.Image) -> tuple[int, int, int, int] | None:
    """The part between black bars at the top and bottom, or left and right; None without them."""
    width, height = rgb.size
    left, top, right, bottom = 0, 0, width, height
    right_end, bottom_end, middle = width - 1, height - 1, (width // 2, height // 2)
    if not _are_dark(rgb, (0, 0), (right_end, 0), (0, bottom_end), (right_end, bottom_end)):
        return None  # most pictures, told by four pixels
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
    """The mean level of each line, of a picture that is one pixel wide or high."""
    lines = Image.new("RGB", size)
    Resizer().resize_pil(rgb, lines, MEAN)
    return lines.convert("L").tobytes()


def _content(bar: Image.Image) -> tuple[int, ...]:
    """The box around what is not dark in a part of a picture; empty where all is."""
    grey = bar.convert("L")
    _, highest = cast("tuple[int, int]", grey.getextrema())
    return () if highest <= BAR_PEAK else grey.point(IS_BRIGHT).getbbox() or ()


def _inner(means: bytes, content: Callable[[int, int], tuple[int, ...]]) -> tuple[int, int]:
    """Where the content of a side starts and ends; the whole side without bars.

    Its lines have these means, and `content` gives the first and last line with a bright pixel among some.
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
