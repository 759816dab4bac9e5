"""Broken checkpoint files: each ends in one clear line that names the file, and nothing in them runs."""

import hashlib
import io
import itertools
import json
import pickle
import random
import zipfile

import pytest
import safetensors.torch
import torch

from model.checkpoint.file import HASHED_AT_ONCE, check_file
from model.checkpoint.store import CheckpointError, read_checkpoint, write_checkpoint
from tests.model.checkpoint.test_layouts import as_resnet
from tests.model.small import STATS, VELOCITY, contents, small_checkpoint, small_state

NAN = float("nan")
CLASSIFIER = "classifier.weight"


class RunsCode:
    """A pickle that leaves a file behind when it is loaded by a loader that runs code."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


def saved(whole):
    buffer = io.BytesIO()
    torch.save(whole, buffer)
    return buffer.getvalue()


def zipped(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "hello")
    return buffer.getvalue()


def weights(**changes):
    """The good state dict with some weights replaced, or left out where the value is None."""
    merged = dict(small_state(with_vision=False)) | changes
    return {name: value for name, value in merged.items() if value is not None}


def with_weights(**changes):
    return saved(contents(model_state_dict=weights(**changes)))


def two_resnets():
    state = dict(small_state(with_vision=True))
    other = {name: value + 1 for name, value in as_resnet(state).items()}
    return saved(contents(with_vision=True, model_state_dict=state | other))


FUSION = "fusion.0.weight"
WORDS = "text_encoder.bert.embeddings.word_embeddings.weight"
WIDE = "text_encoder.bert.encoder.layer.0.intermediate.dense.weight"
# Fault: the file's bytes, and what the error line says about them.
BROKEN_FILES = {
    "empty": (lambda: b"", "is empty (0 bytes). Download or train it again"),
    "an LFS pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n",
        "is a Git LFS pointer, not the weights. Run `git lfs pull`",
    ),
    "truncated": (lambda: saved(contents())[:-5000], "is truncated or not a torch.save file"),
    "its first half": (
        lambda: saved(contents())[:200_000],
        "is truncated or not a torch.save file (200000 b",
    ),
    "text": (lambda: b"<!doctype html><title>404</title>", "not a torch.save file (33 bytes"),
    "another zip": (lambda: zipped("readme.txt"), "is a zip archive of readme.txt, and not one that torch"),
    "a plain pickle": (lambda: pickle.dumps({"a": 1}), "not a torch.save file"),
    "a list": (lambda: saved([1, 2]), "holds a list, expected a dict with model_state_dict"),
    "an empty dict": (
        lambda: saved({}),
        "holds no state dict: found an empty dict, expected model_state_dict",
    ),
    "no weights": (
        lambda: saved({"config": {}, "epoch": 3}),
        "holds no state dict: found ['config', 'epoch']",
    ),
    "a missing key": (
        lambda: with_weights(**{CLASSIFIER: None}),
        f"lacks {CLASSIFIER}. Save the whole model",
    ),
    "no text tower": (lambda: with_weights(**{WORDS: None}), f"lacks {WORDS}; expected the state_dict()"),
    "an unknown key": (
        lambda: with_weights(**{"decoder.weight": torch.ones(1)}),
        "holds unknown weights: decoder.weight. Save the state_dict()",
    ),
    "a wrong shape": (
        lambda: with_weights(**{CLASSIFIER: torch.ones(3, 8)}),
        f"{CLASSIFIER} is (3, 8), expected (2, 8)",
    ),
    "a vector for a matrix": (
        lambda: with_weights(**{FUSION: torch.ones(3)}),
        f"{FUSION} is (3,), expected a matrix",
    ),
    "a weight without numbers": (
        lambda: with_weights(**{FUSION: torch.ones(0, 131)}),
        f"{FUSION} is (0, 131), expected a matrix",
    ),
    "NaN weights": (
        lambda: with_weights(**{CLASSIFIER: torch.full((2, 8), NAN)}),
        f"{CLASSIFIER} holds NaN or infinite values; train it again",
    ),
    "infinite weights": (
        lambda: with_weights(**{CLASSIFIER: torch.full((2, 8), float("inf"))}),
        f"{CLASSIFIER} holds NaN or infinite values",
    ),
    "complex weights": (
        lambda: with_weights(**{CLASSIFIER: torch.ones(2, 8, dtype=torch.complex64)}),
        f"{CLASSIFIER} is torch.complex64, torch.strided; expected dense real numbers",
    ),
    "sparse weights": (
        lambda: with_weights(**{CLASSIFIER: torch.ones(2, 8).to_sparse()}),
        f"{CLASSIFIER} is a torch._utils._rebuild_sparse_tensor, expected dense real numbers",
    ),
    "weights of one number": (
        lambda: with_weights(**{CLASSIFIER: torch.ones(1, 1).expand(10**9, 10**3)}),
        f"{CLASSIFIER} is (1000000000, 1000), but holds fewer numbers than that",
    ),
    "a fusion smaller than its encoders": (
        lambda: with_weights(**{FUSION: torch.ones(16, 100)}),
        "fusion.0.weight takes 100 inputs, its encoders alone give 128; the fusion and",
    ),
    "a layer too short": (lambda: with_weights(**{WIDE: None}), f"lacks {WIDE}; expected the state_dict()"),
    "a gap between layers": (
        lambda: saved(
            contents(
                model_state_dict={
                    name.replace("layer.1.", "layer.7."): value for name, value in weights().items()
                }
            )
        ),
        "numbers its layers [0, 7] under text_encoder.bert.encoder.layer., expected 0, 1, 2, ...",
    ),
    "two resnets that differ": (two_resnets, "differ, expected one network under two names"),
    "a weight that is not part of a ResNet": (
        lambda: with_weights(**{"vision_encoder.resnet.head.weight": torch.ones(1)}),
        "vision_encoder.resnet.head.weight is not part of a ResNet; expected conv1",
    ),
    "an unknown format": (
        lambda: saved(contents(format=7)),
        "format is 7, this version reads 1. Run the release that wrote it",
    ),
    "too few scalar names": (
        lambda: saved(contents(scalar_features=["first"])),
        "scalar_features lists 1 features, the fusion takes 3",
    ),
    "a scalar name twice": (
        lambda: saved(contents(scalar_features=["first", "first", "third"])),
        "expected each name once",
    ),
    "an unknown kind of velocity": (
        lambda: saved(contents(velocity={"transform": "cube root"})),
        "input tag 'cube root' found using 'transform' does not match any of the expected tags: 'log1p'",
    ),
    "a velocity scale of zero": (
        lambda: saved(contents(velocity=VELOCITY | {"scale": 0})),
        "velocity.log1p.scale is 0, expected a number greater than 0. Correct it, or train it again",
    ),
    "velocities that are never above zero": (
        lambda: saved(contents(velocity=VELOCITY | {"high": -1.0})),
        "velocity.log1p.high is -1.0, expected a number greater than 0",
    ),
    "velocity bounds the wrong way round": (
        lambda: saved(contents(velocity={"transform": "min-max", "low": 5, "high": 1})),
        "velocity.min-max has low 5.0 and high 1.0, expected high above low",
    ),
    "a temperature of zero": (
        lambda: saved(contents(calibration={"temperature": 0})),
        "calibration.temperature is 0, expected a number greater than or equal to 0.01",
    ),
    "a mean title of another width": (
        lambda: saved(contents(titles={"mean_vector": [0.5] * 3})),
        "titles has a mean_vector of 3 numbers, expected 128",
    ),
    "a mean title that is not a number": (
        lambda: saved(contents(titles={"mean_vector": [float("nan")] * 128})),
        "titles.mean_vector.0 is nan, expected a finite number",
    ),
    "a script with a share above 1": (
        lambda: saved(contents(titles={"scripts": {"Latin": 1.5}})),
        "titles.scripts.Latin is 1.5, expected a number less than or equal to 1",
    ),
    "statistics for other features": (
        lambda: saved(contents(feature_stats={"fourth": STATS["first"]})),
        "feature_stats lacks ['first', 'second', 'third'], which scalar_features lists",
    ),
    "a feature scale of zero": (
        lambda: saved(contents(feature_stats=STATS | {"second": {"mean": 1, "scale": 0}})),
        "feature_stats.second has mean 1.0 and scale 0.0, expected numbers and a scale above 0",
    ),
    "more tokens than positions": (
        lambda: saved(contents(text={"fields": ["title"], "max_tokens": 65})),
        "max_tokens is 65, the text encoder takes 8 to 64 tokens",
    ),
    "unknown text fields": (
        lambda: saved(contents(text={"fields": ["subtitles"], "max_tokens": 32})),
        "fields is ['subtitles'], expected title, or title and description",
    ),
}


def one_line_about(path, read=read_checkpoint, **arguments):
    """The message of the CheckpointError that reading `path` raises, checked to be one line naming `path`."""
    with pytest.raises(CheckpointError) as caught:
        read(path, **arguments)
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert message.startswith(str(path))
    return message


def test_a_broken_file_is_one_clear_line(tmp_path):
    """The line names the file, the values found and expected, and the next step."""
    path, failures = tmp_path / "model_full.pt", []
    for case, (write, sentence) in BROKEN_FILES.items():
        path.write_bytes(write())
        message = one_line_about(path)
        failures += [] if sentence in message else [f"{case}: {message}"]
    assert failures == []


def test_a_missing_file_says_how_to_make_one(tmp_path):
    assert "no such file. Run `make model`" in one_line_about(tmp_path / "model_full.pt")


def test_a_path_that_is_not_a_file_is_refused_before_it_is_read(tmp_path):
    """A directory, a link to an endless device, and a name that the system refuses to look up."""
    (tmp_path / "m.pt").symlink_to("/dev/zero")
    assert "is a directory, expected a file" in one_line_about(tmp_path)
    assert "is a device or a pipe" in one_line_about(tmp_path / "m.pt")
    assert "cannot be read" in one_line_about(tmp_path / ("x" * 300))


def test_a_file_with_another_sha256_is_refused(tmp_path):
    write_checkpoint(tmp_path / "m.pt", small_checkpoint())
    digest = read_checkpoint(tmp_path / "m.pt").card.sha256
    assert read_checkpoint(tmp_path / "m.pt", expected_sha256=digest.upper()).card.sha256 == digest
    message = one_line_about(tmp_path / "m.pt", expected_sha256="0" * 64)
    assert f"sha256 is {digest}, expected {'0' * 64}" in message


def test_a_file_of_several_blocks_has_one_digest(tmp_path):
    """The last block is a partial one."""
    contents = b"begin" + bytes(2 * HASHED_AT_ONCE)
    (tmp_path / "m.pt").write_bytes(contents)
    assert check_file(tmp_path / "m.pt", None) == hashlib.sha256(contents).hexdigest()


def test_a_safetensors_file_may_begin_as_a_pickle_does(tmp_path):
    """It begins with its header's length, whose lowest byte may be a pickle's first."""
    saved = [safetensors.torch.save({"w" * length: torch.zeros(1)}) for length in range(1, 300)]
    alike = next(contents for contents in saved if contents[:1] == pickle.PROTO)
    (tmp_path / "m.pt").write_bytes(alike)
    assert check_file(tmp_path / "m.pt", None) == hashlib.sha256(alike).hexdigest()


def test_a_pickle_that_wants_to_run_code_never_does(tmp_path):
    """In both of torch's formats the error names its key and function; a bare pickle does not run either."""
    canary, path = tmp_path / "canary", tmp_path / "m.pt"
    whole = contents(provenance={"x": RunsCode(canary)})
    for is_zip in (True, False):
        torch.save(whole, path, _use_new_zipfile_serialization=is_zip)
        message = one_line_about(path)
        assert "provenance.x is a " in message
        assert "open, which only code could rebuild, and a file's code is never run. Save it again" in message
    path.write_bytes(pickle.dumps(RunsCode(canary)))
    one_line_about(path)
    assert not canary.exists()


