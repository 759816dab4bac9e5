"""A picture file to RGB bytes of a fixed size, within limits.

Read `AS_STORED`, the pixels are those of `convert("RGB")` followed by torchvision's `Resize` on a PIL image
(bilinear, the whole image, no crop), in training and serving alike; about one value in a thousand is one step
of 255 off. `AS_SEEN` differs where a viewer shows something else: EXIF orientation, transparency, 16 bits of
grey, black bars, colour profiles.
Scaling to [0, 1] and normalising are the network's first step, not this module's.

Imports Pillow, its resizer and the standard library only: every import adds to each decoding process's cost.
"""

import io
import math
import re
import warnings
from collections.abc import Sequence
from operator import mul
from typing import TYPE_CHECKING

from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import AvifImagePlugin, Image, ImageFile, WebPImagePlugin

from preprocessing.file_kinds import refusal_of, without_damaged_extras
from preprocessing.image import (
    Decoded,
    ImageError,
    ImageLimits,
    ImageReading,
    ImageSpec,
    ImageTooLargeError,
    Trait,
)
from preprocessing.viewing import (
    between_bars,
    has_transparency,
    in_srgb,
    is_transparent,
    printed_in_srgb,
    rescale_key,
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
# A JPEG can be decoded at an eighth of its size, so a photo of this many times the limit fits in memory.
MAX_SHRINKING = 4
ORIENTATION = 0x0112
TRANSPOSITIONS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's numbers to Pillow's
SMALL_TIMES = 2
BILINEAR = ResizeOptions(ResizeAlg.convolution(FilterType.bilinear))
JPEG_END, MISSING_BYTES = b"\xff\xd9", 64
# In pixels. A picture of YouTube's smallest size is a placeholder if its grey levels hardly differ; a larger
# one only if nearly all of it also has one level, like a placeholder that was scaled up.
ICON_SIDE, MIN_SIDE, SMALL_SIZE = 32, 8, (120, 90)
SAMPLED_SIDE = 56
MIN_SPREAD, MIN_PLAIN_SPREAD = 3.0, 25.0  # standard deviations of the grey levels
LEVELS, SQUARES = range(256), [level * level for level in range(256)]
FLAT_LEVELS, MAX_FLAT_SHARE = 2, 0.7


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
    encoded = without_damaged_extras(encoded)
    try:
        with Image.open(io.BytesIO(encoded), formats=ALLOWED_FORMATS) as image:
            width, height = image.size
            _shrink(image, spec, limits)
            loaded, traits = _loaded(image, encoded)
            rgb, found = _as_rgb(loaded, spec.reading)
            small = resized(rgb, spec)
            shown = in_srgb(small, image)
        if shown is not None:
            found |= Trait.PROFILED
            small = shown if spec.reading.colours == "srgb" else small
        traits |= found | _emptiness(small, width, height)
        return Decoded(small.tobytes(), spec, width, height, traits)
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
    """Have a JPEG decode at a fraction of its size, if it exceeds the limits or `spec` asks for it.

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
    """The decoded picture. A JPEG whose end is missing must have all its rows; else raises `OSError`."""
    try:
        image.load()
    except OSError:
        if image.format != "JPEG":
            raise
        # Bytes after complete data are not read, so two different ends give the same picture.
        one, other = (_opened(encoded + end * MISSING_BYTES + JPEG_END) for end in (b"\x55", b"\xaa"))
        if one.size != image.size or one.tobytes() != other.tobytes():
            raise
        return one, Trait.CUT_OFF
    rescale_key(image, encoded)
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
    if has_transparency(image):
        base = Image.new("RGB", image.size, "white") if reading.background == "white" else None
        if is_transparent(image, base):
            traits |= Trait.TRANSPARENT
            image = base or image
    if image.mode.startswith("I") and reading.depth == "scaled":
        image = Image.frombytes("L", image.size, image.tobytes()[1::2])
    printed = printed_in_srgb(image)
    if printed is not None:
        traits |= Trait.PROFILED
        if reading.colours == "srgb":
            image = printed
    # An RGB picture would only be copied, a hundred megabytes for the largest.
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if turn is not None:
        traits |= Trait.TURNED
        if reading.orientation == "exif":
            rgb = rgb.transpose(Image.Transpose(turn))
    between = between_bars(rgb)
    if between is not None:
        traits |= Trait.BARRED
        if reading.bars == "cut":
            rgb = rgb.crop(between)
    return rgb, traits


def resized(rgb: Image.Image, spec: ImageSpec) -> Image.Image:
    """Bilinear with antialiasing, in a fifth of the time of Pillow's own.

    In two passes, in Pillow's order. Values are rounded in between, so with the resizer's own order a
    seventh of them would differ, by one step of 255; with Pillow's, about one in a thousand does.
    """
    size = (spec.width, spec.height)
    if rgb.width * rgb.height <= SMALL_TIMES * spec.width * spec.height:
        return rgb.resize(size, Image.Resampling.BILINEAR)  # exact, and for few pixels nearly as fast
    is_tall = rgb.height - spec.height > max(0, 2 * (rgb.width - spec.width))
    between = (rgb.width, spec.height) if is_tall else (spec.width, rgb.height)
    # A resizer keeps buffers and is not safe between threads; a new one costs a few microseconds.
    resizer = Resizer()
    for each in (between, size):
        smaller = Image.new("RGB", each)
        resizer.resize_pil(rgb, smaller, BILINEAR)
        rgb = smaller
    return rgb


def _orientation(image: Image.Image) -> int:
    for key in ("xmp", "XML:com.adobe.xmp", "Raw profile type xmp"):
        image.info.pop(key, None)  # Pillow would take an orientation from there too, which no browser does
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data raises all kinds of errors; the picture itself may be fine
        return 1


def _emptiness(pixels: Image.Image, width: int, height: int) -> Trait:
    """Whether a picture of this size that looks like `pixels` is too small or too plain to show a video."""
    if min(pixels.size) > SAMPLED_SIDE:  # every fourth row and column says as much
        pixels = pixels.resize((SAMPLED_SIDE, SAMPLED_SIDE), Image.Resampling.NEAREST)
    counts = pixels.convert("L").histogram()
    total = pixels.width * pixels.height
    mean = sum(map(mul, counts, LEVELS)) / total
    spread = math.sqrt(max(0.0, sum(map(mul, counts, SQUARES)) / total - mean * mean))
    is_plain = spread < MIN_PLAIN_SPREAD
    is_small = is_plain and width <= SMALL_SIZE[0] and height <= SMALL_SIZE[1]
    is_icon = max(width, height) <= ICON_SIDE or min(width, height) < MIN_SIDE
    traits = Trait.TINY if is_small or is_icon else Trait(0)
    is_blank = spread < MIN_SPREAD or (is_plain and _flat_share(counts) > MAX_FLAT_SHARE)
    return traits | Trait.BLANK if is_blank else traits


def _flat_share(counts: Sequence[int]) -> float:
    """The share of the pixels whose level is close to the commonest one."""
    commonest = counts.index(max(counts))
    around = counts[max(0, commonest - FLAT_LEVELS) : commonest + FLAT_LEVELS + 1]
    return sum(around) / sum(counts)
