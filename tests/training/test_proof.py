"""Training learns what pictures and descriptions show, and learns nothing from noise."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from model.checkpoint.store import read_checkpoint, write_checkpoint
from model.torch_engine import TorchEngine
from tests.training.pictured import write_pictured
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, texts
from training.data.dataset import read_dataset
from training.embeddings.images import encode_thumbnails
from training.embeddings.text import encode_texts
from training.embeddings.thumbnails import ThumbnailSource
from training.fit import Fit, fit
from training.head.fit import fit_head, untrained_checkpoint
from training.measure.evaluation import measure
from training.measure.scorer import Scorer, predict
from training.recipe import Recipe

VIDEOS = 260
PICTURED = Recipe(
    text_dims=4, image_dims=8, members=2, epochs=12, learning_rate=2e-2, averaging=0.95, half_life_days=0.0
)


def image_fit(folder, recipe, videos, *, informative=True) -> Fit:
    """A fit on generated videos with picture files."""
    rows = read_dataset(write_pictured(folder / "files", videos, SEED, informative=informative))
    return fit(rows, encoders(), recipe, SEED, folder / "cache", ThumbnailSource(folder / "files"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def fitted(folder):
    """A fit on picture files whose content decides the views."""
    return image_fit(folder, PICTURED, VIDEOS)


def test_a_head_learns_what_pictures_show(fitted):
    """Through decoder, encoder and head: AUROC at least halfway from the same head without images to 1."""
    figures = fitted.checkpoint.card.test_metrics
    gain = figures["gain_over_twin_without_image"]
    assert figures["auroc"] >= (1 + figures["twin_without_image"]["auroc"]) / 2
    assert gain["auroc"]["low"] > 0 > gain["mae"]["high"]
    assert "image" not in fitted.checkpoint.card.zero_weight_modalities


def test_uninformative_pictures_bring_no_gain(tmp_path):
    """The same files with views that do not depend on them leave AUROC where it was."""
    unrelated = image_fit(tmp_path, PICTURED, VIDEOS // 2, informative=False)
    figures = unrelated.checkpoint.card.test_metrics
    assert figures["auroc"] < (1 + figures["twin_without_image"]["auroc"]) / 2
    assert figures["gain_over_twin_without_image"]["auroc"]["low"] <= 0


def test_a_missing_picture_is_scored_well(fitted):
    """Without a picture the head is hardly worse than one that was trained without pictures."""
    figures = fitted.checkpoint.card.test_metrics
    without = figures["by_condition"]["counts and age, without image"]
    assert without["mae"] < figures["twin_without_image"]["mae"] * 1.25
    assert figures["mae"] < 0.8 * without["mae"]


def test_the_picture_moves_the_score_through_the_file(fitted, folder, tmp_path):
    """Written and read again, the checkpoint scores a sun above a moon for the same counts."""
    write_checkpoint(tmp_path / "model.pt", fitted.checkpoint)
    checkpoint = read_checkpoint(tmp_path / "model.pt")
    rows = read_dataset(folder / "files" / "videos.csv")
    engine = TorchEngine(checkpoint)
    images = encode_thumbnails(engine, checkpoint, rows, ThumbnailSource(folder / "files"), folder / "cache")
    text, vectors = encode_texts(engine, checkpoint, rows).of(rows.test.videos), images.of(rows.test)
    score = predict(engine, checkpoint, rows.test, text, image=vectors).viral
    sun, moon = (
        predict(engine, checkpoint, rows.test, text, image=np.tile(vectors[row], (len(text), 1))).viral
        for row in (score.argmax(), score.argmin())
    )
    assert (sun > moon).mean() > 0.95


def test_descriptions_are_read_and_may_be_missing(tmp_path):
    """A word of the description that decides the views is learned, and a title without one is scored."""
    path = write_pictured(tmp_path, VIDEOS, SEED, informative=False)
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    draw = np.random.default_rng(4)
    for row in table:
        loud = draw.random() < 0.3
        row["description"] = "free tickets giveaway" if loud else "see the links below"
        row["views_per_day"] = str(float(row["views_per_day"]) * (20 if loud else 1))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    rows = read_dataset(path)
    assert rows.text_fields == ("title", "description")
    fitted = fit(rows, encoders(), replace(PICTURED, text_dims=8, text_noise=0.3), SEED)
    write_checkpoint(tmp_path / "model.pt", fitted.checkpoint)
    assert read_checkpoint(tmp_path / "model.pt").card.text_fields == ("title", "description")
    assert fitted.checkpoint.card.test_metrics["gain_over_twin"]["mae"]["high"] < 0


def test_shuffled_targets_teach_nothing():
    """With shuffled targets, AUROC on test is within three standard deviations of 0.5.

    The deviation is that of Hanley and McNeil (1982) for this number of rows.
    """
    rows = dataset(shuffled=True)
    base = untrained_checkpoint(encoders(), rows, RECIPE, SEED)
    checkpoint = fit_head(base, rows, texts(), RECIPE, SEED).checkpoint
    area = measure(Scorer(TorchEngine(checkpoint), checkpoint, rows, texts()), rows).to_dict()["auroc"]
    viral = int(rows.test.is_viral.sum())
    deviation = np.sqrt((len(rows.test) + 1) / (12 * viral * (len(rows.test) - viral)))
    assert abs(area - 0.5) <= 3 * deviation
