"""Decoded pixels against torchvision's own transforms, and what a picture shows."""

import io
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from model.config import IMAGENET_MEAN, IMAGENET_STD, VisionConfig
from model.network import VisionEncoder
from preprocessing.image import AS_SEEN, NO_TRAITS, Decoded, ImageLimits, ImageSpec, ImageTooLargeError, Trait
from preprocessing.pixels import decode_image, read_picture
from tests.support.pictures import FILES, encoded, interlaced, picture, rotated

ENCODER = VisionEncoder(VisionConfig(block="basic", stages=(1, 1, 1, 1)))


SIZES = [(1, 1), (2, 1), (1, 3000), (3000, 1), (224, 224), (223, 225), (1080, 1920), (120, 90), (1280, 720)]
SIZES += [(4000, 3000)]


SERVED = [(480, 360), (480, 270), (640, 480), (405, 720), (720, 1280), (640, 360)]


def transforms() -> ModuleType:
    """torchvision's transforms, imported here because the import would add seconds to test collection."""
    import model.torchvision_compat  # noqa: F401  must precede torchvision

    from torchvision import transforms  # isort: skip

    return transforms


def off_torchvision(file: bytes) -> tuple[int, float]:
    """The largest difference from torchvision, in steps of 1/255, and the share of values that differ."""
    pixels = decode_image(file)
    assert pixels.shape == (224, 224, 3)
    with Image.open(io.BytesIO(file)) as image:
        theirs = np.asarray(transforms().Resize((224, 224))(image.convert("RGB")), dtype=np.int16)
    steps = np.abs(theirs - pixels)
    return int(steps.max()), float((steps > 0).mean())


def test_every_kind_and_size_is_near_torchvision() -> None:
    """From one pixel to a camera's sensor, wide or tall: at most one value in 50 is off, by one step.

    At the sizes that YouTube and TikTok serve, it is at most one in 200.
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
    steps = [transforms().ToTensor(), transforms().Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    theirs = transforms().Compose(steps)(Image.fromarray(pixels))
    assert torch.equal(ENCODER.normalise(torch.tensor(pixels)[None])[0], theirs)


def test_interlacing_changes_no_pixel() -> None:
    assert np.array_equal(decode_image(interlaced()), decode_image(encoded(picture(), "PNG")))


def test_exif_rotation_is_left_alone() -> None:
    """A photo with an EXIF rotation is read unrotated, because training read it that way."""
    assert np.array_equal(decode_image(rotated()), decode_image(encoded(picture(), "JPEG")))


def test_the_first_frame_of_an_animation_counts() -> None:
    for kind in ("webp animated", "apng"):
        assert np.array_equal(decode_image(FILES[kind]()), decode_image(encoded(picture(), "PNG")))


def seen(file: bytes) -> Decoded:
    """A file as a new checkpoint reads it."""
    return read_picture(file, ImageSpec(reading=AS_SEEN), ImageLimits())


def test_pictures_are_read_as_a_viewer_shows_them() -> None:
    """Upright, over white, with all of 16 bits; most files are read the same either way."""
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
    """A picture on a black canvas."""
    canvas = Image.new("RGB", size)
    canvas.paste(picture("RGB", (box[2] - box[0], box[3] - box[1])), box)
    return encoded(canvas, kind)


def test_black_bars_are_cut() -> None:
    """Those that hqdefault adds to 16:9, and those beside a Short; dark content is not a bar."""
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


def test_a_picture_that_shows_nothing_is_flagged() -> None:
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
    assert decode_image(FILES["jpeg"](), ImageSpec(height=32, width=48)).shape == (32, 48, 3)


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
    coarse = Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 16, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)
