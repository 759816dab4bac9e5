"""A fusion head whose text and image columns are low-rank: products of two thin factors.

A few thousand videos are too few for 768 text and 2048 image columns times 1024 units, but enough for a few
directions. The factors are stored; the network gets the full matrix.
"""

from dataclasses import MISSING, dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class LowRankHead:
    """Hidden sizes H1 and H2, K directions of text vectors of length D, J of image vectors, F scalars.

    Without image factors the image columns are zero.
    """

    text_units: Tensor  # (H1, K)
    text_directions: Tensor  # (K, D)
    scalar_weight: Tensor  # (H1, F)
    input_bias: Tensor  # (H1,)
    hidden_weight: Tensor  # (H2, H1)
    hidden_bias: Tensor  # (H2,)
    classifier_weight: Tensor  # (2, H2)
    classifier_bias: Tensor  # (2,)
    regressor_weight: Tensor  # (1, H2)
    regressor_bias: Tensor  # (1,)
    image_units: Tensor | None = None  # (H1, J)
    image_directions: Tensor | None = None  # (J, image D)

    def state_dict(self, image_dim: int) -> dict[str, Tensor]:
        """The head's weights under the network's names."""
        text = exact_product(self.text_units, self.text_directions)  # (H1, D)
        image = torch.zeros(len(text), image_dim)
        if self.image_units is not None and self.image_directions is not None:
            image = exact_product(self.image_units, self.image_directions)  # (H1, image D)
        return {
            "fusion.0.weight": torch.cat([text, image, self.scalar_weight], dim=1),  # (H1, D + image + F)
            "fusion.0.bias": self.input_bias,
            "fusion.3.weight": self.hidden_weight,
            "fusion.3.bias": self.hidden_bias,
            "classifier.weight": self.classifier_weight,
            "classifier.bias": self.classifier_bias,
            "regressor.weight": self.regressor_weight,
            "regressor.bias": self.regressor_bias,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The factors by name, without the image's where there are none."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: factor.contiguous() for name, factor in named.items() if factor is not None}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """The head with these factors. Raises `KeyError` for a missing one."""
        needed = [each.name for each in fields(cls) if each.default is MISSING]
        optional = [each.name for each in fields(cls) if each.default is not MISSING and each.name in tensors]
        return cls(**{name: tensors[name] for name in (*needed, *optional)})


def exact_product(left: Tensor, right: Tensor) -> Tensor:
    """(H, K) times (K, D) as (H, D) float32, the same bits on every processor.

    Rounding in a library's matrix product depends on blocking and fused multiply-add. Here each product of
    two float32 is exact in float64, and sums are taken in the order of K.
    """
    total = np.zeros((left.shape[0], right.shape[1]))
    for column, row in zip(left.numpy().T.astype(np.float64), right.numpy().astype(np.float64), strict=True):
        total += np.multiply.outer(column, row)
    return torch.from_numpy(total.astype(np.float32))
