"""A hundred recorded requests: the service's path and a plain PyTorch transcription give the same answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from features import FeatureScaler, Video, compute_features
from model.torch_engine import TorchEngine
from preprocessing.text import BertTextTokenizer, TextSpec
from tests.model.transcription import Transcription
from tests.support.tiny import SIDE, TEMPERATURE, tiny_checkpoint

REQUESTS = json.loads((Path(__file__).parent / "recorded_requests.json").read_text(encoding="utf-8"))
BATCH_SIZE = 9  # of mixed lengths: every batch but the last holds short and long texts
TOLERANCE = 1e-5


def recorded_pixels(seed, side=224):
    """A square picture of coloured blocks of 32 x 32 with some noise."""
    draw = np.random.default_rng(seed)
    blocks = draw.integers(0, 230, (7, 7, 3)).repeat(32, axis=0).repeat(32, axis=1)[:side, :side]
    return (blocks + draw.integers(0, 25, blocks.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def inputs():
    """Tokens, standardised scalars and pixels (None where a request has no image), by request."""
    checkpoint = tiny_checkpoint()
    videos = [Video.from_plain(request) for request in REQUESTS]
    spec = TextSpec(checkpoint.card.text_fields, checkpoint.card.max_tokens)
    tokenizer = BertTextTokenizer.from_vocabulary(spec=spec)
    texts = [tokenizer.encode(video.title, video.description) for video in videos]
    scaler = FeatureScaler.from_stats(checkpoint.card.feature_stats, checkpoint.card.scalar_features)
    scalars = scaler.transform(compute_features(videos, checkpoint.card.scalar_features))
    seeds = [request["image_seed"] for request in REQUESTS]
    return texts, scalars, [None if seed is None else recorded_pixels(seed, SIDE) for seed in seeds]


@pytest.fixture(scope="module")
def transcribed(inputs):
    """P(viral) and views per day as the transcription computes them, (100, 2)."""
    checkpoint = tiny_checkpoint()
    network = Transcription(
        checkpoint.state_dict,
        heads=4,
        velocity={"mean": 9.0, "scale": 2.0, "high": 18.0},
        temperature=TEMPERATURE,
    )
    return np.array(
        [
            network.score(
                list(text.input_ids),
                list(text.token_type_ids),
                None if pixels is None else torch.from_numpy(pixels),
                torch.from_numpy(row),
            )
            for text, row, pixels in zip(*inputs, strict=True)
        ]
    )


@pytest.fixture(scope="module")
def scored(inputs):
    """The same through the engine, in batches; missing images take its neutral vector."""
    engine = TorchEngine(tiny_checkpoint())
    scores = []
    for start in range(0, len(REQUESTS), BATCH_SIZE):
        texts, scalars, pictures = (part[start : start + BATCH_SIZE] for part in inputs)
        text = engine.encode_text([t.input_ids for t in texts], [t.token_type_ids for t in texts])
        image = np.repeat(engine.neutral_image[None], len(texts), axis=0)
        present = [row for row, pixels in enumerate(pictures) if pixels is not None]
        if present:
            image[present] = engine.encode_image(np.stack([pictures[row] for row in present]))
        answer = engine.score(text, image, scalars)
        scores.append(np.stack([answer.viral, answer.velocity], axis=1))
    return np.concatenate(scores)


def test_a_hundred_requests_are_recorded():
    """The recording holds a hundred requests, with and without image, age and description."""
    assert len(REQUESTS) == 100
    for key in ("image_seed", "published_at", "description"):
        said = [request[key] not in (None, "") for request in REQUESTS]
        assert 20 < sum(said) < 80


def test_viral_probabilities_equal_the_transcription(scored, transcribed):
    """P(viral) is the same to 1e-5 for all hundred."""
    np.testing.assert_allclose(scored[:, 0], transcribed[:, 0], rtol=0, atol=TOLERANCE)


def test_velocities_equal_the_transcription(scored, transcribed):
    """Views per day are the same to 1e-5 in log1p, the scale on which they are learned."""
    np.testing.assert_allclose(np.log1p(scored[:, 1]), np.log1p(transcribed[:, 1]), rtol=0, atol=TOLERANCE)


def test_the_recording_would_show_a_swapped_row(scored):
    """No two neighbours have the same answer, so an answer in the wrong row fails the tests above."""
    assert (np.abs(np.diff(scored[:, 0])) > 10 * TOLERANCE).mean() > 0.95
