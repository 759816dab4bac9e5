"""Picture files of kinds that have broken decoders, built from their formats' own structures.

`KNOWN` has the outcome of each: the pixels that Pillow's `convert("RGB")` gives, or a reason.
"""

import base64
import struct
import zlib
from collections.abc import Callable
from typing import Literal

from PIL import Image

from tests.support.pictures import (
    BOMBS,
    FILES,
    NOT_IMAGES,
    cut,
    encoded,
    interlaced,
    lying_jpeg,
    one_bit_png,
    picture,
    png,
    png_chunk,
    rotated,
    text_bomb,
    webp_canvas,
)

Outcome = Literal["pixels", "not_an_image", "too_large"]
Maker = Callable[[], bytes]

# `cjpeg -arithmetic -quality 30` of 24x16 pixels; Pillow reads such files but cannot write them.
ARITHMETIC_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6j"
    "q62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
    "pKSkpKSkpKT/yQARCAAQABgDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD9vcv9d0AzaxHtv5d6oOa/9VXU0cWy"
    "yI4dvm4gr6ofSYqTvPOPOZYXRsEqnYQGMsOfQ85MMZ/GmnjD/GD4Cm261pZUYEdIEDTHUXkYZuiNBkMImTZQViby2oTjKojszPtT"
    "bN9YOqsziGb44UaTwf/Z"
)
TIFF_HEAD = b"II*\0\x08\0\0\0"


