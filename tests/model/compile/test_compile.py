"""From a checkpoint to a bundle: graphs that equal the network, a gate that refuses, no partial bundles."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
import torch
from openvino_telemetry import Telemetry

from model.checkpoint.store import CheckpointError, sidecar_path, write_checkpoint
from model.compile.__main__ import compile_checkpoint, main
from model.compile.export import export_towers
from model.compile.precision import PrecisionError
from model.compiled.bundle import capabilities, read_bundle
from model.compiled.engine import OpenVinoEngine, packed_rows
from model.compiled.files import MANIFEST, bundle_directory, is_bundle
from model.torch_engine import TorchEngine
from tests.model.small import contents, small_checkpoint
from tests.support.tiny import SIDE, TEMPERATURE, multiplied, tiny_checkpoint, write_tiny

BERT = "text_encoder.bert."


def texts(rows, tokens):
    """`rows` texts of `tokens` random ids each, the second half of them of the second type."""
    ids = np.random.default_rng(rows + tokens).integers(1000, 30000, (rows, tokens)).tolist()
    return ids, [[0] * (tokens // 2) + [1] * (tokens - tokens // 2)] * rows


def with_outliers():
    """A BERT whose weights do not fit int8: one in each row is huge, and multiplies a constant zero.

    Float32 and bf16 answer as if the outlier were not there; an int8 step as wide as it rounds the rest away.
    """
    checkpoint = tiny_checkpoint(with_vision=False)
    state = {name: tensor.clone() for name, tensor in checkpoint.state_dict.items()}
    for layer in range(checkpoint.card.config.text.layers):
        before = f"{BERT}encoder.layer.{layer}."
        for part in ("weight", "bias"):
            state[f"{before}attention.output.LayerNorm.{part}"][5] = 0.0
        state[f"{before}intermediate.dense.weight"][:, 5] = 1e4
    return replace(checkpoint, state_dict=state)


@pytest.fixture(scope="module")
def reference():
    return TorchEngine(tiny_checkpoint())


@pytest.fixture(scope="module")
def outliers(tmp_path_factory):
    path = tmp_path_factory.mktemp("outliers") / "model_full.pt"
    write_checkpoint(path, with_outliers())
    return path


def test_the_text_graph_takes_any_batch_and_length(exact, reference):
    """Shapes that were never traced give what the network gives, with all texts in one row or one per row."""
    graph = ov.Core().compile_model(exact.graph("text"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for rows, tokens in ((1, 5), (3, 17), (8, 128), (13, 33), (1, 2)):
        ids, types = texts(rows, tokens)
        expected = reference.encode_text(ids, types)
        for packed in ([range(rows)], [[row] for row in range(rows)]):
            inputs = packed_rows(ids, types, packed, tokens * rows // len(packed), rows)
            np.testing.assert_allclose(graph(inputs)[0], expected, rtol=0, atol=1e-4)


def test_the_image_graph_normalises_bytes(exact, reference):
    """uint8 pixels go in, the network's vectors come out."""
    graph = ov.Core().compile_model(exact.graph("image"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert graph.input("pixels").element_type == ov.Type.u8
    for rows in (1, 3, 8):
        pixels = np.random.default_rng(rows).integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8)
        expected = reference.encode_image(pixels)
        allowed = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(graph([pixels])[0], expected, rtol=1e-4, atol=allowed)


def test_the_fusion_graph_scores_as_the_network(exact, reference):
    """Probability and velocity are the network's, calibration included."""
    draw, engine = np.random.default_rng(1), OpenVinoEngine(exact, 2)
    for rows in (1, 5, 8):
        *vectors, scalars = (
            draw.standard_normal((rows, width)).astype(np.float32) for width in (64, 512, 18)
        )
        ours = engine.score(*multiplied(tiny_checkpoint(), *vectors), scalars)
        theirs = reference.score(*vectors, scalars)
        np.testing.assert_allclose(ours.viral, theirs.viral, rtol=0, atol=1e-5)
        np.testing.assert_allclose(ours.velocity, theirs.velocity, rtol=1e-4)


def test_calibration_is_inside_the_fusion(text_only, tmp_path):
    """The same weights at another temperature give other probabilities: log odds are divided by it."""
    write_checkpoint(tmp_path / "m.pt", tiny_checkpoint(with_vision=False).with_card(temperature=1.0))
    bundles = compile_checkpoint(tmp_path / "m.pt", precision="f32", threads=1), text_only
    inputs = np.ones((1, 64), np.float32), np.ones((1, 0), np.float32), np.ones((1, 18), np.float32)
    viral = [OpenVinoEngine(bundle, 1).score(*inputs).viral[0] for bundle in bundles]
    plain, calibrated = (np.log(p / (1 - p)) for p in viral)
    assert plain == pytest.approx(TEMPERATURE * calibrated, rel=1e-4)


def test_the_neutral_image_is_the_networks_own(exact, reference):
    """A video without a thumbnail gets the vector that the float32 network gives to zeros."""
    np.testing.assert_array_equal(exact.neutral_image, reference.neutral_image)


def test_a_text_only_checkpoint_has_no_image_graph(text_only):
    """Neither an image tower nor an image input of the fusion."""
    assert not text_only.graph("image").exists()
    assert set(text_only.precision) == {"text", "fusion"}
    fusion = ov.Core().read_model(text_only.graph("fusion"))
    assert [port.any_name for port in fusion.inputs] == ["text", "scalars"]


def test_auto_says_what_it_tried(automatic):
    """Every candidate of each tower, with its figures and relative times; the one that is served passed."""
    for tower in ("text", "image"):
        said = automatic.report["towers"][tower]
        static = ["int8-static"] if tower == "text" else []
        assert list(said["candidates"]) == ["f32", "bf16", "int8", *static]
        assert said["chosen"].partition("-")[0] == automatic.precision[tower]
        assert said["candidates"][said["chosen"]]["passed"]
        assert said["candidates"]["f32"]["time_batch_1"] == said["candidates"]["f32"]["time_batch_8"] == 1
        for candidate in said["candidates"].values():
            assert candidate["passed"] == (candidate["refused"] is None)
    assert automatic.precision["fusion"] == "f32"
    assert automatic.report["origin"]["openvino"] == ov.__version__


def test_what_was_chosen_keeps_the_limits(automatic):
    """All towers at once, in the precisions that are served, stay within the gate."""
    together, limits = automatic.report["together"], automatic.report["limits"]
    assert all(together[name] <= limit for name, limit in limits["at_most"].items())
    assert together["spearman"] >= limits["at_least"]["spearman"]


@pytest.mark.skipif("BF16" not in capabilities(), reason="this processor does not compute in bf16")
def test_bf16_weights_take_two_bytes(exact, tiny_path, few_titles, tmp_path):
    """A tower in bf16 is half as large on disk as in float32."""
    halved = compile_checkpoint(tiny_path, tmp_path / "bf16", "bf16", titles=few_titles, threads=1)
    sizes = [bundle.graph("text").with_suffix(".bin").stat().st_size for bundle in (halved, exact)]
    assert sizes[0] == pytest.approx(sizes[1] / 2, rel=0.02)


def test_a_tower_that_int8_breaks_falls_back(outliers, few_titles, tmp_path):
    """Auto refuses int8, naming the limit that it misses, and serves a precision that passes."""
    bundle = compile_checkpoint(outliers, tmp_path / "bundle", titles=few_titles, threads=1)
    said = bundle.report["towers"]["text"]
    assert bundle.precision["text"] == said["chosen"] != "int8"
    assert not said["candidates"]["int8"]["passed"]
    assert not said["candidates"]["int8-static"]["passed"]
    assert "vector_variance_kept is" in said["candidates"]["int8"]["refused"]
    assert said["candidates"][said["chosen"]]["passed"]


def test_asking_for_a_precision_that_misses_is_an_error(outliers, text_only, few_titles, tmp_path, capsys):
    """One line with the figures on stderr, exit status 1, and the earlier bundle stays as it was."""
    out = shutil.copytree(text_only.directory, tmp_path / "bundle")
    options = ["--precision", "int8", "--threads", "1", "--titles", str(few_titles)]
    status = main([str(outliers), *options, "--out", str(out)])
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 1
    assert line.startswith("error: text tower: int8 is refused: viral_score_p99 is")
    assert line.endswith("Compile with --precision auto.")
    assert read_bundle(out).card == text_only.card
    assert list(tmp_path.iterdir()) == [out]


def test_a_blind_head_does_not_excuse_a_broken_tower(few_titles, tmp_path):
    """With zero text columns no score changes; the tower is refused for its vectors alone."""
    checkpoint = with_outliers()
    checkpoint.state_dict["fusion.0.weight"][:, : checkpoint.card.config.text.output_dim] = 0.0
    write_checkpoint(tmp_path / "m.pt", checkpoint)
    with pytest.raises(PrecisionError, match="int8 is refused: vector_") as caught:
        compile_checkpoint(tmp_path / "m.pt", precision="int8", titles=few_titles, threads=1)
    assert "viral_score" not in str(caught.value)


def test_a_bundle_is_written_next_to_its_checkpoint(text_only):
    """In a directory named after its sha256, with nothing else left behind."""
    path = text_only.directory.parent.parent / "m.pt"
    assert text_only.directory == bundle_directory(path, text_only.card.sha256)
    assert list(text_only.directory.parent.iterdir()) == [text_only.directory]
    assert read_bundle(text_only.directory).card == text_only.card


@pytest.fixture
def compiles(text_only, tmp_path, capsys):
    """Runs the command on a copy of the text-only checkpoint and bundle; says whether it compiled again."""
    shutil.copytree(text_only.directory.parent.parent, tmp_path, dirs_exist_ok=True)
    ask = [str(tmp_path / "m.pt"), "--threads", "1", "--precision", "f32"]

    def run():
        assert main(ask) == 0
        return "is up to date" not in capsys.readouterr().out

    return run


def test_a_bundle_is_compiled_again_only_if_it_is_damaged(compiles, text_only, tmp_path):
    """The same command again writes nothing; a bundle that lost a file is complete afterwards."""
    directory = tmp_path / "compiled" / text_only.directory.name
    before = (directory / MANIFEST).stat().st_mtime_ns
    assert not compiles()
    assert (directory / MANIFEST).stat().st_mtime_ns == before
    (directory / "text.bin").unlink()
    assert compiles()
    assert read_bundle(directory).card == text_only.card


def test_a_new_sidecar_compiles_again_once(compiles, tmp_path):
    """Statistics in the sidecar belong to the checkpoint, though they are not in its sha256."""
    sidecar_path(tmp_path / "m.pt").write_text(json.dumps({"calibration": {"temperature": 2.0}}))
    assert compiles()
    assert not compiles()


def test_compiling_sends_no_telemetry(monkeypatch, tmp_path):
    """The converter's analytics have no consent, whether or not the environment sets CI."""
    monkeypatch.delenv("CI", raising=False)
    export_towers(tiny_checkpoint(with_vision=False).build_model(), 1.0, tmp_path)
    assert Telemetry().consent is False
    assert "CI" not in os.environ


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    """--out that holds other files is refused before any work."""
    path = write_tiny(tmp_path / "m.pt", with_vision=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.odt").write_text("chapter one")
    with pytest.raises(CheckpointError, match=r"contains thesis.odt, not part of a bundle; choose another"):
        compile_checkpoint(path, tmp_path / "home")


def test_a_checkpoint_that_cannot_be_scored_is_one_line(tmp_path, capsys):
    """So is a missing file; missing statistics stop it before the export, and nothing is left behind."""
    assert main([str(tmp_path / "none.pt")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'none.pt'}: no such file. Run `make model`")
    torch.save(contents(velocity=None), tmp_path / "m.pt")
    assert main([str(tmp_path / "m.pt")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'm.pt'}: lacks velocity")
    assert not any(is_bundle(path) for path in tmp_path.rglob("*"))
    assert list((tmp_path / "compiled").iterdir()) == []


def test_a_smaller_vocabulary_cannot_be_compiled(tmp_path):
    """An encoder without an embedding for the tokenizer's ids is refused, with both numbers."""
    write_checkpoint(tmp_path / "m.pt", small_checkpoint())
    with pytest.raises(CheckpointError, match=r"need an embedding of \d+ words, m\.pt has 200"):
        compile_checkpoint(tmp_path / "m.pt")
