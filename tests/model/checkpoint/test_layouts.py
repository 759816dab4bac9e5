"""Every layout that the owner's files come in loads to the identical network."""

import json
from argparse import Namespace
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, MinMaxScaler, StandardScaler
from torch import nn

from model.checkpoint.store import CheckpointError, read_checkpoint, sidecar_path, write_checkpoint
from model.config import FusionConfig, TextConfig
from model.network import MultimodalViralityPredictor
from model.outputs import MinMaxVelocity
from tests.model.small import NAMES, STATS, VELOCITY, answers, contents, small_checkpoint, small_state
from tests.support.tiny import tiny_state

FEATURES = "vision_encoder.feature_extractor."
RESNET = "vision_encoder.resnet."
CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
OWNER_KEYS = ("model_state_dict", "config", "scalar_features", "test_metrics")
STATISTICS = {"scalar_features": list(NAMES), "feature_stats": STATS, "velocity": VELOCITY}
FC = {RESNET + "fc.weight": torch.ones(10, 512), RESNET + "fc.bias": torch.zeros(10)}


def state():
    return dict(small_state(with_vision=True))


def as_resnet(weights):
    """The image tower's weights under torchvision's own attribute names."""
    return {
        RESNET + ".".join([CHILDREN[name.removeprefix(FEATURES)[0]], name.removeprefix(FEATURES)[2:]]): value
        for name, value in weights.items()
        if name.startswith(FEATURES)
    }


def without_features(weights):
    return {name: value for name, value in weights.items() if not name.startswith(FEATURES)}


def owners(weights, **changes):
    """The owner's own file: four keys and none of the later ones."""
    whole = contents(with_vision=True, model_state_dict=weights)
    return {key: whole[key] for key in OWNER_KEYS} | changes


def pickled_module():
    return small_checkpoint(with_vision=True).build_model()


class Optimizer:
    """An object of a trainer's own class."""

    def __init__(self):
        self.state = {"step": 3}


class Hyperparameters(dict):
    """A class derived from dict, like Lightning's."""


@dataclass
class Recipe:
    """A trainer's own dataclass."""

    epochs: int


LAYOUTS = {
    "ours": lambda: contents(with_vision=True),
    "the owner's four keys": lambda: owners(state()),
    "a bare state dict": state,
    "state_dict": lambda: {"state_dict": state()},
    "DataParallel": lambda: owners({f"module.{name}": value for name, value in state().items()}),
    "torch.compile": lambda: owners({f"_orig_mod.{name}": value for name, value in state().items()}),
    "both wrappers": lambda: {f"_orig_mod.module.{name}": value for name, value in state().items()},
    "resnet beside feature_extractor": lambda: owners(state() | as_resnet(state())),
    "resnet first": lambda: owners(as_resnet(state()) | state()),
    "resnet with fc beside feature_extractor": lambda: owners(state() | as_resnet(state()) | FC),
    "resnet alone": lambda: owners(without_features(state()) | as_resnet(state())),
    "resnet alone with fc": lambda: owners(without_features(state()) | as_resnet(state()) | FC),
    "no batch counters": lambda: owners(
        {name: value for name, value in state().items() if not name.endswith("num_batches_tracked")}
    ),
    "an old transformers' position_ids": lambda: owners(
        state() | {"text_encoder.bert.embeddings.position_ids": torch.arange(64)[None]}
    ),
    "no config": lambda: owners(state(), config=None),
    "a config of other keys": lambda: owners(state(), config={"text": "bert", "vision": "resnet", "dim": 9}),
    "NumPy's metrics": lambda: owners(state(), test_metrics={"auroc": np.float64(0.5), "n": np.int64(3)}),
    "double precision": lambda: owners(
        {name: value.double() if value.is_floating_point() else value for name, value in state().items()}
    ),
    "NumPy's arrays as weights": lambda: owners({name: value.numpy() for name, value in state().items()}),
    "parameters": lambda: owners(
        {name: nn.Parameter(value) if value.is_floating_point() else value for name, value in state().items()}
    ),
    "a whole pickled module": pickled_module,
    "a module under model": lambda: owners({}, model_state_dict=None, model=pickled_module()),
    "model": lambda: {"model": state(), "optimizer": Optimizer(), "epoch": 3},
    "ema": lambda: {"ema": {f"module.{name}": value for name, value in state().items()}},
    "torch's AveragedModel": lambda: {"state_dict": state() | {"n_averaged": torch.tensor(3)}},
    "Lightning": lambda: {
        "state_dict": {f"model.{name}": value for name, value in state().items()},
        "hyper_parameters": Hyperparameters(lr=1e-3),
        "callbacks": {Optimizer: {"best": 0.5}},
    },
    "plain objects in config and provenance": lambda: owners(
        state(),
        config=Namespace(seed=42, data=Path("/data/videos.csv")),
        provenance={
            "options": Namespace(lr=1e-3, out=Path("model_full.pt")),
            "started": datetime(2025, 6, 2, 12, 30, tzinfo=UTC),
            "took": timedelta(hours=2),
            "losses": defaultdict(list, train=[1.0]),
            "classes": {"viral"},
            "recipe": Recipe(epochs=3),
        },
    ),
    "a scaler that is not needed": lambda: owners(state(), scaler=StandardScaler().fit([[1.0], [2.0]])),
}