def test_names_with_line_breaks_still_make_one_line(tmp_path):
    path = tmp_path / "m.pt"
    path.write_bytes(with_weights(**{"evil\nTraceback (most recent call last):\r": torch.ones(1)}))
    assert "evil Traceback" in one_line_about(path)


def test_missing_statistics_name_the_sidecar(tmp_path):
    """A file without statistics is refused with the command that makes them."""
    path = tmp_path / "model_full.pt"
    torch.save(weights(), path)
    message = one_line_about(path)
    assert "lacks scalar_features, feature_stats, velocity" in message
    assert str(tmp_path / "model_full.stats.json") in message
    assert f"`./miles fit-stats TRAINING.csv --checkpoint {path}`" in message


SIDECARS = {
    "not JSON": ("{", "is not readable JSON"),
    "not text": (b"\xff\xfe", "is not readable JSON"),
    "nested without end": ("[" * 100_000, "is not readable JSON"),
    "a list": ("[1]", "holds a list, expected an object with scalar_features"),
    "an unknown key": ('{"temprature": 1}', "holds temprature, expected an object with scalar_features"),
    "an unusable value": (
        '{"velocity": {"transform": "x"}}',
        "velocity is {'transform': 'x'}, input tag 'x' found using 'transform' does not match",
    ),
    "an infinite value": (
        json.dumps({"feature_stats": {"a": {"mean": 0, "scale": float("inf")}}}),
        "feature_stats.a.scale is inf, expected a finite number",
    ),
}


