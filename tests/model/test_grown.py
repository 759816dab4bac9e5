"""A grown BERT gives the vectors of the small one, twice."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.compile.calibration_set import TITLES
from model.config import TextConfig
from model.grown import grow
from model.minilm import LAYERS, SHAPE, small_minilm
from model.network import TextEncoder
from model.pretrained import EncoderSourceError
from preprocessing.text import BertTextTokenizer

TINY = TextConfig(layers=2, hidden_size=32, heads=4, intermediate_size=64, max_positions=64)
REAL_TITLES = 12


def drawn(config: TextConfig) -> dict[str, Tensor]:
    """Weights in which nothing is zero, one or symmetrical, so that a wrong block shows; float64."""
    draw = torch.Generator().manual_seed(3)
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in TextEncoder(config).state_dict().items()}
    return {name: 0.3 * torch.randn(shape, generator=draw).double() for name, shape in shapes.items()}


def vectors(config: TextConfig, state: dict[str, Tensor], count: int) -> Tensor:
    with torch.device("meta"):
        encoder = TextEncoder(config)
    encoder.load_state_dict(state, assign=True)
    encoder.eval()
    tokenizer, found = BertTextTokenizer.from_vocabulary(), []
    for title in TITLES.read_text(encoding="utf-8").split("\n")[:count]:
        ids = torch.tensor([tokenizer.encode(title).input_ids])
        with torch.inference_mode():
            found.append(encoder(ids, torch.zeros_like(ids), torch.ones_like(ids))[0].double())
    return torch.stack(found)


def test_a_grown_encoder_gives_the_small_ones_vector_twice() -> None:
    """For both poolings, with no layers added, one, and four; in float64, where rounding is no excuse."""
    failures = []
    for pooling in ("mean", "pooler"):
        small = replace(TINY, pooling=pooling)
        state = drawn(small)
        expected = vectors(small, state, 5).repeat(1, 2)
        for added in (0, 1, 4):
            config, grown = grow(state, small, small.layers + added)
            wide = {name: weight.double() for name, weight in grown.items()}
            error = float((vectors(config, wide, 5) - expected).abs().max())
            if not error < 1e-9:
                failures.append((pooling, added, error))
    assert failures == []


def test_an_encoder_is_never_shrunk() -> None:
    """Fewer layers than the small one has is an error with both numbers."""
    with pytest.raises(ValueError, match="layers is 1, the small encoder has 2"):
        grow(drawn(TINY), TINY, 1)


def test_grown_minilm_is_bert_base_with_minilms_vectors() -> None:
    """In float32, on real titles: cosine 0.999999 or more to MiniLM itself."""
    try:
        small = small_minilm()
    except EncoderSourceError as exc:
        pytest.skip(str(exc))
    config, grown = grow(small, SHAPE, LAYERS)
    assert config == TextConfig(pooling="mean")
    expected = vectors(SHAPE, small, REAL_TITLES).repeat(1, 2)
    cosines = torch.cosine_similarity(expected, vectors(config, grown, REAL_TITLES))
    assert float(cosines.min()) >= 0.999999
