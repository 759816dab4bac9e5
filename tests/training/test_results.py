"""phase1_results.json and the model card, and what the command says of a file with faults."""

import json
from dataclasses import replace

import pytest
import torch

from model.low_rank import LowRankHead
from model.pretrained import EncoderSourceError
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, rows, write_csv
from training import fit
from training.commands import main
from training.encoders import pooling_of
from training.head.fit import recency_weights
from training.head.train import Rows, batch_size, class_weights
from training.results import RESULTS_FILE, write_results

AGREED = {
    *("dataset_size", "viral_rate", "num_features", "baseline_auroc"),
    *("multimodal_auroc", "velocity_mae", "success"),
}


@pytest.fixture(scope="module")
def fitted():
    return fit.fit(dataset(), encoders(), replace(RECIPE, epochs=2), SEED)


def test_the_results_hold_what_was_agreed(fitted, tmp_path):
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


def test_the_card_is_read_by_people(fitted, tmp_path):
    """It has the data, the metrics and the limitations."""
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


def test_bad_rows_stop_the_command_with_a_report(tmp_path, capsys):
    """Nothing is trained; rows are told by number, without a traceback, and so is the way on."""
    table = rows()
    table[7]["view_count"] = "lots"
    path = write_csv(tmp_path / "rows.csv", table)
    assert main(["train", str(path), "--out", str(tmp_path / "model.pt")]) == 1
    said = capsys.readouterr().err
    assert "row 9: view_count is 'lots'" in said
    assert "--allow-bad-rows" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == [path]


def test_a_leak_stops_the_command_before_anything_is_encoded(tmp_path, capsys):
    """One error that names the column."""
    table = [{**row, "views_per_day": row["view_count"]} for row in rows()]
    path = write_csv(tmp_path / "rows.csv", table)
    assert main(["train", str(path), "--out", str(tmp_path / "model.pt")]) == 1
    assert "view_count determines the target" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("given", ["title", "title=nothing", "headline=title"])
def test_a_mapping_that_cannot_be_used_is_one_error(tmp_path, capsys, given):
    """It is repeated with what was expected."""
    path = write_csv(tmp_path / "rows.csv", rows())
    assert main(["train", str(path), "--out", str(tmp_path / "model.pt"), "--column", given]) == 1
    assert f"--column {given.partition('=')[0]}" in capsys.readouterr().err


def test_viral_rows_may_weigh_as_much_as_all_others():
    """Balanced weights make both classes' sums equal and leave the mean at 1."""
    viral = torch.tensor([1, 0, 0, 0])
    empty = torch.zeros(4, 1)
    rows_of_four = Rows(empty, {}, {}, torch.zeros(1), viral, torch.zeros(4), torch.ones(4), {}, {}, [])
    assert class_weights(rows_of_four, RECIPE) is None
    found = class_weights(rows_of_four, replace(RECIPE, class_weights="balanced"))
    assert found.tolist() == pytest.approx([0.5 / 0.75, 2.0])
    assert float(found[viral].mean()) == pytest.approx(1)


@pytest.mark.parametrize(("count", "expected"), [(19002, 512), (3200, 100), (400, 32), (20, 20)])
def test_few_rows_make_small_batches(count, expected):
    """So that an epoch is more than one step."""
    assert batch_size(count, replace(RECIPE, batch_size=512)) == expected


def test_rows_may_all_weigh_alike():
    """A half-life of 0 days is none."""
    assert recency_weights(dataset().train, 0.0).tolist() == [1.0] * len(dataset().train)


def test_a_head_without_pictures_is_stored_as_before():
    """Its factors are those of the committed demo; one with pictures has two more, and comes back whole."""
    shapes = {"text_units": (4, 2), "text_directions": (2, 3), "scalar_weight": (4, 1), "input_bias": (4,)}
    shapes |= {
        "hidden_weight": (2, 4),
        "hidden_bias": (2,),
        "classifier_weight": (2, 2),
        "classifier_bias": (2,),
    }
    shapes |= {"regressor_weight": (1, 2), "regressor_bias": (1,)}
    plain = {name: torch.ones(shape) for name, shape in shapes.items()}
    assert LowRankHead.from_tensors(plain).tensors().keys() == plain.keys()
    assert not LowRankHead.from_tensors(plain).state_dict(5)["fusion.0.weight"][:, 3:8].any()
    pictured = {**plain, "image_units": torch.ones(4, 2), "image_directions": 2 * torch.ones(2, 5)}
    head = LowRankHead.from_tensors(pictured)
    assert head.tensors().keys() == pictured.keys()
    assert head.state_dict(5)["fusion.0.weight"][:, 3:8].unique().tolist() == [4.0]


def test_a_sentence_encoders_directory_says_how_it_pools(tmp_path):
    """The mean where sentence-transformers wrote so, BERT's pooler where nothing is said, else an error."""
    assert pooling_of(tmp_path) == "pooler"
    said = tmp_path / "1_Pooling" / "config.json"
    said.parent.mkdir()
    said.write_text('{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}')
    assert pooling_of(tmp_path) == "mean"
    said.write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(EncoderSourceError, match="pooling_mode_max_tokens, expected the mean"):
        pooling_of(tmp_path)
