"""Whether a training CSV's derived columns are what the service will compute from a request.

A head trained on rates in per cent, or on another idea of the weekend, gives wrong scores without an error.
"""

from collections.abc import Sequence

import numpy as np

from features.columns import Columns, FloatArray
from features.registry import MILES_V0, features_named
from training.fit_stats.training_csv import TrainingTable

DERIVED = (
    "engagement_rate",
    "like_rate",
    "comment_ratio",
    "share_rate",
    "save_rate",
    "is_weekend",
    "title_length",
    "has_emoji",
)
FROM_TITLE = ("title_length", "has_emoji")
HOURS_PER_DAY = 24
# Of a column's standard deviation: more than rounding in a file makes, less than moves a score.
TOLERANCE = 0.05


def disagreements(table: TrainingTable, names: Sequence[str], scale: FloatArray) -> list[str]:
    """One sentence for each column of the first list that the service computes otherwise; (F,) `scale`.

    Empty for other lists, whose raw columns a training CSV does not hold.
    """
    if set(names) != set(MILES_V0):
        return []
    column = {name: table.values[:, index] for index, name in enumerate(names)}
    raw = _raw_columns(column, table.titles)
    found = []
    for feature in features_named(names):
        if feature.name not in DERIVED or (table.titles is None and feature.name in FROM_TITLE):
            continue
        given, computed = column[feature.name], feature.compute(raw)
        tolerance = TOLERANCE * scale[list(names).index(feature.name)]
        rows = np.flatnonzero(np.abs(given - computed) > tolerance)
        if rows.size:
            first = rows[0]
            found.append(
                f"{feature.name} is not what the service computes, {feature.formula}, in {rows.size:,} of "
                f"{len(given):,} rows; the first is row {table.row_numbers[first]}: {given[first]:g} in the "
                f"file, {computed[first]:g} computed."
            )
    return found


def _raw_columns(column: dict[str, FloatArray], titles: list[str] | None) -> Columns:
    """What the formulas read, from the columns that hold it."""
    unknown = np.full(len(column["views"]), np.nan)
    texts = titles if titles is not None else [""] * len(unknown)
    return Columns(
        title=texts,
        description=[""] * len(unknown),
        views=column["views"],
        likes=column["likes"],
        comments=column["comments"],
        shares=column["shares"],
        saves=column["saves"],
        duration_seconds=column["duration_sec"],
        age_hours=unknown,
        published_hours=column["publish_dayofweek"] * HOURS_PER_DAY + column["upload_hour"],
        completion_rate=column["completion_rate"],
        creator_avg_views=column["creator_avg_views"],
    )
