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
    """What the trainer saw of the tiny checkpoint."""
    checkpoint = tiny_checkpoint()
    return golden_answers(TorchEngine(checkpoint), checkpoint)


def loaded(directory: Path, checkpoint: Checkpoint) -> LoadedModel:
    """`checkpoint` written to disk and loaded as the service loads it."""
    path = directory / "golden.pt"
    write_checkpoint(path, checkpoint)
    return load_model(Settings(checkpoint=str(path), engine="torch", threads=1))


def test_trainers_answers_are_reproduced(tmp_path: Path, golden: dict[str, Any]) -> None:
    """Every golden answer that the trainer wrote comes out the same in the service."""
    model = loaded(tmp_path, tiny_checkpoint().with_card(golden=golden))
    assert check_golden_answers(model) == len(golden["requests"]) == 6


def test_checkpoint_without_golden_answers_is_accepted(tmp_path: Path) -> None:
    """An owner's file carries none, and zero were checked."""
    assert check_golden_answers(loaded(tmp_path, tiny_checkpoint())) == 0


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("input_ids", [101, 102]),
        ("scalars", [0.0] * 18),
        ("viral_score", 0.123),
        ("predicted_velocity", 1e9),
    ],
)
def test_other_answer_is_refused_by_name(
    tmp_path: Path, golden: dict[str, Any], key: str, wrong: object
) -> None:
    """A golden answer that differs stops the start, naming which one and in what."""
    changed = golden | {key: [*golden[key][:2], wrong, *golden[key][3:]]}
    with pytest.raises(CheckpointError, match=f"golden answer 2 differs in {key}"):
        check_golden_answers(loaded(tmp_path, tiny_checkpoint().with_card(golden=changed)))


def test_other_statistics_are_noticed(tmp_path: Path, golden: dict[str, Any]) -> None:
    """Features scaled by other statistics than the trainer's are caught, although every shape fits."""
    stats = tiny_checkpoint().card.feature_stats
    moved = stats | {"title_length": stats["title_length"] | {"mean": 0.0}}
    with pytest.raises(CheckpointError, match="differs in scalars"):
        check_golden_answers(
            loaded(tmp_path, tiny_checkpoint().with_card(golden=golden, feature_stats=moved))
        )


def test_unreadable_golden_answer_is_refused(tmp_path: Path, golden: dict[str, Any]) -> None:
    """A golden request without a title is a clear error."""
    changed = golden | {"requests": [{"view_count": 1}]}
    with pytest.raises(CheckpointError, match="golden answer 0 cannot be read"):
        check_golden_answers(loaded(tmp_path, tiny_checkpoint().with_card(golden=changed)))


def test_service_with_a_wrong_golden_answer_ends(tmp_path: Path, golden: dict[str, Any]) -> None:
    """The process ends with one line and exit code 1 rather than serve other scores than its trainer saw."""
    path = tmp_path / "wrong.pt"
    changed = golden | {"viral_score": [0.5] * 6}
    write_checkpoint(path, tiny_checkpoint().with_card(golden=changed))
    ended = run_to_end(checkpoint=path, engine="torch")
    assert ended.returncode == 1
    assert "differs in viral_score" in ended.stderr.strip().splitlines()[-1]
