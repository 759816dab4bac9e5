"""The owner's first trained file: titles and eighteen other columns, no images, statistics beside it."""

import json

import numpy as np
import pytest
import torch

from features import MILES_V0, FeatureScaler, Video, compute_features
from model.checkpoint.store import read_checkpoint
from model.torch_engine import TorchEngine
from preprocessing.text import BertTextTokenizer, TextSpec
from tests.support.tiny import tiny_checkpoint, tiny_videos

CONFIG = {"text": {"heads": 4}}


@pytest.fixture
def checkpoint(tmp_path):
    weights = tiny_checkpoint(with_vision=False).state_dict
    torch.save({"model_state_dict": weights, "config": CONFIG}, tmp_path / "model_full.pt")
    columns = compute_features(tiny_videos(), MILES_V0)
    statistics = {
        "scalar_features": list(MILES_V0),
        "feature_stats": FeatureScaler().fit(columns, MILES_V0).to_stats(),
        "velocity": {"transform": "min-max", "low": 0.0, "high": 5000.0},
    }
    (tmp_path / "model_full.stats.json").write_text(json.dumps(statistics), encoding="utf-8")
    return read_checkpoint(tmp_path / "model_full.pt")


def score(checkpoint, video):
    engine = TorchEngine(checkpoint)
    tokenizer = BertTextTokenizer.from_vocabulary(
        spec=TextSpec(checkpoint.card.text_fields, checkpoint.card.max_tokens)
    )
    scaler = FeatureScaler.from_stats(checkpoint.card.feature_stats, checkpoint.card.scalar_features)
    text = tokenizer.encode(video.title, video.description)
    return engine.score(
        engine.encode_text([text.input_ids], [text.token_type_ids]),
        engine.neutral_image[None],
        scaler.transform(compute_features([video], checkpoint.card.scalar_features)),
    )


def test_it_scores_a_video_with_few_known_values(checkpoint):
    """Columns that the video cannot supply take the training mean; score and velocity are in range."""
    scores = score(checkpoint, Video(title="How do planes stay up?", view_count=1200, like_count=80))
    assert 0 < scores.viral[0] < 1
    assert 0 <= scores.velocity[0] <= 5000


def test_it_reads_titles_alone(checkpoint):
    bare = score(checkpoint, Video(title="How do planes stay up?"))
    described = score(checkpoint, Video(title="How do planes stay up?", description="Lift, in short."))
    np.testing.assert_array_equal(bare.viral, described.viral)


def test_it_reads_the_columns_of_its_own_list(checkpoint):
    """The weekday, which only the first list of columns has, changes the score."""
    days = [video for video in tiny_videos() if video.published_at is not None][:2]
    first, second = (Video(title="a", view_count=50, published_at=video.published_at) for video in days)
    assert score(checkpoint, first).viral != score(checkpoint, second).viral
