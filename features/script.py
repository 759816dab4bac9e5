"""The script that a text is written in, told by its letters.

It is not the language: Spanish and English are both Latin. But a model whose training titles were nearly all
in one script has learned next to nothing of the others, and this much can be told without guessing.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

# The beginning tells as much as the rest, and costs a request less.
LOOKED_AT = 200
# Japanese mixes all three, and Chinese shares the first.
TOGETHER = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA"), "Chinese or Japanese")


def main_script(text: str) -> str | None:
    """The script of most letters of `text`, such as Latin or Cyrillic; None for a text without letters."""
    beginning = text[:LOOKED_AT]
    if beginning.isascii():
        return "Latin" if any(map(str.isalpha, beginning)) else None
    counts = Counter(map(_script, beginning))
    del counts[None]
    return counts.most_common(1)[0][0] if counts else None


def script_shares(texts: Sequence[str]) -> dict[str, float]:
    """The share of each script in `texts` that have letters, the most frequent first."""
    counts = Counter(main_script(text) for text in texts)
    del counts[None]
    return {str(script): count / counts.total() for script, count in counts.most_common()}


@lru_cache(maxsize=4096)
def _script(character: str) -> str | None:
    """The first word of a letter's name in Unicode, its script; letters of a style count as plain."""
    plain = unicodedata.normalize("NFKC", character)[0]
    if not plain.isalpha():
        return None
    word = unicodedata.name(plain, "").partition(" ")[0]
    return TOGETHER.get(word, word.capitalize()) or None
