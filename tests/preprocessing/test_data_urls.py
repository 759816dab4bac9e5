"""Pictures within a request: `data:` URLs and bare base64."""

import base64
import contextlib

import pytest

from preprocessing.image import BadUrlError, ImageTooLargeError, decode_data_url, is_data_url
from tests.support.pictures import FILES

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
    """The base64 payload, whatever kind of image the URL names."""
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
    files = [FILES[kind]() for kind in ("jpeg", "png rgb", "gif", "webp lossy")]
    bare = [base64.b64encode(file).decode() for file in files]
    assert [decode_data_url(text, 100_000) for text in bare if is_data_url(text)] == files
    with pytest.raises(BadUrlError, match="not base64"):
        decode_data_url(bare[0][:50] + "...", 100_000)


def test_data_urls_are_told_from_others() -> None:
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
