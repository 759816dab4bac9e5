"""--unfreeze: the encoders are trained on a CPU, continue after an interruption, and stop early."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import model.torchvision_compat  # noqa: F401  must precede every import of transformers
from model.checkpoint.store import read_checkpoint
from model.pretrained import BERT_NAMES
from tests.support.tiny import TINY_TEXT
from tests.training.pictured import write_pictured
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, rows, write_csv
from training.commands import main
from training.data.dataset import DatasetError, read_dataset
from training.embeddings.thumbnails import ThumbnailSource
from training.encoders import Encoders
from training.recipe import Tuning
from training.unfreeze import unfreeze

TUNING = Tuning(epochs=2, patience=2, batch_size=64, encoder_rate=1e-3)
PREFIX = "text_encoder."


@pytest.fixture(scope="module")
def tuned() -> Encoders:
    """The tiny BERT after two epochs without an interruption."""
    return unfreeze(encoders(), dataset(), RECIPE, SEED, TUNING)


def test_the_text_encoder_is_trained_and_the_image_encoder_is_not(tuned: Encoders) -> None:
    """Every matrix of the text encoder moves; the image encoder keeps each weight."""
    before = encoders().state_dict
    moved = {name for name, tensor in tuned.state_dict.items() if not torch.equal(tensor, before[name])}
    assert {name for name in moved if not name.startswith(PREFIX)} == set()
    assert {name for name in before if name.startswith(PREFIX) and ".layer." in name} <= moved


def test_the_loss_on_val_falls(tuned: Encoders) -> None:
    """Trained weights have a lower loss on val than weights with learning rates of 0."""
    still = unfreeze(encoders(), dataset(), RECIPE, SEED, replace(TUNING, encoder_rate=0.0, head_rate=0.0))
    losses = [each.provenance["text"]["tuning"]["val_loss"] for each in (tuned, still)]
    assert losses[0] < losses[1]


def test_an_interrupted_run_ends_with_the_same_encoder(
    tuned: Encoders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After Ctrl-C at the end of an epoch, the same call continues and gives the same weights."""

    def interrupt(_: object, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unfreeze(encoders(), dataset(), RECIPE, SEED, TUNING, tmp_path, track=interrupt)
    again = unfreeze(encoders(), dataset(), RECIPE, SEED, TUNING, tmp_path)
    assert "continuing in epoch 2 at batch 1" in capsys.readouterr().out
    for name, tensor in tuned.state_dict.items():
        np.testing.assert_allclose(again.state_dict[name], tensor, rtol=0, atol=1e-5, err_msg=name)


def test_training_stops_when_val_no_longer_improves() -> None:
    """A loss that does not fall ends the run after the patience, not after all epochs."""
    still = replace(TUNING, encoder_rate=0.0, head_rate=0.0, epochs=9, patience=2)
    origin = unfreeze(encoders(), dataset(), RECIPE, SEED, still).provenance["text"]
    assert origin["tuning"]["epochs_run"] == 3


def test_the_time_is_estimated_before_it_starts(capsys: pytest.CaptureFixture[str]) -> None:
    """The first line has the time of all epochs and the measured time of a batch."""
    unfreeze(encoders(), dataset(), RECIPE, SEED, replace(TUNING, epochs=1))
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("training the text encoder: at most 0.")
    assert "s each, measured on a CPU with gradient checkpointing" in first


def test_the_image_encoder_is_trained_on_the_rows_thumbnails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each convolution moves, the statistics of its batch normalisation and the text encoder do not."""
    pictured = read_dataset(write_pictured(tmp_path / "pictures", 90, SEED))
    source = ThumbnailSource(tmp_path / "pictures")
    config = encoders().config
    assert config.vision is not None
    small = replace(encoders(), config=replace(config, vision=replace(config.vision, height=32, width=32)))
    tuning = replace(TUNING, text=False, image=True, epochs=1, batch_size=16)
    tuned = unfreeze(small, pictured, RECIPE, SEED, tuning, tmp_path / "cache", thumbnails=source)
    before = encoders().state_dict
    moved = {name for name, tensor in tuned.state_dict.items() if not torch.equal(tensor, before[name])}
    weights = {name for name, t in before.items() if name.startswith("vision_encoder.") and t.ndim == 4}
    assert weights <= moved
    assert not [name for name in moved if name.startswith(PREFIX) or "running" in name]
    assert "training the image encoder: at most 0." in capsys.readouterr().out
    assert tuned.provenance["image"]["source"].endswith("trained further on videos.csv")
    with pytest.raises(DatasetError, match="no row has a usable thumbnail"):
        unfreeze(encoders(), dataset(), RECIPE, SEED, tuning, tmp_path, thumbnails=source)


def test_train_unfreeze_writes_a_checkpoint_and_an_mlflow_run(tmp_path: Path) -> None:
    """The card says that the encoder was trained further; the run in MLflow has parameters and figures."""
    import mlflow  # these take seconds
    from transformers import BertConfig, BertModel

    shape = {theirs: getattr(TINY_TEXT, ours) for ours, theirs in BERT_NAMES.items()}
    BertModel(BertConfig(**shape)).save_pretrained(tmp_path / "bert")
    data, out, runs = write_csv(tmp_path / "rows.csv", rows()), tmp_path / "model.pt", tmp_path / "runs"
    options = ["--unfreeze", "--encoder-epochs", "1", "--encoder-batch-size", "64", "--epochs", "2"]
    files = [str(data), "--out", str(out), "--thumbnails", "none", "--text-encoder", str(tmp_path / "bert")]
    assert main(["train", *files, *options, "--mlflow", runs.as_uri()]) == 0
    card = read_checkpoint(out).card
    assert card.text_encoder is not None
    assert card.text_encoder.name == "bert, trained further on rows.csv"
    mlflow.set_tracking_uri(runs.as_uri())
    (run,) = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("miles").experiment_id])
    assert run.data.params["encoder_rate"] == "2e-05"
    assert run.data.metrics.keys() >= {"encoder_val_loss", "auroc", "mae"}
    assert run.info.status == "FINISHED"
