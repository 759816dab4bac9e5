"""Texts in rows: each token once, each text on its own, each row of a length that an engine has prepared."""

import numpy as np

from model.compiled.engine import PADDING, SEVERAL_ROWS, SINGLE_ROW, forwards
from model.engine import MAX_TOKENS


def texts(*lengths: int) -> tuple[list[list[int]], list[list[int]]]:
    """Texts of these lengths whose ids encode text and position."""
    ids = [[1000 * number + place for place in range(length)] for number, length in enumerate(lengths, 1)]
    return ids, [[place % 2 for place in range(length)] for length in lengths]


def test_a_row_holds_its_texts_one_after_another() -> None:
    """Positions count from each text's start, segments tell texts apart, firsts say where each begins."""
    ((numbers, rows),) = forwards(*texts(3, 5, 2))
    assert numbers == [0, 1, 2]
    assert rows["input_ids"][0, :10].tolist() == [1000, 1001, 1002, 2000, 2001, 2002, 2003, 2004, 3000, 3001]
    assert rows["token_type_ids"][0, :10].tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 0, 1]
    assert rows["positions"][0, :10].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1]
    assert rows["segments"][0].tolist() == [0] * 3 + [1] * 5 + [2] * 2 + [PADDING] * 6
    assert rows["firsts"].tolist() == [0, 3, 8, 0]


def test_many_texts_become_several_rows_of_one_forward() -> None:
    """Attention grows with the square of a row's length; no row ends within a text."""
    for count, shape in ((9, (1, 128)), (10, (3, 64)), (32, (8, 64))):
        ((numbers, rows),) = forwards(*texts(*[13] * count))
        assert sorted(numbers) == list(range(count))
        assert rows["input_ids"].shape == shape


def test_every_text_is_in_one_row_once() -> None:
    """Whatever the lengths: its tokens, types and positions in order, in a segment of its own."""
    mixed = (13, 64, 65, 7, 128, 9, 30, 200)
    failures = []
    for lengths in (
        (1,),
        (16,),
        (17,),
        (128, 128, 1),
        (13,) * 40,
        (7, 256, 9),
        (300,),
        (300, 20, 301),
        mixed,
    ):
        ids, types = texts(*lengths)
        found = {}
        for numbers, rows in forwards(ids, types):
            count, length = rows["input_ids"].shape
            known = length in (SINGLE_ROW if count == 1 else SEVERAL_ROWS)
            known |= count == 1 and length in lengths
            fits = count * length <= MAX_TOKENS and len(rows["firsts"]).bit_count() == 1
            failures += [] if known and fits else [f"{lengths}: {count, length}"]
            flat = {name: values.flatten() for name, values in rows.items()}
            for place, number in enumerate(numbers):
                own = flat["segments"] == place
                assert own.argmax() == flat["firsts"][place]
                found[number] = [
                    flat[name][own].tolist() for name in ("input_ids", "token_type_ids", "positions")
                ]
                within = np.flatnonzero(own) // length
                failures += [] if within.min() == within.max() else [f"{lengths}: {number} is in two rows"]
        expected = {
            number: [ids[number], types[number], [*range(len(ids[number]))]] for number in range(len(ids))
        }
        failures += [] if found == expected else [f"{lengths}: other tokens"]
    assert failures == []
