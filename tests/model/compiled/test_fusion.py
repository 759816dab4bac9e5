"""The fusion's graph, taken apart, gives what the whole graph gives."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from model.compile.export import export_towers
from model.compiled.engine import compile_graph, run
from model.compiled.fusion import take_apart
from model.config import FusionConfig
from tests.support.tiny import tiny_checkpoint, tiny_config

BOTH, TEXT = tiny_config(), tiny_config(with_vision=False)
CASES = {
    "text, image, scalars": (BOTH, ()),
    "text, scalars": (TEXT, ()),
    "images without a weight": (BOTH, ("image",)),
    "only scalars have a weight": (BOTH, ("text", "image")),
}


@pytest.mark.parametrize(("config", "blind"), CASES.values(), ids=CASES)
def test_the_parts_give_what_the_whole_gives(
    config: FusionConfig, blind: tuple[str, ...], tmp_path: Path
) -> None:
    """On random vectors; a product is as wide as the first layer, a tower without a weight has no product."""
    network = tiny_checkpoint(with_vision=config.vision is not None).build_model()
    weight = network.fusion[0].weight.detach().clone()  # the checkpoint's own is shared
    start = 0
    for name, width in config.widths.items():
        if name in blind:
            weight[:, start : start + width] = 0
        start += width
    network.fusion[0].weight = torch.nn.Parameter(weight)
    export_towers(network, 1.0, tmp_path)
    core, graph = ov.Core(), tmp_path / "fusion.xml"
    draw = np.random.default_rng(0)
    vectors = {
        name: draw.standard_normal((5, width), dtype=np.float32) for name, width in config.widths.items()
    }
    whole = run(compile_graph(core, graph, "f32", 1), vectors)
    parts = take_apart(core.read_model(graph), config.widths)
    assert list(parts.products) == [name for name in config.modalities[:-1] if name not in blind]
    products = {
        name: run(compile_graph(core, product, "f32", 1), {name: vectors[name]})[0]
        for name, product in parts.products.items()
    }
    assert all(product.shape == (5, config.hidden[0]) for product in products.values())
    rest = run(compile_graph(core, parts.rest, "f32", 1), products | {"scalars": vectors["scalars"]})
    for found, expected in zip(rest, whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
