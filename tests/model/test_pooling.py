"""A sentence encoder's mean of tokens: the same alone, padded, and packed into a compiled row."""

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
import torch

from model.checkpoint.store import CheckpointError, read_checkpoint, write_checkpoint
from model.compile.export import export_towers
from model.compiled.engine import compile_graph, run_texts
from model.engine import TokenIds
from model.torch_engine import TorchEngine
from tests.support.tiny import tiny_checkpoint

TEXTS: TokenIds = [[101, 7592, 102], [101, 2129, 2079, 9738, 2994, 2039, 1029, 102], [101, 2851, 9410, 102]]
TYPES: TokenIds = [[0] * len(text) for text in TEXTS]


def mean_checkpoint():
    checkpoint = tiny_checkpoint(with_vision=False)
    text = replace(checkpoint.card.config.text, pooling="mean")
    return checkpoint.with_card(config=replace(checkpoint.card.config, text=text))


def test_the_mean_is_that_of_a_texts_own_tokens():
    """Padding changes nothing: it is transformers' last hidden state over the text's own tokens."""
    checkpoint = mean_checkpoint()
    found = TorchEngine(checkpoint).encode_text(TEXTS, TYPES)
    bert = checkpoint.build_model().text_encoder.bert
    for text, vector in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            ids = torch.tensor([text])
            hidden = bert(ids, torch.zeros_like(ids), torch.ones_like(ids)).last_hidden_state
            expected = hidden.mean(dim=1)
        np.testing.assert_allclose(vector, expected[0], atol=1e-5)


def test_the_compiled_tower_pools_the_same_way(tmp_path):
    """Three texts in one row of the exported graph give the vectors of the torch engine."""
    checkpoint = mean_checkpoint()
    export_towers(checkpoint.build_model(), 1.0, tmp_path)
    request = compile_graph(ov.Core(), tmp_path / "text.xml", "f32", threads=1)
    expected = TorchEngine(checkpoint).encode_text(TEXTS, TYPES)
    np.testing.assert_allclose(run_texts(request, TEXTS, TYPES), expected, atol=1e-4)


def test_the_pooling_is_in_the_file(tmp_path):
    """A checkpoint records its pooling; by default it is BERT's own pooler."""
    for checkpoint, pooling in ((mean_checkpoint(), "mean"), (tiny_checkpoint(with_vision=False), "pooler")):
        write_checkpoint(tmp_path / "model.pt", checkpoint)
        assert read_checkpoint(tmp_path / "model.pt").card.config.text.pooling == pooling


def test_an_unknown_pooling_is_refused(tmp_path):
    checkpoint = mean_checkpoint()
    odd = replace(checkpoint.card.config, text=replace(checkpoint.card.config.text, pooling="max"))
    write_checkpoint(tmp_path / "model.pt", checkpoint.with_card(config=odd))
    with pytest.raises(CheckpointError, match=r"text.pooling is 'max', expected 'pooler' or 'mean'"):
        read_checkpoint(tmp_path / "model.pt")
