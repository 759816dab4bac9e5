"""A picture file to RGB bytes of a fixed size, within limits.

Read `AS_STORED`, the pixels are within one step of 255 of `convert("RGB")` followed by torchvision's `Resize`
on a PIL image (bilinear, the whole image, no crop), in training and serving alike. `AS_SEEN` differs where a
viewer shows something else: EXIF orientation, transparency, 16 bits of grey, black bars, colour profiles.
Scaling to [0, 1] and normalising are the network's first step, not this module's.

Imports Pillow, its resizer and the standard library only: each decoding process costs what it imports.
"""

import io
import re
import warnings
from typing import TYPE_CHECKING

from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import AvifImagePlugin, Image, ImageFile, ImageStat, WebPImagePlugin

from preprocessing.colours import in_srgb
from preprocessing.file_kinds import refusal_of
from preprocessing.image import (
    Decoded,
    ImageError,
    ImageLimits,
    ImageReading,
    ImageSpec,
    ImageTooLargeError,
    Trait,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Imported because Pillow loads all of its plugins when it is asked for one outside its first five.
assert WebPImagePlugin
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a decoding process may start no thread
# Damaged EXIF and odd palettes only warn, once per process; `catch_warnings` is not safe between threads.
warnings.filterwarnings("ignore", module=r"PIL\..*")

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
# A JPEG decodes at down to an eighth of its size, so a photo of this many times the limit fits the memory.
MAX_SHRINKING = 4
ORIENTATION = 0x0112
TRANSPOSITIONS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's numbers to Pillow's
BILINEAR = ResizeOptions(ResizeAlg.convolution(FilterType.bilinear))
STRIP_ROWS = 64
JPEG_END, MISSING_BYTES = b"\xff\xd9", 64
# Of a black bar, in grey levels: its brightest pixel, which JPEG lifts at the edge, and its brightest row.
BAR_PEAK, BAR_MEAN = 40, 12
# Shares of a side: the least of a bar, the least of what is between two, the most by which they differ.
MIN_BAR, MIN_BETWEEN, MAX_DIFFERENCE = 0.03, 0.2, 0.02
# In pixels; a picture of YouTube's smallest size is a placeholder if its grey levels hardly differ.
ICON_SIDE, MIN_SIDE, SMALL_SIZE = 32, 8, (120, 90)
MIN_SPREAD, MIN_SMALL_SPREAD = 3.0, 25.0  # standard deviations of the grey levels


def decode_image(
    encoded: bytes, spec: ImageSpec | None = None, limits: ImageLimits | None = None
) -> "NDArray[np.uint8]":
    """The first frame of a JPEG, PNG, WebP, GIF or AVIF as (height, width, 3) uint8.

    Raises `ImageTooLargeError` for too many bytes or pixels and `NotAnImageError` for everything else
    that does not decode.
    """
    return read_picture(encoded, spec or ImageSpec(), limits or ImageLimits()).pixels


def read_picture(encoded: bytes, spec: ImageSpec, limits: ImageLimits) -> Decoded:
    """The first frame of a JPEG, PNG, WebP, GIF or AVIF in the size of `spec`.

    Raises `ImageTooLargeError` for too many bytes or pixels and `NotAnImageError` for everything else
    that does not decode.
    """
    limits.check_bytes(encoded)
    try:
        with Image.open(io.BytesIO(encoded), formats=ALLOWED_FORMATS) as image:
            width, height = image.size
            _shrink(image, spec, limits)
            loaded, traits = _loaded(image, encoded)
            rgb, found = _as_rgb(loaded, spec.reading)
            resized = _resized(rgb, spec)
            shown = in_srgb(resized, image)
        if shown is not None:
            found |= Trait.PROFILED
            resized = shown if spec.reading.colours == "srgb" else resized
        traits |= found | _emptiness(resized, width, height)
        return Decoded(resized.tobytes(), spec, width, height, traits)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        # The warning arrives as an exception where the operator turned warnings into errors.
        number = re.search(r"[0-9]+", str(exc))
        text = f"{number[0] if number else 'too many'} pixels, the limit is {limits.max_pixels}"
        raise ImageTooLargeError(text, "too_many_pixels") from exc
    except MemoryError as exc:
        raise ImageTooLargeError(f"{len(encoded)} bytes need more memory than is available") from exc
    except Exception as exc:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and more on damaged
        # files; any exception means that the bytes are at fault.
        raise refusal_of(encoded, exc) from exc


def _shrink(image: ImageFile.ImageFile, spec: ImageSpec, limits: ImageLimits) -> None:
    """Have a JPEG decode at a fraction of its size, if it is beyond the limits or is to be read so.

    Raises `ImageTooLargeError`.
    """
    if image.format == "JPEG":
        limits.check_pixels(*image.size, image.format, MAX_SHRINKING)
        if image.width * image.height > limits.max_pixels:
            image.draft(None, (2 * spec.width, 2 * spec.height))
        elif (
            spec.reading.scale == "half" and min(image.width // spec.width, image.height // spec.height) >= 2
        ):
            image.draft(None, (image.width // 2, image.height // 2))
    limits.check_pixels(*image.size, image.format)


def _loaded(image: ImageFile.ImageFile, encoded: bytes) -> tuple[Image.Image, Trait]:
    """The decoded picture. Of a JPEG whose end is missing, all rows must be there; else raises `OSError`."""
    try:
        image.load()
    except OSError:
        if image.format != "JPEG":
            raise
        # What follows complete data is not read, so two different ends make the same picture.
        one, other = (_opened(encoded + end * MISSING_BYTES + JPEG_END) for end in (b"\x55", b"\xaa"))
        if one.size != image.size or one.tobytes() != other.tobytes():
            raise
        return one, Trait.CUT_OFF
    return image, Trait(0)


def _opened(encoded: bytes) -> Image.Image:
    with Image.open(io.BytesIO(encoded), formats=ALLOWED_FORMATS) as image:
        image.load()
        return image


def _as_rgb(image: Image.Image, reading: ImageReading) -> tuple[Image.Image, Trait]:
    """The picture in RGB as it is to be read, and what a viewer shows differently."""
    traits = Trait(0)
    turn = TRANSPOSITIONS.get(_orientation(image))
    if image.mode.startswith("I"):
        traits |= Trait.DEEP
        if reading.depth == "scaled":
            image = Image.frombytes("L", image.size, image.convert("I;16").tobytes()[1::2])
    if image.has_transparency_data:
        base = Image.new("RGB", image.size) if reading.background == "white" else None
        if _is_transparent(image, base):
            traits |= Trait.TRANSPARENT
            image = base or image
    # What is RGB already would only be copied, a hundred megabytes of the largest picture.
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if turn is not None:
        traits |= Trait.TURNED
        if reading.orientation == "exif":
            rgb = rgb.transpose(Image.Transpose(turn))
    between = _between_bars(rgb)
    if between is not None:
        traits |= Trait.BARRED
        if reading.bars == "cut":
            rgb = rgb.crop(between)
    return rgb, traits


def _resized(rgb: Image.Image, spec: ImageSpec) -> Image.Image:
    """Bilinear with antialiasing as Pillow's own, in a fifth of the time."""
    resized = Image.new("RGB", (spec.width, spec.height))
    # A resizer keeps buffers and is not safe between threads; a new one costs a few microseconds.
    Resizer().resize_pil(rgb, resized, BILINEAR)
    return resized


def _orientation(image: Image.Image) -> int:
    for key in ("xmp", "XML:com.adobe.xmp", "Raw profile type xmp"):
        image.info.pop(key, None)  # Pillow would take an orientation from there too, which no browser does
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data raises all kinds of errors; the picture itself may be fine
        return 1


def _is_transparent(image: Image.Image, base: Image.Image | None) -> bool:
    """Whether a pixel is transparent; paints the picture over white on `base`, strip by strip for memory."""
    is_transparent = False
    for top in range(0, image.height, STRIP_ROWS):
        box = (0, top, image.width, min(top + STRIP_ROWS, image.height))
        strip = image.crop(box).convert("RGBA")
        is_transparent |= min(strip.getchannel("A").tobytes()) < 255
        if base is not None:
            white = Image.new("RGBA", strip.size, "white")
            base.paste(Image.alpha_composite(white, strip).convert("RGB"), box)
        elif is_transparent:
            break
    return is_transparent


def _between_bars(rgb: Image.Image) -> tuple[int, int, int, int] | None:
    """The part between black bars at the top and bottom, or left and right; None without them."""
    width, height = rgb.size
    ends = (
        (0, 0, width, 1),
        (0, height - 1, width, height),
        (0, 0, 1, height),
        (width - 1, 0, width, height),
    )
    dark = [max(rgb.crop(end).tobytes()) <= BAR_PEAK for end in ends]
    if not all(dark[:2]) and not all(dark[2:]):
        return None
    grey = rgb.convert("L")
    content = grey.point(lambda level: 255 * (level > BAR_PEAK)).getbbox()
    if content is None:
        return None
    top, bottom = _inner(grey.resize((1, height), Image.Resampling.BOX), content[1], content[3])
    left, right = _inner(grey.resize((width, 1), Image.Resampling.BOX), content[0], content[2])
    return None if (left, top, right, bottom) == (0, 0, *rgb.size) else (left, top, right, bottom)


def _inner(means: Image.Image, start: int, end: int) -> tuple[int, int]:
    """Where the content of a side starts and ends, from its line means; the whole side without bars."""
    levels = means.tobytes()
    size = len(levels)
    bright = [index for index, level in enumerate(levels) if level > BAR_MEAN] or [0]
    start, end = min(start, bright[0]), max(end, bright[-1] + 1)
    bars = (start, size - end)
    if min(bars) < MIN_BAR * size or end - start < MIN_BETWEEN * size:
        return 0, size
    return (start, end) if abs(bars[0] - bars[1]) <= max(2, MAX_DIFFERENCE * size) else (0, size)


def _emptiness(pixels: Image.Image, width: int, height: int) -> Trait:
    """Whether a picture of this size that looks like `pixels` is too small or too plain to show a video."""
    spread = ImageStat.Stat(pixels.convert("L")).stddev[0]
    is_small = width <= SMALL_SIZE[0] and height <= SMALL_SIZE[1] and spread < MIN_SMALL_SPREAD
    is_icon = max(width, height) <= ICON_SIDE or min(width, height) < MIN_SIDE
    traits = Trait.TINY if is_small or is_icon else Trait(0)
    return traits | Trait.BLANK if spread < MIN_SPREAD else traits
