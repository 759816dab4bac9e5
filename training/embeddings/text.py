"""Every distinct text through the frozen text encoder once; the vectors can be kept on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features import Video
from model.checkpoint.store import Checkpoint
from model.engine import Engine, Vectors
from model.pretrained import fingerprint
from preprocessing.text import BertTextTokenizer, TextSpec, TokenizedText
from training.data.dataset import Dataset, without_description
from training.embeddings.cache import VectorStore, key_of
from training.embeddings.progress import progress

BATCH_SIZE = 64


@dataclass(frozen=True)
class TitleVectors:
    """The pooled vector of each distinct text: row `index[text]` of `vectors`, (texts, D)."""

    index: dict[str, int]
    vectors: Vectors

    def of(self, videos: Sequence[Video]) -> Vectors:
        """(N, D), one row for each of N videos."""
        return self.vectors[[self.index[name_of(video)] for video in videos]]


def name_of(video: Video) -> str:
    """What tells texts apart: the title, and the description where there is one."""
    return f"{video.title}\0{video.description}" if video.description else video.title


def tokenizer_for(checkpoint: Checkpoint) -> BertTextTokenizer:
    """The tokenizer that serves `checkpoint`: the same class, the same vocabulary, its own limits."""
    spec = TextSpec(fields=checkpoint.card.text_fields, max_tokens=checkpoint.card.max_tokens)
    return BertTextTokenizer.from_vocabulary(spec=spec)


def encode_titles(
    engine: Engine, checkpoint: Checkpoint, dataset: Dataset, cache: Path | None = None
) -> TitleVectors:
    """Vectors of all texts of the three splits, with their descriptions and without.

    What lies in `cache` is not computed again.
    """
    videos = [video for split in (dataset.train, dataset.val, dataset.test) for video in split.videos]
    distinct = {name_of(video): video for video in [*videos, *without_description(videos)]}
    names = sorted(distinct)
    tokenizer = tokenizer_for(checkpoint)
    texts = [tokenizer.encode(distinct[name].title, distinct[name].description) for name in names]
    store = VectorStore(folder_of(checkpoint, "text", cache))
    vectors = encode(engine, texts, store)
    return TitleVectors({name: row for row, name in enumerate(names)}, vectors)


def encode(engine: Engine, texts: Sequence[TokenizedText], store: VectorStore | None = None) -> Vectors:
    """(N, D) vectors of N texts, in batches of like length so that next to nothing is padding.

    The batches follow from the texts alone: who starts again computes what an undisturbed run had computed.
    """
    store = VectorStore(None) if store is None else store
    keys = [key_of(repr((text.input_ids, text.token_type_ids)).encode()) for text in texts]
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    batches = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
    missing = [batch for batch in batches if not all(keys[row] in store for row in batch)]
    rest = sum(len(batch) for batch in missing)
    with progress(len(texts), "texts", "texts", done=len(texts) - rest) as bar:
        for batch in missing:
            chosen = [texts[row] for row in batch]
            vectors = engine.encode_text(
                [text.input_ids for text in chosen], [text.token_type_ids for text in chosen]
            )
            store.add([keys[row] for row in batch], vectors)
            bar.update(len(batch))
    return np.stack([store[key] for key in keys]).astype(np.float32)


def folder_of(checkpoint: Checkpoint, tower: str, cache: Path | None) -> Path | None:
    """Where this encoder's vectors lie within `cache`."""
    if cache is None:
        return None
    encoder = {
        name: tensor for name, tensor in checkpoint.state_dict.items() if name.startswith(PREFIXES[tower])
    }
    shape = checkpoint.card.config.text if tower == "text" else checkpoint.card.config.vision
    return cache / f"{tower}-{key_of(f'{fingerprint(encoder)} {shape}'.encode()).hex()[:24]}"


PREFIXES = {"text": "text_encoder.", "image": "vision_encoder."}
