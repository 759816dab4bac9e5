"""What moved one score: exact Shapley values over modalities and groups of features, on the fusion only.

The players are the blocks of the fusion's input: the text vector, the image vector, and each group of scalars
(`features.registry.Group`). A coalition's row has its players' blocks from the video and the baseline's for
the others: scalars at the training mean, the neutral image, and the mean vector of the training titles or,
where the checkpoint does not have it, the vector of an empty text. Groups act on standardised columns: a
column derived from two quantities (views per hour) moves only with its own group, so some rows describe an
impossible video. An unknown value is at the training mean, so it adds only the effect of not knowing it.
The towers run no more often than for the score itself; n players cost at most 2^n rows of the fusion. A block
that equals its baseline, or that the fusion gives no weight, contributes exactly 0 and is left out of the
coalitions.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from features import features_named, groups_of
from preprocessing.thumbnails.turns import Turns
from serving.scoring.admission import CLIENT
from serving.scoring.encoders import Modality
from serving.scoring.model import LoadedModel
from serving.scoring.towers import Vector

# Rows of an explanation in the fusion's queue at a time, so that other requests wait for only a few.
CHUNK_ROWS = 8
LABELS = {"text": "Title", "image": "Thumbnail"}
LABEL_WITH_DESCRIPTION = "Title and description"


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
    unknown: tuple[str, ...] = ()
    """The block's unknown fields; a block without known fields adds only the effect of not knowing them."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The score of a video without known inputs, and what each block adds to it, largest first."""

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
    fields: tuple[str, ...] = ()
    """The video's fields that features of this block read and features of earlier blocks do not."""


class Explainer:
    """Explains the scores of one model, one at a time, so that other requests wait for only a few rows.

    Clients take turns.
    """

    def __init__(
        self,
        model: LoadedModel,
        score_rows: Callable[[Sequence[Row]], Awaitable[list[Score]]],
        empty_text: Callable[[], Awaitable[Vector]],
    ) -> None:
        """`score_rows` puts a few rows through the fusion; `empty_text` is the vector of an empty text."""
        self._model = model
        self._score_rows = score_rows
        self._empty_text = empty_text
        self._turns = Turns(1)
        self._players = players_of(model)
        self._baseline: Row | None = None

    async def explain(self, row: Row, score: Score, unknown: Collection[str] = ()) -> Explanation:
        """What moved `score`, the score of `row`, in which the fields `unknown` were imputed.

        Raises what the forward raised.
        """
        async with self._turns.turn(CLIENT.get()):
            baseline = await self._absent()
            moving = [player for player in self._players if self._moves(player, row, baseline)]
            worth = await self._worth(row, baseline, moving, score)
        values = dict(zip(moving, shapley_values(worth), strict=True))
        contributions = [_contribution(player, values.get(player), unknown) for player in self._players]
        contributions.sort(key=lambda part: -abs(part.viral_score))
        viral, velocity = worth[0].tolist()
        return Explanation((viral, velocity), tuple(contributions))

    async def _absent(self) -> Row:
        """The row of a video without known inputs."""
        if self._baseline is None:
            mean = self._model.engine.mean_text
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
        """(2^n, 2) scores of all coalitions; the last is the answer's own score."""
        coalitions = range((1 << len(players)) - 1)
        scores: list[Score] = []
        for start in range(0, len(coalitions), CHUNK_ROWS):
            chunk = [_row(each, players, row, baseline) for each in coalitions[start : start + CHUNK_ROWS]]
            scores += await self._score_rows(chunk)
        return np.array([*scores, score], dtype=np.float64)


def players_of(model: LoadedModel) -> list[Player]:
    """The blocks that a model reads."""
    names = model.scaler.feature_names_in_
    label = LABELS["text"] if model.card.text_fields == ("title",) else LABEL_WITH_DESCRIPTION
    players = [Player("text", label, "text")] if model.card.config.text else []
    if model.card.config.vision:
        players.append(Player("image", LABELS["image"], "image"))
    described, taken = features_named(names), {"observed_at"}  # defaults to now
    for group, columns in groups_of(names):
        features = tuple(names[column] for column in columns)
        read = dict.fromkeys(field for column in columns for field in described[column].reads)
        fields = tuple(field for field in read if field not in taken)
        taken.update(fields)
        players.append(Player(group.value, group.label, "scalars", tuple(columns), features, fields))
    return players


def shapley_values(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, K) Shapley values (Shapley 1953) of n players from the (2^n, K) worth of every coalition.

    Bit i of a coalition's number says that player i is in it. The values add up to the worth of all players:

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! * (worth(S with i) - worth(S)).
    """
    players = len(worth).bit_length() - 1
    assert len(worth) == 1 << players, "every coalition has a worth"
    coalitions = np.arange(len(worth))
    sizes = sum(((coalitions >> player) & 1 for player in range(players)), np.zeros_like(coalitions))
    weights = np.array([factorial(size) * factorial(players - size - 1) for size in range(players)])
    values = np.zeros((players, worth.shape[1]))
    for player in range(players):
        without = coalitions[(coalitions >> player) & 1 == 0]
        gains = worth[without | 1 << player] - worth[without]  # (2^(n-1), K)
        values[player] = (weights[sizes[without]] / factorial(players)) @ gains
    return values


def _row(coalition: int, players: Sequence[Player], row: Row, baseline: Row) -> Row:
    """The row with the blocks of a coalition's players and the baseline's for the rest."""
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


def _contribution(
    player: Player, value: NDArray[np.float64] | None, unknown: Collection[str]
) -> Contribution:
    viral, velocity = (0.0, 0.0) if value is None else value.tolist()
    imputed = tuple(field for field in player.fields if field in unknown)
    label = player.label
    if imputed:
        label += " (not known)" if imputed == player.fields else f" ({', '.join(imputed)} not known)"
    return Contribution(player.group, label, player.modality, player.features, viral, velocity, imputed)