def with_segment(marker: int, content: bytes, times: int = 1) -> bytes:
    """A JPEG with an extra segment after the first marker."""
    file = encoded(picture(), "JPEG")
    segment = bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content
    return file[:2] + segment * times + file[2:]


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with extra chunks after the header."""
    file = encoded(picture(), "PNG")
    return file[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + file[33:]


def exif(ifd: bytes) -> bytes:
    return with_segment(0xE1, b"Exif\0\0" + TIFF_HEAD + ifd)


def ifd(entries: int, following: int) -> bytes:
    """A TIFF directory of `entries` orientations, with the offset of the next directory."""
    entry = struct.pack("<HHII", 0x0112, 3, 1, 6)
    return struct.pack("<H", entries) + entry * entries + struct.pack("<I", following)


def thumbnails(count: int) -> bytes:
    """A chain of directories, as files with several thumbnails have."""
    one = len(ifd(1, 0))
    return exif(b"".join(ifd(1, 8 + one * (number + 1)) for number in range(count)))


def gif(frames: int) -> bytes:
    """An animation of `frames` frames: a picture, then frames of one colour."""
    first = encoded(picture(), "GIF")
    frame = encoded(Image.new("P", (1, 1)), "GIF")
    body = frame[frame.index(b",\0\0\0\0") : -1]
    return first[:-1] + body * (frames - 1) + b";"


def gif_of(lzw: bytes, size: tuple[int, int] = (97, 61), code_size: int = 8) -> bytes:
    """A GIF whose compressed codes are these bytes."""
    blocks = b"".join(
        bytes((len(lzw[at : at + 255]),)) + lzw[at : at + 255] for at in range(0, len(lzw), 255)
    )
    head = b"GIF89a" + struct.pack("<HH", *size) + b"\xf7\0\0" + bytes(768)
    return head + b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + bytes((code_size,)) + blocks + b"\0;"


def without_huffman_tables() -> bytes:
    file = bytearray(encoded(picture(), "JPEG"))
    at = file.index(b"\xff\xc4")
    while file[at : at + 2] == b"\xff\xc4":
        file[at + 5 : at + 21] = bytes(16)
        at += 2 + struct.unpack(">H", file[at + 2 : at + 4])[0]
    return bytes(file)


def twelve_bits() -> bytes:
    file = bytearray(encoded(picture(), "JPEG"))
    file[file.index(b"\xff\xc0") + 4] = 12
    return bytes(file)


def saved(mode: str, kind: str) -> Maker:
    return lambda: encoded(picture(mode), kind)


def square(mode: str, kind: str, side: int = 5000, **options: object) -> Maker:
    """The largest picture that is accepted, of one colour: kilobytes that decompress to 100 MB."""
    return lambda: encoded(Image.new(mode, (side, side)), kind, **options)


def still(kind: str, frames: int, side: int) -> Maker:
    """An animation of large frames that differ in colour."""

    def make() -> bytes:
        first, *others = (Image.new("RGB", (side, side), (number, 0, 0)) for number in range(frames))
        return encoded(first, kind, save_all=True, append_images=others)

    return make


# Section K of the hostile cases that the project was given, and their neighbours.
KNOWN: dict[str, tuple[Outcome, Maker]] = {
    "1 byte": ("not_an_image", lambda: b"\xff"),
    "only SOI": ("not_an_image", lambda: b"\xff\xd8"),
    **{
        f"{kind} cut at {share:.0%}": (
            "not_an_image",
            lambda kind=kind, share=share: cut(FILES[kind](), share),
        )
        for kind in ("jpeg", "jpeg progressive", "png rgb", "webp lossy", "webp lossless", "gif")
        for share in (0.1, 0.5, 0.9, 0.99)
    },
    "png, IHDR's checksum wrong": ("not_an_image", NOT_IMAGES["png, header broken"]),
    "png 0x0": ("not_an_image", lambda: png(0, 0, b"")),
    "png 2^31 - 1 square": ("too_large", BOMBS["PNG header, 2^31 - 1 square"]),
    "png of one bit, 9,400 square": ("too_large", lambda: one_bit_png(9400)),
    "png of 25 MP": ("pixels", square("1", "PNG")),
    "png of 25 MP and a row": ("too_large", lambda: png(5000, 5001, b"")),
    "png 1x100,000": ("pixels", lambda: encoded(Image.new("RGB", (1, 100_000), "red"), "PNG")),
    "png 100,000x1": ("pixels", lambda: encoded(Image.new("RGB", (100_000, 1), "red"), "PNG")),
    "png, zTXt of 50 MB": ("not_an_image", lambda: text_bomb(b"zTXt", b"k\0\0")),
    "png, iTXt of 50 MB": ("not_an_image", lambda: text_bomb(b"iTXt", b"k\0\1\0\0\0")),
    "png, iCCP of 50 MB": ("not_an_image", lambda: text_bomb(b"iCCP", b"k\0\0")),
    "png, 10,000 chunks": ("pixels", lambda: with_chunks(*[(b"tEXt", b"k\0v")] * 10_000)),
    "gif of 1 frame": ("pixels", lambda: encoded(picture(), "GIF")),
    "gif of 10,000 frames": ("pixels", lambda: gif(10_000)),
    "gif, zero wide": ("not_an_image", lambda: gif_of(b"\0", (0, 61))),
    "gif, codes that repeat": ("not_an_image", lambda: gif_of(bytes(4000))),
    "gif, codes of no entry": ("not_an_image", lambda: gif_of(b"\xff" * 4000)),
    "gif, codes of 12 bits from the first": ("not_an_image", lambda: gif_of(b"\xff" * 4000, code_size=12)),
    "webp, header alone": ("not_an_image", NOT_IMAGES["webp, header alone"]),
    "webp canvas 16,383 square": ("too_large", lambda: webp_canvas(16383, 16383)),
    "jpeg 2000": ("not_an_image", saved("RGB", "JPEG2000")),
    "tiff, directory that names itself": ("not_an_image", lambda: TIFF_HEAD + ifd(1, 8)),
    "tiff, directories nested": (
        "not_an_image",
        lambda: TIFF_HEAD + struct.pack("<HHHIII", 1, 330, 4, 1, 8, 8),
    ),
    "psd, bad tile": ("not_an_image", lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3)),
    "ico": ("not_an_image", NOT_IMAGES["ico"]),
    "ico bomb": ("not_an_image", lambda: b"\0\0\1\0" + struct.pack("<H", 65535) + bytes(16) * 65535),
    "fits, gzip bomb": (
        "not_an_image",
        lambda: b"SIMPLE  =                    T" + zlib.compress(bytes(10**7)),
    ),
    "dds": ("not_an_image", saved("RGB", "DDS")),
    "bmp": ("not_an_image", saved("RGB", "BMP")),
    "avif": ("pixels", saved("RGB", "AVIF")),
    "jpeg, arithmetic": ("pixels", lambda: ARITHMETIC_JPEG),
    "jpeg, 12 bit": ("not_an_image", twelve_bits),
    "jpeg, grey": ("pixels", saved("L", "JPEG")),
    "jpeg, no huffman code": ("not_an_image", without_huffman_tables),
    "jpeg, SOF smaller than its pixels": ("pixels", lambda: lying_jpeg(48, 30)),
    "jpeg, SOF larger than its pixels": ("pixels", lambda: lying_jpeg(970, 610)),
    **{f"png {mode}": ("pixels", saved(mode, "PNG")) for mode in ("L", "LA", "P", "1", "I;16", "RGBA")},
    **{f"webp {mode}": ("pixels", saved(mode, "WEBP")) for mode in ("L", "LA", "P", "1", "RGBA")},
    **{f"gif {mode}": ("pixels", saved(mode, "GIF")) for mode in ("L", "LA", "P", "1", "RGBA")},
    **{f"jpeg {mode}": ("pixels", saved(mode, "JPEG")) for mode in ("L", "1", "CMYK", "YCbCr")},
    "png PA": ("pixels", FILES["png pa"]),
    "png P, alpha per index": ("pixels", FILES["png p, alpha per index"]),
    **{
        f"tiff {mode}": ("not_an_image", saved(mode, "TIFF"))
        for mode in ("L", "LA", "P", "PA", "1", "I", "I;16", "F", "RGBA")
    },
    "png, interlaced": ("pixels", interlaced),
    "png, gAMA": ("pixels", lambda: with_chunks((b"gAMA", struct.pack(">I", 1)))),
    "png, cHRM": ("pixels", lambda: with_chunks((b"cHRM", struct.pack(">8I", *range(8))))),
    "png, sRGB": ("pixels", lambda: with_chunks((b"sRGB", b"\xff"))),
    "png, bad ICC": ("pixels", lambda: with_chunks((b"iCCP", b"k\0\0" + zlib.compress(b"no profile")))),
    "jpeg, exif of 64 kB of garbage": (
        "pixels",
        lambda: with_segment(0xE1, b"Exif\0\0" + bytes(range(256)) * 255),
    ),
    "jpeg, exif that names itself": ("pixels", lambda: exif(ifd(1, 8))),
    "jpeg, exif of 1,000 thumbnails": ("pixels", lambda: thumbnails(1000)),
    "jpeg, exif cut": ("pixels", lambda: exif(ifd(3, 0)[:20])),
    "jpeg, rotated": ("pixels", rotated),
    "mpo of two": ("pixels", FILES["mpo of two"]),
    "apng": ("pixels", FILES["apng"]),
    "8K photo": ("pixels", lambda: encoded(Image.new("RGB", (7680, 4320)), "JPEG")),
    **{
        f"jpeg {width}x{height}": (
            "pixels",
            lambda size=(width, height): encoded(picture("RGB", size), "JPEG"),
        )
        for width, height in ((1080, 1920), (120, 90), (1280, 720), (480, 360), (320, 180), (640, 480))
    },
    "script before a jpeg": ("not_an_image", NOT_IMAGES["script before a jpeg"]),
    "jpeg, then a zip": ("pixels", lambda: FILES["jpeg"]() + b"PK\3\4" + bytes(100)),
    "gif, then a script": ("pixels", lambda: FILES["gif"]() + b"<script>alert(1)</script>"),
    "svg": ("not_an_image", lambda: b'<svg><image href="http://169.254.169.254/"/></svg>'),
    "svg, entities": (
        "not_an_image",
        lambda: b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><svg>&d;</svg>',
    ),
    "html": ("not_an_image", NOT_IMAGES["html"]),
    "pdf": ("not_an_image", NOT_IMAGES["pdf"]),
    "eps": ("not_an_image", NOT_IMAGES["eps"]),
}

# Small files that need much memory or work: header bombs, and the largest accepted file of every kind.
HUNGRY: dict[str, Maker] = {
    **BOMBS,
    **{name: KNOWN[name][1] for name in KNOWN if "50 MB" in name or "10,000" in name or "1,000" in name},
    "png L, 25 MP": square("L", "PNG"),
    "png LA, 25 MP": square("LA", "PNG"),
    "png P, 25 MP": square("P", "PNG"),
    "png I;16, 25 MP": square("I;16", "PNG"),
    "png RGB, 25 MP": square("RGB", "PNG"),
    "png RGBA, 25 MP": square("RGBA", "PNG"),
    "png, 300 MB of pixels for 10x10": lambda: png(10, 10, bytes(300_000_000)),
    "jpeg, 25 MP": square("RGB", "JPEG"),
    "jpeg grey, 25 MP": square("L", "JPEG"),
    "jpeg CMYK, 25 MP": square("CMYK", "JPEG"),
    "jpeg progressive, 25 MP": square("RGB", "JPEG", progressive=True, subsampling=0),
    "jpeg progressive CMYK, 25 MP": square("CMYK", "JPEG", progressive=True, subsampling=0),
    "jpeg, 120 segments of 64 kB": lambda: with_segment(0xED, bytes(65_000), times=120),
    "gif, 25 MP": square("P", "GIF"),
    "gif of 30 frames, 9 MP": still("GIF", 30, 3000),
    "webp, 12.5 MP": square("RGB", "WEBP", side=3535),
    "webp lossless, 12.5 MP": square("RGBA", "WEBP", side=3535, lossless=True),
    "webp of 5 frames, 9 MP": still("WEBP", 5, 3000),
    "apng of 5 frames, 9 MP": still("PNG", 5, 3000),
}
