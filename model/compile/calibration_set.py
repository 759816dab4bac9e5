"""What a compiled model is calibrated and judged by: bundled token ids, drawn pixels, drawn scalars.

Half of the texts and two thirds of the images teach the quantiser, the rest are held back for the judge.
It also meets the known texts once more with other words: titles of tomorrow have words of their own.
Ids are bundled because the network's package knows no tokenizer; `python -m preprocessing.calibration` makes
them from an operator's own titles.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.card import ModelCard
from model.checkpoint.file import CheckpointError
from model.engine import Pixels, Vectors
from model.values import short_repr

BUNDLED = Path(__file__).parents[2] / "models" / "calibration" / "token_ids.json"
FORMAT = 1
FEWEST_TEXTS = 40  # of the half that is held back, the worst twentieth must be more than one text
IMAGES = (64, 32)  # to calibrate with, held back
SEED = 20240229
Canvas = NDArray[np.float32]  # (H, W, 3), 0..1


class CalibrationError(CheckpointError):
    """A file of calibration ids that cannot be used; names the file, both values and the next step."""


@dataclass(frozen=True)
class Texts:
    """Unpadded token sequences of any lengths."""

    input_ids: tuple[tuple[int, ...], ...]
    token_type_ids: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.input_ids)

    def halves(self) -> tuple["Texts", "Texts"]:
        """Two halves by lot: a file may be ordered by kind of text, and both halves need all kinds."""
        order = np.random.default_rng(SEED).permutation(len(self)).tolist()
        return self._picked(order[::2]), self._picked(order[1::2])

    def _picked(self, order: Sequence[int]) -> "Texts":
        ids, types = self.input_ids, self.token_type_ids
        return Texts(tuple(ids[index] for index in order), tuple(types[index] for index in order))


@dataclass(frozen=True)
class CalibrationInputs:
    """What teaches the quantiser (`known_*`, `drawn_texts`) and what it never sees (`held_back_*`)."""

    known_texts: Texts
    drawn_texts: Texts
    """`known_texts` with words from the whole vocabulary: a few hundred titles hold a few of its words."""
    held_back_texts: Texts
    known_images: Pixels
    held_back_images: Pixels
    about: dict[str, Any]
    """Where they are from, for the report."""


def calibration_inputs(card: ModelCard, path: Path = BUNDLED) -> CalibrationInputs:
    """The inputs for the model that `card` describes. Raises `CalibrationError`."""
    known_texts, held_back_texts = read_texts(path, card).halves()
    images: Pixels = np.zeros((0, 0, 0, 3), dtype=np.uint8)
    known = 0
    if card.config.vision is not None:
        images = draw_images(sum(IMAGES), card.config.vision.height, card.config.vision.width, SEED)
        known = IMAGES[0]
    return CalibrationInputs(
        known_texts=known_texts,
        drawn_texts=with_drawn_words(known_texts, card.config.text.vocab_size),
        held_back_texts=held_back_texts,
        known_images=images[:known],
        held_back_images=images[known:],
        about={
            "texts": path.name if path != BUNDLED else "bundled titles",
            "texts_calibrated": len(known_texts),
            "texts_drawn": len(known_texts),
            "texts_held_back": len(held_back_texts),
            "images": f"drawn, seed {SEED}" if len(images) else "none",
            "images_calibrated": known,
            "images_held_back": len(images) - known,
        },
    )


def with_drawn_words(texts: Texts, vocabulary: int) -> Texts:
    """As many texts of the same lengths: only what begins, parts and ends a text keeps its id."""
    draw = np.random.default_rng(SEED)
    drawn = tuple(
        tuple(
            token if token in (ids[0], ids[-1]) else int(other)
            for token, other in zip(ids, draw.integers(0, vocabulary, len(ids)), strict=True)
        )
        for ids in texts.input_ids
    )
    return Texts(drawn, texts.token_type_ids)


def calibration_sha256(path: Path = BUNDLED) -> str:
    """What tells one file of calibration ids from another. Raises `CalibrationError`."""
    return hashlib.sha256(_read(path)).hexdigest()


def read_texts(path: Path, card: ModelCard) -> Texts:
    """The texts of `path` as a model with `card` would get them: its fields, its length, its vocabulary."""
    try:
        values = json.loads(_read(path))
    except (ValueError, RecursionError) as exc:
        raise CalibrationError(f"{path}: is not readable JSON ({exc}). {_AGAIN}") from exc
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = short_repr(values.get("format")) if isinstance(values, dict) else type(values).__name__
        raise CalibrationError(f"{path}: has format {found}, this version reads {FORMAT}. {_AGAIN}")
    ids, types = (_sequences(path, name, values.get(name)) for name in ("input_ids", "token_type_ids"))
    if [len(row) for row in ids] != [len(row) for row in types]:
        raise CalibrationError(f"{path}: input_ids and token_type_ids differ in length. {_AGAIN}")
    _check_vocabulary(path, card, ids, types)
    # Each once: what is held back must be new, and different titles may have the same ids.
    pairs = dict.fromkeys(_as_served(card, row, kinds) for row, kinds in zip(ids, types, strict=True))
    if len(pairs) < FEWEST_TEXTS:
        raise CalibrationError(
            f"{path}: holds {len(pairs)} different texts, expected {FEWEST_TEXTS} or more. {_AGAIN}"
        )
    return Texts(tuple(row for row, _ in pairs), tuple(kinds for _, kinds in pairs))


def draw_scalars(card: ModelCard, count: int) -> Vectors:
    """(count, scalars) standardised features: standard normal draws within each feature's known range."""
    drawn = np.random.default_rng(SEED).standard_normal((count, card.config.scalars))
    for column, name in enumerate(card.scalar_features):
        stats = card.feature_stats[name]
        drawn[:, column] = np.clip(drawn[:, column], *_standard_range(stats))
    return drawn.astype(np.float32)


