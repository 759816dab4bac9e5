"""What the error says about a file that is not a picture."""

import gzip
from collections.abc import Callable

from preprocessing.image import ImageError
from preprocessing.pixels import decode_image
from tests.support.pictures import encoded, picture, png_chunk


def jpeg_frame(kind: int, bits: int) -> bytes:
    """A JPEG with this type of frame, after data that looks like another frame."""
    frame = b"\xff%c\0\x0b%c\0\x10\0\x10\1\1\x11\0" % (kind, bits)
    return b"\xff\xd8\xff\xe0\0\x07\xff\xc0\0\0\x08" + frame + b"\xff\xd9"


MARK = b"\xef\xbb\xbf"
NAMED: dict[str, tuple[bytes, str]] = {
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG image"),
    "svg behind a declaration, a comment and a type": (
        MARK + b'<?xml version="1.0"?>\n<!-- a > b -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN">',
        "an SVG image",
    ),
    "svg behind comments": (b"<!-- a --><!-- b -->\n<svg/>", "an SVG image"),
    "html with a mark": (MARK + b"\r\n<!DOCTYPE html><html>", "an HTML page"),
    "html, head first": (b"<head><title>Log in</title>", "an HTML page"),
    "html that leads on": (b'<meta http-equiv="refresh" content="0">', "an HTML page"),
    "html, a part": (b'<div class="error">Please log in</div>', "an HTML page"),
    "html behind a comment": (b"<!-- nginx --><html>", "an HTML page"),
    "html, a warning before a picture": (b"<br />\n<b>Notice</b>: x.php<br />\xff\xd8\xff", "an HTML page"),
    "html, a heading": (b"<H1>Access Denied</H1>", "an HTML page"),
    "xml": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "an XML document"),
    "json": (b'{"error": "log in"}', "JSON"),
    "json list": (MARK + b"[]", "JSON"),
    "text": (b"Not found", "a text file"),
    "text outside ASCII, cut in a character": ("nicht verfügbar ü".encode()[:-1], "a text file"),
    "playlist": (b"#EXTM3U\n#EXT-X-VERSION:3\n", "a text file"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "a text file"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
    "mp4": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
    "webm": (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81", "a video"),
    "flv": (b"FLV\x01\x05", "a video"),
    "avi": (b"RIFF\x24\0\0\0AVI LIST", "a video"),
    "wave": (b"RIFF\x24\0\0\0WAVEfmt ", "a sound file"),
    "mp3": (b"ID3\x03\0", "a sound file"),
    "bmp": (encoded(picture(), "BMP"), "a BMP image"),
    "tiff": (encoded(picture(), "TIFF"), "a TIFF image"),
    "jpeg xl": (b"\xff\x0a" + bytes(9), "a JPEG XL image"),
    "jpeg 2000": (encoded(picture(), "JPEG2000"), "a JPEG 2000 image"),
    "icon": (encoded(picture(), "ICO"), "an icon"),
    "pdf": (b"%PDF-1.7\n", "a PDF document"),
    "psd": (b"8BPS\0\1", "a Photoshop document"),
    "gzip": (gzip.compress(b"picture"), "a gzip file without Content-Encoding: gzip"),
    "zip": (b"PK\3\4\0", "a ZIP archive"),
    "xhtml": (b'<?xml version="1.0"?><!DOCTYPE html><html/>', "an HTML page"),
    "xml behind a comment": (b'<?xml version="1.0"?><!-- <svg/> --><rss/>', "an XML document"),
    "png of an app": (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"CgBI", bytes(4)) + png_chunk(b"IHDR", bytes(13)),
        "a PNG in the form of iOS apps (CgBI)",
    ),
    "jpeg of 12 bits": (jpeg_frame(0xC1, 12), "a JPEG of an unusual kind (12 bits, frame type C1)"),
    "jpeg in layers": (jpeg_frame(0xC5, 8), "a JPEG of an unusual kind (8 bits, frame type C5)"),
    "jpeg-ls": (jpeg_frame(0xF7, 8), "a JPEG of an unusual kind (8 bits, frame type F7)"),
}
# Each comment may end at its own end or at a later one.
MANY_COMMENTS = b"<!---->" * 280 + b"<rss/>"
BEFORE = (b"\n", b"\r\n\xef\xbb\xbf", b"--frame\r\nContent-Type: image/jpeg\r\n\r\n")
UNKNOWN = {"zeros": bytes(500), "noise": bytes(range(128, 256)), "nothing": b"", "three letters": b"abc"}
TRUNCATED: dict[str, Callable[[], bytes]] = {
    "avif, half": lambda: encoded(picture(), "AVIF")[: len(encoded(picture(), "AVIF")) // 2],
    "avif, ten bytes short": lambda: encoded(picture(), "AVIF")[:-10],
    "avif, in a box's head": lambda: encoded(picture(), "AVIF")[:30],
    "png, half": lambda: encoded(picture(), "PNG")[:900],
    "webp, ten bytes short": lambda: encoded(picture(), "WEBP")[:-10],
}


def error(file: bytes) -> tuple[str, str]:
    """The reason and the text of the error for a file."""
    try:
        decode_image(file)
    except ImageError as exc:
        return exc.reason, str(exc)
    return "read", ""


def test_a_file_of_another_kind_is_named() -> None:
    """By its first bytes; its content, which may be private, is not repeated."""
    expected = "expected JPEG, PNG, WebP, GIF or AVIF"
    failures = []
    for name, (file, kind) in NAMED.items():
        if (found := error(file)) != ("unsupported_format", f"{kind}, {expected}"):
            failures.append(f"{name}: {found}")
    assert failures == []


def test_many_comments_are_read_in_linear_time() -> None:
    """A regular expression would try every way to divide them."""
    assert error(MANY_COMMENTS)[1].startswith("a text file")


def test_bytes_before_a_picture_are_counted() -> None:
    found = {start: error(start + encoded(picture(), "JPEG")) for start in BEFORE}
    wanted = "{} bytes come before the picture, so no viewer shows it"
    assert found == {start: ("not_an_image", wanted.format(len(start))) for start in BEFORE}


def test_a_file_of_an_unknown_kind_is_called_that() -> None:
    """Its size is all that is known."""
    wanted = {name: f"{len(file)} bytes of an unknown kind" for name, file in UNKNOWN.items()}
    assert {name: error(file)[1].partition(",")[0] for name, file in UNKNOWN.items()} == wanted


def test_a_cut_off_file_is_called_that() -> None:
    """If its format states its length."""
    assert {name: error(make())[0] for name, make in TRUNCATED.items()} == dict.fromkeys(
        TRUNCATED, "truncated"
    )
