"""Statistics of the training titles' words, by which the service recognizes a title unlike any of them."""

import random
from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

import numpy as np

from preprocessing.text import BertTextTokenizer, main_script, script_shares

MIN_TITLES = 100
SEED = 20260301


def word_statistics(titles: Sequence[str]) -> dict[str, Any]:
    """The scripts of the titles, and when a title's words are unknown to the text encoder."""
    tokenizer = BertTextTokenizer.from_vocabulary()
    return {
        "scripts": script_shares(titles),
        "min_letters_per_piece": min_letters_per_piece(sorted(set(titles)), tokenizer),
    }


def min_letters_per_piece(titles: Sequence[str], tokenizer: BertTextTokenizer) -> float | None:
    """The number of letters per word piece that best separates `titles` in Latin letters from random letters.

    The share of titles below it equals the share at or above it after each letter is replaced by a random one
    from a to z. None for fewer than `MIN_TITLES` such titles.
    """
    latin = [title for title in titles if main_script(title) == "Latin"]
    if len(latin) < MIN_TITLES:
        return None
    draw = random.Random(SEED)  # noqa: S311  not for security
    drawn = ["".join(draw.choice(ascii_lowercase) if c.isalpha() else c for c in title) for title in latin]
    real, other = (
        np.array([tokenizer.letters_per_piece(title) or 0.0 for title in group]) for group in (latin, drawn)
    )
    candidates = np.unique(np.concatenate([real, other]))
    difference = [abs((real < each).mean() - (other >= each).mean()) for each in candidates]
    return float(candidates[np.argmin(difference)])
