"""Packs texts into rows of tokens (Krell et al. 2021, arXiv:2107.02027).

In a batch padded to its longest title, a third of the tokens are padding. In a packed row a token attends
only to tokens of its own text, and positions count from the text's start. Attention is quadratic in a row's
length and all else linear in the number of tokens, so many texts become several rows of moderate length.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from model.engine import TokenIds

TEXT_INPUTS = ("input_ids", "token_type_ids", "positions", "segments", "firsts")
PADDING = -1  # the segment of padding at a row's end
# Lengths of a forward's only row, and of each of several.
SINGLE_ROW = (16, 24, 32, 48, 64, 80, 96, 112, 128, 192, 256)
SEVERAL_ROWS = (64, 128, 256)
MAX_IN_A_ROW = 128  # tokens of several texts
MAX_TOKENS = 512  # of a forward, unless one text is longer
Rows = dict[str, NDArray[np.int64]]


def forwards(input_ids: TokenIds, token_type_ids: TokenIds) -> Iterator[tuple[list[int], Rows]]:
    """The rows of each forward that the texts need, with the numbers of its texts in order."""
    lengths = [len(ids) for ids in input_ids]
    if sum(lengths) <= MAX_IN_A_ROW:
        several, length = [list(range(len(lengths)))], MAX_IN_A_ROW
    else:
        length = at_least(max(lengths), SEVERAL_ROWS)
        several = _first_fit(lengths, length)
    at_once = max(MAX_TOKENS // length, 1)
    for start in range(0, len(several), at_once):
        rows = several[start : start + at_once]
        numbers = [number for row in rows for number in row]
        if len(rows) == 1:
            length = at_least(sum(lengths[number] for number in numbers), SINGLE_ROW)
        ids, types = ([column[number] for number in numbers] for column in (input_ids, token_type_ids))
        # Rounded up to a power of two, so that there are few shapes of the pooler.
        texts = 1 << (len(numbers) - 1).bit_length()
        yield numbers, packed_rows(ids, types, _renumbered(rows), length, texts)


def _first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """The texts in rows, each in the first that has room for it, the longest first."""
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        fits = next((row for row, free in enumerate(room) if free >= lengths[number]), None)
        if fits is None:
            fits = len(rows)
            rows.append([])
            room.append(capacity)
        rows[fits].append(number)
        room[fits] -= lengths[number]
    return rows


def _renumbered(rows: Sequence[Sequence[int]]) -> list[range]:
    ends = list(accumulate(map(len, rows)))
    return [range(end - len(row), end) for row, end in zip(rows, ends, strict=True)]


def packed_rows(
    input_ids: TokenIds, token_type_ids: TokenIds, rows: Sequence[Sequence[int]], tokens: int, texts: int
) -> Rows:
    """`rows` of texts as (R, `tokens`) arrays, and where the first token of each text is, (`texts`,)."""
    shape = len(rows), tokens
    ids, types, positions = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    segments = np.full(shape, PADDING, dtype=np.int64)
    firsts = np.zeros(texts, dtype=np.int64)
    for row, numbers in enumerate(rows):
        begin = 0
        for number in numbers:
            end = begin + len(input_ids[number])
            ids[row, begin:end], types[row, begin:end] = input_ids[number], token_type_ids[number]
            positions[row, begin:end], segments[row, begin:end] = np.arange(end - begin), number
            firsts[number], begin = row * tokens + begin, end
    return dict(zip(TEXT_INPUTS, (ids, types, positions, segments, firsts), strict=True))


def at_least(number: int, steps: Sequence[int]) -> int:
    """The smallest step of at least `number`; beyond the last one, `number` itself."""
    return next((step for step in steps if step >= number), number)
