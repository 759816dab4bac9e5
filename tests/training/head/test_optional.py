"""Shares, saves, the share watched and the creator's average: from a CSV's columns to an answer over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from features import MILES_V2, OPTIONAL, Video, compute_features
from model.checkpoint.store import write_checkpoint
from model.torch_engine import TorchEngine
from tests.support.service import ready_service
from tests.training.synthetic import RECIPE, SEED, encoders, rows, write_csv
from training.data.dataset import Dataset, DatasetError, read_dataset
from training.data.leakage import refuse_leaks
from training.embeddings.text import encode_texts
from training.head.fit import fit_head, untrained_checkpoint
from training.head.knowns import features_of, hidden, left_out

FLAGS = ("shares_known", "saves_known", "watching_known", "creator_known")
FIELDS = ("share_count", "save_count", "completion_rate", "creator_avg_views")


def table() -> list[dict[str, str]]:
    """The synthetic rows, whose growth also follows from the share watched."""
    draw, found = np.random.default_rng(SEED), rows()
    for row in found:
        views, watched = int(row["view_count"]), float(draw.uniform(0.05, 0.95))
        gained = (int(row["next_views"]) - views) * 8 * watched**2
        row |= {
            "next_views": str(int(views + gained)),
            "completion_rate": f"{watched:.3f}",
            "share_count": str(int(views * draw.uniform(0.001, 0.02))),
            "save_count": str(int(views * draw.uniform(0.001, 0.02))),
            "creator_avg_views": str(int(10 ** draw.uniform(3, 5))),
        }
    return found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(write_csv(tmp_path_factory.mktemp("data") / "rows.csv", table()))


@pytest.fixture(scope="module")
def client(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("served")
    base = untrained_checkpoint(encoders(), dataset, RECIPE, SEED)
    texts = encode_texts(TorchEngine(base), base, dataset)
    write_checkpoint(folder / "model.pt", fit_head(base, dataset, texts, RECIPE, SEED).checkpoint)
    settings = {"checkpoint": folder / "model.pt", "engine": "torch", "threads": 1}
    with (
        ready_service(folder / "log", **settings) as service,
        httpx.Client(base_url=service.url, timeout=60) as opened,
    ):
        yield opened


def test_predict_reads_what_training_had(client: httpx.Client) -> None:
    """A video that is watched to the end grows faster; an omitted field is imputed."""
    assert client.get("/model/info").json()["architecture"]["fusion"].startswith("604 ->"), "10 more"
    video = {"title": "cat test 1", "view_count": 30_000, "like_count": 900, "comment_count": 120}
    known = dict(zip(FIELDS, (300, 300, 0.5, 9000), strict=True))
    answers = [
        client.post("/predict", json=video | known | {"completion_rate": share, "explain": True}).json()
        for share in (0.1, 0.9, None)
    ]
    low, high, unknown = (answer["predicted_velocity"] for answer in answers)
    assert low < unknown < high
    imputed = [set(answer["modalities"]["scalars"]["imputed"]) & set(FIELDS) for answer in answers]
    assert imputed == [set(), set(), {"completion_rate"}]
    parts = {part["group"]: part for part in answers[1]["explanation"]["contributions"]}
    assert parts["watching"]["predicted_velocity"] > 0
    assert not [warning for warning in answers[1]["warnings"] if "no weight" in warning]


def test_a_head_reads_what_its_rows_have(dataset: Dataset, tmp_path: Path) -> None:
    """Each column that has values adds its features; one with hardly any is named, an absent one is not."""
    assert features_of(dataset) == (*MILES_V2, *(name for names in OPTIONAL.values() for name in names))
    few = [
        {**row, "completion_rate": row["completion_rate"] if index < 3 else "", "creator_avg_views": ""}
        for index, row in enumerate(table())
    ]
    for row in few:
        del row["save_count"]
    found = read_dataset(write_csv(tmp_path / "few.csv", few))
    assert features_of(found) == (*MILES_V2, *OPTIONAL["shares"])
    sentences = [sentence for sentence in left_out(found) if any(name in sentence for name in FIELDS)]
    assert len(sentences) == 1
    assert sentences[0].startswith("completion_rate has no effect")


def test_every_formula_by_hand() -> None:
    """For a video with every value known, and for one with none."""
    names = tuple(name for group in OPTIONAL.values() for name in group)
    videos = [Video("x", "", 999, 9, 9, None, None, None, None, None, 99, 49, 0.25, 399.0), Video("x")]
    expected = [
        [np.log1p(99), 99 / 999, 1, np.log1p(49), 49 / 999, 1, 0.25, 1, np.log1p(399), 1],
        [np.nan, np.nan, 0, np.nan, np.nan, 0, np.nan, 0, np.nan, 0],
    ]
    np.testing.assert_allclose(compute_features(videos, names), expected)


def test_a_request_without_likes_has_no_shares(dataset: Dataset) -> None:
    """Hiding reactions also hides shares, saves and the share watched, but not the creator."""
    (row,) = compute_features(hidden(dataset.train.videos[:1], ["reactions"]), FLAGS)
    assert row.tolist() == [0, 0, 0, 1]


def test_a_share_count_that_reveals_the_target_is_refused(tmp_path: Path) -> None:
    """The error names shares that were counted afterwards, in proportion to the growth."""
    leaking = [
        {**row, "share_count": str((int(row["next_views"]) - int(row["view_count"])) // 9)} for row in table()
    ]
    with pytest.raises(DatasetError, match="share_count"):
        refuse_leaks(read_dataset(write_csv(tmp_path / "rows.csv", leaking)))
