"""When a title's words count as unknown to the text encoder."""

from string import ascii_lowercase

import numpy as np

from model.compile.calibration_set import TITLES
from preprocessing.text import BertTextTokenizer, main_script
from training.title_words import min_letters_per_piece


def test_the_number_of_letters_separates_titles_from_random_letters() -> None:
    """Few new titles are below it, few random letters above; too few titles give no minimum."""
    tokenizer = BertTextTokenizer.from_vocabulary()
    titles = [
        title for title in TITLES.read_text(encoding="utf-8").split("\n") if main_script(title) == "Latin"
    ]
    minimum = min_letters_per_piece(titles[:200], tokenizer)
    draw = np.random.default_rng(3)
    random = [" ".join("".join(draw.choice(list(ascii_lowercase), 7)) for _ in range(5)) for _ in range(200)]
    below = [
        np.mean([(tokenizer.letters_per_piece(title) or 0) < minimum for title in each])
        for each in (titles[200:], random)
    ]
    assert below[0] <= 0.03
    assert below[1] >= 0.95
    assert min_letters_per_piece(titles[:99], tokenizer) is None
    assert min_letters_per_piece(["Как испечь хлеб"] * 200, tokenizer) is None
