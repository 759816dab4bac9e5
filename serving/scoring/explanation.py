"""What moved one score: exact Shapley values over modalities and groups of features, on the fusion alone.

The players are the blocks of the fusion's input: the text vector, the image vector, and each group of the
scalars (`features.groups`). A coalition's row has its players' blocks as the video says them and all others
as the baseline says "absent": scalars at the training mean, the neutral image, and the training titles' mean
vector or, where the checkpoint does not hold it, the vector of an empty text. Groups act on standardised
columns: a column that two quantities make (views per hour) moves with its own group alone, so some rows
describe no video that there could be. The towers run no more than for the score itself; n players cost at
most 2^n rows of the fusion. A block that equals its baseline, or that the fusion gives no weight, moves
nothing, exactly, and is left out of the coalitions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from features.groups import groups_of
from serving.scoring.model import LoadedModel
from serving.scoring.shapley import shapley_values
from serving.scoring.towers import Modality, Vector

TextBaseline = Literal["training_mean", "empty_text"]
# Rows that an explanation has in the fusion's queue at a time: others wait for no more than these.
CHUNK_ROWS = 8
LABELS = {"text": "What the title says", "image": "Thumbnail"}
LABEL_WITH_DESCRIPTION = "What title and description say"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the fusion's input: the text vector, the image vector, (F,) standardised scalars."""

    text: Vector
    image: Vector
    scalars: Vector


Score = tuple[float, float]
"""P(viral), and views per day."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one block added to a score, signed; `velocity` in views per day."""

    group: str
    label: str
    modality: Modality
    features: tuple[str, ...]
    viral_score: float
    velocity: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The score of a video of which nothing is known, and what each block adds to it; largest first."""

    baseline: Score
    contributions: tuple[Contribution, ...]


@dataclass(frozen=True, slots=True)
class Player:
    """A block of the fusion's input: a tower's vector, or some columns of the scalars."""

    group: str
    label: str
    modality: Modality
    columns: tuple[int, ...] = ()
    features: tuple[str, ...] = ()


class Explainer:
    """Explains the scores of one model, one at a time, so that ordinary requests wait for few of its rows."""

    def __init__(
        self,
        model: LoadedModel,
        score_rows: Callable[[Sequence[Row]], Awaitable[list[Score]]],
        empty_text: Callable[[], Awaitable[Vector]],
    ) -> None:
        """`score_rows` puts a few rows through the fusion; `empty_text` is the vector of no words."""
        self._model = model
        self._score_rows = score_rows
        self._empty_text = empty_text
        self._turn = asyncio.Lock()
        self._players = players_of(model)
        self._baseline: Row | None = None

    async def explain(self, row: Row, score: Score) -> Explanation:
        """What moved `score`, that of `row`. Raises what the forward raised."""
        async with self._turn:
            baseline = await self._absent()
            moving = [player for player in self._players if self._moves(player, row, baseline)]
            worth = await self._worth(row, baseline, moving, score)
        values = dict(zip(moving, shapley_values(worth), strict=True))
        contributions = [_contribution(player, values.get(player)) for player in self._players]
        contributions.sort(key=lambda part: -abs(part.viral_score))
        viral, velocity = worth[0].tolist()
        return Explanation((viral, velocity), tuple(contributions))

    async def _absent(self) -> Row:
        """The row of a video of which nothing is known."""
        if self._baseline is None:
            mean = self._model.mean_text
            text = await self._empty_text() if mean is None else mean
            scalars = np.zeros(len(self._model.scaler.feature_names_in_), dtype=np.float32)
            self._baseline = Row(text, self._model.engine.neutral_image, scalars)
        return self._baseline

    def _moves(self, player: Player, row: Row, baseline: Row) -> bool:
        if player.modality in self._model.card.zero_weight_modalities:
            return False
        alone = _row(1, [player], row, baseline)
        return any(
            not np.array_equal(getattr(alone, block), getattr(baseline, block))
            for block in ("text", "image", "scalars")
        )

    async def _worth(
        self, row: Row, baseline: Row, players: list[Player], score: Score
    ) -> NDArray[np.float64]:
        """(2^n, 2) scores of all coalitions; that of all players is the answer's own score."""
        coalitions = range((1 << len(players)) - 1)
        scores: list[Score] = []
        for start in range(0, len(coalitions), CHUNK_ROWS):
            chunk = [_row(each, players, row, baseline) for each in coalitions[start : start + CHUNK_ROWS]]
            scores += await self._score_rows(chunk)
        return np.array([*scores, score], dtype=np.float64)


def players_of(model: LoadedModel) -> list[Player]:
    """The blocks that a model reads: a modality that it does not have is none."""
    names = model.scaler.feature_names_in_
    label = LABELS["text"] if model.card.text_fields == ("title",) else LABEL_WITH_DESCRIPTION
    players = [Player("text", label, "text")]
    if model.card.config.vision:
        players.append(Player("image", LABELS["image"], "image"))
    for group, columns in groups_of(names):
        features = tuple(names[column] for column in columns)
        players.append(Player(group.name, group.label, "scalars", tuple(columns), features))
    return players


def _row(coalition: int, players: Sequence[Player], row: Row, baseline: Row) -> Row:
    """The row that has the blocks of a coalition's players, and the baseline's elsewhere."""
    text, image, scalars = baseline.text, baseline.image, baseline.scalars.copy()
    for number, player in enumerate(players):
        if not coalition >> number & 1:
            continue
        if player.modality == "text":
            text = row.text
        elif player.modality == "image":
            image = row.image
        else:
            columns = list(player.columns)
            scalars[columns] = row.scalars[columns]
    return Row(text, image, scalars)


def _contribution(player: Player, value: NDArray[np.float64] | None) -> Contribution:
    viral, velocity = (0.0, 0.0) if value is None else value.tolist()
    return Contribution(player.group, player.label, player.modality, player.features, viral, velocity)