def test_the_error_for_a_broken_sidecar_names_the_sidecar(tmp_path):
    sidecar, failures = tmp_path / "m.stats.json", []
    torch.save(weights(), tmp_path / "m.pt")
    for case, (written, sentence) in SIDECARS.items():
        sidecar.write_bytes(written if isinstance(written, bytes) else written.encode())
        message = one_line_about(sidecar, read=lambda _: read_checkpoint(tmp_path / "m.pt"))
        failures += [] if sentence in message else [f"{case}: {message}"]
    assert failures == []


def test_random_damage_never_raises_anything_else(tmp_path):
    """Flipped bytes, cut ends and overwritten stretches either load or end in one clear line."""
    draw = random.Random(0)  # noqa: S311  no secret
    whole = saved(contents())
    path = tmp_path / "m.pt"
    for _ in range(240):
        damaged = bytearray(whole)
        # The directory and the pickle are small compared to the weights; half of the damage goes there.
        edges = [*range(4000), *range(len(whole) - 8000, len(whole))]
        for _ in range(draw.choice([1, 4, 40])):
            at = draw.choice(edges) if draw.random() < 0.5 else draw.randrange(len(whole))
            damaged[at] ^= 1 << draw.randrange(8)
        if draw.random() < 0.3:
            del damaged[draw.randrange(len(whole)) :]
        path.write_bytes(damaged)
        loads_or_says_why(path)


