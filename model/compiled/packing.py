"""Sequence packing (Krell et al. 2021, arXiv:2107.02027): many short texts in one row.

In a batch padded to its longest title, a third of the tokens are padding. In a packed row a token attends
only to tokens of its own text, and positions count from the text's start. A row's length is rounded up to
one of a few, since the engine prepares kernels for each new length.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model.engine import TokenIds

TEXT_INPUTS = ("input_ids", "token_type_ids", "positions", "segments", "firsts")
# Attention is quadratic in a row's length: texts that do not fit into the longest become several rows.
ROW_TOKENS = (16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256)
PADDING = -1  # the segment of padding at a row's end
Row = dict[str, NDArray[np.int64]]


def packed_rows(input_ids: TokenIds, token_type_ids: TokenIds) -> Iterator[tuple[int, Row]]:
    """Rows of the prepared lengths, each with the number of texts in it, in order."""
    start, tokens = 0, 0
    for index, ids in enumerate(input_ids):
        if tokens and tokens + len(ids) > ROW_TOKENS[-1]:
            yield index - start, _padded_row(input_ids[start:index], token_type_ids[start:index], tokens)
            start, tokens = index, 0
        tokens += len(ids)
    yield len(input_ids) - start, _padded_row(input_ids[start:], token_type_ids[start:], tokens)


def packed_row(input_ids: TokenIds, token_type_ids: TokenIds, tokens: int, texts: int) -> Row:
    """One row of `tokens` tokens (1, N), and the start of each text, (B,) padded to `texts`."""
    ids, types, positions = (np.zeros((1, tokens), dtype=np.int64) for _ in range(3))
    segments = np.full((1, tokens), PADDING, dtype=np.int64)
    firsts = np.zeros(texts, dtype=np.int64)
    begin = 0
    for number, (own_ids, own_types) in enumerate(zip(input_ids, token_type_ids, strict=True)):
        end = begin + len(own_ids)
        ids[0, begin:end], types[0, begin:end] = own_ids, own_types
        positions[0, begin:end], segments[0, begin:end] = np.arange(len(own_ids)), number
        firsts[number], begin = begin, end
    return dict(zip(TEXT_INPUTS, (ids, types, positions, segments, firsts), strict=True))


def at_least(number: int, steps: Sequence[int]) -> int:
    """The smallest step of at least `number`; beyond the last one, `number` itself."""
    return next((step for step in steps if step >= number), number)


def _padded_row(input_ids: TokenIds, token_type_ids: TokenIds, tokens: int) -> Row:
    # Rounded up to a power of two, since the pooler's shapes are prepared too.
    texts = 1 << (len(input_ids) - 1).bit_length()
    return packed_row(input_ids, token_type_ids, at_least(tokens, ROW_TOKENS), texts)
