"""The script of a text is that of most of its letters; without letters it is None."""

import pytest

from preprocessing.text import BertTextTokenizer, main_script, script_shares


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("10 Tips for a Perfect Morning", "Latin"),
        ("Crêpes façon grand-mère", "Latin"),
        ("𝓜𝔂 𝓶𝓸𝓻𝓷𝓲𝓷𝓰 🔥", "Latin"),
        ("Утренняя рутина", "Cyrillic"),
        ("방탄소년단 MV", "Hangul"),
        ("世界で一番切れるパスタの包丁", "Chinese or Japanese"),
        ("सुबह की दिनचर्या", "Devanagari"),
        ("روتين الصباح", "Arabic"),
        ("2018 🔥🔥 !!!", None),
        ("", None),
    ],
)
def test_most_letters_decide(text, script):
    """Digits, symbols, accents and stylised letters do not change the script."""
    assert main_script(text) == script


def test_shares_are_of_texts_with_letters():
    """Texts without a letter have no script; the shares of the others add up to one."""
    shares = script_shares(["one", "two", "три", "four", "123"])
    assert shares == {"Latin": 0.75, "Cyrillic": 0.25}


def test_no_texts_have_no_scripts():
    """Without texts the result is empty."""
    assert script_shares([]) == {}


def test_letters_per_piece_are_counted() -> None:
    """Letters per word piece; a character that the vocabulary lacks is a piece without letters."""
    tokenizer = BertTextTokenizer.from_vocabulary()
    rows = {
        "hello world": 5.0,
        "Hello, WORLD 24/7!": 5.0,
        "zyzzyva": 7 / 4,  # zy ##zzy ##v ##a
        "да": 1.0,  # д ##а
        "\U00020bb7 hello": 2.5,  # a rare character: [UNK] hello
        "hello 😂😂": 5.0,
        "123 😂 !": None,
        "": None,
        "hello " * 33 + "  x y z": 5.0,  # only the beginning counts
    }
    found = {text: tokenizer.letters_per_piece(text) for text in rows}
    assert [(text, found[text], rows[text]) for text in rows if found[text] != rows[text]] == []
