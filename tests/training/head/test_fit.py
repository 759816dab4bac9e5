"""The head: what it learns, what it cannot learn, and that folding changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from features import MILES_V2, FeatureScaler
from model.low_rank import LowRankHead, exact_product
from model.torch_engine import TorchEngine
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, texts
from training.head.calibration import conformal_ends, fit_pattern
from training.head.ensemble import Ensemble
from training.head.fit import fit_head, recency_weights, untrained_checkpoint
from training.head.inputs import HeadInputs
from training.head.knowns import hidden
from training.head.projection import Projection
from training.head.train import Rows, class_weights, draw_hidden
from training.measure.metrics import metrics_row
from training.measure.scorer import predict

CONSTANT = {
    "log_duration_seconds",
    "description_word_count",
    "is_short",
    "log_recent_views_per_hour",
    "history_known",
    "title_word_count",  # three in every synthetic title
    "has_numbers",
}


def fit(recipe=RECIPE, *, seed=SEED):
    rows = dataset()
    return fit_head(untrained_checkpoint(encoders(), rows, recipe, SEED), rows, texts(), recipe, seed)


@pytest.fixture(scope="module")
def fitted():
    return fit()


def on_test(checkpoint, *, hide=()):
    rows = dataset().test
    split = replace(rows, videos=hidden(rows.videos, hide))
    text = texts().of(split.videos)
    return predict(TorchEngine(checkpoint), checkpoint, split, text)


def test_the_head_learns_what_is_there(fitted):
    """On rows whose velocity follows from views, age and a word, the head ranks well."""
    row = metrics_row(on_test(fitted.checkpoint), 0.5)
    assert row.auroc > 0.9
    assert row.r2 > 0.5


def test_a_fit_follows_from_its_seed(fitted):
    again = fit().checkpoint.state_dict
    other = fit(replace(RECIPE, epochs=1), seed=SEED + 1).checkpoint.state_dict
    weights = fitted.checkpoint.state_dict
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())
    assert not torch.equal(weights["fusion.0.weight"], other["fusion.0.weight"])


def test_constant_features_and_images_have_no_weight(fitted):
    """A column that never varied in training, and every image column, is zero."""
    checkpoint = fitted.checkpoint
    scalars = checkpoint.state_dict["fusion.0.weight"][:, -len(MILES_V2) :]
    silent = {name for name, column in zip(MILES_V2, scalars.T, strict=True) if not column.any()}
    assert silent == CONSTANT
    assert checkpoint.card.zero_weight_modalities == ("image",)


def test_the_twin_reads_no_text():
    checkpoint = fit(replace(RECIPE, text_dims=0, epochs=1)).checkpoint
    assert checkpoint.card.zero_weight_modalities == ("text", "image")


def test_velocity_is_finite_and_never_negative(fitted):
    """With and without age, views per day are at least zero and at most the largest in training."""
    for hide in ((), ("age",)):
        found = on_test(fitted.checkpoint, hide=hide).log_velocity
        assert found.min() >= 0
        assert found.max() <= fitted.checkpoint.card.velocity.high + 1e-9


def test_the_folded_head_is_the_members_mean():
    """The wide head gives what the narrow members give on projected titles and used scalars."""
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(200, 16)).astype(np.float32) + 3
    projection = Projection().fit(vectors, np.ones(200), 4)
    used = [0, 2, 5]
    scalars = draw.normal(size=(200, 6)).astype(np.float32)
    members = Ensemble(3, 4 + len(used), (32, 16), 0.3, SEED).eval()
    inputs = torch.from_numpy(np.hstack([projection.transform(vectors), scalars[:, used]]))
    with torch.no_grad():
        expected = members(inputs).mean(dim=0).numpy()
    state = members.to_head(projection, used, 6).state_dict(image_dim=5)
    fused = np.hstack([vectors, np.ones((200, 5), np.float32), scalars])
    wide = np.maximum(fused @ state["fusion.0.weight"].numpy().T + state["fusion.0.bias"].numpy(), 0)
    narrow = np.maximum(wide @ state["fusion.3.weight"].numpy().T + state["fusion.3.bias"].numpy(), 0)
    for name, columns in (("classifier", slice(0, 2)), ("regressor", slice(2, 3))):
        found = narrow @ state[f"{name}.weight"].numpy().T + state[f"{name}.bias"].numpy()
        np.testing.assert_allclose(found, expected[:, columns], atol=2e-5)


def test_the_exact_product_is_the_product():
    left, right = torch.rand(7, 3), torch.rand(3, 5)
    torch.testing.assert_close(exact_product(left, right), left @ right)
    assert exact_product(torch.rand(7, 0), torch.rand(0, 5)).shape == (7, 5)


def test_the_projection_is_standardised():
    """Projected coordinates of the fitted rows have mean 0, variance 1 and no correlation."""
    vectors = np.random.default_rng(0).normal(size=(500, 8)) * np.arange(1, 9)
    found = Projection().fit(vectors.astype(np.float32), np.ones(500), 3)
    coordinates = found.transform(vectors.astype(np.float32))
    np.testing.assert_allclose(coordinates.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(coordinates.T, bias=True), np.eye(3), atol=1e-4)


def test_more_directions_than_titles_are_refused():
    with pytest.raises(ValueError, match="expected 0 to 4"):
        Projection().fit(np.zeros((5, 8), np.float32), np.ones(5), 6)


def test_a_pattern_recovers_a_known_shift_and_scale():
    """Logits made overconfident by a factor of 2 and shifted by 1 are corrected."""
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, 20000)
    truth = draw.random(20000) < 1 / (1 + np.exp(-logits))
    found = fit_pattern(2 * logits + 1, truth, np.zeros(20000), 20000)
    assert found.temperature == pytest.approx(2, rel=0.05)
    assert found.bias == pytest.approx(-1, abs=0.1)


def test_a_deviation_that_few_videos_suggest_is_shrunk():
    """If the same rows come from few videos the bias is nearly 0; from many videos it is that of the rows."""
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 1, 20000)
    truth = draw.random(20000) < 1 / (1 + np.exp(-logits - 0.1))
    few, many = (fit_pattern(logits, truth, np.zeros(20000), videos).bias for videos in (200, 20000))
    assert abs(few) < 0.03
    assert many == pytest.approx(0.1, abs=0.04)


def test_a_pattern_is_finite_where_scores_separate_the_rows():
    """For a few rows that are ranked perfectly, the sharpest scores are the best, but stay within limits."""
    found = fit_pattern(np.array([-1.0, -2.0, 3.0]), np.array([False, False, True]), np.zeros(3), 3)
    assert (0.01 <= found.temperature <= 100, abs(found.bias) <= 100) == (True, True)


def test_an_interval_covers_the_stated_share_of_new_errors():
    """For skewed errors: about a tenth of new ones lie below the interval, a tenth above."""
    draw = np.random.default_rng(1)
    low, high = conformal_ends(draw.exponential(size=4000), 4000)
    new = draw.exponential(size=40000)
    assert (new < low).mean() == pytest.approx(0.1, abs=0.02)
    assert (new > high).mean() == pytest.approx(0.1, abs=0.02)


def test_nine_of_ten_intervals_reach_their_coverage():
    """They cover at least 80% of new errors, where the rows of each of 150 videos are identical."""
    draw = np.random.default_rng(2)
    covered = []
    for _ in range(300):
        low, high = conformal_ends(np.repeat(draw.normal(size=150), 10), 150)
        covered.append(norm.cdf(high) - norm.cdf(low))
    assert np.mean(np.array(covered) >= 0.8) == pytest.approx(0.9, abs=0.07)


def test_each_pattern_of_the_data_is_calibrated(fitted):
    """The synthetic rows have counts and ages, no previous look: eight patterns, each with all val rows."""
    patterns = fitted.checkpoint.card.patterns
    assert patterns.keys() == {
        *("none", "views", "reactions", "age", "views+reactions", "views+age", "reactions+age"),
        "views+reactions+age",
    }
    assert {pattern.rows for pattern in patterns.values()} == {len(dataset().val)}


def test_unknown_values_widen_the_interval(fitted):
    """A title alone is less certain than a video with all counts and the age."""
    patterns = fitted.checkpoint.card.patterns
    widths = {name: pattern.high - pattern.low for name, pattern in patterns.items()}
    assert widths["views+reactions+age"] < widths["none"]


def test_a_title_alone_scores_about_the_base_rate(fitted):
    """Not the score of a video with mean counts: the mean probability is the share of viral rows."""
    split = dataset().test
    videos = hidden(split.videos, ["views", "reactions", "age"])
    bare = predict(
        TorchEngine(fitted.checkpoint), fitted.checkpoint, replace(split, videos=videos), texts().of(videos)
    )
    assert bare.viral.mean() == pytest.approx(split.is_viral.mean(), abs=0.1)


def test_training_hides_groups_together():
    """Some rows keep everything, some only the title; the rest hide each group with its own probability."""
    recipe = replace(RECIPE, complete=0.5, title_only=0.2, views_dropped=0.1, age_dropped=0.4)
    generator = torch.Generator().manual_seed(0)
    hides = draw_hidden(("views", "age"), torch.Size([20000]), recipe, generator)
    both = (hides["views"] & hides["age"]).float().mean()
    assert float(hides["views"].float().mean()) == pytest.approx(0.2 + 0.3 * 0.1, abs=0.02)
    assert float(hides["age"].float().mean()) == pytest.approx(0.2 + 0.3 * 0.4, abs=0.02)
    assert float(both) == pytest.approx(0.2 + 0.3 * 0.1 * 0.4, abs=0.02)


def test_a_row_weighs_half_after_its_half_life():
    """Weights halve with every half-life of age and are 1 on average; without a half-life all are 1."""
    split = dataset().train
    weights = recency_weights(split, 10.0)
    times = np.array([video.observed_at.timestamp() for video in split.videos])
    pair = np.log2(weights[times.argmax()] / weights[times.argmin()])
    assert pair == pytest.approx((times.max() - times.min()) / 86400 / 10)
    assert weights.mean() == pytest.approx(1)
    assert set(recency_weights(split, 0.0)) == {1.0}


def test_noise_has_one_size_in_every_direction_of_a_vector():
    """Coordinates with little variance get the most noise, as from an encoder that rounds."""
    draw = np.random.default_rng(SEED)
    vectors = draw.standard_normal((5000, 4)) * [8, 4, 2, 1]
    projection = Projection().fit(vectors, np.ones(5000), 4)
    rounded = vectors + draw.standard_normal(vectors.shape)
    moved = (projection.transform(rounded) - projection.transform(vectors)).std(axis=0)
    noise = projection.relative_noise()
    np.testing.assert_allclose(noise, moved / np.sqrt(np.mean(moved**2)), rtol=0.1)
    assert noise[-1] > 6 * noise[0]


def test_training_adds_that_noise_to_a_title():
    """Each text coordinate's deviation is the recipe's, times the projection's relative noise."""
    base, rows = untrained_checkpoint(encoders(), dataset(), RECIPE, SEED), dataset()
    scaler = FeatureScaler.from_stats(base.card.feature_stats, MILES_V2)
    inputs = HeadInputs.fit(rows, texts(), None, scaler, RECIPE)
    noise = inputs.rows(rows.train, base.card.velocity, np.ones(len(rows.train))).noise
    expected = RECIPE.text_noise * inputs.text.relative_noise()
    np.testing.assert_allclose(noise[: len(expected)], expected, rtol=1e-6)


def test_viral_rows_may_weigh_as_much_as_all_others():
    """Balanced weights make both classes' sums equal and leave the mean at 1."""
    viral = torch.tensor([1, 0, 0, 0])
    empty = torch.zeros(4, 1)
    rows_of_four = Rows(empty, {}, {}, torch.zeros(1), viral, torch.zeros(4), torch.ones(4), {}, {}, [])
    assert class_weights(rows_of_four, RECIPE) is None
    found = class_weights(rows_of_four, replace(RECIPE, class_weights="balanced"))
    assert found.tolist() == pytest.approx([0.5 / 0.75, 2.0])
    assert float(found[viral].mean()) == pytest.approx(1)


def test_a_head_without_pictures_is_stored_as_before():
    """Its factors are those of the committed demo; one with pictures has two more, and is read back whole."""
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
