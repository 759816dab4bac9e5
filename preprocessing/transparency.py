"""What is transparent in a picture, and how it looks on a white page.

Imports Pillow only: each decoding process costs what it imports.
"""

from PIL import Image, ImageChops

STRIP_ROWS = 64
# Where the header of a PNG says its depth and its colour type, and two of the types.
DEPTH_AT, COLOUR_AT = 24, 25
GREY, RGB = 0, 2


def rescale_key(image: Image.Image, encoded: bytes) -> None:
    """Bring the transparent colour of a PNG to the 8 bits that Pillow brings its pixels to.

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
    """The part of the canvas that a GIF's first frame covers; of other formats it is all."""
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
    """White where a picture's level is another one, black elsewhere."""
    return grey.point([255 * (each != level) for each in range(256)])
