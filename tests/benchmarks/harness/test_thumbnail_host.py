"""The host of prepared pictures."""

import io

import httpx
from PIL import Image

from benchmarks.harness.thumbnail_host import MAXRES, MIX, MQ, SHORT, Pictures
from preprocessing.pixels import decode_image


def test_a_picture_is_a_jpeg_that_decodes(host: str) -> None:
    """Over HTTP, with its type and length, on a connection that stays open."""
    with httpx.Client() as client:
        for number in (0, 1, 3, 12345):
            response = client.get(f"{host}/{number}.jpg")
            assert response.headers["content-type"] == "image/jpeg"
            assert decode_image(response.content).shape == (224, 224, 3)
        assert client.get(f"{host}/picture.png").status_code == 404


def test_no_two_pictures_have_the_same_pixels() -> None:
    """After decoding, near and far numbers differ, so that a cache by content never hits."""
    pictures = Pictures()
    numbers = [*range(100), 1000, 4000, 100_000, 900_000]
    pixels = {decode_image(pictures.body(number)).tobytes() for number in numbers}
    assert len(pixels) == len(numbers)
    assert pictures.body(77) == Pictures().body(77), "a run's pictures are the next run's"


def test_pictures_have_youtubes_sizes() -> None:
    pictures = Pictures()
    bodies = {MIX[number]: pictures.body(number) for number in range(len(MIX))}
    assert {size for size, body in bodies.items() if Image.open(io.BytesIO(body)).size != size} == set()
    assert 8_000 < len(bodies[MQ]) < 80_000 < len(bodies[MAXRES]) < len(bodies[SHORT]) < 500_000