@pytest.fixture(scope="module")
def expected():
    return answers(small_checkpoint(with_vision=True))


@pytest.fixture
def load(tmp_path):
    """Write contents as a file and read it as a checkpoint; a sidecar has the statistics the file lacks."""

    path = tmp_path / "model_full.pt"
    sidecar_path(path).write_text(json.dumps(STATISTICS), encoding="utf-8")

    def write_and_read(whole):
        torch.save(whole, path)
        return read_checkpoint(path)

    yield write_and_read
    path.unlink(missing_ok=True)  # twenty megabytes each


def test_every_layout_is_the_identical_network(load, expected):
    """The same weights under other names and keys give the same outputs, bit for bit."""
    failures, config = [], small_checkpoint(with_vision=True).card.config
    for layout, make in LAYOUTS.items():
        checkpoint = load(make())
        if checkpoint.card.config != config or not torch.equal(answers(checkpoint), expected):
            failures.append(layout)
    assert failures == []


def test_plain_objects_are_read_as_plain_values(load):
    """Paths, dates, namespaces and dataclasses in the provenance are text, ISO 8601 and dicts."""
    assert load(LAYOUTS["plain objects in config and provenance"]()).card.provenance == {
        "options": {"lr": 1e-3, "out": "model_full.pt"},
        "started": "2025-06-02T12:30:00",
        "took": 7200.0,
        "losses": {"train": [1.0]},
        "classes": ["viral"],
        "recipe": {"epochs": 3},
    }


def test_the_card_names_an_unusual_key_of_the_weights(load):
    """For a file with `model` or `ema` weights, the card says which key they were read from."""
    assert load(LAYOUTS["ema"]()).card.provenance == {"weights_from": "ema"}
    assert load(LAYOUTS["state_dict"]()).card.provenance == {}


def test_scalers_saved_beside_the_weights_are_the_statistics(tmp_path):
    """A fitted StandardScaler and MinMaxScaler in a file replace a sidecar, without running their code."""
    rows, velocities = np.random.default_rng(3).normal(5, 2, (40, 3)), np.array([[2.0], [900.0]])
    scaler, bounds = StandardScaler().fit(rows), MinMaxScaler().fit(velocities)
    whole = owners(state(), preprocessing={"scaler": scaler, "velocity": bounds})
    path = tmp_path / "m.pt"
    torch.save(whole, path)
    card = read_checkpoint(path).card
    assert [card.feature_stats[name]["mean"] for name in NAMES] == scaler.mean_.tolist()
    assert [card.feature_stats[name]["scale"] for name in NAMES] == scaler.scale_.tolist()
    assert card.velocity == MinMaxVelocity(2.0, 900.0)


def test_a_label_encoder_beside_the_scaler_gives_the_weekday_codes(tmp_path):
    """Names that training saw are coded in alphabetical order; a day that it did not see has no code."""
    state = tiny_state(FusionConfig(text=None, vision=None, scalars=2, hidden=(8, 4)))
    names = ["views", "publish_dayofweek"]
    encoders = {
        "platform": LabelEncoder().fit(["TikTok", "YouTube"]),
        "publish_dayofweek": LabelEncoder().fit(["Monday", "Tuesday", "Wednesday", "Sunday"]),
    }
    scalers = {"scaler": StandardScaler().fit(np.eye(2)), "velocity": MinMaxScaler().fit([[0.0], [9.0]])}
    torch.save({"state_dict": state, "scalar_features": names, "le": encoders, **scalers}, tmp_path / "m.pt")
    stats = read_checkpoint(tmp_path / "m.pt").card.feature_stats
    assert stats["publish_dayofweek"]["codes"] == [0, 2, 3, None, None, None, 1]
    assert "codes" not in stats["views"]


