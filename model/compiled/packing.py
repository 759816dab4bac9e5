"""Many short texts as one long row: the compiled text tower computes no padding between them.

Titles differ in length, and a batch padded to its longest computes a third for nothing. Here they stand one
behind the other; a token attends to tokens of its own text alone, and its position counts from its text's
start. Known as sequence packing (Krell et al. 2021, arXiv:2107.02027).

A row's length is rounded up to one of a few, since the engine prepares kernels for each new one.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model.engine import TokenIds

TEXT_INPUTS = ("input_ids", "token_type_ids", "positions", "segments", "firsts")
# Attention grows with the square of a row: what does not fit into the longest of these is several rows.
ROW_TOKENS = (16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256)
NOBODY = -1  # the segment of the tokens that fill a row up
Row = dict[str, NDArray[np.int64]]


def packed_rows(input_ids: TokenIds, token_type_ids: TokenIds) -> Iterator[tuple[int, Row]]:
    """How many of the texts a row holds, in order, and the row; each as long as an engine has prepared."""
    start, tokens = 0, 0
    for index, ids in enumerate(input_ids):
        if tokens and tokens + len(ids) > ROW_TOKENS[-1]:
            yield index - start, _padded_row(input_ids[start:index], token_type_ids[start:index], tokens)
            start, tokens = index, 0
        tokens += len(ids)
    yield len(input_ids) - start, _padded_row(input_ids[start:], token_type_ids[start:], tokens)


def packed_row(input_ids: TokenIds, token_type_ids: TokenIds, tokens: int, texts: int) -> Row:
    """One row of `tokens` tokens (1, N), and where each text begins, (B,) filled up to `texts`."""
    ids, types, positions = (np.zeros((1, tokens), dtype=np.int64) for _ in range(3))
    segments = np.full((1, tokens), NOBODY, dtype=np.int64)
    firsts = np.zeros(texts, dtype=np.int64)
    begin = 0
    for number, (own_ids, own_types) in enumerate(zip(input_ids, token_type_ids, strict=True)):
        end = begin + len(own_ids)
        ids[0, begin:end], types[0, begin:end] = own_ids, own_types
        positions[0, begin:end], segments[0, begin:end] = np.arange(len(own_ids)), number
        firsts[number], begin = begin, end
    return dict(zip(TEXT_INPUTS, (ids, types, positions, segments, firsts), strict=True))


def at_least(number: int, steps: Sequence[int]) -> int:
    """The smallest step that holds `number`; beyond the last one, `number` itself."""
    return next((step for step in steps if step >= number), number)


def _padded_row(input_ids: TokenIds, token_type_ids: TokenIds, tokens: int) -> Row:
    # As many firsts as texts, rounded up to a power of two: the pooler's shape is prepared, too.
    texts = 1 << (len(input_ids) - 1).bit_length()
    return packed_row(input_ids, token_type_ids, at_least(tokens, ROW_TOKENS), texts)
