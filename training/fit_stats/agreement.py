"""Checks that a training file's derived columns are what the service computes from a request.

A head trained on rates in percent, or with another definition of the weekend, gives wrong scores without an
error.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from features.registry import MILES_V0, features_named
from features.video import Columns, FloatArray
from training.fit_stats.feature_rows import FeatureRows

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
# A fraction of the column's standard deviation: above rounding in a file, below what changes a score.
TOLERANCE = 0.05


def disagreements(table: FeatureRows, names: Sequence[str], scale: FloatArray) -> list[str]:
    """A sentence for each column of the first list that the service computes differently; `scale` is (F,).

    Empty for other lists, whose raw columns a training file does not have.
    """
    if not set(names) <= set(MILES_V0) or not names:
        return []
    column = {name: table.values[:, index] for index, name in enumerate(names)}
    raw = raw_columns(column, table.titles)
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
                f"{feature.name} differs from what the service computes ({feature.formula}) in "
                f"{rows.size:,} of "
                f"{len(given):,} rows. The first is row {table.row_numbers[first]}: {given[first]:g} in the "
                f"file, {computed[first]:g} computed."
            )
    return found


def raw_columns(column: dict[str, FloatArray], titles: list[str] | None) -> Columns:
    """The formulas' inputs, from the columns that hold them; inputs without a column are unknown."""
    unknown = np.full(len(next(iter(column.values()))), np.nan)
    given = defaultdict(lambda: unknown, column)
    texts = titles if titles is not None else [""] * len(unknown)
    return Columns(
        title=texts,
        description=[""] * len(unknown),
        views=given["views"],
        likes=given["likes"],
        comments=given["comments"],
        shares=given["shares"],
        saves=given["saves"],
        duration_seconds=given["duration_sec"],
        age_hours=unknown,
        upload_hour=given["upload_hour"],
        weekday=given["publish_dayofweek"],
        previous_views=unknown,
        hours_since_previous=unknown,
        completion_rate=given["completion_rate"],
        creator_avg_views=given["creator_avg_views"],
    )
