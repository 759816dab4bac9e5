"""What kind of file an unreadable picture is, by its first bytes and its end; and PNG chunks to skip.

Imports the standard library only: every import adds to the cost of each decoding process.
"""

import re
import zlib
from collections.abc import Callable, Mapping

from preprocessing.image import NotAnImageError

# How other files begin.
SIGNATURES = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), kind)
    for pattern, kind in (
        (rb"<(!doctype svg|svg)\b", "an SVG image"),
        (rb"<(!doctype html|html|head|body|script|meta|title|div|p|br|b|h[1-6])\b", "an HTML page"),
        (rb"[{\[]", "JSON"),
        (rb".{4}ftyp(hei|hev|mif1|msf1)", "a HEIC image"),
        (rb".{4}ftyp(?!avi)|\x1a\x45\xdf\xa3|flv\x01|riff.{4}avi ", "a video"),
        (rb"riff.{4}wave|id3|oggs|flac", "a sound file"),
        (rb"bm.{4}\0\0\0\0", "a BMP image"),
        (rb"ii\*\0|mm\0\*", "a TIFF image"),
        (rb"\xff\x0a|\0\0\0\x0cjxl ", "a JPEG XL image"),
        (rb"\0\0\0\x0cjp {2}", "a JPEG 2000 image"),
        (rb"\0\0[\x01\x02]\0", "an icon"),
        (rb"%pdf", "a PDF document"),
        (rb"8bps", "a Photoshop document"),
        (rb"\x1f\x8b", "a gzip file without Content-Encoding: gzip"),
        (rb"pk\x03\x04", "a ZIP archive"),
    )
)
# What browsers skip at the start of a page or a drawing, and where each ends.
SKIPPED = {b"<?": b"?>", b"<!--": b"-->"}
PNG_START = b"\x89PNG\r\n\x1a\n"
PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF.{4}WEBP", re.DOTALL)
# How a JPEG is coded. Baseline, extended and progressive ones are read, in Huffman or arithmetic coding.
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
MAX_SEGMENTS = 1000  # before the frame
READ_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
MIN_TEXT = 4  # bytes; fewer may be anything
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _has_all_boxes(file: bytes) -> bool:
    """Whether the boxes of an ISO media file end within it."""
    place = 0
    while place + 8 <= len(file):
        size = int.from_bytes(file[place : place + 4], "big")
        if size < 8:  # to the end of the file, or a 64-bit size, which no small picture has
            return True
        place += size
    return place == len(file)


# How the files that are read begin, and whether one is complete.
ENDS: Mapping[bytes, Callable[[bytes], bool]] = {
    rb"\xff\xd8": lambda file: file.rstrip(b"\0").endswith(b"\xff\xd9"),
    rb"\x89PNG": lambda file: b"IEND" in file[-32:],
    rb"GIF8": lambda file: file.endswith(b";"),
    rb"RIFF.{4}WEBP": lambda file: int.from_bytes(file[4:8], "little") + 8 <= len(file),
    rb".{4}ftypavi": _has_all_boxes,
}


def without_damaged_extras(encoded: bytes) -> bytes:
    """A PNG without the ancillary chunks whose checksum is wrong, which libpng, and so browsers, skip."""
    start = encoded[:8]
    if start != PNG_START:
        return encoded
    kept, place = [start], len(start)
    while place < len(encoded):
        end = place + 12 + int.from_bytes(encoded[place : place + 4], "big")
        chunk, checksum = encoded[place + 4 : end - 4], encoded[end - 4 : end]
        is_extra = chunk[:1].islower()  # PNG, 5.4
        if not is_extra or zlib.crc32(chunk).to_bytes(4, "big") == checksum:
            kept.append(encoded[place:end])
        place = end
    return b"".join(kept)


def refusal_of(encoded: bytes, exc: Exception) -> NotAnImageError:
    """Why Pillow cannot read a file, as far as can be determined."""
    expected = "expected JPEG, PNG, WebP, GIF or AVIF"
    for first_bytes, is_complete in ENDS.items():
        if re.match(first_bytes, encoded, re.DOTALL):
            if variant := _unread_variant(encoded):
                return NotAnImageError(f"{variant}, {expected}", "unsupported_format")
            if "truncated" in str(exc) or not is_complete(encoded):
                return NotAnImageError(f"the file is cut off after {len(encoded)} bytes", "truncated")
            return NotAnImageError(f"a damaged file of {len(encoded)} bytes ({type(exc).__name__})")
    start = encoded[:2000].removeprefix(BYTE_ORDER_MARK).lstrip()
    is_xml = start[:5].lower() == b"<?xml"
    markup = _without_comments(start)
    for pattern, kind in SIGNATURES:
        if pattern.match(markup):
            return NotAnImageError(f"{kind}, {expected}", "unsupported_format")
    if is_xml:
        return NotAnImageError(f"an XML document, {expected}", "unsupported_format")
    if behind := PICTURE.search(encoded, 0, len(start)):
        return NotAnImageError(f"{behind.start()} bytes come before the picture, so no viewer shows it")
    if len(start) >= MIN_TEXT and _is_text(start):
        return NotAnImageError(f"a text file, {expected}", "unsupported_format")
    return NotAnImageError(f"{len(encoded)} bytes of an unknown kind, {expected}")


def _without_comments(markup: bytes) -> bytes:
    """Without declarations and comments at the start. Not by a regular expression, which may take forever."""
    while end := next((SKIPPED[each] for each in SKIPPED if markup.startswith(each)), None):
        markup = markup.partition(end)[2].lstrip()
    return markup


def _unread_variant(encoded: bytes) -> str | None:
    """The kind of a JPEG or PNG that browsers do not show either; None for the usual ones."""
    if encoded[12:16] == b"CgBI":
        return "a PNG in the form of iOS apps (CgBI)"
    place = 2
    for _ in range(MAX_SEGMENTS):
        if encoded[place : place + 1] != b"\xff" or place + 4 >= len(encoded):
            break
        marker, bits = encoded[place + 1], encoded[place + 4]
        if marker in FRAMES:
            is_usual = marker in READ_FRAMES and bits == 8
            return None if is_usual else f"a JPEG of an unusual kind ({bits} bits, frame type {marker:X})"
        place += 2 + int.from_bytes(encoded[place + 2 : place + 4])
    return None


def _is_text(start: bytes) -> bool:
    text = start.decode("utf-8", "ignore")  # the last character may be cut in two
    return len(text.encode()) > len(start) - 4 and all(each.isprintable() or each.isspace() for each in text)