_AGAIN = "Write it with `python -m preprocessing.calibration TITLES.txt IDS.json`."


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise CalibrationError(f"{path}: cannot be read ({exc.strerror}). {_AGAIN}") from exc


def _sequences(path: Path, name: str, rows: Any) -> list[tuple[int, ...]]:
    whole = (
        isinstance(rows, list)
        and bool(rows)
        and all(isinstance(row, list) and row and all(isinstance(item, int) for item in row) for row in rows)
    )
    if not whole:
        raise CalibrationError(
            f"{path}: {name} is {short_repr(rows)}, expected lists of whole numbers, none empty. {_AGAIN}"
        )
    return [tuple(row) for row in rows]


def _check_vocabulary(
    path: Path, card: ModelCard, ids: Sequence[tuple[int, ...]], types: Sequence[tuple[int, ...]]
) -> None:
    text = card.config.text
    for name, rows, limit in (
        ("input_ids", ids, text.vocab_size),
        ("token_type_ids", types, text.token_types),
    ):
        low, high = min(min(row) for row in rows), max(max(row) for row in rows)
        if low < 0 or high >= limit:
            raise CalibrationError(
                f"{path}: {name} reach from {low} to {high}, the text encoder of {card.name} takes 0 to "
                f"{limit - 1}. Name ids of its own vocabulary with --calibration."
            )


def _as_served(
    card: ModelCard, ids: tuple[int, ...], types: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the service would send: no second field that the model never saw, the last token always kept."""
    if len(card.text_fields) == 1 and 1 in types:
        ids, types = ids[: types.index(1)], types[: types.index(1)]
    if len(ids) > card.max_tokens:
        cut = card.max_tokens - 1
        ids, types = (*ids[:cut], ids[-1]), (*types[:cut], types[-1])
    return ids, types


def _standard_range(stats: dict[str, float | None]) -> tuple[float, float]:
    """A feature's training range in standardised units; infinite where it has no bound."""
    mean, scale = stats["mean"], stats["scale"]
    assert mean is not None and scale is not None, "the card has both"  # noqa: PT018
    low, high = (None if end is None else (end - mean) / scale for end in (stats["low"], stats["high"]))
    return -np.inf if low is None else low, np.inf if high is None else high


def draw_images(count: int, height: int, width: int, seed: int) -> Pixels:
    """(count, height, width, 3) uint8."""
    draw = np.random.default_rng(seed)
    images = np.empty((count, height, width, 3), dtype=np.uint8)
    for index in range(count):
        images[index] = np.rint(_image(draw, height, width).clip(0, 1) * 255).astype(np.uint8)
    return images


def _image(draw: np.random.Generator, height: int, width: int) -> Canvas:
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)  # (H, W) each
    image = _gradient(draw, rows, columns)
    for _ in range(draw.integers(0, 9)):
        image = _shape(draw, image, rows, columns)
    if draw.random() < 0.6:
        image = _lettering(draw, image)
    image = image + _texture(draw, height, width)
    contrast, brightness = draw.uniform(0.3, 1.4), draw.uniform(-0.25, 0.25)
    toned: Canvas = ((image - 0.5) * contrast + 0.5 + brightness).astype(np.float32)
    return toned


def _gradient(draw: np.random.Generator, rows: Canvas, columns: Canvas) -> Canvas:
    angle = draw.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * rows + np.sin(angle) * columns + 1) / 2
    start, end = draw.random(3), draw.random(3)
    ramp: Canvas = (start + (end - start) * along[..., None]).astype(np.float32)
    return ramp


def _shape(draw: np.random.Generator, image: Canvas, rows: Canvas, columns: Canvas) -> Canvas:
    """An ellipse or a box of one colour, its edge anything from hard to soft."""
    down = (rows - draw.random()) / draw.uniform(0.05, 0.5)
    right = (columns - draw.random()) / draw.uniform(0.05, 0.5)
    distance = np.maximum(abs(down), abs(right)) if draw.random() < 0.4 else np.hypot(down, right)
    hardness = 10 ** draw.uniform(0.5, 2.5)
    cover = 1 / (1 + np.exp(np.clip((distance - 1) * hardness, -50, 50)))
    blended: Canvas = (image + (draw.random(3) - image) * cover[..., None]).astype(np.float32)
    return blended


def _lettering(draw: np.random.Generator, image: Canvas) -> Canvas:
    """Rows of upright strokes in one colour, as hard-edged as a caption."""
    height, width = image.shape[:2]
    colour = draw.random(3) if draw.random() < 0.5 else np.full(3, draw.integers(0, 2))
    size = max(2, int(height * draw.uniform(0.04, 0.15)))
    for line in range(draw.integers(1, 4)):
        top = int(draw.integers(0, max(1, height - size)))
        strokes = draw.random(width // 2 + 1).repeat(2)[:width] < 0.45
        strokes[: int(width * draw.random() * 0.5)] = False
        image[top : top + size, strokes] = colour
        if line == 0 and draw.random() < 0.5:
            image[top + size // 2 : top + size // 2 + 1, :] = colour
    return image


def _texture(draw: np.random.Generator, height: int, width: int) -> Canvas:
    """Grain of any strength, in cells from one pixel to an eighth of the image."""
    cell = 2 ** int(draw.integers(0, 6))
    grain = draw.standard_normal((-(-height // cell), -(-width // cell), 3)) * draw.uniform(0, 0.2) ** 1.5
    texture: Canvas = grain.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width].astype(np.float32)
    return texture
