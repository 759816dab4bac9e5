"""Decoded pixels against torchvision's own transforms, damaged and hostile files, and `data:` URLs."""

import base64
import contextlib
import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import model.torchvision_compat  # noqa: F401  must precede torchvision

from torchvision import transforms  # isort: skip

from model.config import IMAGENET_MEAN, IMAGENET_STD, VisionConfig
from model.network import VisionEncoder
from preprocessing.image import (
    AS_SEEN,
    NO_TRAITS,
    BadUrlError,
    Decoded,
    ImageError,
    ImageLimits,
    ImageSpec,
    ImageTooLargeError,
    Trait,
    decode_data_url,
    is_data_url,
)
from preprocessing.pixels import decode_image, read_picture
from tests.preprocessing.test_colours import swapped
from tests.support.pictures import encoded, picture, png, png_chunk

ENCODER = VisionEncoder(VisionConfig(block="basic", stages=(1, 1, 1, 1)))
TORCHVISION = transforms.Resize((224, 224))


def rotated() -> bytes:
    """A JPEG whose EXIF asks for a quarter turn."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(), "JPEG", exif=exif)


def lying_jpeg(width: int, height: int) -> bytes:
    """A JPEG whose header announces another size than its data holds."""
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
SIZES = [(1, 1), (2, 1), (1, 3000), (3000, 1), (224, 224), (223, 225), (1080, 1920), (120, 90), (1280, 720)]
SIZES += [(4000, 3000)]
SERVED = [(480, 360), (480, 270), (640, 480), (405, 720), (720, 1280), (640, 360)]


def off_torchvision(file: bytes) -> tuple[int, float]:
    """By how many of 255 steps a value is from torchvision's, and the share of the values that are."""
    pixels = decode_image(file)
    assert pixels.shape == (224, 224, 3)
    with Image.open(io.BytesIO(file)) as image:
        theirs = np.asarray(TORCHVISION(image.convert("RGB")), dtype=np.int16)
    steps = np.abs(theirs - pixels)
    return int(steps.max()), float((steps > 0).mean())


def test_every_kind_and_size_is_near_torchvision() -> None:
    """From one pixel to a camera's sensor, wide or tall: one value in 50 is one step off at most.

    Of the sizes that YouTube and TikTok serve, it is one in 200.
    """
    files = {kind: make() for kind, make in FILES.items()}
    files |= {f"JPEG {size}": encoded(picture("RGB", size), "JPEG") for size in SIZES}
    for kind in ("PNG", "WEBP", "GIF"):
        files |= {f"{kind} {size}": encoded(picture("RGB", size), kind) for size in SIZES[:6]}
    served = {f"{size}": encoded(picture("RGB", size), "JPEG") for size in SERVED}
    failures = []
    for name, file in (files | served).items():
        steps, share = off_torchvision(file)
        if steps > 1 or share > (0.005 if name in served else 0.02):
            failures.append(f"{name}: {steps} steps, {share:.4f} of the values")
    assert failures == []


def test_normalising_equals_torchvision() -> None:
    """The network's first step is ToTensor and Normalize, bit for bit."""
    pixels = decode_image(encoded(picture(), "PNG"))
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    assert torch.equal(ENCODER.normalise(torch.tensor(pixels)[None])[0], theirs(Image.fromarray(pixels)))


def test_interlacing_changes_no_pixel() -> None:
    """The interlaced file is the same picture as the plain one."""
    assert np.array_equal(decode_image(interlaced()), decode_image(encoded(picture(), "PNG")))


def test_exif_rotation_is_left_alone() -> None:
    """A photo that asks to be turned is read as it lies, because training read it so."""
    assert np.array_equal(decode_image(rotated()), decode_image(encoded(picture(), "JPEG")))


def test_the_first_frame_of_an_animation_counts() -> None:
    """Later frames are not read."""
    for kind in ("webp animated", "apng"):
        assert np.array_equal(decode_image(FILES[kind]()), decode_image(encoded(picture(), "PNG")))


