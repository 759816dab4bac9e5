"""A 19th feature needs one record in the registry, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from features import MILES_V1, REGISTRY, Feature, FeatureScaler, Group, Video, compute_features
from serving.http.model_info import describe
from serving.scoring.explanation import Explainer, Row
from serving.scoring.model import LoadedModel
from serving.scoring.warnings import RangeCheck
from serving.settings import Settings
from tests.serving.scoring.test_explanation import model_of
from tests.support.tiny import tiny_videos

NAMES = (*MILES_V1, "title_hashtags")
SHOUTING = Video(title="#a #b #c #d #e #f #g #h")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """The tiny model, its scaler fitted with a feature that is registered in one place."""
    hashtags = Feature(
        name="title_hashtags",
        formula="# in title",
        unit="hashtags",
        low=0,
        high=np.inf,
        compute=lambda columns: np.array([title.count("#") for title in columns.title], dtype=np.float64),
        group=Group.TITLE_FORM,
        label="title's number of hashtags",
    )
    monkeypatch.setitem(REGISTRY, hashtags.name, hashtags)
    rows = compute_features([*tiny_videos(), Video(title="one #hashtag")], NAMES)
    return replace(model_of(), scaler=FeatureScaler().fit(rows, NAMES))


def test_it_is_computed_and_scaled(model: LoadedModel) -> None:
    """It takes the column after the 18 others, and scaling clips it to the training range."""
    raw = compute_features([SHOUTING], NAMES)
    assert raw.shape == (1, 19)
    assert raw[0, -1] == 8
    one_hashtag = compute_features([replace(SHOUTING, title="one #hashtag")], NAMES)
    assert model.scaler.transform(raw)[0, -1] == model.scaler.transform(one_hashtag)[0, -1] > 0


@pytest.mark.anyio
async def test_it_is_explained_with_its_group(model: LoadedModel) -> None:
    """A score that depends on it alone is explained by the title's form, which names the feature."""

    async def score_rows(rows: Sequence[Row]) -> list[tuple[float, float]]:
        return [(float(row.scalars[-1]), 0.0) for row in rows]

    async def empty_text() -> NDArray[np.float32]:
        return np.zeros(model.card.config.text.output_dim, dtype=np.float32)

    scalars = model.scaler.transform(compute_features([SHOUTING], NAMES))[0]
    row = Row(await empty_text(), model.engine.neutral_image, scalars)
    explanation = await Explainer(model, score_rows, empty_text).explain(row, (float(scalars[-1]), 0.0))
    first = explanation.contributions[0]
    assert (first.group, "title_hashtags" in first.features) == ("title_form", True)
    assert first.viral_score == pytest.approx(float(scalars[-1]))


def test_it_is_warned_about(model: LoadedModel) -> None:
    """A value outside the training data gets a warning in the feature's own words."""
    raw = compute_features([SHOUTING], NAMES)[0]
    usual = np.array([np.nan] * 18 + [raw[-1]])
    in_range, warnings = RangeCheck(model.scaler, {}, {}, {}).check(usual, "", None)
    assert not in_range
    assert warnings == [
        "The title's number of hashtags, 8, is above all of the training data (0 to 1); it was taken as 1."
    ]


def test_it_is_named_in_the_models_description(model: LoadedModel) -> None:
    """`/model/info`, which the page reads, has its formula, unit, label and group."""
    row: dict[str, Any] = describe(model, Settings()).features[-1].model_dump()
    row.pop("training")
    assert row == {
        "name": "title_hashtags",
        "formula": "# in title",
        "unit": "hashtags",
        "label": "title's number of hashtags",
        "group": "title_form",
    }
