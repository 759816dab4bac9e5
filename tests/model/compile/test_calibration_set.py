"""Calibration inputs: the bundled ones, an operator's own, and files that are neither."""

import json

import numpy as np
import pytest

from model.compile.calibration_set import (
    BUNDLED,
    IMAGES,
    CalibrationError,
    calibration_inputs,
    draw_images,
    draw_scalars,
    read_texts,
    with_drawn_words,
)
from tests.model.small import small_checkpoint
from tests.support.tiny import tiny_checkpoint

CARD = tiny_checkpoint().card
SHORT = {"format": 1, "input_ids": [[101, 102]] * 40, "token_type_ids": [[0, 0]] * 40}


@pytest.fixture(scope="module")
def inputs():
    return calibration_inputs(CARD)


def test_bundled_texts_are_as_long_as_real_titles(inputs):
    """A median of 13 tokens or so, and some that fill all 128 with a description."""
    lengths = [len(ids) for half in (inputs.known_texts, inputs.held_back_texts) for ids in half.input_ids]
    assert 11 <= np.median(lengths) <= 16
    assert max(lengths) == CARD.max_tokens
    for half in (inputs.known_texts, inputs.held_back_texts):  # both halves hold all kinds
        assert sum(1 in types for types in half.token_type_ids) >= 15
        assert max(len(ids) for ids in half.input_ids) == CARD.max_tokens


def test_what_is_held_back_was_never_calibrated_with(inputs):
    """No text and no image is in both halves."""
    assert not set(inputs.known_texts.input_ids) & set(inputs.held_back_texts.input_ids)
    assert len(inputs.known_texts) == len(inputs.held_back_texts) > 180
    assert (len(inputs.known_images), len(inputs.held_back_images)) == IMAGES
    images = np.concatenate([inputs.known_images, inputs.held_back_images]).reshape(sum(IMAGES), -1)
    assert len(np.unique(images, axis=0)) == sum(IMAGES)


def test_drawn_texts_say_other_words(inputs):
    """Same lengths, same beginnings, parts and ends; the words are from everywhere in the vocabulary."""
    known, drawn = inputs.known_texts, inputs.drawn_texts
    assert drawn == with_drawn_words(known, CARD.config.text.vocab_size)
    assert drawn.token_type_ids == known.token_type_ids
    ends = {101, 102}
    pairs = [
        pair
        for rows in zip(known.input_ids, drawn.input_ids, strict=True)
        for pair in zip(*rows, strict=True)
    ]
    assert all(new == old for old, new in pairs if old in ends)
    words = [(old, new) for old, new in pairs if old not in ends]
    assert sum(old == new for old, new in words) < 0.01 * len(words)
    assert len({new for _, new in words}) > 3 * len({old for old, _ in words})


def test_drawn_images_are_always_the_same():
    """The same seed draws the same bytes, another seed others, and they span dark to light."""
    images = draw_images(20, 32, 48, seed=1)
    np.testing.assert_array_equal(images, draw_images(20, 32, 48, seed=1))
    assert (images != draw_images(20, 32, 48, seed=2)).mean() > 0.5
    assert images.shape == (20, 32, 48, 3)
    assert images.mean(axis=(1, 2, 3)).std() > 20


def test_a_model_of_titles_gets_no_descriptions():
    """Texts are as the service would send them: first field alone, cut to the model's tokens."""
    card = CARD.changed(text_fields=("title",), max_tokens=16)
    texts = read_texts(BUNDLED, card)
    assert {kind for types in texts.token_type_ids for kind in types} == {0}
    assert max(len(ids) for ids in texts.input_ids) == 16
    assert {ids[-1] for ids in texts.input_ids} == {102}  # [SEP] is kept


def test_scalars_stay_within_what_training_saw():
    """Draws beyond a feature's range are clipped to it, as the service clips requests."""
    card = small_checkpoint().card  # range from 0, mean 1, scale 2
    drawn = draw_scalars(card, 500)
    assert drawn.shape == (500, 3)
    assert drawn.min() == -0.5
    assert drawn.max() > 2
    np.testing.assert_array_equal(drawn, draw_scalars(card, 500))


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        ("{", "is not readable JSON"),
        ("[]", "has format list, this version reads 1"),
        (json.dumps(SHORT | {"format": 2}), "has format 2, this version reads 1"),
        (json.dumps(SHORT | {"input_ids": None}), "input_ids is None, expected lists of whole numbers"),
        (json.dumps(SHORT | {"input_ids": [[]] * 40}), "input_ids is [[], "),
        (json.dumps(SHORT | {"token_type_ids": [[0]] * 40}), "input_ids and token_type_ids differ in length"),
        (json.dumps(SHORT | {"input_ids": [[101, 1.5]] * 40}), "input_ids is [[101, 1.5]"),
        (json.dumps(SHORT | {"input_ids": [[101, 30522]] * 40}), "input_ids reach from 101 to 30522"),
        (json.dumps(SHORT | {"token_type_ids": [[0, 2]] * 40}), "token_type_ids reach from 0 to 2"),
        (
            json.dumps({key: value[:3] if key != "format" else 1 for key, value in SHORT.items()}),
            "holds 1 different texts",
        ),
    ],
)
def test_a_file_that_is_no_calibration_is_one_line(tmp_path, contents, sentence):
    """The line names the file, what is wrong, and how to write one."""
    path = tmp_path / "ids.json"
    path.write_text(contents)
    with pytest.raises(CalibrationError) as caught:
        read_texts(path, CARD)
    assert str(caught.value).startswith(f"{path}: ")
    assert sentence in str(caught.value)
    assert "--calibration" in str(caught.value) or "python -m preprocessing.calibration" in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    """Named, with the reason."""
    with pytest.raises(CalibrationError, match=r"none.json: cannot be read \(No such file"):
        read_texts(tmp_path / "none.json", CARD)