def seen(file: bytes) -> Decoded:
    """A file as a new checkpoint reads it."""
    return read_picture(file, ImageSpec(reading=AS_SEEN), ImageLimits())


def test_pictures_are_read_as_a_viewer_shows_them() -> None:
    """Upright, over white, with all of 16 bits; most files are read alike either way."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(rotated())))
    assert np.array_equal(seen(rotated()).pixels, decode_image(encoded(upright, "PNG")))
    cutout = picture("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", cutout.size, "white"), cutout).convert("RGB")
    assert np.array_equal(seen(encoded(cutout, "PNG")).pixels, decode_image(encoded(white, "PNG")))
    deep = picture("I;16")
    high = Image.frombytes("L", deep.size, deep.tobytes()[1::2])
    assert np.array_equal(seen(encoded(deep, "PNG")).pixels, decode_image(encoded(high, "PNG")))
    limits = ImageLimits()
    stored = {name: read_picture(make(), ImageSpec(), limits).rgb for name, make in FILES.items()}
    changed = {name for name, make in FILES.items() if seen(make()).rgb != stored[name]}
    assert changed == {
        "jpeg rotated by exif", "png with a profile", "png la",
        "png p", "png p, one index transparent", "png p, alpha per index",
        "png pa",
        "png 16 bit", "png rgba", "webp alpha", "webp alpha lossless", "gif transparent",
    }  # fmt: skip


def barred(box: tuple[int, int, int, int], size: tuple[int, int], kind: str = "JPEG") -> bytes:
    """A picture within black."""
    canvas = Image.new("RGB", size)
    canvas.paste(picture("RGB", (box[2] - box[0], box[3] - box[1])), box)
    return encoded(canvas, kind)


def test_black_bars_are_cut() -> None:
    """Those that hqdefault adds to 16:9, and those beside a Short; content that is dark is not a bar."""
    inner = decode_image(encoded(picture("RGB", (480, 270)), "PNG"))
    assert np.array_equal(seen(barred((0, 45, 480, 315), (480, 360), "PNG")).pixels, inner)
    lossy = barred((0, 45, 480, 315), (480, 360))
    between = Image.open(io.BytesIO(lossy)).crop((0, 45, 480, 315))
    assert np.array_equal(seen(lossy).pixels, decode_image(encoded(between, "PNG")))
    side = decode_image(encoded(picture("RGB", (405, 720)), "PNG"))
    assert np.array_equal(seen(barred((437, 0, 842, 720), (1280, 720), "PNG")).pixels, side)
    for box in ((0, 0, 480, 270), (0, 80, 480, 350), (0, 4, 480, 356), (230, 170, 250, 190)):
        assert Trait.BARRED not in seen(barred(box, (480, 360))).traits
    dark = picture("RGB", (480, 360)).point(lambda level: level // 12)
    assert Trait.BARRED not in seen(encoded(dark, "PNG")).traits


def test_a_picture_that_shows_nothing_is_told() -> None:
    """One colour, an icon, a grey placeholder of YouTube's smallest size, but not a real one of that size."""
    placeholder = Image.new("RGB", (120, 90), (230, 230, 230))
    placeholder.paste((190, 190, 190), (36, 26, 84, 62))
    assert seen(encoded(Image.new("RGB", (640, 360), "navy"), "JPEG")).traits == Trait.BLANK
    assert seen(encoded(picture("RGB", (16, 16)), "PNG")).traits == Trait.TINY
    assert seen(encoded(picture("RGB", (1280, 2)), "PNG")).traits == Trait.TINY
    assert seen(encoded(placeholder, "JPEG")).traits & Trait.TINY
    for size in ((320, 180), (480, 360), (1280, 720)):
        assert seen(encoded(placeholder.resize(size), "JPEG")).traits == Trait.BLANK
    assert seen(encoded(picture("RGB", (120, 90)), "JPEG")).traits == NO_TRAITS


