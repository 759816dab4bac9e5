"""Pictures for tests: any mode, any size, any kind of file."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def picture(mode: str = "RGB", size: tuple[int, int] = (97, 61)) -> Image.Image:
    """Noise over a gradient in any mode: every pixel differs from its neighbours."""
    noise = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    noise[..., 0] = np.linspace(0, 255, size[0], dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(noise[..., 0].astype(np.uint16) * 257 + noise[..., 1])
    return Image.fromarray(noise, "RGBA").convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 2, interlaced: int = 0
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def swapped() -> bytes:
    """A profile that swaps red and green."""
    profile = bytearray(SRGB.tobytes())
    red, green = profile.find(b"rXYZ", 128), profile.find(b"gXYZ", 128)
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def rotated() -> bytes:
    """A JPEG whose EXIF asks for a quarter turn."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(), "JPEG", exif=exif)


def lying_jpeg(width: int, height: int) -> bytes:
    """A JPEG whose header declares another size than its data has."""
    file = bytearray(encoded(picture(), "JPEG"))
    start = file.index(b"\xff\xc0") + 5
    file[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(file)


def interlaced() -> bytes:
    """An Adam7 PNG: seven passes, each a coarser or finer grid of the same picture."""
    pixels = np.asarray(picture())
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    rows = [row for x, y, dx, dy in passes for row in pixels[y::dy, x::dx]]
    return png(97, 61, b"".join(b"\0" + row.tobytes() for row in rows), interlaced=1)


def animated(kind: str, **options: object) -> bytes:
    """Three frames, the first unlike the others."""
    others = [Image.new("RGB", (97, 61), colour) for colour in ("red", "blue")]
    return encoded(picture(), kind, save_all=True, append_images=others, duration=50, **options)


FILES: dict[str, Callable[[], bytes]] = {
    "png with a profile": lambda: encoded(picture(), "PNG", icc_profile=swapped()),
    "jpeg": lambda: encoded(picture(), "JPEG"),
    "jpeg 4:4:4": lambda: encoded(picture(), "JPEG", subsampling=0, quality=95),
    "jpeg grey": lambda: encoded(picture("L"), "JPEG"),
    "jpeg cmyk": lambda: encoded(picture("CMYK"), "JPEG"),
    "jpeg progressive": lambda: encoded(picture(), "JPEG", progressive=True),
    "jpeg rotated by exif": rotated,
    "jpeg, taller than its data": lambda: lying_jpeg(97, 610),
    "jpeg, shorter than its data": lambda: lying_jpeg(97, 30),
    "mpo of two": lambda: encoded(picture(), "MPO", save_all=True, append_images=[picture("RGB", (9, 9))]),
    "png 1": lambda: encoded(picture("1"), "PNG"),
    "png l": lambda: encoded(picture("L"), "PNG"),
    "png la": lambda: encoded(picture("LA"), "PNG"),
    "png p": lambda: encoded(picture("P"), "PNG"),
    "png p, one index transparent": lambda: encoded(picture("P"), "PNG", transparency=3),
    "png p, alpha per index": lambda: encoded(picture("P"), "PNG", transparency=bytes(range(0, 256, 2))),
    "png p, 16 colours": lambda: encoded(picture().quantize(16), "PNG", bits=4),
    "png pa": lambda: encoded(picture("RGBA").quantize(64), "PNG"),
    "png 16 bit": lambda: encoded(picture("I;16"), "PNG"),
    "png rgb": lambda: encoded(picture(), "PNG"),
    "png rgb, one colour transparent": lambda: encoded(picture(), "PNG", transparency=(0, 0, 0)),
    "png rgba": lambda: encoded(picture("RGBA"), "PNG"),
    "png interlaced": interlaced,
    "apng": lambda: animated("PNG"),
    "webp lossy": lambda: encoded(picture(), "WEBP", quality=60),
    "webp lossless": lambda: encoded(picture(), "WEBP", lossless=True),
    "webp alpha": lambda: encoded(picture("RGBA"), "WEBP", quality=80),
    "webp alpha lossless": lambda: encoded(picture("RGBA"), "WEBP", lossless=True, exact=True),
    "webp animated": lambda: animated("WEBP", lossless=True),
    "gif": lambda: encoded(picture(), "GIF"),
    "gif grey": lambda: encoded(picture("L"), "GIF"),
    "gif transparent": lambda: encoded(picture("P"), "GIF", transparency=5),
    "gif animated": lambda: animated("GIF"),
}


def cut(file: bytes, share: float) -> bytes:
    return file[: int(len(file) * share)]


def one_bit_png(side: int) -> bytes:
    """A white square of one bit per pixel: kilobytes that expand to gigabytes."""
    return png(side, side, (b"\0" + b"\xff" * ((side + 7) // 8)) * side, depth=1, colour=0)


def webp_canvas(width: int, height: int) -> bytes:
    """An animated WebP that declares a canvas and paints one corner of it."""
    frame = encoded(picture("RGB", (16, 16)), "WEBP")[12:]
    corner = bytes(6) + (15).to_bytes(3, "little") * 2 + b"\x64\0\0\0" + frame
    extended = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = ((b"VP8X", extended), (b"ANIM", bytes(6)), (b"ANMF", corner))
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(part)) + part for kind, part in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


BOMBS: dict[str, Callable[[], bytes]] = {
    "8K photo": lambda: png(7680, 4320, b""),
    "25 MP and a row": lambda: png(5000, 5001, b""),
    "one bit, 9,400 square": lambda: one_bit_png(9400),
    "one bit, 10,000 square, where Pillow warns": lambda: one_bit_png(10_000),
    "PNG header, 2^31 - 1 square": lambda: png(2**31 - 1, 2**31 - 1, b""),
    "GIF screen, 65,535 square": lambda: b"GIF89a\xff\xff\xff\xff" + encoded(picture(), "GIF")[10:],
    "WebP canvas of 5,001 x 5,000": lambda: webp_canvas(5001, 5000),
    "WebP canvas of 16,383 square": lambda: webp_canvas(16383, 16383),
    "JPEG header of 65,500 square": lambda: lying_jpeg(65500, 65500),
}


def text_bomb(kind: bytes, keyword: bytes) -> bytes:
    """A PNG with 50 MB of zeros in a compressed chunk of text."""
    file = encoded(picture(), "PNG")
    return file[:33] + png_chunk(kind, keyword + zlib.compress(bytes(50_000_000))) + file[33:]


NOT_IMAGES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "one byte": lambda: b"\xff",
    "html": lambda: b"<!doctype html><title>404</title>",
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "pdf": lambda: b"%PDF-1.7\n",
    "script before a jpeg": lambda: b"<script>/*" + FILES["jpeg"](),
    "jpeg, start alone": lambda: b"\xff\xd8",
    "png, zero wide": lambda: png(0, 10, b""),
    "png, header broken": lambda: FILES["png rgb"]()[:29] + b"\0\0\0\0" + FILES["png rgb"]()[33:],
    "png, bomb of text": lambda: text_bomb(b"zTXt", b"k\0\0"),
    "gif, header alone": lambda: FILES["gif"]()[:13],
    "webp, header alone": lambda: FILES["webp lossy"]()[:30],
    "bmp": lambda: encoded(picture(), "BMP"),
    "tiff": lambda: encoded(picture(), "TIFF"),
    "ico": lambda: encoded(picture(), "ICO"),
    "jpeg 2000": lambda: encoded(picture(), "JPEG2000"),
    "ppm": lambda: encoded(picture(), "PPM"),
    "eps": lambda: encoded(picture(), "EPS"),
    "heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "json": lambda: b'{"error": "log in"}',
}
