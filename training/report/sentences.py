"""A sentence and a verdict for each plot.

The rules below turn findings into good, fair or poor. "Significantly better" means that the whole 95%
bootstrap interval over videos lies on the better side.
"""

from collections.abc import Sequence

import numpy as np

from training.measure.compare import MAX_ECE, MODEL, NAMES
from training.measure.metrics import Interval
from training.report.findings import ErrorBin, Findings, absolute_error
from training.report.page import Caption
from training.report.plots import drawn, hit_rates

GOOD, FAIR, POOR = "good", "fair", "poor"
CALIBRATED, NEARLY_CALIBRATED = MAX_ECE, 0.05  # expected calibration error
UNEVEN = 1.25  # mean |error| of the worst bin, as a multiple of the best one's
LEANS, RESTS = 0.5, 0.75  # share of all movement that one fact has
LOWER_IS_BETTER = {"mae", "brier"}
INPUT_NAMES = {
    "text": "the words",
    "image": "the thumbnail",
    "scalars": "the numbers",
    "age": "the age among them",
    "history": "the previous look among them",
}


def captions(findings: Findings) -> dict[str, Caption]:
    """By the picture's name, in the order of the page."""
    return {
        "error-by-known": _known(findings),
        "roc": _roc(findings),
        "precision-recall": _precision_recall(findings),
        "reliability": _reliability(findings),
        "velocity": _velocity(findings),
        "error-by-age": _error(findings.error_by_age, "Young and old videos", "age"),
        "error-by-size": _error(findings.error_by_size, "Small and large videos", "number of views"),
        "modalities": _modalities(findings),
        "facts": _facts(findings),
    }


def against_the_best(findings: Findings, figure: str) -> tuple[str, str, str]:
    """The best baseline by `figure` with everything known, the verdict, and its words."""
    sign = -1 if figure in LOWER_IS_BETTER else 1
    rows, differences = findings.full.rows, findings.full.differences
    best = max(differences, key=lambda name: sign * float(getattr(rows[name], figure)))
    interval = differences[best][figure]
    low = min(sign * interval.low, sign * interval.high)
    high = max(sign * interval.low, sign * interval.high)
    if low > 0:
        return best, GOOD, f"significantly better than {NAMES[best]}, the best of the simple methods"
    if high < 0:
        return best, POOR, f"significantly worse than {NAMES[best]}, a simple method"
    return best, FAIR, f"not significantly better than {NAMES[best]}, the best of the simple methods"


def _known(findings: Findings) -> Caption:
    """Poor where boosting is significantly better under any condition; fair where another goal is missed."""
    compared = findings.comparisons
    errors = [f"{np.exp(each.model.mean):.1f} with {each.label}" for each in findings.error_by_known]
    widths = [
        f"{np.exp(np.median(answer.high - answer.low)):.1f} with {name}"
        for name, answer in ((name, each.answers[MODEL].test) for name, each in compared.items())
        if answer.low is not None and answer.high is not None
    ]
    misses = [f"with {name}, {' and '.join(each.misses)}" for name, each in compared.items() if each.misses]
    beaten = any("significantly" in miss for miss in misses)
    ends = f" The ends of the 80% interval are a factor of {'; '.join(widths)} apart." if widths else ""
    return Caption(
        "How far off, with what you know",
        f"Shorter bars are better: predictions are off by a factor of {'; '.join(errors)}.{ends} "
        + (
            f"{_upper('; '.join(misses))}."
            if misses
            else "Gradient boosting on the same inputs is never significantly better."
        ),
        POOR if beaten else FAIR if misses else GOOD,
        "Average factor by which predictions are off, by what is known. "
        + "; ".join(
            f"{each.label}: {np.exp(each.model.mean):.2f} [{np.exp(each.model.low):.2f}, "
            f"{np.exp(each.model.high):.2f}], gradient boosting {np.exp(each.boosting):.2f}"
            for each in findings.error_by_known
        ),
    )


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def _roc(findings: Findings) -> Caption:
    best, verdict, words = against_the_best(findings, "auroc")
    own, other = (100 * findings.full.rows[name].auroc for name in (MODEL, best))
    return Caption(
        "Telling viral videos from others",
        "Lines closer to the upper left corner are better: of a viral and another video, this model ranks "
        f"the viral one higher in {own:.1f} of 100 pairs ({NAMES[best]} {other:.1f}, a coin 50), which is "
        f"{words}.",
        verdict,
        "ROC curves: true against false positive rate. Areas: " + _areas(findings, "auroc"),
    )


def _precision_recall(findings: Findings) -> Caption:
    _, verdict, words = against_the_best(findings, "pr_auc")
    right, found = hit_rates(findings)
    share = 100 * float(findings.full.answers[MODEL].test.is_viral.mean())
    lift = findings.full.rows[MODEL].lift
    return Caption(
        'When it says "viral"',
        f"Higher is better: at the dot, {100 * right:.0f} of 100 videos that it calls viral are viral "
        f"({share:.0f} by guessing), and it finds {100 * found:.0f} of 100 viral ones; its top tenth has "
        f"{lift:.1f} times as many as a random tenth; this is {words}.",
        verdict,
        "Precision-recall curves. Areas: " + _areas(findings, "pr_auc"),
    )


def _areas(findings: Findings, area: str) -> str:
    models = [(NAMES[name], row) for name, row in findings.full.rows.items()]
    less = [
        (f"this model with {name}", each.rows[MODEL])
        for name, each in findings.comparisons.items()
        if each is not findings.full
    ]
    return "; ".join(f"{name} {getattr(row, area):.3f}" for name, row in [*models, *less])


