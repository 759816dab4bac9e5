"""Title and description to BERT token ids, from the committed vocabulary; and the script of a text.

Ids equal those of transformers' `BertTokenizerFast` for the same vocabulary, with one intended
difference: "[SEP]" or "[MASK]" typed by a user is text, never a special token.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

BERT_VOCABULARY = Path(__file__).parent.parent / "models" / "bert-base-uncased" / "vocab.txt"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TEXT_FIELDS = ("title", "description")
# The cleaning `words`, of the first trained file: addresses, and all but letters, digits, spaces, # and @.
ADDRESS = re.compile(r"(?:http|www.)\S+")
NO_WORD = re.compile(r"[^\w\s#@]")
CLEANING = ("none", "words")
BEGINNING = 200  # characters that decide the script of a text and whether its words are known
# Japanese mixes all three, and Chinese shares the first.
SCRIPT_NAMES = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA"), "Chinese or Japanese")


class VocabularyError(ValueError):
    """A vocabulary file that cannot be used; names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class TextSpec:
    """What a checkpoint was trained to read: which fields, in which order, and how many tokens at most.

    Two fields are one BERT sequence pair, `[CLS] title [SEP] description [SEP]`, token type 1 for the
    second; without a description it is `[CLS] title [SEP]`. A description of only white space still makes
    a pair, `[CLS] title [SEP] [SEP]`, because it does in transformers.
    """

    fields: tuple[str, ...] = TEXT_FIELDS
    max_tokens: int = 128
    cleaning: str = "none"
    """What is removed before tokenising: nothing, or what `words` removes."""

    def __post_init__(self) -> None:
        if self.cleaning not in CLEANING:
            raise ValueError(f"text cleaning is {self.cleaning!r}, expected one of {', '.join(CLEANING)}")
        if self.fields not in (TEXT_FIELDS[:1], TEXT_FIELDS):
            raise ValueError(f"text fields are {self.fields}, expected ('title',) or {TEXT_FIELDS}")
        if self.max_tokens < 8:
            raise ValueError(f"max_tokens is {self.max_tokens}, expected 8 or more")


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the encoder takes it, unpadded; `dropped_tokens` is how many did not fit."""

    input_ids: tuple[int, ...]
    token_type_ids: tuple[int, ...]
    dropped_tokens: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)


class BertTextTokenizer:
    """Tokenises for one `TextSpec`; safe to share between threads."""

    def __init__(self, words: Tokenizer, spec: TextSpec) -> None:
        """`words` splits text into word pieces and knows nothing of special tokens or limits."""
        self._words = words
        self._cls = _id_of(words, "[CLS]")
        self._sep = _id_of(words, "[SEP]")
        self._unknown = _id_of(words, "[UNK]")
        self.spec = spec
        self.vocabulary_size = words.get_vocab_size()

    @classmethod
    def from_vocabulary(cls, path: Path = BERT_VOCABULARY, spec: TextSpec | None = None) -> Self:
        """The uncased BERT tokenizer over a `vocab.txt`, one token per line.

        Raises `VocabularyError` when the file cannot be read or lacks a special token.
        """
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as exc:
            raise VocabularyError(f"{path}: cannot be read as a vocabulary ({exc})") from exc
        ids = {token: index for index, token in enumerate(lines) if token}
        missing = [token for token in SPECIAL_TOKENS if token not in ids]
        if missing:
            raise VocabularyError(f"{path}: lacks {', '.join(missing)}; expected a BERT vocab.txt")
        # The special tokens are placed by `encode`. Registered here, they would be found in user text.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # no extra threads, no fork warnings
        words = Tokenizer(WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
        words.normalizer = BertNormalizer(lowercase=True)
        words.pre_tokenizer = BertPreTokenizer()
        return cls(words, spec or TextSpec())

    def encode(self, title: str, description: str = "") -> TokenizedText:
        """Ids of one video's text, at most `spec.max_tokens`; `[CLS]` and `[SEP]` are always there."""
        is_pair = description != "" and "description" in self.spec.fields
        first = self._pieces(title)
        second = self._pieces(description) if is_pair else []
        specials = 3 if is_pair else 2
        kept_first, kept_second = longest_first(len(first), len(second), self.spec.max_tokens - specials)
        head = [self._cls, *first[:kept_first], self._sep]
        tail = [*second[:kept_second], self._sep] if is_pair else []
        return TokenizedText(
            input_ids=(*head, *tail),
            token_type_ids=(0,) * len(head) + (1,) * len(tail),
            dropped_tokens=len(first) + len(second) - kept_first - kept_second,
        )

    def letters_per_piece(self, text: str) -> float | None:
        """The mean number of letters in a word piece of the beginning of `text`; None if it has no letters.

        About 4 in English, 3 in related languages, 1.5 in random letters, and 1 in most scripts other than
        Latin, which the vocabulary can only spell. A word that it cannot even spell has a piece of 0 letters.
        """
        beginning = clean(text[:BEGINNING])
        encoding = self._words.encode(beginning, add_special_tokens=False)
        letters = [sum(map(str.isalpha, beginning[start:end])) for start, end in encoding.offsets]
        known = [
            count if index != self._unknown else 0
            for count, index in zip(letters, encoding.ids, strict=True)
            if count
        ]
        return sum(known) / len(known) if known else None

    def _pieces(self, text: str) -> list[int]:
        text = clean(text) if self.spec.cleaning == "none" else words_of(clean(text))
        # Unlike `encode`, this lets other threads run meanwhile: 10,000 characters take up to 80 ms.
        (encoding,) = self._words.encode_batch_fast([text], add_special_tokens=False)
        ids: list[int] = encoding.ids
        return ids


def longest_first(first: int, second: int, budget: int) -> tuple[int, int]:
    """How many tokens of each of two sequences fit: the longer one gives way, as in transformers."""
    if first + second <= budget:
        return first, second
    shorter = min(first, second, budget // 2)
    longer = budget - shorter
    return (longer, shorter) if first > second else (shorter, longer)


def _id_of(words: Tokenizer, token: str) -> int:
    index = words.token_to_id(token)
    assert index is not None, "from_vocabulary checked that the special tokens are there"
    return index


def clean(text: str) -> str:
    """`text` as valid Unicode: surrogate pairs joined, lone surrogates replaced by U+FFFD.

    JSON may carry lone surrogates; they have no UTF-8 form, and the tokenizer would raise on them.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def words_of(text: str) -> str:
    """`text` in lower case without addresses, emoji and punctuation other than # and @."""
    return " ".join(NO_WORD.sub("", ADDRESS.sub("", text)).lower().split())


def main_script(text: str) -> str | None:
    """The script of most letters of `text`, such as Latin or Cyrillic; None for a text without letters.

    A script is not a language: Spanish and English are both Latin. But a model whose training titles were
    nearly all in one script has learned next to nothing about the others.
    """
    beginning = text[:BEGINNING]
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
    """The first word of a letter's Unicode name, which is its script; styled letters count as plain ones."""
    plain = unicodedata.normalize("NFKC", character)[0]
    if not plain.isalpha():
        return None
    word = unicodedata.name(plain, "").partition(" ")[0]
    return SCRIPT_NAMES.get(word, word.capitalize()) or None