def test_a_scaler_in_the_file_keeps_the_sidecars_codes_and_ranges(tmp_path):
    """The file has means and scales; values that only the sidecar has, such as weekday codes, are kept."""
    state = tiny_state(FusionConfig(text=None, vision=None, scalars=2, hidden=(8, 4)))
    names, path = ["views", "publish_dayofweek"], tmp_path / "m.pt"
    torch.save({"state_dict": state, "scaler": StandardScaler().fit([[1.0, 2.0], [3.0, 6.0]])}, path)
    moments = {"mean": 9.0, "scale": 9.0, "low": 0.0, "high": 6.0}
    sidecar = {
        "scalar_features": names,
        "feature_stats": {"views": moments, "publish_dayofweek": moments | {"codes": [0, 1, 2, 3, 4, 5, 6]}},
        "velocity": {"transform": "min-max", "low": 0.0, "high": 9.0},
    }
    sidecar_path(path).write_text(json.dumps(sidecar), encoding="utf-8")
    assert read_checkpoint(path).card.feature_stats == {
        "views": {"mean": 2.0, "scale": 1.0, "low": 0.0, "high": 6.0},
        "publish_dayofweek": {"mean": 4.0, "scale": 2.0, "low": 0.0, "high": 6.0, "codes": list(range(7))},
    }


def test_an_object_that_is_not_read_is_named_with_the_next_step(tmp_path):
    """Without statistics, the error names objects that may have them, by key and class."""
    path = tmp_path / "m.pt"
    torch.save(owners(state(), scaler=make_pipeline(StandardScaler())), path)
    with pytest.raises(
        CheckpointError, match=r"\(scaler is a sklearn.pipeline.Pipeline\): save their numbers"
    ):
        read_checkpoint(path)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_file_that_describes_endless_values_is_refused(is_zip, tmp_path):
    """A small file of a million lists is refused before it fills the memory."""
    path = tmp_path / "m.pt"
    torch.save({"a": [[] for _ in range(600_000)]}, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match="describes more than 1,000,000 values other than its tensors"):
        read_checkpoint(path)


