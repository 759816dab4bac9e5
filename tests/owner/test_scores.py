"""The owner's first file, from the refusal to the answers: scored as its own training pipeline scores it."""

import shlex
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from model.compile.__main__ import compile_checkpoint
from tests.owner.pipeline import DAYS, SMALL, FirstPipeline, save, untrained
from tests.support.process import completed
from tests.support.service import ROOT, make_serve, run_to_end
from tests.training.fit_stats.first_csv import first_rows, write_rows

MONDAY = datetime(2024, 3, 4, tzinfo=UTC)
TOLERANCE = 1e-6
FULL_SIZE_TOLERANCE = 3e-6  # of a float32 bundle, as in docs/own-checkpoint.md; exact keeps 1e-6
SCORED = 200
# The columns that a request may omit, and those computed from them.
UNSAID = [
    "shares",
    "saves",
    "engagement_rate",
    "completion_rate",
    "share_rate",
    "save_rate",
    "upload_hour",
    "is_weekend",
    "creator_avg_views",
    "publish_dayofweek",
]
UNSAID_FIELDS = ("published_at", "share_count", "save_count", "completion_rate", "creator_avg_views")
FULL = pytest.param({}, marks=pytest.mark.hostile, id="full size")


@pytest.fixture(scope="module", params=[pytest.param(SMALL, id="small"), FULL])
def pipeline(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FirstPipeline]:
    """A generated first file next to a generated CSV, and the pipeline that they come from."""
    folder = tmp_path_factory.mktemp("first")
    training = write_rows(folder / "training.csv", first_rows(400))
    network = untrained(**request.param)
    save(network, folder / "model_full.pt")
    yield FirstPipeline(network, training, ROOT / "models" / "bert-base-uncased")
    shutil.rmtree(folder)  # a gigabyte at full size


@pytest.fixture(scope="module")
def fitted(pipeline: FirstPipeline) -> FirstPipeline:
    """The same after the command from the refusal was run as printed."""
    refused = run_to_end(checkpoint=pipeline.folder / "model_full.pt", engine="torch", threads=1)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if "fit-stats" in line]
    command = shlex.split(line.split("`")[1].replace("TRAINING.csv", str(pipeline.folder / "training.csv")))
    assert command[:2] == ["./miles", "fit-stats"]
    completed(command, check=True)
    return pipeline


@pytest.fixture(scope="module", params=["openvino", pytest.param("torch", marks=pytest.mark.hostile)])
def client(
    request: pytest.FixtureRequest, fitted: FirstPipeline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of `make serve` on that file; for OpenVINO it is compiled first, like any other, in float32.

    PyTorch chooses the precision `exact` itself, because the file has no golden answers.
    """
    log = tmp_path_factory.mktemp("log") / "service.log"
    checkpoint = fitted.folder / "model_full.pt"
    if request.param == "openvino":
        compile_checkpoint(checkpoint, precision="f32", threads=1)
        settings = {"precision": "f32"}
    else:
        settings = {}
    with (
        make_serve(log, checkpoint=checkpoint, engine=request.param, threads=1, **settings) as service,
        httpx.Client(base_url=service.url, timeout=60) as open_client,
    ):
        yield open_client


@pytest.fixture(scope="module")
def tolerance(client: httpx.Client, pipeline: FirstPipeline) -> float:
    """How far a score may be from the training's."""
    weights = sum(weight.numel() for weight in pipeline.network.parameters())
    float32 = client.get("/model/info").json()["engine"]["name"] == "openvino"
    return FULL_SIZE_TOLERANCE if float32 and weights > 10**8 else TOLERANCE


def asked(row: dict[str, str]) -> dict[str, Any]:
    """A row of the CSV as a request."""
    day, hour = DAYS.index(row["publish_dayofweek"]), int(row["upload_hour"])
    return {
        "title": row["title"],
        "view_count": int(row["views"]),
        "like_count": int(row["likes"]),
        "comment_count": int(row["comments"]),
        "share_count": int(row["shares"]),
        "save_count": int(row["saves"]),
        "completion_rate": float(row["completion_rate"]),
        "creator_avg_views": float(row["creator_avg_views"]),
        "duration_seconds": float(row["duration_sec"]),
        "published_at": (MONDAY + timedelta(days=day, hours=hour)).isoformat(),
    }


def assert_scored(
    answers: list[dict[str, Any]], expected: list[tuple[float, float]], tolerance: float
) -> None:
    viral = [score for score, _ in expected]
    assert np.ptp(viral) > 0.05, "rows that score alike would hide a wrong column"
    np.testing.assert_allclose([answer["viral_score"] for answer in answers], viral, atol=tolerance)
    np.testing.assert_allclose(
        [answer["predicted_velocity"] for answer in answers], [views for _, views in expected], rtol=tolerance
    )


def test_a_whole_request_scores_as_in_training(
    client: httpx.Client, fitted: FirstPipeline, tolerance: float
) -> None:
    """Rows of the training data get the score and the views per day of the owner's own pipeline."""
    rows = fitted.rows[:SCORED]
    answers = [client.post("/predict", json=asked(row)).json() for row in rows]
    assert_scored(answers, [fitted.score(row) for row in rows], tolerance)
    assert {answer["modalities"]["scalars"]["state"] for answer in answers} == {"used"}


def test_omitted_fields_take_the_training_mean(
    client: httpx.Client, fitted: FirstPipeline, tolerance: float
) -> None:
    """Absent and null fields are the training mean in every column that needs them, and are listed."""
    rows = fitted.rows[:24]
    always = ("title", "view_count", "like_count", "comment_count", "duration_seconds")
    answers = []
    for index, row in enumerate(rows):
        whole = asked(row)
        known = {name: whole[name] for name in always}
        rest = {} if index % 2 else dict.fromkeys(whole.keys() - set(always))
        answers.append(client.post("/predict", json=known | rest).json())
    assert_scored(answers, [fitted.score(row, UNSAID) for row in rows], tolerance)
    imputed = [answer["modalities"]["scalars"]["imputed"] for answer in answers]
    assert all(set(names) == set(UNSAID_FIELDS) for names in imputed)
