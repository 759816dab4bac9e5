"""The fusion's graph, taken apart, gives what the whole graph gives."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from model.compile.export import export_towers
from model.compiled.engine import compile_graph, run
from model.compiled.fusion import take_apart
from model.config import FusionConfig
from tests.support.tiny import tiny_checkpoint, tiny_config, tiny_state

CONFIGS = {
    "text, image, scalars": tiny_config(),
    "text, scalars": tiny_config(with_vision=False),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_parts_give_what_the_whole_gives(config: FusionConfig, tmp_path: Path) -> None:
    """For each set of modalities, on random vectors; a product is as wide as the first layer."""
    with_vision = config.vision is not None
    network = tiny_checkpoint(with_vision=with_vision).build_model()
    network.load_state_dict(tiny_state(config), strict=False)
    export_towers(network, 1.0, tmp_path)
    core, graph = ov.Core(), tmp_path / "fusion.xml"
    draw = np.random.default_rng(0)
    vectors = {
        name: draw.standard_normal((5, width), dtype=np.float32) for name, width in config.widths.items()
    }
    whole = run(compile_graph(core, graph, "f32", 1), vectors)
    parts = take_apart(core.read_model(graph), config.widths)
    assert list(parts.products) == list(config.modalities[:-1])
    products = {
        name: run(compile_graph(core, product, "f32", 1), {name: vectors[name]})[0]
        for name, product in parts.products.items()
    }
    assert {product.shape for product in products.values()} == {(5, config.hidden[0])}
    rest = run(compile_graph(core, parts.rest, "f32", 1), products | {"scalars": vectors["scalars"]})
    for found, expected in zip(rest, whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
