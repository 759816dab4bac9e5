"""The int8 recipe on a small text tower."""

import numpy as np
import openvino as ov
import pytest

from deploy.doctor.machine import cpu_features
from model.compile.calibration_set import CalibrationInputs, calibration_inputs
from model.compile.export import export_towers
from model.compile.fidelity import compare_vectors
from model.compile.precision import STATIC, TowerCandidate
from model.compile.quantise import quantise
from tests.support.tiny import tiny_checkpoint

CHECKPOINT = tiny_checkpoint(with_vision=False)


@pytest.fixture(scope="module")
def inputs() -> CalibrationInputs:
    return calibration_inputs(CHECKPOINT.card)


@pytest.fixture(scope="module")
def towers(inputs: CalibrationInputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TowerCandidate]:
    """The same tower in float32 and in both kinds of int8."""
    folder = tmp_path_factory.mktemp("towers")
    graphs = {
        "f32": folder / "text.xml",
        "int8": folder / "text.int8.xml",
        STATIC: folder / "text.static.xml",
    }
    export_towers(CHECKPOINT.build_model(), 1.0, folder)
    for kind in ("int8", STATIC):
        quantise("text", graphs["f32"], inputs, graphs[kind], static=kind == STATIC)
    return {name: TowerCandidate("text", graph, name, 2) for name, graph in graphs.items()}


@pytest.mark.parametrize("kind", ["int8", STATIC])
def test_word_vectors_stay_as_they_are(towers: dict[str, TowerCandidate], kind: str) -> None:
    """Rows are taken from a float16 table: OpenVINO would expand an int8 one to float32 on loading."""
    graph = ov.Core().read_model(towers[kind].graph)
    (lookup,) = [
        node
        for node in graph.get_ordered_ops()
        if "word_embeddings" in node.get_friendly_name() and node.get_type_name() == "Gather"
    ]
    convert = lookup.input_value(0).get_node()
    table = convert.input_value(0).get_node()
    assert (convert.get_type_name(), table.get_type_name()) == ("Convert", "Constant")
    weight = CHECKPOINT.state_dict["text_encoder.bert.embeddings.word_embeddings.weight"].numpy()
    np.testing.assert_array_equal(table.get_data(), weight.astype(np.float16))


def test_titles_keep_nearly_all_variance(
    towers: dict[str, TowerCandidate], inputs: CalibrationInputs
) -> None:
    """Dynamic int8, which rounds groups of activations at run time, keeps .998, and static .995.

    Without int8 instructions OpenVINO's static products saturate, so the fidelity check refuses them there.
    """
    exact = towers["f32"].vectors(inputs.texts)
    kept = {
        kind: compare_vectors(tower.vectors(inputs.texts), exact)["vector_variance_kept"]
        for kind, tower in towers.items()
    }
    assert 0.998 < kept["int8"] < 1
    assert (0.995 if any("VNNI" in name for name in cpu_features()) else 0) < kept[STATIC] < kept["int8"]
