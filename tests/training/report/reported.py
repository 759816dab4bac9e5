"""One report on small real parts, worked out once: the tiny network, untrained, on the synthetic rows."""

from functools import cache

import numpy as np

from model.checkpoint.store import Checkpoint
from model.engine import Vectors
from model.torch_engine import TorchEngine
from tests.support.tiny import tiny_checkpoint
from tests.training.synthetic import dataset
from training.data.dataset import Split
from training.embeddings.text import TextEmbeddings, encode_texts
from training.measure.scorer import Scorer
from training.report.findings import Findings, find


@cache
def checkpoint() -> Checkpoint:
    """With text, images and numbers, all of which have weight."""
    return tiny_checkpoint()


@cache
def engine() -> TorchEngine:
    return TorchEngine(checkpoint())


@cache
def texts() -> TextEmbeddings:
    return encode_texts(engine(), checkpoint(), dataset())


class DrawnImages:
    """A vector for each row, as different as thumbnails are."""

    def of(self, split: Split) -> Vectors:
        """(N, image_dim); the same rows get the same vectors."""
        width = len(engine().neutral_image)
        spread = np.random.default_rng(len(split)).normal(0, 1, (len(split), width))
        return (engine().neutral_image + spread).astype(np.float32)


@cache
def scorer(*, with_images: bool = False) -> Scorer:
    """The report's scorer, with or without thumbnails."""
    images = DrawnImages() if with_images else None
    return Scorer(engine(), checkpoint(), dataset(), texts(), images)


@cache
def findings() -> Findings:
    """Without thumbnails, and with the model as its own older version."""
    return find(scorer(), dataset(), {"old.pt": scorer()})
