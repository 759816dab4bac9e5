"""Proof on small parts that pictures and texts are learned from, and that noise is not.

`python -m tests.training.proof` shows the same with a whole ResNet-50, a pretrained BERT and real data.
"""

import csv
from dataclasses import replace

import numpy as np
import pytest

from model.checkpoint.store import read_checkpoint, write_checkpoint
from model.torch_engine import TorchEngine
from tests.training.pictured import write_pictured
from tests.training.proof import _same, image_claims, image_fit, shuffled, shuffled_claims, text_claims
from tests.training.synthetic import RECIPE, SEED, dataset, encoders
from training.data.dataset import read_dataset
from training.embeddings.images import encode_thumbnails
from training.embeddings.text import encode_texts
from training.embeddings.thumbnails import ThumbnailSource
from training.evaluate import predict
from training.fit import fit
from training.head.train import Recipe
from training.metrics import Interval

VIDEOS = 260
PICTURED = Recipe(
    text_dims=4, image_dims=8, members=2, epochs=12, learning_rate=2e-2, averaging=0.95, half_life_days=0.0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def fitted(folder):
    """A fit on picture files whose content decides the views."""
    return image_fit(folder, encoders(), PICTURED, VIDEOS)


def test_a_head_learns_what_pictures_show(fitted):
    """Files through decoder, encoder and head: the score ranks by them, far beyond the same head without."""
    assert [str(claim) for claim in image_claims(fitted) if not claim.holds] == []
    assert "image" not in fitted.checkpoint.card.zero_weight_modalities


def test_pictures_that_say_nothing_are_no_gain(tmp_path):
    """The same files under gains that ignore them: the claim does not hold."""
    unrelated = image_fit(tmp_path, encoders(), replace(PICTURED, epochs=4), VIDEOS // 2, told=False)
    assert not any(claim.holds for claim in image_claims(unrelated)[:2])


def test_a_missing_picture_is_served_well(fitted):
    """Without any picture the head is hardly worse than one that never saw one."""
    figures = fitted.checkpoint.card.test_metrics
    assert figures["without_image"]["mae"] < figures["twin_without_image"]["mae"] * 1.25
    assert figures["mae"] < 0.8 * figures["without_image"]["mae"]


def test_the_picture_moves_the_score_through_the_file(fitted, folder, tmp_path):
    """Written and read again, the checkpoint scores a sun above a moon for the same counts."""
    write_checkpoint(tmp_path / "model.pt", fitted.checkpoint)
    checkpoint = read_checkpoint(tmp_path / "model.pt")
    rows = read_dataset(folder / "files" / "videos.csv")
    engine = TorchEngine(checkpoint)
    texts = encode_texts(engine, checkpoint, rows)
    images = encode_thumbnails(engine, checkpoint, rows, ThumbnailSource(folder / "files"), folder / "cache")
    vectors = images.of(rows.test)
    score = predict(engine, checkpoint, rows.test, texts.of(rows.test.videos), image=vectors).viral
    best, worst = vectors[score.argmax()], vectors[score.argmin()]
    one = np.tile(best, (len(rows.test), 1)), np.tile(worst, (len(rows.test), 1))
    text = texts.of(rows.test.videos)
    sun, moon = (predict(engine, checkpoint, rows.test, text, image=each).viral for each in one)
    assert (sun > moon).mean() > 0.95


def test_descriptions_are_read_and_may_be_missing(tmp_path):
    """A word of the description that decides the views is learned; the title alone is scored all the same."""
    path = write_pictured(tmp_path, VIDEOS, SEED, told=False)
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    draw = np.random.default_rng(4)
    for row in table:
        loud = draw.random() < 0.3
        row["description"] = "free tickets giveaway" if loud else "see the links below"
        row["views_per_day"] = str(float(row["views_per_day"]) * (6 if loud else 1))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    out = tmp_path / "model.pt"
    rows = read_dataset(path)
    assert rows.text_fields == ("title", "description")
    fitted = fit(rows, encoders(), replace(PICTURED, text_dims=8, text_noise=0.3), SEED)
    write_checkpoint(out, fitted.checkpoint)
    assert read_checkpoint(out).card.text_fields == ("title", "description")
    gain = fitted.checkpoint.card.test_metrics["gain_over_twin"]
    assert gain["mae"]["high"] < 0


def test_targets_dealt_at_random_teach_nothing():
    """With the targets of other rows the AUROC on test is a coin's."""
    claims = shuffled_claims(dataset(), encoders(), RECIPE, None)
    assert [str(claim) for claim in claims if not claim.holds] == []


def test_shuffling_keeps_every_target():
    """Each split has its own targets, in another order."""
    dealt = shuffled(dataset(), SEED)
    for name in ("train", "val", "test"):
        before, after = dataset().split(name), dealt.split(name)
        assert sorted(before.views_per_day) == sorted(after.views_per_day)
        assert not np.array_equal(before.views_per_day, after.views_per_day)
        assert np.array_equal(after.is_viral, after.views_per_day > dealt.viral_threshold)


def test_claims_that_miss_their_limit_do_not_hold(fitted):
    """A figure on the wrong side is said to be there."""
    names = {claim.what: claim.holds for claim in text_claims(fitted)}
    figures = fitted.checkpoint.card.test_metrics
    assert names["titles, auroc"] == (figures["auroc"] >= 0.96)
    assert names["titles, mae"] == (figures["mae"] <= 0.62)
    assert not _same("x", 0.9, Interval(0.1, 0.05, 0.15)).holds
    assert _same("x", 0.9, Interval(0.01, -0.05, 0.15)).holds