def test_the_legacy_file_format_loads(tmp_path, expected):
    """Files that torch wrote before it wrote zips load too."""
    torch.save(contents(with_vision=True), tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(answers(read_checkpoint(tmp_path / "m.pt")), expected)


def test_half_precision_weights_are_computed_in_float32(load):
    """A file in half precision gives what its rounded weights give in float32."""
    for kind in (torch.float16, torch.bfloat16):
        half = {name: v.to(kind) if v.is_floating_point() else v for name, v in state().items()}
        rounded = {name: v.float() if v.is_floating_point() else v for name, v in half.items()}
        checkpoint, expected = load(owners(half)), small_checkpoint(with_vision=True, state_dict=rounded)
        assert checkpoint.state_dict["classifier.weight"].dtype == torch.float32
        assert torch.equal(answers(checkpoint), answers(expected))


def test_writing_and_reading_gives_the_same_checkpoint(tmp_path):
    """What is written is what is read, key by key."""
    written = small_checkpoint(test_metrics={"auroc": 0.5}, golden={"scalars": torch.ones(2, 3)})
    write_checkpoint(tmp_path / "new" / "m.pt", written)
    again = read_checkpoint(tmp_path / "new" / "m.pt")
    assert torch.equal(again.card.golden["scalars"], written.card.golden["scalars"])
    changed = {"name": "m.pt", "sha256": again.card.sha256, "golden": again.card.golden}
    assert again.card == written.card.changed(**changed)
    assert torch.equal(answers(again), answers(written))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.pt"]


def test_numpy_metrics_become_plain_numbers(load):
    """Metrics saved as NumPy scalars are plain afterwards, ready for any JSON."""
    checkpoint = load(owners(state(), test_metrics={"auroc": np.float32(0.5), "folds": [np.int64(3)]}))
    assert json.dumps(checkpoint.card.test_metrics) == '{"auroc": 0.5, "folds": [3]}'


def test_a_file_without_image_weights_is_text_only(load):
    """The weights determine the modalities; text-only files were trained on titles."""
    checkpoint = load(dict(small_state(with_vision=False)))
    assert checkpoint.card.config.modalities == ("text", "scalars")
    assert checkpoint.card.text_fields == ("title",)
    assert torch.equal(answers(checkpoint), answers(small_checkpoint()))


def test_a_multimodal_file_without_text_fields_reads_titles(load):
    """With or without images, a file without the key `text` was trained on the title."""
    assert load(owners(state())).card.text_fields == ("title",)


STRANGERS = {
    "another network": (
        lambda: {
            "encoder.weight": torch.ones(3, 5),
            "encoder.bias": torch.ones(3),
            "head.weight": torch.ones(2),
        },
        [
            "lacks fusion.0.weight",
            "3 entries: encoder.* (2, the first encoder.weight (3 x 5)), head.weight (2)",
        ],
    ),
    "a trainer's own nesting": (
        lambda: {"epoch": 3, "trainer": {"a": torch.ones(1), "b": torch.ones(1)}},
        ["found ['epoch', 'trainer']", "2 entries: epoch (int), trainer (dict of 2: a, b)"],
    ),
    "many long names": (
        lambda: {f"{number}{'x' * 500}.w": torch.ones(1) for number in range(99)},
        ["99 entries: 0xxx", "...", "94 more groups"],
    ),
}


def test_an_unknown_layout_is_described(load):
    """A file of another network is refused with its names, its shapes and what was expected, briefly."""
    failures = []
    for stranger, (make, parts) in STRANGERS.items():
        with pytest.raises(CheckpointError) as refused:
            load(make())
        message = str(refused.value)
        expected = [*parts, "fusion.0.weight (1024 x inputs)", "classifier.weight (2 x 256)"]
        if any(part not in message for part in expected) or len(message) > 1000 or "\n" in message:
            failures.append(f"{stranger}: {message}")
    assert failures == []


def test_a_config_that_lies_is_not_believed(load):
    """Flags and sizes that the weights contradict change nothing."""
    lies = {
        "modalities": ["text", "image", "scalars"],
        "use_vision": True,
        "scalars": 99,
        "hidden": [7, 7],
        "vision": {"block": "bottleneck", "stages": [3, 4, 6, 3]},
        "text": {"vocab_size": 1, "hidden_size": 1, "layers": 40, "heads": 2},
    }
    checkpoint = load(contents(config=lies))
    assert checkpoint.card.config == small_checkpoint().card.config
    assert torch.equal(answers(checkpoint), answers(small_checkpoint()))


def test_a_number_of_heads_that_no_shape_shows_must_be_declared(tmp_path, load):
    """No shape shows the number of heads: for a hidden size of no published BERT it is not guessed."""
    torch.save(_of_hidden_size_96(), tmp_path / "other.pt")
    with pytest.raises(
        CheckpointError, match=r"text\.heads is None, expected .* divisor .* 96; add it to config"
    ):
        read_checkpoint(tmp_path / "other.pt")
    declared = load({"model_state_dict": _of_hidden_size_96(), "config": {"text": {"heads": 3}}})
    assert declared.card.config.text.heads == 3


def _of_hidden_size_96():
    text = TextConfig(vocab_size=50, hidden_size=96, layers=1, heads=3, intermediate_size=8, max_positions=16)
    return MultimodalViralityPredictor(
        FusionConfig(text=text, vision=None, scalars=3, hidden=(4, 2))
    ).state_dict()


def test_the_sidecar_supplies_what_the_file_lacks(tmp_path, load):
    """Statistics beside the file make the owner's first file complete."""
    path = tmp_path / "model_full.pt"
    statistics = {
        "scalar_features": list(NAMES),
        "feature_stats": STATS,
        "velocity": {"transform": "min-max", "low": 0, "high": 1000},
        "calibration": {"temperature": 2},
        "text": {"fields": ["title"], "max_tokens": 20},
    }
    (tmp_path / "model_full.stats.json").write_text(json.dumps(statistics), encoding="utf-8")
    assert sidecar_path(path) == tmp_path / "model_full.stats.json"
    checkpoint = load(dict(small_state(with_vision=False)))
    assert checkpoint.card.scalar_features == NAMES
    assert checkpoint.card.velocity.invert(np.array([0.5])) == 500
    assert (checkpoint.card.temperature, checkpoint.card.max_tokens) == (2, 20)


def test_the_file_wins_over_its_sidecar(tmp_path, load):
    """The sidecar does not override the file's own values; an empty key in the file counts as absent."""
    (tmp_path / "model_full.stats.json").write_text(
        json.dumps({"calibration": {"temperature": 9}, "velocity": VELOCITY}), encoding="utf-8"
    )
    checkpoint = load(contents(velocity=None))
    assert checkpoint.card.temperature == 1.5
    assert checkpoint.card.velocity.high == VELOCITY["high"]


def test_a_modality_whose_columns_are_zero_has_no_weight(load):
    """If the fusion's image columns are all zero, the card lists the image as having no weight."""
    weights = state()
    weights["fusion.0.weight"] = weights["fusion.0.weight"].clone()
    assert load(owners(weights)).card.zero_weight_modalities == ()
    weights["fusion.0.weight"][:, 128 : 128 + 512] = 0
    assert load(owners(weights)).card.zero_weight_modalities == ("image",)
