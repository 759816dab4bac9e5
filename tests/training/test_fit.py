"""A whole fit on small parts: from a CSV to a checkpoint, its demo, and figures."""

import json

import numpy as np
import pytest
import torch

from features import MILES_V2, Distribution, FeatureScaler, Video, compute_features
from model.checkpoint.store import read_checkpoint, write_checkpoint
from model.demo_checkpoint import compose, read_demo, write_demo
from model.pretrained import EncoderSourceError
from model.torch_engine import TorchEngine
from tests.support.tiny import write_tiny
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, rows, texts, write_csv
from training import fit
from training.commands import main
from training.embeddings.text import tokenizer_for
from training.encoders import RANDOM, pooling_of
from training.measure.scorer import predict
from training.results import RESULTS_FILE, write_results

AGREED = {
    *("dataset_size", "viral_rate", "num_features", "baseline_auroc"),
    *("multimodal_auroc", "velocity_mae", "success"),
}
NUMBERS = ("auroc", "pr_auc", "f1", "brier", "ece", "mae", "r2", "nmse", "spearman", "lift")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit.fit(dataset(), encoders(), RECIPE, SEED, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("data") / "rows.csv", rows())


def test_a_demo_is_the_checkpoint_that_was_fitted(fitted, tmp_path):
    """Stored as factors and composed again, every weight and statistic is the same."""
    write_demo(tmp_path, fitted.checkpoint, fitted.head)
    composed = compose(read_demo(tmp_path))
    for name, tensor in fitted.checkpoint.state_dict.items():
        assert torch.equal(tensor, composed.state_dict[name]), name
    for name in (
        *("patterns", "interval_coverage", "meaningful_difference"),
        "scalar_features",
        "feature_stats",
        "velocity",
        "temperature",
        "text_fields",
        "golden",
        "distributions",
        "titles",
    ):
        assert getattr(composed.card, name) == getattr(fitted.checkpoint.card, name)


def test_golden_answers_follow_from_the_requests(fitted, tmp_path):
    """From a checkpoint on disk, the plain requests give the recorded tensors and scores again."""
    write_checkpoint(tmp_path / "model.pt", fitted.checkpoint)
    checkpoint = read_checkpoint(tmp_path / "model.pt")
    golden, engine = checkpoint.card.golden, TorchEngine(checkpoint)
    videos = [Video.from_plain(request) for request in golden["requests"]]
    tokenizer = tokenizer_for(checkpoint)
    ids = [list(tokenizer.encode(video.title, video.description).input_ids) for video in videos]
    scaler = FeatureScaler.from_stats(checkpoint.card.feature_stats, checkpoint.card.scalar_features)
    scalars = scaler.transform(compute_features(videos, MILES_V2))
    assert ids == golden["input_ids"]
    assert scalars.tolist() == golden["scalars"]
    image = np.stack([engine.neutral_image] * len(videos))
    scores = engine.score(engine.encode_text(ids, golden["token_type_ids"]), image, scalars)
    np.testing.assert_allclose(scores.viral, golden["viral_score"], atol=1e-6)
    np.testing.assert_allclose(scores.velocity, golden["predicted_velocity"], rtol=1e-5)


def test_the_figures_are_complete(fitted):
    """With and without age, with and without text, against the twin: all recorded, all finite."""
    figures = fitted.checkpoint.card.test_metrics
    for row in (figures, *(figures["twin"], *figures["by_condition"].values())):
        assert all(np.isfinite(row[name]) for name in NUMBERS)
    assert set(figures["gain_over_twin"]["auroc"]) == {"difference", "low", "high"}


def test_other_data_is_not_called_by_the_known_name(fitted):
    """Provenance describes this file, and says that its origin is not stated."""
    provenance = fitted.checkpoint.card.provenance
    assert provenance["data"]["licence"] == "not stated"
    assert provenance["data"]["rows"]["train"] == len(dataset().train)
    assert provenance["source"] == "trained with training.fit"


