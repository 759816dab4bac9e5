"""Golden answers gate the start."""

from pathlib import Path
from typing import Any

import pytest

from model.checkpoint.store import Checkpoint, CheckpointError, write_checkpoint
from model.torch_engine import TorchEngine
from serving.lifecycle.golden import check_golden_answers
from serving.lifecycle.loading import load_model
from serving.scoring.model import LoadedModel
from serving.settings import Settings
from tests.support.service import run_to_end
from tests.support.tiny import tiny_checkpoint
from training.golden import golden_answers


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """The trainer's golden answers for the tiny checkpoint."""
    checkpoint = tiny_checkpoint()
    return golden_answers(TorchEngine(checkpoint), checkpoint)


def loaded(directory: Path, checkpoint: Checkpoint) -> LoadedModel:
    """`checkpoint` written to disk and loaded as the service loads it."""
    path = directory / "golden.pt"
    write_checkpoint(path, checkpoint)
    return load_model(Settings(checkpoint=str(path), engine="torch", threads=1))


def test_golden_answers_are_reproduced(tmp_path: Path, golden: dict[str, Any]) -> None:
    """All of those that the trainer wrote; a checkpoint without them, such as an owner's, is accepted."""
    model = loaded(tmp_path, tiny_checkpoint().with_card(golden=golden))
    assert check_golden_answers(model) == len(golden["requests"]) == 7
    assert check_golden_answers(loaded(tmp_path, tiny_checkpoint())) == 0


def test_other_answers_are_refused(tmp_path: Path, golden: dict[str, Any]) -> None:
    """The error names the first golden answer that differs, and in what."""

    def wrong(key: str, value: object) -> dict[str, Any]:
        return {"golden": golden | {key: [*golden[key][:2], value, *golden[key][3:]]}}

    stats = tiny_checkpoint().card.feature_stats
    moved = stats | {"title_length": stats["title_length"] | {"mean": 0.0}}
    refusals: dict[str, dict[str, Any]] = {
        "golden answer 2 differs in input_ids": wrong("input_ids", [101, 102]),
        "golden answer 2 differs in scalars": wrong("scalars", [0.0] * 18),
        "golden answer 2 differs in viral_score": wrong("viral_score", 0.123),
        "golden answer 2 differs in predicted_velocity": wrong("predicted_velocity", 1e9),
        "golden answer 0 differs in scalars": {"golden": golden, "feature_stats": moved},
        "golden answer 0 cannot be read": {"golden": golden | {"requests": [{"view_count": 1}]}},
    }
    failures = []
    for line, card in refusals.items():
        with pytest.raises(CheckpointError) as refused:
            check_golden_answers(loaded(tmp_path, tiny_checkpoint().with_card(**card)))
        if line not in str(refused.value):
            failures.append(f"{line}: {refused.value}")
    assert failures == []


def test_service_with_a_wrong_golden_answer_ends(tmp_path: Path, golden: dict[str, Any]) -> None:
    """The process ends with one line and exit code 1 rather than serve scores other than its trainer's."""
    path = tmp_path / "wrong.pt"
    changed = golden | {"viral_score": [0.5] * 6}
    write_checkpoint(path, tiny_checkpoint().with_card(golden=changed))
    ended = run_to_end(checkpoint=path, engine="torch", threads=1)
    assert ended.returncode == 1
    assert "differs in viral_score" in ended.stderr.strip().splitlines()[-1]
