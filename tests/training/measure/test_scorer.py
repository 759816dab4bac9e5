"""Predictions under conditions: what is hidden, what is removed, and the interval around each."""

from dataclasses import replace

import numpy as np
import pytest

from features import MILES_V2, FeatureScaler, compute_features
from model.outputs import PATTERNS, Pattern
from model.torch_engine import TorchEngine
from tests.support.tiny import tiny_checkpoint, tiny_videos
from tests.training.synthetic import dataset, rows, write_csv
from training.data.dataset import read_dataset
from training.embeddings.text import encode_texts
from training.head.knowns import hidden
from training.measure.conditions import conditions_of
from training.measure.scorer import Scorer, predict

NARROW, WIDE = (-0.1, 0.2), (-1.0, 2.0)


@pytest.fixture(scope="module")
def checkpoint():
    """The tiny network on miles-v2, whose interval is narrow where the age is known."""
    scaler = FeatureScaler().fit(compute_features(tiny_videos(), MILES_V2), MILES_V2)
    limits = {name: NARROW if "age" in name else WIDE for name in PATTERNS}
    return tiny_checkpoint().with_card(
        scalar_features=MILES_V2,
        feature_stats=scaler.to_stats(),
        temperature=None,
        patterns={
            name: Pattern(temperature=1.0, bias=0.0, low=low, high=high, rows=100)
            for name, (low, high) in limits.items()
        },
        interval_coverage=0.8,
    )


@pytest.fixture(scope="module")
def scorer(checkpoint):
    engine = TorchEngine(checkpoint)
    return Scorer(engine, checkpoint, dataset(), encode_texts(engine, checkpoint, dataset()))


def test_a_hidden_group_scores_as_a_request_without_it(checkpoint, scorer):
    """The predictions are those for the same videos without the fields of the group."""
    test = dataset().test
    bare = replace(test, videos=hidden(test.videos, ["age", "views"]))
    expected = predict(scorer.engine, checkpoint, bare, scorer.texts.of(test.videos))
    found = scorer.predict(scorer.inputs(test, ["age", "views"]), test)
    np.testing.assert_array_equal(found.viral, expected.viral)
    np.testing.assert_array_equal(found.log_velocity, expected.log_velocity)


def test_each_row_has_the_interval_of_its_pattern(scorer):
    """Narrow with the age and wide without it, around log1p of the velocity and not below zero."""
    test = dataset().test
    for hide, (low, high) in (((), NARROW), (("age",), WIDE)):
        found = scorer.predict(scorer.inputs(test, hide), test)
        np.testing.assert_allclose(found.high, found.log_velocity + high)
        np.testing.assert_allclose(found.low, np.maximum(found.log_velocity + low, 0))


def test_a_condition_needs_values_in_the_data(tmp_path):
    """Without a previous look, or without times, the conditions that know them are left out."""
    assert list(conditions_of(dataset())) == ["counts and age", "counts", "title and length"]
    table = [{name: value for name, value in row.items() if name != "published_at"} for row in rows()]
    ageless = read_dataset(write_csv(tmp_path / "rows.csv", table))
    assert list(conditions_of(ageless)) == ["counts", "title and length"]
