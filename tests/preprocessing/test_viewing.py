"""Colour profiles, gamma and orientation are applied as a viewer applies them."""

import io
import itertools
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageCms, ImageOps

from preprocessing.image import AS_SEEN, Decoded, ImageLimits, ImageSpec, Trait
from preprocessing.pixels import decode_image, read_picture
from tests.support.pictures import SRGB, encoded, picture, png, swapped

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def of_inks() -> bytes:
    corners = itertools.product((0, 1), repeat=4)  # the first ink changes slowest
    lab = [
        bytes((200 * (1 - k) * (2 - c) // 2 + 27 * (1 - k), 128 + 60 * m * (1 - k), 128 + 60 * y * (1 - k)))
        for c, m, y, k in corners
    ]
    one = 1 << 16
    table = struct.pack(">4s4x4B9i", b"mft1", 4, 3, 2, 0, one, 0, 0, 0, one, 0, 0, 0, one)
    table += bytes(range(256)) * 4 + b"".join(lab) + bytes(range(256)) * 3
    white = struct.pack(">3i", *(round(each * one) for each in (0.9642, 1.0, 0.8249)))
    kind = struct.pack(">4xI4s4s4s12x4s", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    head = struct.pack(">I", 144 + len(table)) + kind + bytes(28) + white + bytes(48)
    return head + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def with_gamma(gamma: float, mode: str = "RGB") -> bytes:
    file = encoded(picture(mode), "PNG")
    chunk = b"gAMA" + struct.pack(">I", round(gamma * 100_000))
    return file[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + file[33:]


def read(file: bytes) -> Decoded:
    """A file as a new checkpoint reads it."""
    return read_picture(file, ImageSpec(reading=AS_SEEN), ImageLimits())


PLAIN: dict[str, Callable[[], bytes]] = {
    "sRGB's own profile": lambda: encoded(picture(), "PNG", icc_profile=SRGB.tobytes()),
    "no profile at all": lambda: encoded(picture(), "PNG", icc_profile=b"x" * 300),
    "a damaged profile": lambda: encoded(picture(), "PNG", icc_profile=swapped()[:400]),
    "a profile of another kind": lambda: encoded(
        picture(), "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    ),
    "sRGB's gamma": lambda: with_gamma(0.45455),
    "gamma 0": lambda: with_gamma(0),
    "a gamma of no monitor": lambda: with_gamma(0.001),
    "an orientation in XMP, which no browser reads": lambda: encoded(picture(), "PNG", xmp=XMP),
}


def test_what_no_viewer_applies_changes_nothing() -> None:
    """sRGB itself, damaged profiles, impossible gammas, XMP."""
    plain = decode_image(encoded(picture(), "PNG"))
    found = {name: read(make()) for name, make in PLAIN.items()}
    assert [
        name for name, each in found.items() if each.traits or not np.array_equal(each.pixels, plain)
    ] == []


def shown(file: bytes) -> Image.Image:
    """What a viewer shows on a white page."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")


def deep(colour: int, *channels: int) -> bytes:
    """A PNG of 16 bits per channel, with this colour type; each row goes through all levels."""
    levels = np.linspace(0, 65535, 96).astype(">u2")
    rows = np.stack([np.roll(levels, shift) for shift in channels], axis=-1).tobytes()
    return png(96, 40, (b"\0" + rows) * 40, depth=16, colour=colour)


def turned(number: int, kind: str, **options: object) -> bytes:
    """A picture with this orientation in its EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = number
    return encoded(picture(), kind, exif=exif, **options)


def filled(jpeg: bytes) -> bytes:
    """The same JPEG with bytes that decoders skip."""
    return jpeg[:2] + b"\xff" * 20 + jpeg[2:]


VIEWED: dict[str, Callable[[], bytes]] = {
    **{f"JPEG, orientation {n}": partial(turned, n, "JPEG") for n in range(10)},
    **{f"PNG, orientation {n}": partial(turned, n, "PNG") for n in (3, 6)},
    **{f"WebP, orientation {n}": partial(turned, n, "WEBP", lossless=True) for n in (2, 8)},
    "palette, one colour transparent": lambda: encoded(picture().quantize(16), "PNG", transparency=3),
    "palette, alpha per colour": lambda: encoded(
        picture().quantize(16), "PNG", transparency=bytes(range(0, 256, 16))
    ),
    "RGB, one colour transparent": lambda: encoded(
        picture("P").convert("RGB"), "PNG", transparency=(0, 0, 51)
    ),
    "grey, one level transparent": lambda: encoded(picture("L"), "PNG", transparency=90),
    "one bit, black transparent": lambda: encoded(picture("1"), "PNG", transparency=0),
    "GIF, one colour transparent": lambda: encoded(picture().quantize(16), "GIF", transparency=3),
    "WebP with alpha": lambda: encoded(picture("RGBA"), "WEBP", lossless=True, exact=True),
    "AVIF with alpha": lambda: encoded(picture("RGBA"), "AVIF"),
    "AVIF, turned": lambda: turned(6, "AVIF"),
    "RGB of 16 bits": lambda: deep(2, 0, 30, 60),
    "RGBA of 16 bits": lambda: deep(6, 0, 30, 60, 10),
    "grey and alpha of 16 bits": lambda: deep(4, 0, 40),
    "JPEG with filling before its markers": lambda: filled(encoded(picture(), "JPEG")),
    "JPEG with restart markers": lambda: encoded(picture(), "JPEG", restart_marker_rows=1),
    "JPEG, grey and progressive": lambda: encoded(picture("L"), "JPEG", progressive=True),
    "JPEG before another": lambda: encoded(picture(), "JPEG") + encoded(picture("RGB", (9, 9)), "JPEG"),
    "palette of 2 bits": lambda: encoded(picture().quantize(4), "PNG", bits=2),
    "GIF87a": lambda: b"GIF87a" + encoded(picture(), "GIF")[6:],
    "AVIF, grey": lambda: encoded(picture(), "AVIF", subsampling="4:0:0"),
    "CMYK": lambda: encoded(picture("CMYK"), "JPEG"),
    "APNG": lambda: encoded(picture(), "PNG", save_all=True, append_images=[Image.new("RGB", (97, 61))]),
}


def test_each_kind_of_file_is_read_as_it_is_shown() -> None:
    """Within one step of the resizer."""
    failures = []
    for name, make in VIEWED.items():
        wanted = decode_image(encoded(shown(make()), "PNG")).astype(int)
        furthest = np.abs(read(make()).pixels - wanted).max()
        if furthest > 1:
            failures.append(f"{name}: {furthest} levels off")
    assert failures == []


def test_a_profile_is_applied_or_flagged() -> None:
    """A new checkpoint sees the colours that a viewer shows; for an older one a warning names the trait."""
    resized = Image.fromarray(decode_image(encoded(picture(), "PNG")))
    source = ImageCms.ImageCmsProfile(io.BytesIO(swapped()))
    converted = ImageCms.profileToProfile(resized, source, SRGB)
    assert converted is not None
    failures = []
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        file = encoded(picture(), kind, icc_profile=swapped(), **options)
        stored = read_picture(file, ImageSpec(), ImageLimits())
        seen = read(file)
        if (seen.traits, stored.traits) != (Trait.PROFILED, Trait.PROFILED):
            failures.append(f"{kind}: traits {seen.traits} and {stored.traits}")
        if not np.array_equal(seen.pixels, np.asarray(converted)):
            failures.append(f"{kind}: not the viewer's colours")
        if not np.array_equal(stored.pixels, np.asarray(resized)):
            failures.append(f"{kind}: not the stored numbers")
    assert failures == []


def test_inks_are_seen_as_their_profile_says() -> None:
    """A CMYK JPEG is read as browsers show it, Adobe's inverted values too; older checkpoints only warn."""
    file = encoded(picture("CMYK"), "JPEG", icc_profile=of_inks(), quality=95)
    with Image.open(io.BytesIO(file)) as inks:
        printed = ImageCms.profileToProfile(inks, io.BytesIO(of_inks()), SRGB, outputMode="RGB")
        plain = inks.convert("RGB")
    assert printed is not None
    assert np.array_equal(read(file).pixels, decode_image(encoded(printed, "PNG")))
    stored = read_picture(file, ImageSpec(), ImageLimits())
    assert (read(file).traits, stored.traits) == (Trait.PROFILED, Trait.PROFILED)
    assert np.array_equal(stored.pixels, decode_image(encoded(plain, "PNG")))
    other = encoded(picture("CMYK"), "JPEG", icc_profile=swapped(), quality=95)
    assert np.array_equal(read(other).pixels, stored.pixels)


def test_the_gamma_of_a_png_is_applied() -> None:
    """Linear light is lightened; in grey and colour."""
    failures = []
    for mode in ("RGB", "L"):
        seen = read(with_gamma(1.0, mode))
        plain = decode_image(encoded(picture(mode), "PNG"))
        wanted = np.round(255 * (plain / 255.0) ** (1 / 2.2))
        if seen.traits != Trait.PROFILED or np.abs(seen.pixels - wanted).max() > 1:
            failures.append(f"{mode}: {seen.traits}, {np.abs(seen.pixels - wanted).max()}")
    assert failures == []
