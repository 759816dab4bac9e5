"""The evaluation's command and its groups of rows."""

import json

import numpy as np
import pytest

from tests.support.tiny import write_tiny
from tests.training.report import reported
from tests.training.synthetic import dataset, rows, write_csv
from training.commands import main
from training.measure.conditions import age_groups
from training.measure.evaluation import MIN_ROWS, measure

FIGURES = ("auroc", "pr_auc", "f1", "brier", "ece", "mae", "r2", "nmse", "spearman", "lift")


@pytest.fixture(scope="module")
def report():
    return measure(reported.scorer(with_images=True), dataset())


def test_every_condition_is_measured_with_and_without_each_input(report):
    """By known values, without text and without images; the gains are differences of these rows."""
    for condition in report.answers:
        for modality in ("text", "image"):
            gain = report.gains[modality][condition]["mae"].difference
            without = report.rows[f"{condition}, without {modality}"]
            assert gain == pytest.approx(report.rows[condition].mae - without.mae, abs=1e-9)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["auroc"] == report.rows["counts and age"].auroc
    assert plain["by_condition"].keys() == report.rows.keys()
    rank = plain["intervals_95"]["counts and age"]["spearman"]
    assert rank["low"] < rank["difference"] == plain["spearman"] < rank["high"]


def test_each_age_has_the_figures_of_its_rows(report):
    """Groups that are too small for figures of their own are left out."""
    found = report.answers["counts and age"].test
    groups, labels = age_groups(dataset().test)
    error = np.abs(found.log_velocity - found.true_log_velocity)
    for label, group in report.by_age.items():
        rows_of_group = groups == labels.index(label)
        assert group.rows == rows_of_group.sum() >= MIN_ROWS
        assert group.figures.mae == pytest.approx(error[rows_of_group].mean())
    assert len(report.by_age) >= 3


def test_the_command_prints_every_figure(tmp_path, capsys):
    """The last line is JSON, for a checkpoint without images, too; --compare adds the table."""
    data = write_csv(tmp_path / "rows.csv", rows()[::2])
    for with_vision, options in ((True, []), (False, ["--compare"])):
        path = write_tiny(tmp_path / "tiny.pt", with_vision=with_vision)
        assert main(["evaluate", str(path), str(data), *options]) == 0
        output = capsys.readouterr().out
        figures = json.loads(output.splitlines()[-1])
        assert figures["checkpoint"] == "tiny.pt"
        for row in (figures, *figures["by_condition"].values()):
            assert all(np.isfinite(row[name]) for name in FIGURES)
    assert "| counts and age | gradient boosting, with text |" in output
    assert figures["comparison"].keys() == {"counts and age", "counts", "title and length"}
