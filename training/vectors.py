"""Every distinct title through the frozen text encoder once; the vectors can be kept on disk.

The encoder is frozen and its input fixed, so a vector never changes: the cache's key is the fingerprint
of the encoder's weights with the exact token ids.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features import Video
from model.checkpoint import Checkpoint
from model.engine import Engine, Vectors
from model.pretrained import fingerprint
from preprocessing.text import BertTextTokenizer, TextSpec, TokenizedText
from training.dataset import Dataset

BATCH_SIZE = 64
BATCHES_PER_REPORT = 16


@dataclass(frozen=True)
class TitleVectors:
    """The pooled vector of each distinct title: row `index[title]` of `vectors`, (titles, D)."""

    index: dict[str, int]
    vectors: Vectors

    def of(self, videos: Sequence[Video]) -> Vectors:
        """(N, D), one row for each of N videos."""
        return self.vectors[[self.index[video.title] for video in videos]]


def tokenizer_for(checkpoint: Checkpoint) -> BertTextTokenizer:
    """The tokenizer that serves `checkpoint`: the same class, the same vocabulary, its own limits."""
    spec = TextSpec(fields=checkpoint.text_fields, max_tokens=checkpoint.max_tokens)
    return BertTextTokenizer.from_vocabulary(spec=spec)


def encode_titles(
    engine: Engine, checkpoint: Checkpoint, dataset: Dataset, cache: Path | None = None
) -> TitleVectors:
    """Vectors of all titles of the three splits; read from `cache` where they lie there already."""
    splits = (dataset.train, dataset.val, dataset.test)
    titles = sorted({video.title for split in splits for video in split.videos})
    tokenizer = tokenizer_for(checkpoint)
    texts = [tokenizer.encode(title) for title in titles]
    file = cache / f"titles-{_key(checkpoint, texts)}.npy" if cache else None
    if file is not None and file.exists():
        vectors: Vectors = np.load(file)
        print(f"{file}: {len(titles)} title vectors, computed before", flush=True)
    else:
        vectors = encode(engine, texts)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, vectors)
    return TitleVectors({title: row for row, title in enumerate(titles)}, vectors)


def encode(engine: Engine, texts: Sequence[TokenizedText]) -> Vectors:
    """(N, D) vectors of N texts, in batches of like length so that next to nothing is padding."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    batches = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
    parts, started = [], time.monotonic()
    for number, batch in enumerate(batches, 1):
        chosen = [texts[row] for row in batch]
        parts.append(
            engine.encode_text([text.input_ids for text in chosen], [text.token_type_ids for text in chosen])
        )
        if number % BATCHES_PER_REPORT == 0 or number == len(batches):
            print(f"titles: batch {number} of {len(batches)}, {time.monotonic() - started:.0f} s", flush=True)
    sorted_vectors = np.concatenate(parts)
    vectors = np.empty_like(sorted_vectors)
    vectors[order] = sorted_vectors
    return vectors


def _key(checkpoint: Checkpoint, texts: Sequence[TokenizedText]) -> str:
    encoder = {
        name: tensor for name, tensor in checkpoint.state_dict.items() if name.startswith("text_encoder.")
    }
    digest = hashlib.sha256(fingerprint(encoder).encode())
    for text in texts:
        digest.update(repr((text.input_ids, text.token_type_ids)).encode())
    return digest.hexdigest()[:24]
