"""The tokenizer against transformers' own, string by string; and what it promises for any text at all."""

import random
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.text import (
    BERT_VOCABULARY,
    SPECIAL_TOKENS,
    BertTextTokenizer,
    TextSpec,
    TokenizedText,
    VocabularyError,
    clean,
    longest_first,
)

if TYPE_CHECKING:
    from transformers import BertTokenizerFast

PAD, UNK, CLS, SEP, MASK = 0, 100, 101, 102, 103
OURS = BertTextTokenizer.from_vocabulary()
LENGTHS = (8, 9, 31, 64, 200)

FRAGMENTS = (
    "the", "Viral", "VIDEO", "unbelievable", "playthrough", "café", "naïve", "ﬁancé", "İstanbul", "straße",
    "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "❤️", "1️⃣", "我爱你", "日本語テスト", "한국어 제목", "مرحبا بالعالم",
    "שלום",
    "नमस्ते दुनिया", "สวัสดี", "Привет", "Ελλάδα", "e\u0301", "a\u0300\u0301\u0302", "Z̷̧͍a̴l̶g̵o",
    "\u200b", "\u200d", "\u200e", "\u202e", "\ufeff", "\u00ad", "\x00", "\x07", "\x1b[31m", "\x7f", "\x85",
    "\ufffd",
    " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2028",
    "!!!", "...", "…", "—", "“quoted”", "#shorts", "@creator", "(Official)", "[4K]", "$100", "50%", "a_b-c",
    "don't",
    "？", "！", "、", "https://youtu.be/dQw4w9WgXcQ?t=1&a=b", "www.example.com",
    "2018", "1,000,000", "3.14", "½",
    "٣",
    "x" * 100, "y" * 101, "supercalifragilistic" * 8, "\U00020000", "\U000e0041", "\ue000", "\U0010fffd",
)  # fmt: skip


@cache
def theirs() -> "BertTokenizerFast":
    """transformers' tokenizer. It is imported here, not by every process that collects the tests."""
    import model.torchvision_compat  # noqa: F401  must precede transformers, which imports torchvision

    from transformers import BertTokenizerFast  # isort: skip

    return BertTokenizerFast(vocab=str(BERT_VOCABULARY))


def random_text(rng: random.Random, longest: int) -> str:
    """Fragments and stray code points from everywhere in Unicode, with and without spaces between."""
    pieces = []
    for _ in range(rng.randrange(longest)):
        if rng.random() < 0.9:
            pieces.append(rng.choice(FRAGMENTS))
        else:
            code = rng.randrange(0x110000)
            pieces.append("?" if 0xD800 <= code <= 0xDFFF else chr(code))
        pieces.append(rng.choice(("", " ", " ", " ")))
    return "".join(pieces)


def expected(title: str, description: str = "", max_tokens: int = 128) -> TokenizedText:
    """What transformers returns, with special tokens in user text split like any other word."""
    pair = (title, description) if description else (title,)
    whole = theirs()(*pair, split_special_tokens=True)["input_ids"]
    cut = theirs()(*pair, truncation="longest_first", max_length=max_tokens, split_special_tokens=True)
    ids = tuple(cut["input_ids"])
    return TokenizedText(ids, tuple(cut["token_type_ids"]), len(whole) - len(ids))


def test_titles_equal_transformers() -> None:
    """3,000 random titles of every script and kind of noise get the ids that transformers gives them."""
    rng = random.Random(1)  # noqa: S311  a seed, not a secret
    for title in (random_text(rng, 14) for _ in range(3000)):
        assert OURS.encode(title) == expected(title), ascii(title)


def test_pairs_equal_transformers() -> None:
    """2,000 random pairs, many of them too long, equal transformers in ids, types and what was dropped."""
    rng = random.Random(2)  # noqa: S311  a seed, not a secret
    truncated = 0
    for _ in range(2000):
        title, description = random_text(rng, 30), random_text(rng, 60)
        ours = OURS.encode(title, description)
        assert ours == expected(title, description), (ascii(title), ascii(description))
        truncated += ours.dropped_tokens > 0
    assert 500 < truncated < 1900, "the pairs are meant to fall on both sides of the limit"


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=ascii)
def test_each_fragment_equals_transformers(fragment: str) -> None:
    """Each kind of noise alone, as a title and as a description, equals transformers."""
    assert OURS.encode(fragment) == expected(fragment)
    assert OURS.encode("title", fragment) == expected("title", fragment)


@pytest.mark.parametrize("max_tokens", [8, 9, 64, 127, 128, 512])
@pytest.mark.parametrize(("first", "second"), [(0, 300), (300, 0), (62, 63), (63, 63), (63, 62), (300, 300)])
def test_truncation_equals_transformers(max_tokens: int, first: int, second: int) -> None:
    """The longer text is cut at every limit, and of two equals the title keeps the smaller half."""
    tokenizer = BertTextTokenizer.from_vocabulary(spec=TextSpec(max_tokens=max_tokens))
    title, description = "video " * first, "music " * second
    assert tokenizer.encode(title, description) == expected(title, description, max_tokens)


