"""A colour that a file calls transparent, and a canvas that a frame does not cover, are white."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocessing.image import AS_SEEN, Decoded, ImageLimits, ImageSpec, Trait
from preprocessing.pixels import decode_image, read_picture
from tests.support.pictures import encoded, picture, png, png_chunk

SIDE = 64
GREY, RGB = 0, 2


def read(file: bytes) -> Decoded:
    """A file as a new checkpoint reads it."""
    return read_picture(file, ImageSpec(reading=AS_SEEN), ImageLimits())


def levels(depth: int, channels: int) -> NDArray[np.int64]:
    """Random samples of `depth` bits in rows of pixels; each value occurs often."""
    shape = (SIDE, SIDE, channels)
    noise = np.random.default_rng(5).integers(0, 2**depth, shape)
    return noise if depth <= 8 else noise // 4096 * 4096 + 7  # 16 bits: high and low bytes differ


def keyed(colour: int, depth: int, samples: NDArray[np.int64]) -> bytes:
    """A PNG of these samples that declares the colour of its first pixel transparent."""
    rows = samples.reshape(SIDE, -1)
    if depth == 16:
        packed = [row.astype(">u2").tobytes() for row in rows]
    else:
        bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        packed = [np.packbits(row).tobytes() for row in bits.reshape(SIDE, -1)]
    file = png(SIDE, SIDE, b"".join(b"\0" + row for row in packed), depth=depth, colour=colour)
    key = struct.pack(f">{samples.shape[-1]}H", *map(int, samples[0, 0]))
    return file[:33] + png_chunk(b"tRNS", key) + file[33:]


def shown(depth: int, samples: NDArray[np.int64]) -> bytes:
    """The same picture as a page shows it, without transparency and in 8 bits."""
    eight = samples >> 8 if depth == 16 else samples * (255 // (2**depth - 1))
    seen = np.where((samples == samples[0, 0]).all(-1, keepdims=True), 255, eight).astype(np.uint8)
    return encoded(Image.fromarray(seen if seen.shape[-1] == 3 else seen[..., 0]), "PNG")


def test_a_key_colour_is_white_at_every_depth() -> None:
    """Grey of 1 to 16 bits and colours of 8 and 16; other colours stay as they are."""
    failures = []
    for colour, depths in ((GREY, (1, 2, 4, 8, 16)), (RGB, (8, 16))):
        for depth in depths:
            samples = levels(depth, 1 if colour == GREY else 3)
            found = read(keyed(colour, depth, samples))
            if not np.array_equal(found.pixels, decode_image(shown(depth, samples))):
                failures.append(f"colour {colour}, {depth} bits: other pixels")
            if not found.traits & Trait.TRANSPARENT:
                failures.append(f"colour {colour}, {depth} bits: {found.traits!r}")
    assert failures == []


def test_a_near_level_of_16_bits_is_not_the_key() -> None:
    """All 16 bits must be equal."""
    samples = np.full((SIDE, SIDE, 1), 0x1234)
    samples[:, SIDE // 2 :] += 1
    pixels = read(keyed(GREY, 16, samples)).pixels
    assert (pixels[0, 0].tolist(), pixels[0, -1].tolist()) == ([255] * 3, [0x12] * 3)


def test_what_a_gifs_first_frame_does_not_cover_is_white() -> None:
    """Browsers ignore the background colour; an older checkpoint's reading is kept and flagged."""
    file = bytearray(encoded(picture().quantize(64), "GIF"))
    file[6:10] = struct.pack("<HH", 200, 100)  # the canvas; the frame has 97 x 61 pixels
    canvas = Image.new("RGB", (200, 100), "white")
    with Image.open(io.BytesIO(file)) as stored:
        canvas.paste(stored.convert("RGB").crop((0, 0, 97, 61)))
        plain = stored.convert("RGB")
    seen = read(bytes(file))
    assert np.array_equal(seen.pixels, decode_image(encoded(canvas, "PNG")))
    old = read_picture(bytes(file), ImageSpec(), ImageLimits())
    assert np.array_equal(old.pixels, decode_image(encoded(plain, "PNG")))
    assert (seen.traits, old.traits) == (Trait.TRANSPARENT, Trait.TRANSPARENT)
