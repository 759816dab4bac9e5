"""How the training rows were distributed, for whoever watches a served model for drift.

The rows are those of the data, with their ages: that some are hidden from the head while it learns is no fact
about videos.
"""

from features import Distribution, compute_features, fit_distributions
from model.checkpoint.store import Checkpoint
from model.engine import Engine
from training.data.dataset import Split
from training.embeddings.images import ImageVectors
from training.embeddings.text import TitleVectors
from training.evaluate import predict

SCORE = "viral_score"
Plain = dict[str, dict[str, list[float]]]


def training_distributions(
    engine: Engine,
    checkpoint: Checkpoint,
    train: Split,
    titles: TitleVectors,
    images: ImageVectors | None = None,
) -> Plain:
    """A checkpoint's `distributions`: every feature that varies in `train`, and the scores of its rows."""
    rows = compute_features(train.videos, checkpoint.card.scalar_features)
    fitted = fit_distributions(rows, checkpoint.card.scalar_features)
    image = None if images is None else images.of(train)
    scores = Distribution.fit(predict(engine, checkpoint, train, titles.of(train.videos), image=image).viral)
    if scores is not None:
        fitted[SCORE] = scores
    return {name: distribution.to_plain() for name, distribution in fitted.items()}
