"""Layers that compute nothing are left out of a compiled text tower, and no others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from model.checkpoint.store import Checkpoint, write_checkpoint
from model.compile.__main__ import compile_checkpoint
from model.compile.folding import LAYERS, fold_identity_layers
from model.compiled.engine import OpenVinoEngine
from model.grown import grow
from model.torch_engine import TorchEngine
from tests.support.tiny import tiny_checkpoint, tiny_config, tiny_state

ADDED = 3
IDS = [[101, 7592, 102], [101, 2129, 2079, 9738, 2994, 2039, 1029, 102]]
TYPES = [[0] * len(ids) for ids in IDS]


@pytest.fixture(scope="module")
def grown() -> Checkpoint:
    """The tiny text-only checkpoint with its encoder grown by three identity layers in front."""
    small = tiny_checkpoint(with_vision=False)
    prefix = "text_encoder."
    encoder = {
        name.removeprefix(prefix): weight
        for name, weight in small.state_dict.items()
        if name.startswith(prefix)
    }
    text, state = grow(encoder, small.card.config.text, small.card.config.text.layers + ADDED)
    config = replace(tiny_config(with_vision=False), text=text)
    weights = {**tiny_state(config), **{prefix + name: weight for name, weight in state.items()}}
    return Checkpoint(small.card.changed(config=config), weights)


def changed(checkpoint: Checkpoint, name: str, value: float) -> Checkpoint:
    """The checkpoint with the first number of one weight replaced."""
    weight = checkpoint.state_dict[name].clone()
    weight.view(-1)[0] = value
    return replace(checkpoint, state_dict={**checkpoint.state_dict, name: weight})


def layers_after(checkpoint: Checkpoint) -> int:
    return fold_identity_layers(checkpoint)[0].card.config.text.layers


def test_folding_leaves_the_vectors_as_they_are(grown: Checkpoint) -> None:
    """Three of five layers are left out; the two that remain give the same vectors in float32."""
    folded, _ = fold_identity_layers(grown)
    assert (grown.card.config.text.layers, folded.card.config.text.layers) == (5, 2)
    expected = TorchEngine(grown).encode_text(IDS, TYPES)
    np.testing.assert_allclose(TorchEngine(folded).encode_text(IDS, TYPES), expected, atol=1e-5)


def test_a_layer_that_computes_anything_stays(grown: Checkpoint) -> None:
    """One number other than zero in a projection, or another scale or shift in a norm, keeps the layer."""
    rows = {
        # Layers before and after the changed one are folded: its last norm is a unit norm.
        "0.attention.output.dense.weight": (1e-6, 3),
        "1.attention.output.dense.bias": (1e-6, 3),
        "1.output.dense.weight": (-1e-6, 3),
        "2.output.dense.bias": (1e-6, 3),
        "1.attention.output.LayerNorm.weight": (1.001, 3),
        "1.attention.output.LayerNorm.bias": (0.001, 3),
        # The layer is folded, but the next one is not: the norm in front of it is no longer a unit norm.
        "1.output.LayerNorm.weight": (1.001, 3),
        "0.output.LayerNorm.bias": (0.001, 3),
        # What a layer computes and multiplies by zero does not count.
        "1.intermediate.dense.weight": (5.0, 2),
    }
    failures = []
    for name, (value, expected) in rows.items():
        checkpoint = changed(grown, LAYERS + name, value)
        found = layers_after(checkpoint)
        vectors = TorchEngine(checkpoint).encode_text(IDS, TYPES)
        folded = TorchEngine(fold_identity_layers(checkpoint)[0]).encode_text(IDS, TYPES)
        if found != expected or not np.allclose(folded, vectors, atol=1e-5):
            failures.append((name, found, expected, float(np.abs(folded - vectors).max())))
    assert failures == []


def test_a_network_without_such_layers_keeps_all_its_weights() -> None:
    """A trained or random encoder is not changed."""
    checkpoint = tiny_checkpoint(with_vision=False)
    folded, _ = fold_identity_layers(checkpoint)
    assert folded.card == checkpoint.card
    assert folded.state_dict.keys() == checkpoint.state_dict.keys()
    assert all(torch.equal(weight, checkpoint.state_dict[name]) for name, weight in folded.state_dict.items())


def test_a_compiled_text_tower_runs_only_the_other_layers(grown: Checkpoint, tmp_path: Path) -> None:
    """Its graph has two attentions and the whole network's vectors; the report counts the layers left out."""
    write_checkpoint(tmp_path / "model.pt", grown)
    bundle = compile_checkpoint(tmp_path / "model.pt", precision="f32", threads=1)
    graph = ov.Core().read_model(bundle.graph("text"))
    attentions = [node for node in graph.get_ordered_ops() if "Attention" in node.get_type_name()]
    assert (bundle.report["text_layers_left_out"], len(attentions)) == (ADDED, 2)
    weights = grown.state_dict["fusion.0.weight"].numpy()
    expected = TorchEngine(grown).encode_text(IDS, TYPES)
    found = OpenVinoEngine(bundle, threads=1).encode_text(IDS, TYPES)
    np.testing.assert_allclose(found, expected @ weights[:, : expected.shape[1]].T, atol=1e-4)
