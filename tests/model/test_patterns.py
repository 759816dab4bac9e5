"""The values known about a video decide how its probability is calibrated."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.checkpoint.store import read_checkpoint, write_checkpoint
from model.compile.export import export_towers
from model.compiled.bundle import Bundle, read_bundle, write_manifest
from model.compiled.engine import OpenVinoEngine
from model.outputs import fitted, pattern_of
from model.torch_engine import TorchEngine
from tests.model.small import small_checkpoint
from tests.support.tiny import multiplied

FLAGS = ("views_known", "reactions_known", "age_known", "history_known")
NAMES = ("age_known", "views_known", "other")
STATS = {
    "age_known": {"mean": 0.6, "scale": 0.4},
    "views_known": {"mean": 0.7, "scale": 0.5},
    "other": {"mean": 0.0, "scale": 1.0},
}
PATTERNS = {
    name: {"temperature": temperature, "bias": bias, "low": -1.5, "high": 0.5, "rows": 300}
    for name, temperature, bias in (
        ("none", 3.0, -0.5),
        ("views", 2.0, 0.1),
        ("age", 0.5, 0.0),
        ("views+age", 1.2, 0.4),
    )
}


def checkpoint(**changes: Any) -> Any:
    values = {"temperature": None, "patterns": PATTERNS, "interval_coverage": 0.8} | changes
    return small_checkpoint(scalar_features=NAMES, feature_stats=STATS, **values)


def test_a_pattern_names_the_flags_that_are_set_in_a_fixed_order() -> None:
    rows = [
        ((1, 1, 1, 1), FLAGS, "views+reactions+age+history"),
        ((1, 0, 1, 0), FLAGS, "views+age"),
        ((0, 0, 0, 0), FLAGS, "none"),
        ((1, 0, 7), ("age_known", "views_known", "log_view_count"), "age"),
        ((5,), ("log_view_count",), "none"),
    ]
    failures = [
        (values, names)
        for values, names, expected in rows
        if pattern_of(np.array(values, dtype=np.float64), names) != expected
    ]
    assert failures == []


def test_a_group_that_training_never_saw_is_ignored() -> None:
    patterns = checkpoint().card.patterns
    rows = [
        ("views+reactions+age+history", "views+age"),
        ("reactions", "none"),
        ("views+history", "views"),
        ("age", "age"),
    ]
    assert [name for name, used in rows if fitted(name, patterns) != patterns[used]] == []


def test_a_card_lists_a_pattern_for_every_request_or_none() -> None:
    rows = [
        ({"views": PATTERNS["views"]}, "no pattern for requests with none"),
        ({**PATTERNS, "age+views": PATTERNS["age"]}, "'age\\+views' is not a pattern"),
        ({**PATTERNS, "none": {**PATTERNS["none"], "temperature": 0}}, "temperature"),
        ({**PATTERNS, "none": {**PATTERNS["none"], "low": 0.1}}, "low"),
    ]
    for patterns, message in rows:
        with pytest.raises(ValueError, match=message):
            checkpoint(patterns=patterns)
    assert checkpoint(patterns={}).card.calibration() is None


def test_an_interval_scales_views_per_day_and_is_never_below_zero() -> None:
    """In log1p: 999 views per day are 1,000, and e^-1.5 of that is 223."""
    pattern = checkpoint().card.patterns["age"]
    assert pattern.interval(999.0) == pytest.approx((1000 * np.exp(-1.5) - 1, 1000 * np.exp(0.5) - 1))
    assert pattern.interval(0.0)[0] == 0


def test_patterns_survive_the_checkpoint_file(tmp_path: Path) -> None:
    before = checkpoint(meaningful_difference={"viral_score": 0.03, "velocity": 1.2})
    write_checkpoint(tmp_path / "model.pt", before)
    card = read_checkpoint(tmp_path / "model.pt").card
    assert (card.patterns, card.interval_coverage, card.meaningful_difference) == (
        before.card.patterns,
        before.card.interval_coverage,
        before.card.meaningful_difference,
    )


def test_both_engines_calibrate_each_row_by_its_pattern(tmp_path: Path) -> None:
    """The probability is sigmoid((z + bias) / temperature), with z from an uncalibrated checkpoint."""
    whole, plain = checkpoint(), checkpoint(patterns={}, temperature=1.0)
    generator = np.random.default_rng(3)
    text = generator.normal(size=(4, 128)).astype(np.float32)
    scalars = np.array(
        [[(age - 0.6) / 0.4, (views - 0.7) / 0.5, 0.3] for views in (0, 1) for age in (0, 1)],
        dtype=np.float32,
    )
    image = np.zeros((4, 0), dtype=np.float32)
    base = TorchEngine(plain).score(text, image, scalars).viral
    used = [PATTERNS[name] for name in ("none", "age", "views", "views+age")]
    z = np.log(base / (1 - base))
    expected = [
        1 / (1 + np.exp(-(row + each["bias"]) / each["temperature"]))
        for row, each in zip(z, used, strict=True)
    ]
    towers = export_towers(whole.build_model(), None, tmp_path)
    write_manifest(Bundle(tmp_path, whole.card, dict.fromkeys(towers, "f32"), image[0], {}))
    compiled = OpenVinoEngine(read_bundle(tmp_path), threads=1, steps=["fusion"])
    assert TorchEngine(whole).score(text, image, scalars).viral == pytest.approx(expected, abs=1e-9)
    products = multiplied(whole, text, image)[0], image
    assert compiled.score(*products, scalars).viral == pytest.approx(expected, abs=1e-5)
