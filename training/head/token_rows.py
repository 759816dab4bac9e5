"""Rows as tokens and scalars, for training encoders together with a head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from features import FeatureScaler, Video, compute_features
from model.checkpoint.store import Checkpoint
from model.outputs import LogVelocity
from preprocessing.text import TokenizedText
from training.data.dataset import Split
from training.embeddings.text import tokenizer_for
from training.head.knowns import HIDDEN, hidden, hidden_where
from training.head.train import draw_hidden
from training.recipe import Recipe


@dataclass(frozen=True)
class TokenRows:
    """N rows of a split."""

    split: Split
    texts: list[TokenizedText]
    targets: tuple[Tensor, Tensor, Tensor]
    """Whether each is viral, its transformed velocity, and its weight, (N,) each."""
    scaler: FeatureScaler
    groups: tuple[str, ...]
    """The groups that training hides; all others are hidden in every row."""

    @classmethod
    def of(cls, split: Split, base: Checkpoint, groups: tuple[str, ...]) -> Self:
        """A split's rows as the network of `base` reads them."""
        tokenizer, velocity = tokenizer_for(base), base.card.velocity
        assert isinstance(velocity, LogVelocity), "untrained_checkpoint fits one"
        targets = (
            torch.from_numpy(split.is_viral.astype(np.int64)),
            torch.from_numpy(velocity.apply(split.views_per_day).astype(np.float32)),
            torch.from_numpy(split.weights.astype(np.float32)),
        )
        texts = [tokenizer.encode(video.title, video.description) for video in split.videos]
        scaler = FeatureScaler.from_stats(base.card.feature_stats, base.card.scalar_features)
        return cls(split, texts, targets, scaler, groups)

    def __len__(self) -> int:
        return len(self.texts)

    def tokens_of(self, rows: Sequence[int]) -> Tensor:
        """(3, B, T) ids, types and mask of B rows, padded to the longest."""
        texts = [self.texts[row] for row in rows]
        tokens = torch.zeros(3, len(texts), max(map(len, texts)), dtype=torch.int64)  # [PAD] is 0
        for row, text in enumerate(texts):
            for part, values in enumerate((text.input_ids, text.token_type_ids, [1] * len(text))):
                tokens[part, row, : len(text)] = torch.tensor(values)
        return tokens

    def scalars(self, groups: Sequence[str] = ()) -> Tensor:
        """(N, F) standardised features of requests that leave `groups` out."""
        absent = {group for group in HIDDEN if group not in self.groups} | set(groups)
        videos = hidden(self.split.videos, [group for group in HIDDEN if group in absent])
        return self._scaled(videos)

    def _scaled(self, videos: Sequence[Video]) -> Tensor:
        features = compute_features(videos, self.scaler.feature_names_in_)
        return torch.from_numpy(self.scaler.transform(features))

    def epoch(self, seed: int, recipe: Recipe) -> tuple[Tensor, Tensor]:
        """The order of an epoch's rows (N,), and the scalars (N, F) of rows that hide groups at random."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator)
        hides = draw_hidden(self.groups, order.shape, recipe, generator)
        videos = hidden(self.split.videos, [group for group in HIDDEN if group not in self.groups])
        return order, self._scaled(hidden_where(videos, hides))
