"""Calibration inputs: the bundled titles, an operator's titles, and files that cannot be used."""

import numpy as np
import pytest

from model.compile.calibration_set import (
    IMAGES,
    TITLES,
    TitlesError,
    calibration_inputs,
    calibration_sha256,
    draw_images,
    draw_scalars,
    read_texts,
)
from tests.model.small import small_checkpoint
from tests.support.tiny import tiny_checkpoint

CARD = tiny_checkpoint().card


@pytest.fixture(scope="module")
def inputs():
    return calibration_inputs(CARD)


def test_bundled_texts_are_as_long_as_real_titles(inputs):
    """A median of 13 tokens or so, and some that fill all 128 with a description."""
    texts = inputs.texts
    lengths = [len(ids) for ids in texts.input_ids]
    assert 11 <= np.median(lengths) <= 16
    assert max(lengths) == CARD.max_tokens
    assert sum(1 in types for types in texts.token_type_ids) >= 30


def test_held_back_inputs_are_not_used_for_calibration(inputs):
    """No image is in both parts, and no text occurs twice."""
    assert len(set(inputs.texts.input_ids)) == len(inputs.texts) > 360
    assert (len(inputs.known_images), len(inputs.held_back_images)) == IMAGES
    images = np.concatenate([inputs.known_images, inputs.held_back_images]).reshape(sum(IMAGES), -1)
    assert len(np.unique(images, axis=0)) == sum(IMAGES)


def test_drawn_images_are_always_the_same():
    """The same seed draws the same bytes, another seed others, and they span dark to light."""
    images = draw_images(20, 32, 48, seed=1)
    np.testing.assert_array_equal(images, draw_images(20, 32, 48, seed=1))
    assert (images != draw_images(20, 32, 48, seed=2)).mean() > 0.5
    assert images.shape == (20, 32, 48, 3)
    assert images.mean(axis=(1, 2, 3)).std() > 20


def test_a_model_of_titles_gets_no_descriptions():
    """Texts are as the service would send them: only the first field, cut to the model's token limit."""
    card = CARD.changed(text_fields=("title",), max_tokens=16)
    texts = read_texts(TITLES, card)
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


def test_a_tab_separates_title_and_description(tmp_path):
    """The description is the second segment; blank lines are skipped."""
    path = tmp_path / "titles.txt"
    lines = [f"title {number}" for number in range(40)]
    path.write_text("\n\n  \n".join(["another\twith words", *lines]), encoding="utf-8")
    texts = read_texts(path, CARD)
    assert len(texts) == 41
    assert texts.token_type_ids[0] == (0, 0, 0, 1, 1, 1)
    assert {ids[0] for ids in texts.input_ids} == {101}


UNUSABLE = {
    "no file": (None, "cannot be read as text"),
    "not text": (b"\xff\xfe\xff", "cannot be read as text"),
    "blank": (b" \n", "holds no titles, expected one per line"),
    "too few": (b"one\ntwo\nONE\n", "holds 2 different titles, expected at least 40"),
}


def test_titles_that_cannot_be_used_are_one_line(tmp_path):
    path, failures = tmp_path / "titles.txt", []
    for case, (contents, sentence) in UNUSABLE.items():
        if contents is not None:
            path.write_bytes(contents)
        with pytest.raises(TitlesError) as caught:
            read_texts(path, CARD)
        message = str(caught.value)
        if not message.startswith(f"{path}: {sentence}") or len(message.splitlines()) > 1:
            failures.append(f"{case}: {message}")
    assert failures == []


def test_the_bundled_titles_have_always_had_these_ids():
    """Bundles record this sha256 of the ids: another one makes every bundle out of date."""
    assert calibration_sha256() == "164cdfac5e514a0e811fbcd17dbf7c24fcaa8c10595c750b0f0bb958da7e246e"
