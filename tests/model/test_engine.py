"""The reference engine: padding, missing images, text-only checkpoints, and scores that stay in range."""

import numpy as np
import pytest
import torch

from model.checkpoint.store import CheckpointError, read_checkpoint
from model.torch_engine import TorchEngine
from tests.model.small import small_checkpoint
from tests.support.tiny import SIDE, TEMPERATURE, tiny_checkpoint, write_tiny

TEXTS = [[101, 2003, 102], [101, *range(2000, 2120), 102], [101, 102], [101, *range(3000, 3020), 102]]
TYPES = [[0] * len(ids) for ids in TEXTS]


@pytest.fixture(scope="module")
def engine():
    return TorchEngine(tiny_checkpoint())


@pytest.fixture(scope="module")
def text_only():
    return TorchEngine(tiny_checkpoint(with_vision=False))


def pixels(count):
    return np.random.default_rng(5).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def test_padding_does_not_change_a_text(engine):
    alone = np.concatenate([engine.encode_text([i], [t]) for i, t in zip(TEXTS, TYPES, strict=True)])
    np.testing.assert_allclose(engine.encode_text(TEXTS, TYPES), alone, rtol=0, atol=1e-5)


def test_token_types_matter(engine):
    first = engine.encode_text([[101, 2003, 102, 2004, 102]], [[0, 0, 0, 0, 0]])
    second = engine.encode_text([[101, 2003, 102, 2004, 102]], [[0, 0, 0, 1, 1]])
    assert np.abs(first - second).max() > 1e-3


def test_an_image_in_a_batch_is_the_image_alone(engine):
    """Images do not influence their neighbours."""
    images = pixels(3)
    alone = np.concatenate([engine.encode_image(image[None]) for image in images])
    np.testing.assert_allclose(engine.encode_image(images), alone, rtol=0, atol=1e-4)
    assert np.abs(alone[0] - alone[1]).max() > 1e-2


def test_read_only_pixels_are_taken(engine):
    image = pixels(1)
    image.setflags(write=False)
    assert engine.encode_image(image).shape == (1, 512)


def test_the_neutral_image_is_the_vector_of_zeros(engine):
    """No image means zeros after normalising, the ImageNet mean: nearly the mean colour's vector."""
    mean_colour = np.full(
        (1, SIDE, SIDE, 3), np.rint([0.485 * 255, 0.456 * 255, 0.406 * 255]), dtype=np.uint8
    )
    network = tiny_checkpoint().build_model()
    zeros = network.encode_image(torch.zeros(1, 3, SIDE, SIDE), 1).numpy()[0]
    np.testing.assert_array_equal(engine.neutral_image, zeros)
    np.testing.assert_allclose(engine.encode_image(mean_colour)[0], zeros, atol=0.05 * np.abs(zeros).max())


def test_a_text_only_checkpoint_has_no_image_columns(text_only):
    """Without an image tower, images are vectors of length 0 and scoring still works."""
    assert text_only.neutral_image.shape == (0,)
    assert text_only.encode_image(pixels(2)).shape == (2, 0)
    text = text_only.encode_text(TEXTS[:2], TYPES[:2])
    scores = text_only.score(text, np.zeros((2, 0), np.float32), np.zeros((2, 18), np.float32))
    assert scores.viral.shape == scores.velocity.shape == (2,)


def test_scores_stay_in_range_for_any_input(engine):
    """P(viral) stays within [0, 1] and velocity is finite and never negative, however extreme the inputs."""
    draw = np.random.default_rng(3)
    text = draw.uniform(-1, 1, (64, 64)).astype(np.float32)
    image = draw.uniform(0, 100, (64, 512)).astype(np.float32)
    for size in (0, 1, -1, 1e3, -1e3, 1e6, -1e6):
        scalars = (size * draw.uniform(-0.2, 1, (64, 18))).astype(np.float32)
        scores = engine.score(text, image, scalars)
        assert ((scores.viral >= 0) & (scores.viral <= 1)).all()
        assert (np.isfinite(scores.velocity) & (scores.velocity >= 0)).all()


def test_temperature_divides_the_logits():
    text, image = np.zeros((1, 128), np.float32), np.zeros((1, 0), np.float32)
    scalars = np.ones((1, 3), np.float32)
    odds = []
    for temperature in (1.0, TEMPERATURE, None):
        score = TorchEngine(small_checkpoint(temperature=temperature)).score(text, image, scalars)
        odds.append(float(np.log(score.viral / (1 - score.viral))[0]))
    assert odds[0] == pytest.approx(TEMPERATURE * odds[1])
    assert odds[2] == odds[0]


def test_a_file_scores_like_the_checkpoint_in_memory(engine, tmp_path):
    """Writing and reading changes no answer."""
    again = TorchEngine(read_checkpoint(write_tiny(tmp_path / "m.pt")))
    np.testing.assert_array_equal(again.encode_text(TEXTS, TYPES), engine.encode_text(TEXTS, TYPES))
    np.testing.assert_array_equal(again.neutral_image, engine.neutral_image)


def test_bfloat16_towers_stay_near_the_reference(engine):
    """The GPU tier's precision, here on the CPU, changes vectors, but no cosine falls below .999."""
    rough = TorchEngine(tiny_checkpoint(), precision="bf16")
    for exact, other in (
        (engine.encode_text(TEXTS, TYPES), rough.encode_text(TEXTS, TYPES)),
        (engine.encode_image(pixels(2)), rough.encode_image(pixels(2))),
    ):
        assert np.abs(exact - other).max() > 0
        cosine = (exact * other).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(other, axis=1)
        assert cosine.min() > 0.999


@pytest.mark.skipif(torch.cuda.is_available(), reason="the test needs a machine without a GPU")
def test_missing_gpu_is_one_clear_line():
    """Where there is no GPU, the error names the setting and what to do."""
    with pytest.raises(CheckpointError, match=r"MILES_DEVICE=cuda: .* set MILES_DEVICE=cpu"):
        TorchEngine(tiny_checkpoint(), device="cuda")