ANYTHING = [
    None,
    True,
    -1,
    3.5,
    NAN,
    10**400,
    "",
    "text",
    b"bytes",
    [],
    [1, 2, 3],
    ["first", "second", 3],
    [[[]]],
    {},
    {"temperature": "hot"},
    {"fields": 5, "max_tokens": "many"},
    {"fields": [["title"]]},
    {"fields": ["title"], "max_tokens": True},
    {"transform": "log1p"},
    {"transform": "min-max", "low": None, "high": {}},
    {"transform": ["log1p"]},
    {"first": 1, "second": 2, "third": 3},
    {name: {"mean": "x", "scale": []} for name in STATS},
    {name: {"mean": 10**400, "scale": 1} for name in STATS},
    {name: {"mean": 0, "scale": 1, "low": "x"} for name in STATS},
    {1: 2},
    {"text": {"heads": 0}},
    {"text": {"heads": -2}},
    {"text": {"heads": "two"}},
    {"text": {"heads": 2, "layer_norm_eps": "small"}},
    torch.ones(3),
    torch.ones(1, dtype=torch.complex64),
    {"temperature": torch.ones(2)},
    (1,),
]
KEYS = (
    *("model_state_dict", "format", "config", "scalar_features", "test_metrics", "feature_stats", "velocity"),
    *("calibration", "text", "golden", "provenance", "distributions", "titles"),
)


def test_any_value_under_any_key_never_raises_anything_else(tmp_path):
    """With any value under a key, the file loads or ends in one clear line."""
    path = tmp_path / "m.pt"
    for key, value in itertools.product(KEYS, ANYTHING):
        path.write_bytes(saved(contents(**{key: value})))
        loads_or_says_why(path)


def test_any_config_of_an_image_tower_never_raises_anything_else(tmp_path):
    """The same for a config's image values: sizes out of range, the wrong number of channel means."""
    path = tmp_path / "m.pt"
    for vision in (
        {"height": 10**12},
        {"height": "tall"},
        {"width": NAN},
        {"mean": 5},
        {"mean": [1, 2]},
        {"std": [0, 0, 0]},
        {"std": [1, 1, torch.ones(2)]},
    ):
        config = {"text": {"heads": 2}, "vision": vision}
        path.write_bytes(saved(contents(with_vision=True, config=config)))
        assert f"config.vision.{next(iter(vision))}" in one_line_about(path)


def loads_or_says_why(path):
    """Read `path`; it either loads or fails with one clear line."""
    try:
        read_checkpoint(path)
    except CheckpointError as exc:
        message = str(exc)
        assert message.startswith(str(path))
        assert message.splitlines() == [message]
        assert len(message) < 1000


def test_a_dict_that_holds_itself_is_refused(tmp_path):
    """Values that nest without end are not plain values."""
    endless = {}
    endless["again"] = endless
    path = tmp_path / "m.pt"
    path.write_bytes(saved(contents(provenance=endless)))
    assert "provenance is nested too deeply" in one_line_about(path)
