"""What the training texts were like, computed in the fit and afterwards."""

import json
from dataclasses import replace

import numpy as np
import pytest

from features import Video
from model.demo import DEMO_DIRECTORY, METADATA_FILE, write_demo
from model.low_rank import LowRankHead
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, rows, titles, write_csv
from training.data.dataset import Split
from training.embeddings.text_mean import main, training_titles
from training.head.fit import fit_head, untrained_checkpoint


def test_every_video_counts_alike():
    """Three snapshots of one video and one of another: their mean vector is half way between the two."""
    train = Split(
        videos=[Video(title="one")] * 3 + [Video(title="два")],
        video_ids=["a", "a", "a", "b"],
        views_per_day=np.ones(4),
        is_viral=np.zeros(4, dtype=bool),
        weights=np.array([1 / 3, 1 / 3, 1 / 3, 1]),
    )
    vectors = np.array([[0, 2], [0, 2], [0, 2], [1, 4]], dtype=np.float32)
    assert training_titles(train, vectors) == {
        "mean_vector": [0.5, 3.0],
        "scripts": {"Latin": 0.5, "Cyrillic": 0.5},
    }


@pytest.fixture
def stored(tmp_path):
    """A demo head that was stored without an account of its titles, and the CSV that it was trained on."""
    path = write_csv(tmp_path / "rows.csv", rows())
    checkpoint, head = fit_head(
        untrained_checkpoint(encoders(), dataset(), RECIPE, SEED),
        dataset(),
        titles(),
        replace(RECIPE, members=1, epochs=1),
        SEED,
    )
    assert isinstance(head, LowRankHead)
    provenance = {"encoders": encoders().provenance, "data": {"sha256": dataset().sha256}}
    write_demo(tmp_path / "demo", checkpoint.with_card(provenance=provenance), head)
    return path, tmp_path / "demo"


def test_an_older_demo_learns_what_its_titles_were_like(stored):
    """The command writes what a fit would have written, and changes no other key but the distributions."""
    path, directory = stored
    before = json.loads((directory / METADATA_FILE).read_text(encoding="utf-8"))
    assert main([str(path), "--demo", str(directory)]) == 0
    after = json.loads((directory / METADATA_FILE).read_text(encoding="utf-8"))
    train = dataset().train
    expected = training_titles(train, titles().of(train.videos))
    np.testing.assert_allclose(after["titles"]["mean_vector"], expected["mean_vector"], atol=1e-5)
    assert after["titles"]["scripts"] == expected["scripts"]
    assert after["distributions"].keys() >= {"log_view_count", "viral_score"}
    changed = {key for key in after if after[key] != before.get(key)}
    assert changed == {"titles", "distributions", "provenance"}


def test_other_data_is_refused(stored, capsys):
    """A file that the head was not trained on is named with both digests, and nothing is written."""
    path, _ = stored
    before = (DEMO_DIRECTORY / METADATA_FILE).read_bytes()
    assert main([str(path)]) == 1
    error = capsys.readouterr().err
    assert dataset().sha256 in error
    assert json.loads(before)["provenance"]["data"]["sha256"] in error
    assert (DEMO_DIRECTORY / METADATA_FILE).read_bytes() == before
