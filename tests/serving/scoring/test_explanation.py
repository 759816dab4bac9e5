"""What moved a score: compared with brute force over every order, on a real network."""

import asyncio
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from features import FeatureScaler, groups_of
from model.engine import Scores
from model.torch_engine import TorchEngine
from preprocessing.text import BertTextTokenizer, TextSpec
from serving.http.answers import Explanation as OnWire
from serving.http.answers import rounded_parts
from serving.scoring.admission import CLIENT
from serving.scoring.explanation import Explainer, Explanation, Row, Score, shapley_values
from serving.scoring.model import LoadedModel
from tests.support.tiny import tiny_checkpoint

TEXT_MEAN = 0.25
pytestmark = pytest.mark.anyio


def model_of(
    *, with_vision: bool = True, mean: float | None = TEXT_MEAN, silent: str | None = None
) -> LoadedModel:
    """The tiny network as the service loads it; the columns of `silent` are zero."""
    checkpoint = tiny_checkpoint(with_vision=with_vision)
    text, image = checkpoint.card.config.text.output_dim, checkpoint.card.config.image_dim
    if silent is not None:
        start, end = (0, text) if silent == "text" else (text, text + image)
        weight = checkpoint.state_dict["fusion.0.weight"].clone()
        weight[:, start:end] = 0
        checkpoint.state_dict["fusion.0.weight"] = weight
    vector = None if mean is None else [mean] * text
    titles = checkpoint.card.titles.model_copy(update={"mean_vector": vector})
    checkpoint = checkpoint.with_card(name="tiny.pt", sha256="0" * 64, titles=titles)
    card = checkpoint.card
    return LoadedModel(
        card=card,
        engine=TorchEngine(checkpoint),
        tokenizer=BertTextTokenizer.from_vocabulary(spec=TextSpec(card.text_fields, card.max_tokens)),
        scaler=FeatureScaler.from_stats(card.feature_stats, card.scalar_features),
        fidelity=None,
        image_spec=None,
    )


def drawn_row(model: LoadedModel, seed: int = 3) -> Row:
    """A row with random values in every block."""
    draw = np.random.default_rng(seed)
    config = model.card.config
    return Row(
        draw.normal(size=config.text.output_dim).astype(np.float32),
        draw.uniform(size=config.image_dim).astype(np.float32),
        draw.normal(size=config.scalars).astype(np.float32),
    )


def scores_of(model: LoadedModel, rows: Sequence[Row]) -> list[Score]:
    """The engine's scores of the rows."""
    stacked = (np.stack([getattr(row, block) for row in rows]) for block in ("text", "image", "scalars"))
    scores: Scores = model.engine.score(*stacked)
    return list(zip(scores.viral.tolist(), scores.velocity.tolist(), strict=True))


async def explained(
    model: LoadedModel, row: Row, empty: NDArray[np.float32] | None = None, chunks: list[int] | None = None
) -> Explanation:
    """The row's explanation; `chunks` collects the number of rows requested at a time."""

    async def score_rows(rows: Sequence[Row]) -> list[Score]:
        if chunks is not None:
            chunks.append(len(rows))
        return scores_of(model, rows)

    async def empty_text() -> NDArray[np.float32]:
        assert empty is not None, "the mean is not known"
        return empty

    (score,) = scores_of(model, [row])
    return await Explainer(model, score_rows, empty_text).explain(row, score)


def blocks_of(model: LoadedModel) -> dict[str, tuple[str, list[int]]]:
    """The players by name: which array of a row they are in, and at which columns."""
    config, names = model.card.config, model.card.scalar_features
    blocks = {"text": ("text", list(range(config.text.output_dim)))}
    if config.vision:
        blocks["image"] = ("image", list(range(config.image_dim)))
    return blocks | {group.value: ("scalars", columns) for group, columns in groups_of(names)}


