"""./miles replay: the served scores of training rows against the training's own outputs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint.store import read_checkpoint
from model.torch_engine import TorchEngine
from tests.owner.pipeline import SMALL, FirstPipeline, cleaned, save, untrained
from tests.support.service import ROOT
from tests.training.fit_stats.first_csv import first_rows, write_rows
from training.commands import main
from training.fit_stats.__main__ import main as fit_stats

ROWS = 30


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> FirstPipeline:
    """A first file, its training CSV, its sidecar, and the outputs that its own pipeline wrote."""
    folder = tmp_path_factory.mktemp("replay")
    training = write_rows(folder / "training.csv", first_rows(120))
    network = untrained(**SMALL)
    save(network, folder / "model_full.pt")
    own = FirstPipeline(network, training, ROOT / "models" / "bert-base-uncased")
    assert fit_stats([str(training), "--checkpoint", str(folder / "model_full.pt")]) == 0
    scores = [own.score(row) for row in own.rows[:ROWS]]
    with (folder / "outputs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("viral_score", "predicted_velocity"), *scores])
    outputs = [{"viral_score": viral} for viral, _ in scores]
    (folder / "outputs.json").write_text(json.dumps(outputs), encoding="utf-8")
    return own


def run(folder: Path, outputs: str, *options: str) -> int:
    """The exit status of the command."""
    files = [str(folder / "model_full.pt"), str(folder / "training.csv"), "--expected", str(folder / outputs)]
    return main(["replay", *files, *options])


@pytest.mark.parametrize("outputs", ["outputs.csv", "outputs.json"])
def test_the_served_scores_are_the_trainings(
    pipeline: FirstPipeline, outputs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row agrees to 1e-6, with and without velocities."""
    assert run(pipeline.folder, outputs, "--tolerance", "1e-6") == 0
    assert "equal within 1e-06" in capsys.readouterr().out


def test_exact_gives_the_trainings_own_vectors(
    pipeline: FirstPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """Titles of several lengths together: each has, to the last bit, the vector of its own padded forward."""
    titles = [row["title"] for row in pipeline.rows[:8]]
    padded = {"padding": "max_length", "truncation": True, "max_length": 128, "return_tensors": "pt"}
    own = [dict(pipeline.tokenizer(cleaned(title), **padded)) for title in titles]
    with torch.inference_mode():
        expected = [pipeline.network.text_encoder.bert(**tokens).pooler_output[0] for tokens in own]
    lengths = [int(tokens["attention_mask"].sum()) for tokens in own]
    ids = [tokens["input_ids"][0, :length].tolist() for tokens, length in zip(own, lengths, strict=True)]
    engine = TorchEngine(read_checkpoint(pipeline.folder / "model_full.pt"), precision="exact")
    vectors = engine.encode_text(ids, [[0] * length for length in lengths])
    assert len(set(lengths)) > 1
    assert np.array_equal(vectors, torch.stack(expected).numpy())
    assert run(pipeline.folder, "outputs.csv", "--exact", "--tolerance", "1e-7") == 0, capsys.readouterr().out


def test_a_wrong_input_is_named(pipeline: FirstPipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """Another weekday coding and uncleaned titles are each named as the cause of the difference."""
    sidecar = pipeline.folder / "model_full.stats.json"
    right = json.loads(sidecar.read_text())
    wrong = {
        "weekday codes names": {
            "feature_stats": {"publish_dayofweek": {"codes": [0, 1, 2, 3, 4, 5, 6]}},
        },
        "text cleaning words": {"text": {"cleaning": "none"}},
    }
    failures = []
    for explanation, change in wrong.items():
        changed = json.loads(json.dumps(right))
        for name, moments in change.get("feature_stats", {}).items():
            changed["feature_stats"][name] |= moments
        changed["text"] |= change.get("text", {})
        sidecar.write_text(json.dumps(changed), encoding="utf-8")
        status, output = run(pipeline.folder, "outputs.csv"), capsys.readouterr().out
        if status != 1 or f"explained best by: {explanation}" not in output:
            failures.append((explanation, status, output))
    sidecar.write_text(json.dumps(right), encoding="utf-8")
    assert failures == []


def test_outputs_that_do_not_fit_the_rows_are_one_sentence(
    pipeline: FirstPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More outputs than rows, a missing column and an unreadable file."""
    failures = []
    for name, content, sentence in (
        ("long.csv", "viral_score\n" + "0.5\n" * 500, "has 500 rows, expected viral_score for at most"),
        ("other.csv", "score\n0.5\n", "expected viral_score"),
        ("nan.csv", "viral_score,predicted_velocity\nnan,5\n", "is not a finite number in every row"),
        ("words.csv", "viral_score\nhigh\n", "cannot be read as outputs"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        status = run(pipeline.folder, str(tmp_path / name))
        error = capsys.readouterr().err
        if status != 1 or sentence not in error:
            failures.append((name, status, error))
    assert failures == []
