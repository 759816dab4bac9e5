"""Files that are damaged, too large or not images: each is refused with its reason."""

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from preprocessing.image import AS_SEEN, ImageError, ImageLimits, ImageSpec, ImageTooLargeError, Trait
from preprocessing.pixels import decode_image, read_picture
from tests.support.pictures import BOMBS, FILES, NOT_IMAGES, cut, encoded, picture, png_chunk
from tests.support.process import completed


def test_bytes_over_the_limit_are_refused() -> None:
    file = FILES["jpeg"]()
    decode_image(file, limits=ImageLimits(max_bytes=len(file)))
    with pytest.raises(ImageTooLargeError, match=f"{len(file)} bytes, the limit is {len(file) - 1}"):
        decode_image(file, limits=ImageLimits(max_bytes=len(file) - 1))


def test_pixels_over_the_limit_are_refused() -> None:
    file = encoded(picture("RGB", (10, 7)), "PNG")
    decode_image(file, limits=ImageLimits(max_pixels=70))
    with pytest.raises(ImageTooLargeError, match="10x7 = 70 pixels, the limit of a PNG is 69"):
        decode_image(file, limits=ImageLimits(max_pixels=69))


def test_a_webp_may_have_half_as_many_pixels() -> None:
    """Its decoder needs twice the memory per pixel, so the largest picture takes the same memory."""
    file = encoded(picture("RGB", (10, 7)), "WEBP")
    decode_image(file, limits=ImageLimits(max_pixels=140))
    with pytest.raises(ImageTooLargeError, match="10x7 = 70 pixels, the limit of a WEBP is 69"):
        decode_image(file, limits=ImageLimits(max_pixels=139))


def outcome(file: bytes) -> str:
    try:
        return "pixels" if decode_image(file).shape == (224, 224, 3) else "another shape"
    except ImageError as exc:
        return exc.reason


def test_bombs_are_too_large() -> None:
    """A small file that announces a huge picture is refused before its pixels are decoded."""
    assert {name for name, make in BOMBS.items() if outcome(make()) != "too_many_pixels"} == set()


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


def with_wrong_checksum(kind: bytes, content: bytes, place: int = 33) -> bytes:
    """A PNG with a chunk whose checksum is wrong, at `place`; by default after the header."""
    file = encoded(picture(), "PNG")
    return file[:place] + png_chunk(kind, content)[:-4] + b"\0\1\2\3" + file[place:]


@pytest.mark.parametrize(
    "kind",
    [b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"eXIf", b"tRNS", b"teSt"],
)
def test_what_surrounds_a_picture_may_be_damaged(kind: bytes) -> None:
    """A PNG with a wrong checksum in an ancillary chunk is the picture without that chunk."""
    spec = ImageSpec(reading=AS_SEEN)
    damaged = decode_image(with_wrong_checksum(kind, b"\0\0\0\x20"), spec)
    np.testing.assert_array_equal(damaged, decode_image(encoded(picture(), "PNG"), spec))


@pytest.mark.parametrize("place", [33, -12], ids=["before the pixels", "after them"])
def test_a_damaged_orientation_turns_nothing(place: int) -> None:
    """The orientation in a chunk with a wrong checksum is ignored, wherever the chunk is."""
    turned = Image.Exif()
    turned[0x0112] = 3
    spec = ImageSpec(reading=AS_SEEN)
    damaged = decode_image(with_wrong_checksum(b"eXIf", turned.tobytes()[6:], place), spec)
    np.testing.assert_array_equal(damaged, decode_image(encoded(picture(), "PNG"), spec))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"TEST"])
def test_a_picture_itself_may_not_be_damaged(kind: bytes) -> None:
    """A file with a wrong checksum in a critical chunk is refused."""
    assert outcome(with_wrong_checksum(kind, b"\0\0\0\x20")) == "not_an_image"


def test_a_jpeg_without_its_end_is_read_if_its_rows_are_there() -> None:
    """Baseline and progressive; a file that lacks bytes of its last row is truncated."""
    for kind in ("jpeg", "jpeg progressive"):
        whole, without = FILES[kind](), FILES[kind]()[:-2]
        assert np.array_equal(decode_image(without), decode_image(whole))
        assert read_picture(without, ImageSpec(), ImageLimits()).traits == Trait.CUT_OFF
        assert outcome(whole[:-20]) == "truncated"


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
    with pytest.raises(ImageError):
        decode_image(start + noise)


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
    ran = completed([sys.executable, "-W", mode, "-c", script, tmp_path])
    assert (ran.stdout, ran.stderr) == ("(224, 224, 3)\ntoo large\n", "")