def by_brute_force(model: LoadedModel, row: Row, baseline: Row, players: Sequence[str]) -> dict[str, Score]:
    """Every player's mean gain over all orders of `players`; blocks of others are at the baseline."""
    blocks = blocks_of(model)
    gains = {name: np.zeros(2) for name in players}
    orders = list(permutations(players))
    for order in orders:
        arrays = {block: getattr(baseline, block).copy() for block in ("text", "image", "scalars")}
        rows = [Row(**{block: array.copy() for block, array in arrays.items()})]
        for name in order:
            block, columns = blocks[name]
            arrays[block][columns] = getattr(row, block)[columns]
            rows.append(Row(**{block: array.copy() for block, array in arrays.items()}))
        steps = np.diff(np.array(scores_of(model, rows)), axis=0)
        for name, step in zip(order, steps, strict=True):
            gains[name] += step
    return {name: tuple((gain / len(orders)).tolist()) for name, gain in gains.items()}


def baseline_of(model: LoadedModel, text: float = TEXT_MEAN) -> Row:
    """The row of a video about which nothing is known."""
    config = model.card.config
    return Row(
        np.full(config.text.output_dim, text, dtype=np.float32),
        model.engine.neutral_image,
        np.zeros(config.scalars, dtype=np.float32),
    )


async def test_contributions_are_the_mean_over_all_orders() -> None:
    """Five blocks get what trying all 120 orders gives; those at the baseline get nothing."""
    model = model_of()
    row, baseline = drawn_row(model), baseline_of(model)
    players = ["text", "image", "size", "reaction", "age"]
    kept = [column for name in players[2:] for column in blocks_of(model)[name][1]]
    scalars = np.where(np.isin(np.arange(len(row.scalars)), kept), row.scalars, 0).astype(np.float32)
    row = Row(row.text, row.image, scalars)
    expected = by_brute_force(model, row, baseline, players)
    found = {
        part.group: (part.viral_score, part.velocity) for part in (await explained(model, row)).contributions
    }
    for name, score in found.items():
        np.testing.assert_allclose(score, expected.get(name, (0, 0)), rtol=1e-4, atol=1e-6, err_msg=name)
    assert found.keys() > set(players)
    assert found["duration"] == (0, 0)


@pytest.mark.parametrize("with_vision", [True, False])
async def test_parts_add_up_to_the_distance_from_the_baseline(with_vision: bool) -> None:
    """Probability and velocity: baseline and parts add up to the answer, as computed and on the wire."""
    model = model_of(with_vision=with_vision)
    row = drawn_row(model)
    explanation = await explained(model, row)
    (score,) = scores_of(model, [row])
    assert explanation.baseline == pytest.approx(scores_of(model, [baseline_of(model)])[0], rel=1e-5)
    viral = sum(part.viral_score for part in explanation.contributions)
    velocity = sum(part.velocity for part in explanation.contributions)
    assert viral == pytest.approx(score[0] - explanation.baseline[0], abs=1e-9)
    assert velocity == pytest.approx(score[1] - explanation.baseline[1], abs=1e-6 * score[1])
    wire = OnWire.of(explanation, score)
    viral = sum(part.viral_score for part in wire.contributions)
    velocity = sum(part.predicted_velocity for part in wire.contributions)
    assert viral == pytest.approx(round(score[0], 6) - wire.baseline.viral_score, abs=1e-9)
    assert velocity == pytest.approx(round(score[1], 2) - wire.baseline.predicted_velocity, abs=1e-6)


async def test_the_largest_part_is_first() -> None:
    """Contributions are ordered by the size of their effect on the probability, whatever its sign."""
    model = model_of()
    parts = [abs(part.viral_score) for part in (await explained(model, drawn_row(model))).contributions]
    assert parts == sorted(parts, reverse=True)
    assert parts[0] > 0


async def test_an_absent_modality_is_not_a_player() -> None:
    """A text-only network explains its scores by text and features; every feature is in one part."""
    model = model_of(with_vision=False)
    parts = (await explained(model, drawn_row(model))).contributions
    assert {part.modality for part in parts} == {"text", "scalars"}
    assert sorted(name for part in parts for name in part.features) == sorted(model.card.scalar_features)


