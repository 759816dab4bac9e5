"""What the coverage-guided fuzzer runs, in a process of its own.

    python -m tests.hostile.fuzz_targets urls [libFuzzer's options]

Needs atheris on the path. An exception that escapes a target is a finding, and so is a failed assertion.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import atheris  # type: ignore[import-not-found, unused-ignore]

with atheris.instrument_imports(include=["PIL", "preprocessing"]):
    from preprocessing.image import ImageError, ImageLimits, ImageSpec, decode_data_url, is_data_url
    from preprocessing.pixels import read_picture
    from preprocessing.thumbnails.policy import ThumbnailPolicy, vet_endpoint
    from preprocessing.thumbnails.urls import VettedUrl, vet_redirect, vet_url

OPEN = ThumbnailPolicy()
BASE = vet_url("https://example.com/dir/a.jpg", OPEN)
SPEC, LIMITS = ImageSpec(32, 32), ImageLimits(max_bytes=1 << 20, max_pixels=300_000)


def urls(content: bytes) -> None:
    """A text is refused by name, or becomes a URL that is public and that another parser reads the same."""
    text = content.decode("utf-8", "surrogateescape")  # other bytes become lone surrogates
    with suppress(ImageError):
        if is_data_url(text):
            assert 0 < len(decode_data_url(text, 1000)) <= 1000
        else:
            judge(vet_url(text, OPEN))


def redirects(content: bytes) -> None:
    """A Location leads to a URL that would itself be accepted, or is refused."""
    with suppress(ImageError):
        target = vet_redirect(BASE, content, OPEN)
        assert target.scheme == "https", "a redirect never leaves https"
        judge(target)


def judge(vetted: VettedUrl) -> None:
    """Reading it again changes nothing; the standard library sees the same host; an address is public."""
    written = str(vetted)
    assert vet_url(written, OPEN) == vetted
    parts = urlsplit(written)
    assert (parts.scheme, parts.hostname) == (vetted.scheme, vetted.host)
    assert parts.username is None
    assert written.isascii()
    assert not set(written) & set(" \t\r\n\\\0")
    assert vetted.port in (80, 443)
    if vetted.literal is not None:
        vet_endpoint(vetted.literal, vetted.port)


def decoder(content: bytes) -> None:
    """Bytes become pixels of the requested size, or an error of ours."""
    with suppress(ImageError):
        assert len(read_picture(content, SPEC, LIMITS).rgb) == 3 * SPEC.height * SPEC.width


TARGETS: dict[str, Callable[[bytes], None]] = {"urls": urls, "redirects": redirects, "decoder": decoder}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