def test_a_photo_of_many_pixels_is_read_at_a_fraction() -> None:
    """Up to four times the limit; beyond it, the error has both numbers."""
    file = encoded(picture("RGB", (2000, 1500)), "JPEG")
    found = read_picture(file, ImageSpec(), ImageLimits(max_pixels=1_000_000))
    assert (found.width, found.height, found.rgb != b"") == (2000, 1500, True)
    with pytest.raises(ImageTooLargeError, match="2000x1500 = 3000000 pixels, the limit of a JPEG is 28"):
        read_picture(file, ImageSpec(), ImageLimits(max_pixels=700_000))


def test_the_spec_sets_the_size() -> None:
    """A checkpoint with another input size gets that size, height first."""
    assert decode_image(FILES["jpeg"](), ImageSpec(height=32, width=48)).shape == (32, 48, 3)


def test_bytes_over_the_limit_are_refused() -> None:
    """The limit is the largest file that is read; one byte more is too large."""
    file = FILES["jpeg"]()
    decode_image(file, limits=ImageLimits(max_bytes=len(file)))
    with pytest.raises(ImageTooLargeError, match=f"{len(file)} bytes, the limit is {len(file) - 1}"):
        decode_image(file, limits=ImageLimits(max_bytes=len(file) - 1))


def test_pixels_over_the_limit_are_refused() -> None:
    """The limit is the largest picture that is decoded; one pixel more is too large."""
    file = encoded(picture("RGB", (10, 7)), "PNG")
    decode_image(file, limits=ImageLimits(max_pixels=70))
    with pytest.raises(ImageTooLargeError, match="10x7 = 70 pixels, the limit of a PNG is 69"):
        decode_image(file, limits=ImageLimits(max_pixels=69))


def test_a_webp_may_have_half_as_many_pixels() -> None:
    """Its decoder needs twice the memory for each, so the memory of the largest picture is the same."""
    file = encoded(picture("RGB", (10, 7)), "WEBP")
    decode_image(file, limits=ImageLimits(max_pixels=140))
    with pytest.raises(ImageTooLargeError, match="10x7 = 70 pixels, the limit of a WEBP is 69"):
        decode_image(file, limits=ImageLimits(max_pixels=139))


