"""Encodes every distinct text once with the frozen text encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features import Video
from model.checkpoint.store import Checkpoint
from model.engine import Engine, Vectors
from preprocessing.text import BertTextTokenizer, TextSpec, TokenizedText
from training.data.dataset import SPLITS, Dataset, without_description
from training.embeddings.cache import EmbeddingCache, folder_of, key_of, progress_bar

BATCH_SIZE = 64


@dataclass(frozen=True)
class TextEmbeddings:
    """The pooled vectors of the distinct texts: row `index[key]` of `vectors`, (texts, D)."""

    index: dict[str, int]
    vectors: Vectors

    def of(self, videos: Sequence[Video]) -> Vectors:
        """(N, D), one row for each of N videos."""
        return self.vectors[[self.index[text_key(video)] for video in videos]]


def text_key(video: Video) -> str:
    """Identifies a video's text: the title, and the description if there is one."""
    return f"{video.title}\0{video.description}" if video.description else video.title


def tokenizer_for(checkpoint: Checkpoint) -> BertTextTokenizer:
    """The same tokenizer as in the service, with the checkpoint's fields and token limit."""
    card = checkpoint.card
    spec = TextSpec(card.text_fields, card.max_tokens, card.text_cleaning)
    return BertTextTokenizer.from_vocabulary(spec=spec)


def encode_texts(
    engine: Engine, checkpoint: Checkpoint, dataset: Dataset, cache: Path | None = None
) -> TextEmbeddings:
    """Vectors of all texts of the three splits, with and without descriptions, from `cache` if there."""
    distinct = _distinct(dataset)
    keys = sorted(distinct)
    tokenizer = tokenizer_for(checkpoint)
    texts = [tokenizer.encode(distinct[key].title, distinct[key].description) for key in keys]
    cached = EmbeddingCache(folder_of(checkpoint, "text", cache))
    vectors = encode(engine, texts, cached)
    return TextEmbeddings({key: row for row, key in enumerate(keys)}, vectors)


def no_texts(checkpoint: Checkpoint, dataset: Dataset) -> TextEmbeddings:
    """A vector of zeros for every text of the three splits: nothing is encoded."""
    vectors = np.zeros((1, checkpoint.card.config.text_dim), dtype=np.float32)
    return TextEmbeddings(dict.fromkeys(_distinct(dataset), 0), vectors)


def _distinct(dataset: Dataset) -> dict[str, Video]:
    videos = [video for name in SPLITS for video in dataset.split(name).videos]
    return {text_key(video): video for video in [*videos, *without_description(videos)]}


def encode(engine: Engine, texts: Sequence[TokenizedText], cached: EmbeddingCache) -> Vectors:
    """(N, D) vectors of N texts, in batches of similar length to avoid padding.

    The batches depend only on the texts, so that an interrupted run gives the same vectors as an
    uninterrupted one.
    """
    keys = [key_of(repr((text.input_ids, text.token_type_ids)).encode()) for text in texts]
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    batches = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
    missing = [batch for batch in batches if not all(keys[row] in cached for row in batch)]
    rest = sum(len(batch) for batch in missing)
    with progress_bar(len(texts), "texts", done=len(texts) - rest) as bar:
        for batch in missing:
            chosen = [texts[row] for row in batch]
            vectors = engine.encode_text(
                [text.input_ids for text in chosen], [text.token_type_ids for text in chosen]
            )
            cached.add([keys[row] for row in batch], vectors)
            bar.update(len(batch))
    return np.stack([cached[key] for key in keys]).astype(np.float32)
