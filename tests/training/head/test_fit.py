"""The head: what it learns, what it cannot learn, and that folding changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from features import MILES_V1, FeatureScaler
from model.low_rank import LowRankHead, exact_product
from model.torch_engine import TorchEngine
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, texts
from training.evaluate import predict
from training.head.calibration import Calibration, fit_calibration, shifted
from training.head.ensemble import Ensemble
from training.head.fit import fit_head, recency_weights, untrained_checkpoint
from training.head.projection import Projection
from training.metrics import Predictions, metrics_row

CONSTANT = {
    "log_duration_seconds",
    "description_word_count",
    "is_short",
    "has_description",
    "title_word_count",  # three in every synthetic title
    "has_numbers",
    "has_question",
}


def fit(recipe=RECIPE, *, shuffled=False, seed=SEED):
    rows = dataset(shuffled=shuffled)
    return fit_head(untrained_checkpoint(encoders(), rows, recipe, SEED), rows, texts(), recipe, seed)


@pytest.fixture(scope="module")
def fitted():
    return fit()


def on_test(checkpoint, *, shuffled=False, with_age=True):
    split = dataset(shuffled=shuffled).test
    text = texts().of(split.videos)
    return predict(TorchEngine(checkpoint), checkpoint, split, text, with_age=with_age)


def test_the_head_learns_what_is_there(fitted):
    """On rows whose velocity follows from views, age and a word, the head ranks well."""
    row = metrics_row(on_test(fitted[0]), 0.5)
    assert row.auroc > 0.9
    assert row.r2 > 0.5


def test_shuffled_targets_teach_nothing():
    """Nothing leaks: with targets dealt at random, AUROC on test is that of a coin."""
    checkpoint, _ = fit(shuffled=True)
    assert metrics_row(on_test(checkpoint, shuffled=True), 0.5).auroc == pytest.approx(0.5, abs=0.12)


def test_a_fit_follows_from_its_seed(fitted):
    """The same seed gives the same weights to the bit, another seed others."""
    again, other = fit()[0].state_dict, fit(replace(RECIPE, epochs=1), seed=SEED + 1)[0].state_dict
    weights = fitted[0].state_dict
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())
    assert not torch.equal(weights["fusion.0.weight"], other["fusion.0.weight"])


def test_constant_features_and_images_have_no_weight(fitted):
    """A column that never varied in training, and every image column, is zero."""
    checkpoint, _ = fitted
    scalars = checkpoint.state_dict["fusion.0.weight"][:, -len(MILES_V1) :]
    silent = {name for name, column in zip(MILES_V1, scalars.T, strict=True) if not column.any()}
    assert silent == CONSTANT
    assert checkpoint.card.zero_weight_modalities == ("image",)


def test_the_twin_reads_no_text():
    """A head fitted with no text dimensions has text columns of zeros."""
    checkpoint, _ = fit(replace(RECIPE, text_dims=0, epochs=1))
    assert checkpoint.card.zero_weight_modalities == ("text", "image")


def test_velocity_is_finite_and_never_negative(fitted):
    """With and without age, views per day are at least zero and at most the largest that was seen."""
    for with_age in (True, False):
        found = on_test(fitted[0], with_age=with_age).log_velocity
        assert found.min() >= 0
        assert found.max() <= fitted[0].card.velocity.high + 1e-9


def test_the_folded_head_is_the_members_mean():
    """The wide head gives what the narrow members give on projected titles and used scalars."""
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(200, 16)).astype(np.float32) + 3
    projection = Projection().fit(vectors, np.ones(200), 4)
    used = [0, 2, 5]
    scalars = draw.normal(size=(200, 6)).astype(np.float32)
    members = Ensemble(3, 4 + len(used), (32, 16), (0.3, 0.2), SEED).eval()
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
    """The order-fixed product equals the matrix product within rounding."""
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
    """Asking for more dimensions than there are says how many there can be."""
    with pytest.raises(ValueError, match="expected 0 to 4"):
        Projection().fit(np.zeros((5, 8), np.float32), np.ones(5), 6)


def test_calibration_finds_the_shifts_that_were_made():
    """Scores made too bold by a factor 2 and shifted by 1 and by 3 come back."""
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, 20000)
    truth = draw.random(20000) < 1 / (1 + np.exp(-logits))

    def bold(shift):
        return Predictions(
            1 / (1 + np.exp(-(2 * logits + shift))), np.full(20000, 5.0), truth, np.full(20000, 4.0)
        )

    found = fit_calibration(bold(1), bold(3))
    assert found.temperature == pytest.approx(2, rel=0.05)
    assert found.logit_with_age == pytest.approx(-1, abs=0.1)
    assert found.logit_without_age == pytest.approx(-3, abs=0.1)
    assert found.velocity_with_age == pytest.approx(-1)


def test_shifts_reach_only_the_requests_that_they_are_for():
    """In the weights, one shift acts where the age is known and the other where it is not."""
    scaler = FeatureScaler().fit([[0.0], [1.0], [1.0]], ["age_known"])
    zero = {
        "text_units": (4, 0), "text_directions": (0, 3), "scalar_weight": (4, 1), "input_bias": (4,),
        "hidden_weight": (2, 4), "hidden_bias": (2,), "classifier_weight": (2, 2), "classifier_bias": (2,),
        "regressor_weight": (1, 2), "regressor_bias": (1,),
    }  # fmt: skip
    head = LowRankHead.from_tensors({name: torch.zeros(shape) for name, shape in zero.items()})
    made = shifted(head, Calibration(1.0, 0.25, -2.0, 0.5, -4.0), scaler, velocity_scale=2.0)
    for value, logit, velocity in ((1.0, 0.25, 0.25), (0.0, -2.0, -2.0)):
        scalars = torch.from_numpy(scaler.transform([[value]]))
        wide = torch.relu(scalars @ made.scalar_weight.T + made.input_bias)
        narrow = torch.relu(wide @ made.hidden_weight.T + made.hidden_bias)
        logits = narrow @ made.classifier_weight.T + made.classifier_bias
        target = narrow @ made.regressor_weight.T + made.regressor_bias
        assert float(logits[0, 1] - logits[0, 0]) == pytest.approx(logit, abs=1e-6)
        assert float(target) == pytest.approx(velocity, abs=1e-6)


def test_a_row_weighs_half_after_its_half_life():
    """Weights fall with age by halves and are 1 on average."""
    split = dataset().train
    weights = recency_weights(split, 10.0)
    times = np.array([video.observed_at.timestamp() for video in split.videos])
    pair = np.log2(weights[times.argmax()] / weights[times.argmin()])
    assert pair == pytest.approx((times.max() - times.min()) / 86400 / 10)
    assert weights.mean() == pytest.approx(1)