def one_bit_png(side: int) -> bytes:
    """A white square of one bit a pixel: kilobytes that unfold to gigabytes."""
    return png(side, side, (b"\0" + b"\xff" * ((side + 7) // 8)) * side, depth=1, colour=0)


def webp_canvas(width: int, height: int) -> bytes:
    """An animated WebP that announces a canvas and paints one corner of it."""
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


def outcome(file: bytes) -> str:
    """`pixels`, or the error's reason."""
    try:
        return "pixels" if decode_image(file).shape == (224, 224, 3) else "another shape"
    except ImageError as exc:
        return exc.reason


def test_bombs_are_too_large() -> None:
    """A small file that announces a huge picture is refused before its pixels are decoded."""
    assert {name for name, make in BOMBS.items() if outcome(make()) != "too_many_pixels"} == set()


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


def test_other_files_are_not_images() -> None:
    """The bytes decide, not the name, and the error names what they are."""
    outcomes = {name: outcome(make()) for name, make in NOT_IMAGES.items()}
    cut_off = dict.fromkeys(("jpeg, start alone", "gif, header alone", "webp, header alone"), "truncated")
    broken = ("nothing", "one byte", "png, zero wide", "png, header broken", "png, bomb of text", "ppm")
    expected = dict.fromkeys(outcomes, "unsupported_format") | dict.fromkeys(broken, "not_an_image")
    assert outcomes == expected | cut_off


def test_a_truncated_file_is_not_an_image() -> None:
    """A download that ended early is refused, never scored with half a picture."""
    kinds = ("jpeg", "jpeg progressive", "png rgb", "webp lossy", "webp lossless", "gif")
    files = {(kind, share): cut(FILES[kind](), share) for kind in kinds for share in (0.1, 0.5, 0.9)}
    assert {name for name, file in files.items() if outcome(file) != "truncated"} == set()


def test_a_jpeg_without_its_end_is_read_if_its_rows_are_there() -> None:
    """Baseline and progressive; the last bytes of the last row are not replaced."""
    for kind in ("jpeg", "jpeg progressive"):
        whole, without = FILES[kind](), FILES[kind]()[:-2]
        assert np.array_equal(decode_image(without), decode_image(whole))
        assert read_picture(without, ImageSpec(), ImageLimits()).traits == Trait.CUT_OFF
        assert outcome(whole[:-20]) == "truncated"


def cut(file: bytes, share: float) -> bytes:
    """The first part of a file."""
    return file[: int(len(file) * share)]


SMALL_FILES = [
    encoded(picture(mode, (24, 16)), kind)
    for mode, kind in (("RGB", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("RGBA", "WEBP"), ("P", "GIF"))
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SMALL_FILES), st.data())
def test_damage_is_an_image_or_an_image_error(file: bytes, data: st.DataObject) -> None:
    """Whatever bytes are flipped, the outcome is a picture or one of our errors, never another exception."""
    damaged = bytearray(file)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(damaged)).shape == (224, 224, 3)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP"]), st.binary()
)
def test_noise_is_not_an_image(start: bytes, noise: bytes) -> None:
    """Noise behind a promising start is one of our errors."""
    with pytest.raises(ImageError):
        decode_image(start + noise)


BAD_DATA = [
    "data:", "data:,", "data:,hello", "data:text/html;base64,aGk=", "data:image/png,hello",
    "data:image/png;base64",
    "data:image/png;base64,", "data:image/png;base64,====",
    "data:image/png;base64,a",

    "data:image/png;base64,aGk=aGk=", "data:image/png;base64,_-_-",
    "data:image/png;base64,日本語字", "data:image/png;base64,\ud800aaa", "data:image/;base64,aGk=",
     "data:image/svg+xml;utf8,<svg/>", "data:;base64,aGk=",
    "data://image/png;base64,aGk=", "data:image/png;base64;base64,aGk=", "DATA:text/plain,hello",
    "data:\u0131mage/png;base64,aGk=",
]  # fmt: skip


def test_data_urls_are_decoded() -> None:
    """The base64 payload, whichever kind of image the URL names."""
    for kind in ("data:image/png", "DATA:IMAGE/JPEG", "data:image/svg+xml", "data:image/a0.b-c+5"):
        assert decode_data_url(f"{kind};base64,aGk=", 100) == b"hi"
    for rest in (
        ";base64,aGk",
        ";base64,aGk=\n",
        ";base64, aG\r\nk=",
        ";base64,aGk%3D",
        ";charset=x;base64,aGk=",
        "; charset=utf-8; base64, aGk=",
    ):
        assert decode_data_url(f"data:image/png{rest}", 100) == b"hi"
    assert decode_data_url("data:application/octet-stream;base64,aGk=", 100) == b"hi"


def test_long_payloads_are_decoded_in_parts() -> None:
    """Parts and escapes change nothing, and a payload with more escapes than base64 needs is refused."""
    payload = base64.b64encode(bytes(range(256)) * 8192)  # 2.8 MB
    escaped = payload.replace(b"+", b"%2B").replace(b"/", b"%2f").replace(b"=", b"%3D")
    lines = b"\r\n".join(payload[at : at + 76] for at in range(0, len(payload), 76))
    head = "data:image/png;base64,"
    decoded = [
        decode_data_url(head + text.decode(), 3_000_000)
        for text in (payload, escaped, lines, payload.rstrip(b"="))
    ]
    assert decoded == [bytes(range(256)) * 8192] * 4
    for bad in ("%" * 2_000, "%41" * 2_000, "aGk=" * 70_000, "%41" * 20_000 + payload.decode()):
        with pytest.raises(BadUrlError, match="not base64"):
            decode_data_url(head + bad, 3_000_000)


def test_bare_base64_is_a_picture() -> None:
    """As other image APIs take it, told by how a JPEG, PNG, GIF and WebP begin."""
    files = [FILES[kind]() for kind in ("jpeg", "png rgb", "gif", "webp lossy")]
    bare = [base64.b64encode(file).decode() for file in files]
    assert [decode_data_url(text, 100_000) for text in bare if is_data_url(text)] == files
    with pytest.raises(BadUrlError, match="not base64"):
        decode_data_url(bare[0][:50] + "...", 100_000)


def test_data_urls_are_told_from_others() -> None:
    """They begin with `data:`, in any case."""
    assert all(is_data_url(url) for url in ("data:", "DATA:,", "data:image/png;base64,aGk="))
    assert not any(is_data_url(url) for url in ("", "data", "http://data:80/", "dat:a", "xdata:", " data:"))


def test_other_data_urls_are_bad() -> None:
    """Anything but a base64 image after `data:`."""
    failures = []
    for url in BAD_DATA:
        with contextlib.suppress(BadUrlError):
            failures.append(f"{url!r}: {decode_data_url(url, 100)!r}")
    assert failures == []


def test_data_urls_are_taken_up_to_the_limit() -> None:
    """Whatever the padding; a payload that can only be too large is not decoded."""
    for size in range(1, 10):
        url = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()
        assert decode_data_url(url, size) == bytes(size)
        with pytest.raises(ImageTooLargeError):
            decode_data_url(url, size - 1)
    large, bad = ImageTooLargeError, BadUrlError
    for characters, limit, error in ((136, 99, large), (136, 100, bad), (139, 100, large), (140, 100, large)):
        with pytest.raises(error):
            decode_data_url("data:image/png;base64," + "!" * characters, limit)


@pytest.mark.parametrize("mode", ["default", "error"])
def test_no_warning_leaks(mode: str, tmp_path: Path) -> None:
    """Files that make Pillow warn are decoded or refused in silence, even where warnings are errors."""
    (tmp_path / "palette").write_bytes(FILES["png p, alpha per index"]())
    (tmp_path / "bomb").write_bytes(BOMBS["one bit, 10,000 square, where Pillow warns"]())
    script = (
        "import sys\nfrom pathlib import Path\nfrom preprocessing.pixels import *\n"
        "print(decode_image(Path(sys.argv[1], 'palette').read_bytes()).shape)\n"
        "try: decode_image(Path(sys.argv[1], 'bomb').read_bytes())\n"
        "except ImageTooLargeError: print('too large')"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", mode, "-c", script, str(tmp_path)]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert (run.stdout, run.stderr) == ("(224, 224, 3)\ntoo large\n", "")


def test_large_jpegs_are_decoded_at_half_scale_if_the_checkpoint_was_trained_so() -> None:
    """Where both sides stay as large as the input; on average they differ by less than a step."""
    half = ImageSpec(reading=replace(AS_SEEN, scale="half"))
    for size, is_changed in (
        ((1280, 720), True),
        ((448, 448), True),
        ((447, 900), False),
        ((480, 360), False),
    ):
        for kind in ("JPEG", "PNG"):
            file = encoded(smooth(size), kind)
            found, whole = read_picture(file, half, ImageLimits()), seen(file)
            steps = np.abs(found.pixels.astype(np.int16) - whole.pixels)
            assert (steps.any(), steps.mean() < 1) == (is_changed and kind == "JPEG", True)
            assert (found.width, found.height) == size


def smooth(size: tuple[int, int]) -> Image.Image:
    """A picture of soft shapes."""
    coarse = Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 16, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)
