"""A bundle's card compared with the checkpoint it was made from, which is read without torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model.card import ModelCard
from model.checkpoint.file import CheckpointError
from model.checkpoint.metadata import changed_keys, sidecar_path
from model.checkpoint.store import read_checkpoint, write_checkpoint
from tests.support.tiny import tiny_checkpoint

GOLDEN = {"requests": [{"title": "x"}], "viral_score": [0.5]}


def edited(card: ModelCard) -> dict[str, ModelCard]:
    """The card with one value changed, by the value's key in the file."""
    name, *_ = card.scalar_features
    stats = {**card.feature_stats, name: {**card.feature_stats[name], "mean": -4.0}}
    velocity = {**card.to_file()["velocity"], "mean": 1.0 + card.to_file()["velocity"]["mean"]}
    return {
        "feature_stats": card.changed(feature_stats=stats),
        "velocity": card.changed(velocity=velocity),
        "calibration": card.changed(temperature=7.0),
        "golden": card.changed(golden={}),
        "provenance": card.changed(provenance={"source": "trained"}),
        "scalar_features": card.changed(scalar_features=card.scalar_features[::-1]),
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The tiny checkpoint with golden answers and a temperature."""
    path = tmp_path / "tiny.pt"
    write_checkpoint(path, tiny_checkpoint().with_card(golden=GOLDEN, temperature=1.5))
    return path


def test_every_difference_is_found(saved: Path) -> None:
    """The checkpoint's own card has none; one edited value is found under its key."""
    card = read_checkpoint(saved).card
    assert changed_keys(saved, card) == []
    found = {key: changed_keys(saved, wrong) for key, wrong in edited(card).items()}
    assert {key: keys for key, keys in found.items() if keys != [key]} == {}


def test_the_sidecar_counts_where_the_file_says_nothing(tmp_path: Path) -> None:
    """A bare state dict takes its statistics from the file beside it, in torch's current and older format."""
    checkpoint = tiny_checkpoint()
    known = checkpoint.card.to_file()
    values: dict[str, Any] = {key: known[key] for key in known if key != "config" and known[key]}
    for is_zip in (True, False):
        path = tmp_path / f"bare-{is_zip}.pt"
        contents = {"model_state_dict": checkpoint.state_dict, "config": known["config"]}
        torch.save(contents, path, _use_new_zipfile_serialization=is_zip)
        sidecar_path(path).write_text(json.dumps(values))
        card = read_checkpoint(path).card
        assert changed_keys(path, card) == []
        assert changed_keys(path, edited(card)["velocity"]) == ["velocity"]


def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "garbage.pt"
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(CheckpointError):
        changed_keys(path, tiny_checkpoint().card)


def test_torch_is_not_needed() -> None:
    script = "import sys, model.checkpoint.metadata; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