def _reliability(findings: Findings) -> Caption:
    errors = {name: each.rows[MODEL].ece for name, each in findings.comparisons.items()}
    worst = max(errors.values())
    verdict = GOOD if worst <= CALIBRATED else FAIR if worst <= NEARLY_CALIBRATED else POOR
    trust = {GOOD: "can be trusted", FAIR: "are roughly right", POOR: "cannot be trusted"}
    listed = ", ".join(f"{100 * error:.1f} with {name}" for name, error in errors.items())
    return Caption(
        "Does 70% mean 70%?",
        "A perfectly calibrated model follows the dotted line: scores are off, in points of 100 on average, "
        f"by {listed}; they {trust[verdict]}.",
        verdict,
        "Reliability diagram with everything known. "
        + "; ".join(
            f"score {100 * each.mean_score:.0f}%: {100 * each.share.mean:.0f}% of {each.share.rows:,} viral"
            for each in next(iter(findings.reliability.values()))
        ),
    )


def _velocity(findings: Findings) -> Caption:
    _, verdict, words = against_the_best(findings, "mae")
    errors = absolute_error(findings.full.answers[MODEL].test)
    typical, double = float(np.exp(np.median(errors))), 100 * float((errors <= np.log(2)).mean())
    return Caption(
        "Predicted and actual views per day",
        "Exact predictions lie on the dotted line: half of all predictions are within a factor of "
        f"{typical:.1f} of the truth and {double:.0f} of 100 within a factor of two, which is {words}.",
        verdict,
        f"Predicted against actual views per day on logarithmic axes. {double:.0f}% of the predictions lie "
        f"between half and twice the truth; R2 in log1p is {findings.full.rows[MODEL].r2:.3f}.",
    )


def _error(bins: Sequence[ErrorBin], title: str, kind: str) -> Caption:
    shown = drawn(bins)
    best, worst = (pick(shown, key=lambda each: each.model.mean) for pick in (min, max))
    uneven = worst.model.mean > UNEVEN * best.model.mean
    beaten = [each.label for each in shown if each.boosting < each.model.low]
    verdict = POOR if beaten else FAIR if uneven else GOOD
    hidden = sum(each.model.rows for each in bins) - sum(each.model.rows for each in shown)
    words = {
        POOR: f"gradient boosting is significantly better at {', '.join(beaten)}",
        FAIR: f"accuracy depends on the {kind}",
        GOOD: f"accuracy hardly depends on the {kind}, as it should be",
    }[verdict]
    few = f" ({hidden} rows in groups too small to draw)" if hidden else ""
    return Caption(
        title,
        f"Shorter bars are better: predictions are off by a factor of {np.exp(best.model.mean):.1f} at best "
        f"({best.label}) and {np.exp(worst.model.mean):.1f} at worst ({worst.label}); {words}{few}.",
        verdict,
        f"Average factor by which predictions are off, by {kind}. "
        + "; ".join(
            f"{each.label}: {np.exp(each.model.mean):.2f}, gradient boosting {np.exp(each.boosting):.2f}"
            for each in shown
        ),
    )


def _modalities(findings: Findings) -> Caption:
    gains = {
        name: gain["auroc"]
        for name, gain in findings.modalities.items()
        if name != "image" or not findings.why_no_images
    }
    helping = [name for name, gain in gains.items() if gain.low > 0]
    hurting = [name for name, gain in gains.items() if gain.high < 0]
    untested = len(gains) < len(findings.modalities)
    verdict = POOR if hurting or not helping else FAIR if untested or len(helping) < len(gains) else GOOD
    idle = [name for name in gains if name not in helping + hurting]
    parts = [f"{INPUT_NAMES[name]} {_signed(gains[name])}" for name in gains]
    notes = [
        *([f"significant only for {_list(helping)}"] if idle or hurting else ["all significant"]),
        *([f"harmful: {_list(hurting)}"] if hurting else []),
        *([f"the thumbnail is not measured: {findings.why_no_images}"] if untested else []),
    ]
    return Caption(
        "What each input adds",
        f"Longer bars add more: of 100 pairs, an input ranks this many more correctly: {', '.join(parts)}; "
        f"{'; '.join(notes)}.",
        verdict,
        "Additional pairs of 100 that are ranked correctly with an input, and 95% intervals. "
        + "; ".join(
            f"{INPUT_NAMES[name]} {_signed(gain)} [{100 * gain.low:.1f}, {100 * gain.high:.1f}]"
            for name, gain in gains.items()
        ),
    )


def _signed(gain: Interval) -> str:
    return f"{100 * gain.difference:+.1f}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(INPUT_NAMES[name] for name in names) or "none"


def _facts(findings: Findings) -> Caption:
    moved, title = findings.facts, "What moves the score"
    total = sum(each.score_change for each in moved)
    if not total:
        return Caption(title, "No fact moves the score: it is the same for every video.", POOR, "No bars.")
    share = moved[0].score_change / total
    verdict = GOOD if share <= LEANS else FAIR if share <= RESTS else POOR
    words = {
        GOOD: "no single fact dominates, as it should be",
        FAIR: "it depends mainly on this fact",
        POOR: "it depends on almost nothing but this fact",
    }[verdict]
    return Caption(
        title,
        f'Longer bars move it more: replacing "{moved[0].name}" with that of another video changes the score '
        f"by {100 * moved[0].score_change:.0f} points of 100 on average; {words}.",
        verdict,
        "Average change of the score, in points of 100, when one fact is exchanged between videos. "
        + "; ".join(f"{each.name}: {100 * each.score_change:.1f}" for each in moved),
    )
