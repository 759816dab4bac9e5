"""The sentence beside each picture, and its verdict."""

from dataclasses import replace

from training.measure.compare import BOOSTING, MODEL, NAMES
from training.measure.metrics import Interval
from training.report.importance import Importance
from training.report.palette import LIGHT, drawing
from training.report.plots import PLOTS
from training.report.sentences import FAIR, GOOD, POOR, captions


def with_full(found, **changes):
    """The findings if the condition with the most known values had these results."""
    first, *others = found.comparisons.items()
    return replace(found, comparisons=dict([(first[0], replace(first[1], **changes)), *others]))


def against(found, figure, low, high):
    """The findings if the paired difference to each baseline had this interval."""
    interval = Interval((low + high) / 2, low, high)
    differences = found.full.differences.items()
    return with_full(found, differences={name: {**each, figure: interval} for name, each in differences})


AGAINST = [
    ("roc", "auroc", 0.01, 0.03, GOOD),
    ("roc", "auroc", -0.01, 0.03, FAIR),
    ("roc", "auroc", -0.03, -0.01, POOR),
    ("precision-recall", "pr_auc", 0.01, 0.03, GOOD),
    ("precision-recall", "pr_auc", -0.03, -0.01, POOR),
    ("velocity", "mae", -0.3, -0.1, GOOD),
    ("velocity", "mae", -0.1, 0.3, FAIR),
    ("velocity", "mae", 0.1, 0.3, POOR),
]


def test_good_is_significantly_better_than_the_best_baseline(found):
    """The verdict follows from the interval's side of zero; for an error, lower is better."""
    verdicts = [
        (picture, figure, low, high, captions(against(found, figure, low, high))[picture].verdict)
        for picture, figure, low, high, _ in AGAINST
    ]
    assert verdicts == AGAINST


def test_error_by_known_values_comes_first_and_is_poor_where_boosting_is_better(found):
    """Fair where only the calibration or the coverage misses its goal, good where nothing does."""
    goals = replace(found.full.rows[MODEL], ece=0.01, coverage=0.8)
    failures = []
    for high, ece, verdict in ((0.1, 0.01, GOOD), (0.1, 0.05, FAIR), (-0.1, 0.01, POOR)):
        same = dict.fromkeys(("auroc", "mae"), Interval(0.0, -0.2, 0.1))
        beside = {**same, "auroc": Interval(-0.15, -0.2, high)}
        rows = {**found.full.rows, MODEL: replace(goals, ece=ece)}
        one = replace(found.full, rows=rows, differences={**found.full.differences, BOOSTING: beside})
        caption = captions(replace(found, comparisons={"counts": one}))["error-by-known"]
        failures += [(high, ece, caption)] * (caption.verdict != verdict)
    assert failures == []
    assert next(iter(PLOTS)) == next(iter(captions(found))) == "error-by-known"


def test_the_comparison_is_with_the_best_baseline(found):
    """By the figure of each picture."""
    rows = found.full.rows
    for picture, figure, best in (("roc", "auroc", max), ("velocity", "mae", min)):
        name = best(found.full.differences, key=lambda name, figure=figure: getattr(rows[name], figure))
        assert NAMES[name] in captions(found)[picture].sentence


def test_the_calibration_error_decides_whether_scores_can_be_trusted(found):
    """The sentence gives it in points out of 100."""
    failures = []
    for error, verdict in ((0.01, GOOD), (0.04, FAIR), (0.2, POOR)):
        rows = {**found.full.rows, MODEL: replace(found.full.rows[MODEL], ece=error)}
        one = replace(found, comparisons={"counts": replace(found.full, rows=rows)})
        caption = captions(one)["reliability"]
        if caption.verdict != verdict or f"by {100 * error:.1f} with counts" not in caption.sentence:
            failures.append((error, caption))
    assert failures == []


def uneven(found, factor, boosting):
    """The findings with the last age's error `factor` times the first's, boosting's `boosting` times that."""
    first = found.error_by_age[0]
    model = replace(first.model, mean=1.0, low=0.9, high=1.1, rows=100)
    worst = replace(model, mean=factor, low=0.9 * factor, high=1.1 * factor)
    return replace(
        found,
        error_by_age=[
            replace(first, label="young", model=model, boosting=1.0),
            replace(first, label="old", model=worst, boosting=factor * boosting),
        ],
    )


def test_an_even_error_is_good(found):
    """Fair where the error depends on the age, poor where boosting is significantly better."""
    failures = []
    for factor, boosting, verdict in ((1.1, 1.0, GOOD), (1.6, 1.0, FAIR), (1.1, 0.8, POOR)):
        caption = captions(uneven(found, factor, boosting))["error-by-age"]
        if caption.verdict != verdict or "worst (old)" not in caption.sentence:
            failures.append((factor, boosting, caption))
    assert failures == []


def test_every_input_that_adds_is_good(found):
    """All inputs above chance are good; one without a gain is fair; a harmful one is poor."""
    for low, high, verdict in ((0.01, 0.03, GOOD), (-0.01, 0.01, FAIR), (-0.03, -0.01, POOR)):
        limits = dict.fromkeys(found.modalities, (0.01, 0.03)) | {"text": (low, high)}
        gains = {name: {"auroc": Interval(sum(ends) / 2, *ends)} for name, ends in limits.items()}
        caption = captions(replace(found, modalities=gains, why_no_images=""))["modalities"]
        assert caption.verdict == verdict
    assert "harmful: the words" in caption.sentence


def test_an_input_that_the_data_lacks_is_not_judged(found):
    """Without images the sentence has the reason instead of a gain."""
    caption = captions(replace(found, why_no_images="no images in this data"))["modalities"]
    assert "no images in this data" in caption.sentence
    assert "the thumbnail +" not in caption.sentence


def test_a_score_that_depends_on_one_fact_is_poor(found):
    """Good up to half of all movement, poor above three quarters, or if nothing moves the score."""
    failures = []
    for top, verdict in ((1.0, GOOD), (2.0, FAIR), (20.0, POOR)):
        moved = [Importance("age", top, 0.1), Importance("views", 1.0, 0.1)]
        caption = captions(replace(found, facts=moved))["facts"]
        failures += [(top, caption)] * (caption.verdict != verdict)
    assert failures == []
    still = replace(found, facts=[])
    assert captions(still)["facts"].verdict == POOR
    with drawing(LIGHT):
        PLOTS["facts"](still, LIGHT)