def test_titles_keep_their_own_vectors(fitted):
    video = dataset().test.videos[7]
    text = tokenizer_for(fitted.checkpoint).encode(video.title)
    alone = TorchEngine(fitted.checkpoint).encode_text([text.input_ids], [text.token_type_ids])
    np.testing.assert_allclose(texts().of([video]), alone, atol=1e-5)


def test_fit_leaves_another_checkpoint_alone(tmp_path, data_path, capsys):
    """A file that is not a demo is not replaced unless asked; nothing is computed before the refusal."""
    path = write_tiny(tmp_path / "model.pt")
    before = path.read_bytes()
    assert main(["train", str(data_path), "--out", str(path)]) == 1
    assert "use --overwrite" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_missing_text_encoder_is_named(tmp_path, data_path, capsys):
    options = [
        "--out",
        str(tmp_path / "model.pt"),
        "--text-encoder",
        str(tmp_path),
        "--image-encoder",
        RANDOM,
    ]
    assert main(["train", str(data_path), *options]) == 1
    assert "no BERT weights found" in capsys.readouterr().err


def test_the_checkpoint_says_how_its_rows_were_distributed(fitted, tmp_path):
    """From disk: each feature that varied and the score, no value missing; its own rows have not drifted."""
    write_checkpoint(tmp_path / "model.pt", fitted.checkpoint)
    checkpoint, train = read_checkpoint(tmp_path / "model.pt"), dataset().train
    rows = compute_features(train.videos, MILES_V2)
    varied = {
        name
        for name, column in zip(MILES_V2, rows.T, strict=True)
        if len(set(column[np.isfinite(column)])) > 1
    }
    assert checkpoint.card.distributions.keys() == {*varied, "viral_score"}
    scores = predict(TorchEngine(checkpoint), checkpoint, train, texts().of(train.videos)).viral
    columns = {**dict(zip(MILES_V2, rows.T, strict=True)), "viral_score": scores}
    for name, plain in checkpoint.card.distributions.items():
        known = Distribution.from_plain(plain)
        assert known.shares[-1] == 0, name
        assert known.stability_index(known.count(columns[name])) < 1e-3, name


def test_the_results_have_the_agreed_keys(fitted, tmp_path):
    """The agreed keys come from the same figures as the checkpoint's, and the file is plain JSON."""
    found, _ = write_results(tmp_path, "model.pt", fitted.results)
    assert found.name == RESULTS_FILE
    results = json.loads(found.read_text())
    assert results.keys() >= AGREED
    total = sum(len(dataset().split(name)) for name in ("train", "val", "test"))
    assert (results["dataset_size"], results["num_features"]) == (total, 18)
    figures = fitted.checkpoint.card.test_metrics
    assert results["multimodal_auroc"] == figures["auroc"]
    assert results["velocity_mae"] == figures["mae"]
    assert results["baseline_auroc"] == figures["twin"]["auroc"]
    assert results["success"] == (figures["gain_over_twin"]["auroc"]["low"] > 0 and figures["r2"] > 0)
    for intervals in results["intervals_95"].values():
        interval = intervals["auroc"]
        assert interval["low"] <= interval["difference"] <= interval["high"]


def test_the_card_is_written_for_people(fitted, tmp_path):
    _, card = write_results(tmp_path, "model.pt", fitted.results)
    text = card.read_text()
    assert card.name == "model.card.md"
    for part in (
        "# model.pt",
        "| train |",
        "| counts and age |",
        "| title and length |",
        "scalars only",
        "seeded random",
    ):
        assert part in text
    assert "The origin of the training data is not stated." in text


def test_a_sentence_encoders_directory_says_how_it_pools(tmp_path):
    """The mean if sentence-transformers says so, BERT's pooler if nothing is stated, else an error."""
    assert pooling_of(tmp_path) == "pooler"
    said = tmp_path / "1_Pooling" / "config.json"
    said.parent.mkdir()
    said.write_text('{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}')
    assert pooling_of(tmp_path) == "mean"
    said.write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(EncoderSourceError, match="pooling_mode_max_tokens, expected the mean"):
        pooling_of(tmp_path)
