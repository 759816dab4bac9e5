"""Texts in rows: each token once, each text on its own, each row as long as an engine has prepared."""

import numpy as np

from model.compiled.engine import PADDING, ROW_TOKENS, packed_rows


def texts(*lengths: int) -> tuple[list[list[int]], list[list[int]]]:
    """Texts of these lengths whose ids tell text and place."""
    ids = [[1000 * number + place for place in range(length)] for number, length in enumerate(lengths, 1)]
    return ids, [[place % 2 for place in range(length)] for length in lengths]


def test_a_row_holds_every_text_behind_the_other() -> None:
    """Positions count from each text's start, segments tell texts apart, firsts say where each begins."""
    ((count, row),) = packed_rows(*texts(3, 5, 2))
    assert count == 3
    assert row["input_ids"][0, :10].tolist() == [1000, 1001, 1002, 2000, 2001, 2002, 2003, 2004, 3000, 3001]
    assert row["token_type_ids"][0, :10].tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 0, 1]
    assert row["positions"][0, :10].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1]
    assert row["segments"][0].tolist() == [0] * 3 + [1] * 5 + [2] * 2 + [PADDING] * 6
    assert row["firsts"].tolist() == [0, 3, 8, 0]


def test_rows_are_of_prepared_lengths_and_hold_every_text_once() -> None:
    """Texts keep their order from row to row; a text that is longer than any row has its own."""
    for lengths in ((1,), (16,), (17,), (128, 128, 1), (13,) * 40, (7, 256, 9), (300,)):
        ids, types = texts(*lengths)
        rows = list(packed_rows(ids, types))
        assert sum(count for count, _ in rows) == len(lengths)
        found: list[int] = []
        for count, row in rows:
            tokens = row["input_ids"].shape[1]
            assert tokens in ROW_TOKENS or (count, tokens) == (1, 300)
            own = row["segments"][0] != PADDING
            found += row["input_ids"][0][own].tolist()
            assert np.unique(row["segments"][0][own]).tolist() == list(range(count))
            assert len(row["firsts"]) & (len(row["firsts"]) - 1) == 0
        assert found == [token for text in ids for token in text]
