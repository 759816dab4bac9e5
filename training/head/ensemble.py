"""An ensemble of narrow networks that together form one wide fusion head.

Each of M members has 1/M of the hidden units of both layers. Side by side they are the network's `fusion`,
`classifier` and `regressor`: the second layer is block-diagonal, and the outputs are the members' mean. This
gives an ensemble's accuracy at no cost when scoring. Remaining units have zero weights.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.low_rank import LowRankHead
from training.head.projection import Projection

OUTPUTS = 3  # two logits, one velocity


class Ensemble(nn.Module):
    """M two-layer networks over the same D inputs, as batched matrices."""

    def __init__(self, members: int, inputs: int, hidden: tuple[int, int], dropout: float, seed: int) -> None:
        super().__init__()
        wide, narrow = (units // members for units in hidden)
        assert wide > 0, "every member has hidden units"
        assert narrow > 0, "every member has hidden units"
        self.hidden = hidden
        generator = torch.Generator().manual_seed(seed)
        self.dropout = dropout
        self.first = _uniform(generator, (members, inputs, wide), math.sqrt(3 / inputs))
        self.first_bias = _uniform(generator, (members, 1, wide), math.sqrt(1 / inputs))
        self.second = _uniform(generator, (members, wide, narrow), math.sqrt(3 / wide))
        self.second_bias = _uniform(generator, (members, 1, narrow), math.sqrt(1 / wide))
        self.last = _uniform(generator, (members, narrow, OUTPUTS), math.sqrt(1 / narrow))
        self.last_bias = nn.Parameter(torch.zeros(members, 1, OUTPUTS))

    def forward(self, inputs: Tensor) -> Tensor:
        """From (M, B, D), or (B, D) for all members, to (M, B, 3)."""
        wide = torch.relu(torch.matmul(inputs, self.first) + self.first_bias)  # (M, B, H1 / M)
        wide = functional.dropout(wide, self.dropout, self.training)
        narrow = torch.relu(torch.matmul(wide, self.second) + self.second_bias)  # (M, B, H2 / M)
        narrow = functional.dropout(narrow, self.dropout, self.training)
        return torch.matmul(narrow, self.last) + self.last_bias  # (M, B, 3)

    @torch.no_grad()
    def to_head(
        self, text: Projection, used: list[int], scalars: int, image: Projection | None = None
    ) -> LowRankHead:
        """The ensemble as one head over the text and image vectors and all `scalars` features.

        Its inputs are K text coordinates, J image coordinates, and the scalar features at positions `used`.
        The projections' means move into the bias; an unused feature has a column of zeros.
        """
        wide, narrow = self.hidden
        first = _padded(self.first.permute(0, 2, 1).flatten(0, 1), wide)  # (H1, D)
        first_bias = _padded(self.first_bias.flatten(), wide).double()  # (H1,)
        begin, blocks = 0, []
        for projection in (text, image):
            dims = 0 if projection is None else projection.components_.shape[1]
            units = first[:, begin : begin + dims].contiguous()  # (H1, K)
            begin += dims
            if projection is not None:
                directions = torch.from_numpy(projection.components_.T.copy())  # (K, D), float64
                first_bias -= units.double() @ (directions @ torch.from_numpy(projection.mean_))
                blocks.append((units, directions.float()))
        scalar_weight = torch.zeros(len(first), scalars)
        scalar_weight[:, used] = first[:, begin:]
        second = _block_diagonal(self.second.permute(0, 2, 1))
        last = _padded(self.last.permute(2, 0, 1).flatten(1).T / len(self.last), narrow).T  # (3, H2)
        last_bias = self.last_bias.mean(dim=(0, 1))  # (3,)
        return LowRankHead(
            text_units=blocks[0][0],
            text_directions=blocks[0][1],
            image_units=blocks[1][0] if image else None,
            image_directions=blocks[1][1] if image else None,
            scalar_weight=scalar_weight,
            input_bias=first_bias.float(),
            hidden_weight=_padded(_padded(second, narrow).T, wide).T,  # (H2, H1)
            hidden_bias=_padded(self.second_bias.flatten(), narrow),
            classifier_weight=last[:2].contiguous(),
            classifier_bias=last_bias[:2].clone(),
            regressor_weight=last[2:].contiguous(),
            regressor_bias=last_bias[2:].clone(),
        )


def _padded(matrix: Tensor, rows: int) -> Tensor:
    """`matrix` with rows of zeros appended, `rows` in total."""
    missing = matrix.new_zeros(rows - len(matrix), *matrix.shape[1:])
    return torch.cat([matrix, missing])


def _block_diagonal(blocks: Tensor) -> Tensor:
    """(M, R, C) to (M R, M C)."""
    members, rows, columns = blocks.shape
    matrix = torch.zeros(members, rows, members, columns)
    for member, block in enumerate(blocks):
        matrix[member, :, member] = block
    return matrix.reshape(members * rows, members * columns)


def _uniform(generator: torch.Generator, shape: tuple[int, ...], reach: float) -> nn.Parameter:
    return nn.Parameter((torch.rand(shape, generator=generator) * 2 - 1) * reach)