async def test_a_modality_without_weight_moves_nothing() -> None:
    """With image columns of zeros, the image contributes exactly nothing and costs no rows."""
    model = model_of(silent="image")
    chunks: list[int] = []
    parts = (await explained(model, drawn_row(model), chunks=chunks)).contributions
    (image,) = [part for part in parts if part.group == "image"]
    assert (image.viral_score, image.velocity) == (0, 0)
    assert sum(chunks) == 2 ** (len(parts) - 1) - 1


async def test_rows_are_asked_for_a_few_at_a_time() -> None:
    """No more than eight rows of an explanation are in the queue at once."""
    model = model_of()
    chunks: list[int] = []
    parts = (await explained(model, drawn_row(model), chunks=chunks)).contributions
    assert max(chunks) <= 8
    assert sum(chunks) == 2 ** len(parts) - 1


async def test_clients_take_turns() -> None:
    """An explanation requested after eight of another client is given third at the latest."""
    model, order = model_of(), list[str]()

    async def score_rows(rows: Sequence[Row]) -> list[Score]:
        await asyncio.sleep(0)
        return scores_of(model, rows)

    async def empty_text() -> NDArray[np.float32]:
        raise AssertionError("the mean is known")

    explainer, row = Explainer(model, score_rows, empty_text), drawn_row(model)
    (score,) = scores_of(model, [row])

    async def ask(client: str) -> None:
        CLIENT.set(client)
        await explainer.explain(row, score)
        order.append(client)

    await asyncio.gather(*(ask(client) for client in [*["many"] * 8, "one"]))
    assert order.index("one") <= 2


async def test_without_a_mean_the_empty_text_is_the_baseline() -> None:
    """If the checkpoint does not have the mean, the vector of an empty text is the baseline."""
    model = model_of(mean=None)
    empty = np.full(model.card.config.text.output_dim, -0.5, dtype=np.float32)
    explanation = await explained(model, drawn_row(model), empty=empty)
    assert explanation.baseline == pytest.approx(scores_of(model, [baseline_of(model, -0.5)])[0], rel=1e-5)


def test_rounded_parts_lead_from_start_to_end() -> None:
    """What rounding leaves over goes to the largest part."""
    assert rounded_parts([0.4, 0.4, -3.6], start=10.0, end=7.2, digits=0) == [0.0, 0.0, -3.0]
    assert str(rounded_parts([-0.001, 2.0], start=0.0, end=1.999, digits=2)[0]) == "0.0"


def over_all_orders(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """The definition: every player's gain when it joins, averaged over all orders."""
    players = len(worth).bit_length() - 1
    orders = list(permutations(range(players)))
    values = np.zeros((players, worth.shape[1]))
    for order in orders:
        coalition = 0
        for player in order:
            values[player] += worth[coalition | 1 << player] - worth[coalition]
            coalition |= 1 << player
    return values / len(orders)


@pytest.mark.parametrize("players", [0, 1, 2, 3, 6])
def test_values_are_the_mean_over_all_orders(players: int) -> None:
    """Shapley values are what trying every order gives."""
    worth = np.random.default_rng(players).normal(size=(1 << players, 2))
    np.testing.assert_allclose(shapley_values(worth), over_all_orders(worth), atol=1e-12)


def test_a_player_without_effect_gets_exactly_zero() -> None:
    """A player that changes no coalition's worth has the value zero, and the others share the whole gain."""
    draw = np.random.default_rng(4).normal(size=(256, 1))
    worth = np.concatenate([draw, draw])  # the ninth player, bit 8, changes nothing
    values = shapley_values(worth)
    assert values[8] == 0
    np.testing.assert_allclose(values.sum(axis=0), worth[-1] - worth[0], atol=1e-12)
