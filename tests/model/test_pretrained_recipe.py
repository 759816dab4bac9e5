"""The int8 recipe on real trained weights: MiniLM, grown to BERT-base's shape.

Seeded random encoders lack the outlier channels that make a trained BERT hard to quantise. This one has them.
"""

from dataclasses import replace

import numpy as np
import pytest

from model.checkpoint.store import Checkpoint, write_checkpoint
from model.compile.__main__ import compile_checkpoint
from model.compiled.bundle import Bundle
from model.demo_checkpoint import prefixed
from model.minilm import grown_minilm
from model.pretrained import EncoderSourceError
from tests.support.tiny import tiny_checkpoint, tiny_config, tiny_state

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Grown MiniLM under a small fusion head of seeded weights, compiled as `make model` would."""
    try:
        text, encoder = grown_minilm()
    except EncoderSourceError as exc:
        pytest.skip(str(exc))
    config = replace(tiny_config(with_vision=False), text=text)
    state = tiny_state(config) | prefixed("text_encoder.", encoder)
    path = tmp_path_factory.mktemp("minilm") / "model_full.pt"
    write_checkpoint(path, Checkpoint(tiny_checkpoint(with_vision=False).card.changed(config=config), state))
    return compile_checkpoint(path, threads=2)


def test_int8_keeps_a_trained_encoders_vectors(bundle: Bundle) -> None:
    """On held-back titles they point where float32's do, and a fusion head ranks a thousand videos alike."""
    int8 = bundle.report["towers"]["text"]["candidates"]["int8"]
    assert int8["vector_cosine_mean"] >= 0.99
    assert int8["vector_cosine_p1"] >= 0.98
    assert int8["vector_variance_kept"] >= 0.97
    assert int8["spearman"] >= 0.995
    assert np.isfinite([int8["viral_score_p99"], int8["viral_score_max"], int8["velocity_p99"]]).all()


def test_its_identity_layers_are_left_out(bundle: Bundle) -> None:
    """Six of twelve layers compute nothing."""
    assert bundle.report["text_layers_left_out"] == 6


def test_what_is_served_passed_the_gate(bundle: Bundle) -> None:
    """Whichever precision this machine chose; float32 always passes."""
    said = bundle.report["towers"]["text"]
    assert said["candidates"]["f32"]["passed"]
    assert said["candidates"][said["chosen"]]["passed"]