@pytest.mark.parametrize("fragment", ["word ", "x", "한", "!? ", "😀", "unbelievable stories, ", "e\u0301 "])
def test_long_descriptions_equal_transformers(fragment: str) -> None:
    """A description of 10,000 characters is cut where transformers cuts it."""
    description = (fragment * 10_000)[:10_000]
    assert OURS.encode("A title", description) == expected("A title", description)


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_typed_special_tokens_are_text(token: str) -> None:
    """A special token that a user types is spelled out; its id appears only where `encode` puts it."""
    typed = OURS.encode(f"a {token} b{token}", token)
    assert typed == expected(f"a {token} b{token}", token)
    assert [i for i in typed.input_ids if i in (PAD, UNK, CLS, SEP, MASK)] == [CLS, SEP, SEP]


def test_a_description_makes_a_pair_and_none_does_not() -> None:
    """The description is the second segment; without one there is no second separator."""
    assert OURS.encode("hi").input_ids == (CLS, 7632, SEP)
    assert OURS.encode("hi", "hi").input_ids == (CLS, 7632, SEP, 7632, SEP)
    assert OURS.encode("hi", "hi").token_type_ids == (0, 0, 0, 1, 1)
    assert OURS.encode("hi", " ").input_ids == (CLS, 7632, SEP, SEP)


def test_a_title_only_checkpoint_ignores_descriptions() -> None:
    """A checkpoint trained on titles sees the title alone, whatever the description."""
    tokenizer = BertTextTokenizer.from_vocabulary(spec=TextSpec(fields=("title",)))
    assert tokenizer.encode("hi", "there") == tokenizer.encode("hi")


@pytest.mark.parametrize("text", ["\ud83d", "a\ud800b", "\udfff\ud800", "\ud83d " * 200])
def test_lone_surrogates_read_as_replacement_characters(text: str) -> None:
    """Half a character from broken JSON reads as U+FFFD."""
    assert OURS.encode(text, text) == OURS.encode(clean(text), clean(text))
    assert clean(text) == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def test_surrogate_pairs_are_joined() -> None:
    assert clean("\ud83d\ude00") == "😀"


any_text = st.text(st.characters(exclude_categories=()), max_size=400)


@cache
def tokenizer_of(max_tokens: int) -> BertTextTokenizer:
    return BertTextTokenizer.from_vocabulary(spec=TextSpec(max_tokens=max_tokens))


@settings(max_examples=300, deadline=None)
@given(title=any_text, description=any_text, max_tokens=st.sampled_from(LENGTHS))
def test_any_text_encodes_within_its_limit(title: str, description: str, max_tokens: int) -> None:
    """Any text at all, surrogates included, yields valid ids within the limit, and equals transformers."""
    tokenizer = tokenizer_of(max_tokens)
    encoded = tokenizer.encode(title, description)
    assert len(encoded) == len(encoded.token_type_ids) <= max_tokens
    assert encoded.input_ids[0] == CLS
    assert encoded.input_ids[-1] == SEP
    assert encoded.input_ids.count(SEP) == encoded.token_type_ids[-1] + 1 == (2 if description else 1)
    assert all(0 <= i < tokenizer.vocabulary_size for i in encoded.input_ids)
    assert encoded == expected(clean(title), clean(description), max_tokens)


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(5, 600))
def test_longest_first_fills_its_budget(first: int, second: int, budget: int) -> None:
    """Texts that do not fit fill the budget exactly, and neither is cut below the other's length."""
    kept_first, kept_second = longest_first(first, second, budget)
    assert kept_first + kept_second == min(first + second, budget)
    assert 0 <= kept_first <= first
    assert 0 <= kept_second <= second
    assert kept_first == first or kept_first >= kept_second - 1
    assert kept_second == second or kept_second >= kept_first - 1


def test_vocabulary_is_transformers_own() -> None:
    """The committed vocabulary is read line for line as transformers reads it."""
    assert OURS.vocabulary_size == len(theirs()) == 30522


def test_vocabulary_errors_name_the_file(tmp_path: Path) -> None:
    """A vocabulary that is missing, binary or incomplete is refused with its path."""
    for content in (None, b"\xff\xfe\x00", b"hello\n[CLS]\n"):
        path = tmp_path / "vocab.txt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(VocabularyError, match=str(path)):
            BertTextTokenizer.from_vocabulary(path)


@pytest.mark.parametrize("fields", [(), ("description",), ("description", "title"), ("title", "tags")])
def test_unknown_fields_are_refused(fields: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="text fields are"):
        TextSpec(fields=fields)


def test_too_few_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens is 7"):
        TextSpec(max_tokens=7)
