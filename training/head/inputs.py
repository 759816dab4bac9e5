"""The inputs of a head: the projected text and image vectors, and the scalar features that vary.

Each row is given as it is and without each group that a request may leave out, so that training can hide
these at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from features import FeatureScaler, Video, compute_features
from model.engine import Vectors
from model.outputs import FLAG, KNOWN, LogVelocity
from training.data.dataset import Dataset, Split
from training.embeddings.images import ImageEmbeddings
from training.embeddings.text import TextEmbeddings
from training.head.knowns import HIDDEN, hidden, learned_groups, patterns_in
from training.head.projection import Projection
from training.head.train import Rows
from training.recipe import Recipe

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class HeadInputs:
    """Turns rows into inputs: K text coordinates, J image coordinates, and the scalars at `used`."""

    dataset: Dataset
    texts: TextEmbeddings
    images: ImageEmbeddings | None
    scaler: FeatureScaler
    recipe: Recipe
    text: Projection
    image: Projection | None
    used: list[int]
    groups: tuple[str, ...]
    """The groups that training hides; all others are hidden in every row."""

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        texts: TextEmbeddings,
        images: ImageEmbeddings | None,
        scaler: FeatureScaler,
        recipe: Recipe,
    ) -> Self:
        """Learn the projections from the train rows."""
        # The column of a constant feature stays zero.
        used = [int(column) for column in np.flatnonzero(~scaler.is_constant_)]
        text = _text_projection(dataset, texts, recipe)
        image = None if images is None else _image_projection(dataset, images, recipe)
        return cls(dataset, texts, images, scaler, recipe, text, image, used, learned_groups(dataset))

    def rows(self, split: Split, velocity: LogVelocity, weights: FloatArray) -> Rows:
        """A split's inputs and targets."""
        videos = hidden(split.videos, [group for group in HIDDEN if group not in self.groups])
        inputs = self._matrix(split, videos)
        without = {group: self._matrix(split, hidden(videos, [group])) for group in self.groups}
        if self.images is not None:
            without["image"] = self._matrix(split, videos, with_image=False)
        flags = tuple(group + FLAG for group in KNOWN)
        known = compute_features(videos, flags) > 0
        return Rows(
            inputs=torch.from_numpy(inputs),
            hidden={name: torch.from_numpy(matrix) for name, matrix in without.items()},
            touched={
                name: torch.from_numpy((matrix != inputs).any(axis=0)) for name, matrix in without.items()
            },
            noise=self._noise(inputs.shape[1]),
            is_viral=torch.from_numpy(split.is_viral.astype(np.int64)),
            target=torch.from_numpy(velocity.apply(split.views_per_day).astype(np.float32)),
            weights=torch.from_numpy(weights.astype(np.float32)),
            known=dict(zip(KNOWN, torch.from_numpy(known).T, strict=True)),
            patterns=patterns_in(self.groups),
            video_ids=split.video_ids,
        )

    def _matrix(self, split: Split, videos: Sequence[Video], *, with_image: bool = True) -> Vectors:
        """(N, D) inputs."""
        blocks = [self.text.transform(self.texts.of(videos))]
        if self.images is not None and self.image is not None:
            neutral = np.tile(self.images.neutral, (len(split), 1))
            blocks.append(self.image.transform(self.images.of(split) if with_image else neutral))
        features = compute_features(videos, self.scaler.feature_names_in_)
        blocks.append(self.scaler.transform(features)[:, self.used])
        return np.hstack(blocks)

    def _noise(self, dims: int) -> torch.Tensor:
        text = self.text.components_.shape[1]
        image = 0 if self.image is None else self.image.components_.shape[1]
        noise = torch.full((dims,), self.recipe.scalar_noise)
        noise[:text] = torch.from_numpy(self.recipe.text_noise * self.text.relative_noise())
        noise[text : text + image] = self.recipe.image_noise
        return noise


def _text_projection(dataset: Dataset, texts: TextEmbeddings, recipe: Recipe) -> Projection:
    train = dataset.train
    vectors, weights = texts.of(train.videos), train.weights
    if "description" in dataset.text_fields:
        bare = texts.of(hidden(train.videos, ["description"]))
        share = recipe.description_dropped
        vectors, weights = np.vstack([vectors, bare]), np.hstack([weights * (1 - share), weights * share])
    return _projection(vectors, weights, recipe.text_dims)


def _image_projection(dataset: Dataset, images: ImageEmbeddings, recipe: Recipe) -> Projection:
    """The neutral vector counts as an image, so that the head can recognize a missing one."""
    train = dataset.train
    weights = np.append(train.weights, train.weights.sum() * recipe.image_dropped)
    return _projection(np.vstack([images.of(train), images.neutral]), weights, recipe.image_dims)


def _projection(vectors: Vectors, weights: FloatArray, dims: int) -> Projection:
    return Projection().fit(vectors, weights, min(dims, len(vectors) - 1, vectors.shape[1]))
