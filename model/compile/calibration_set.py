"""The inputs that a compiled model is calibrated and judged with: titles, generated images, random scalars.

Two thirds of the images, and texts of random words as long as titles, calibrate the quantiser; the other
images and all titles are for the fidelity check.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.card import ModelCard
from model.checkpoint.file import CheckpointError
from model.engine import Pixels, Vectors
from preprocessing.text import BertTextTokenizer, TextSpec, VocabularyError

TITLES = Path(__file__).parents[2] / "models" / "calibration" / "titles.txt"
MIN_TEXTS = 40  # so that a percentile over texts rests on more than one
DRAWN_TEXTS = 96
IMAGES = (64, 32)  # to calibrate with, held back
SEED = 20240229
Canvas = NDArray[np.float32]  # (H, W, 3), 0..1


class TitlesError(CheckpointError):
    """A file of titles that cannot be used; names the file, the cause and the next step."""


@dataclass(frozen=True)
class Texts:
    """Unpadded token sequences of any lengths."""

    input_ids: tuple[tuple[int, ...], ...]
    token_type_ids: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class CalibrationInputs:
    """Inputs for calibration (`drawn_texts`, `known_images`) and for the fidelity check (the others)."""

    texts: Texts
    drawn_texts: Texts
    """Random words: a few hundred titles use little of the vocabulary, and are held back."""
    known_images: Pixels
    held_back_images: Pixels
    sources: dict[str, Any]
    """Where they come from, for the report."""


def calibration_inputs(card: ModelCard, path: Path = TITLES) -> CalibrationInputs:
    """The inputs for the model that `card` describes. Raises `TitlesError`."""
    texts = read_texts(path, card)
    images: Pixels = np.zeros((0, 0, 0, 3), dtype=np.uint8)
    known = 0
    if card.config.vision is not None:
        images = draw_images(sum(IMAGES), card.config.vision.height, card.config.vision.width, SEED)
        known = IMAGES[0]
    return CalibrationInputs(
        texts=texts,
        drawn_texts=with_drawn_words(texts, card.config.text.vocab_size if card.config.text else 1),
        known_images=images[:known],
        held_back_images=images[known:],
        sources={
            "texts": path.name if path != TITLES else "bundled titles",
            "texts_drawn": DRAWN_TEXTS,
            "texts_held_back": len(texts),
            "images": f"drawn, seed {SEED}" if len(images) else "none",
            "images_calibrated": known,
            "images_held_back": len(images) - known,
        },
    )


def with_drawn_words(texts: Texts, vocabulary: int) -> Texts:
    """`DRAWN_TEXTS` texts of the lengths in `texts` with random words; [CLS] and [SEP] stay."""
    draw = np.random.default_rng(SEED)
    lengths = draw.permutation(len(texts))[:DRAWN_TEXTS].tolist()
    drawn = []
    for index in lengths:
        ids = texts.input_ids[index]
        words = draw.integers(0, vocabulary, len(ids))
        kept = (ids[0], ids[-1])
        drawn.append(
            tuple(token if token in kept else int(word) for token, word in zip(ids, words, strict=True))
        )
    return Texts(tuple(drawn), tuple(texts.token_type_ids[index] for index in lengths))


def read_texts(path: Path, card: ModelCard) -> Texts:
    """The titles in `path`, each once, as the service would tokenise them for `card`.

    A line is a title, or a title, a tab and a description. Raises `TitlesError`.
    """
    texts = _tokenised(path, TextSpec(card.text_fields, card.max_tokens, card.text_cleaning))
    words = max(max(ids) for ids in texts.input_ids) + 1
    if card.config.text is not None and words > card.config.text.vocab_size:
        raise TitlesError(
            f"{path}: its token ids need an embedding of {words} words, {card.name} has "
            f"{card.config.text.vocab_size}. Train the model on the vocabulary of bert-base-uncased."
        )
    # Different titles may have the same ids.
    distinct = dict.fromkeys(zip(texts.input_ids, texts.token_type_ids, strict=True))
    if len(distinct) < MIN_TEXTS:
        raise TitlesError(
            f"{path}: holds {len(distinct)} different titles, expected at least {MIN_TEXTS}. Add more, or "
            "leave out --titles."
        )
    return Texts(tuple(ids for ids, _ in distinct), tuple(types for _, types in distinct))


def calibration_sha256(path: Path = TITLES) -> str:
    """The sha256 of the token ids of `path`, which decides whether a bundle is current.

    The ids are hashed as JSON, one text per line. Raises `TitlesError`.
    """
    texts = _tokenised(path, TextSpec())
    columns = {"input_ids": texts.input_ids, "token_type_ids": texts.token_type_ids}
    lines = {
        name: ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        for name, rows in columns.items()
    }
    encoded = ",\n".join(f'"{name}": [\n{rows}\n]' for name, rows in lines.items())
    return hashlib.sha256(f'{{"format": 1,\n{encoded}}}\n'.encode()).hexdigest()


def _tokenised(path: Path, spec: TextSpec) -> Texts:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as exc:
        raise TitlesError(f"{path}: cannot be read as text ({exc}). Name another with --titles.") from exc
    if not lines:
        raise TitlesError(f"{path}: holds no titles, expected one per line")
    try:
        tokenizer = BertTextTokenizer.from_vocabulary(spec=spec)
    except VocabularyError as exc:
        raise TitlesError(str(exc)) from exc
    texts = [tokenizer.encode(*line.split("\t", 1)) for line in lines]
    return Texts(tuple(text.input_ids for text in texts), tuple(text.token_type_ids for text in texts))


def draw_scalars(card: ModelCard, count: int) -> Vectors:
    """(count, scalars) standardised features: standard normal draws within each feature's known range."""
    drawn = np.random.default_rng(SEED).standard_normal((count, card.config.scalars))
    for column, name in enumerate(card.scalar_features):
        stats = card.feature_stats[name]
        drawn[:, column] = np.clip(drawn[:, column], *_standard_range(stats))
    return drawn.astype(np.float32)


def _standard_range(stats: dict[str, Any]) -> tuple[float, float]:
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
