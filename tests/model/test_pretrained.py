"""Where encoder weights come from: seeded states that never change, and directories of real ones."""

import hashlib
import math

import numpy as np
import pytest
import torch

import model.torchvision_compat  # noqa: F401  must precede every import of transformers
from model.config import TextConfig, VisionConfig
from model.network import TextEncoder, VisionEncoder
from model.pretrained import (
    BERT_NAMES,
    EncoderSourceError,
    fingerprint,
    pretrained_text_encoder,
    pretrained_vision_encoder,
    random_text_state,
    random_vision_state,
)
from tests.support.tiny import TINY_VISION

TEXT = TextConfig(vocab_size=60, hidden_size=32, layers=1, heads=2, intermediate_size=16, max_positions=16)
WORDS = "bert.embeddings.word_embeddings.weight"
IDS = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
MASK = (IDS > 0).long()


def pooled(encoder):
    with torch.no_grad():
        return encoder(IDS, torch.zeros_like(IDS), MASK)


def theirs(kind="BertModel", **changes):
    """A BERT of one layer whose weights are transformers' own, which takes seconds to import."""
    import transformers

    config = {theirs: getattr(TEXT, ours) for ours, theirs in BERT_NAMES.items()} | changes
    torch.manual_seed(5)
    return getattr(transformers, kind)(transformers.BertConfig(**config)).eval()


@pytest.fixture
def bert():
    return theirs()


def test_seeded_states_are_the_same_on_every_machine():
    """The pinned fingerprints hold wherever this runs; another seed gives another state."""
    assert fingerprint(random_text_state(TEXT, 1))[:16] == "6d3a880cd4ca20bb"
    assert fingerprint(random_vision_state(TINY_VISION, 1))[:16] == "0a40aa33e937e981"
    assert fingerprint(random_text_state(TEXT, 2)) != fingerprint(random_text_state(TEXT, 1))


def test_seeded_weights_follow_from_integers_alone():
    """The first weights equal what plain Python integers and one float32 rounding give."""
    key = int.from_bytes(hashlib.sha256(b"1/text_encoder." + WORDS.encode()).digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw(2)
    halves = [int(word) >> shift & 0xFFFFFFFF for word in words for shift in (0, 32)]
    width = np.float32(0.02 * math.sqrt(3) / 2**24)
    expected = [float(np.float32(2 * (half >> 8) - (2**24 - 1)) * width) for half in halves]
    assert random_text_state(TEXT, 1)[WORDS].flatten()[:4].tolist() == expected


def test_seeded_weights_are_centred_and_as_wide_as_asked():
    """Uniform numbers with BERT's own standard deviation, around zero."""
    weights = random_text_state(TextConfig(vocab_size=4000, hidden_size=64, heads=1, layers=1), 1)[WORDS]
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)
    assert abs(float(weights.mean())) < 1e-4


def test_seeded_states_fit_their_encoders():
    """Names and shapes are the encoders' own, for basic and bottleneck blocks."""
    TextEncoder(TEXT).load_state_dict(random_text_state(TEXT, 1))
    for vision in (TINY_VISION, VisionConfig(stages=(1, 1, 1, 1))):
        encoder = VisionEncoder(vision).eval()
        encoder.load_state_dict(random_vision_state(vision, 1))
        with torch.no_grad():
            image = encoder(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
        assert torch.isfinite(image).all()
        assert not torch.equal(image[0], image[1])


def test_the_fingerprint_knows_names_shapes_and_values():
    """Another name, shape, type or number gives another fingerprint; another order does not."""
    base = {"a": torch.zeros(4), "b": torch.ones(1)}
    others = [
        {"c": base["a"], "b": base["b"]},
        {"a": torch.zeros(2, 2), "b": base["b"]},
        {"a": torch.zeros(4, dtype=torch.int32), "b": base["b"]},
        {"a": torch.tensor([0.0, 0, 0, 1e-30]), "b": base["b"]},
    ]
    assert len({fingerprint(state) for state in (base, *others)}) == 5
    assert fingerprint(dict(reversed(base.items()))) == fingerprint(base)


def test_a_saved_directory_gives_the_same_pooled_outputs(bert, tmp_path):
    """A directory that `save_pretrained` wrote loads as the encoder that was saved, dimensions included."""
    bert.save_pretrained(tmp_path)
    expected = bert(input_ids=IDS, attention_mask=MASK).pooler_output
    encoder = pretrained_text_encoder(str(tmp_path))
    assert encoder.config == TEXT
    torch.testing.assert_close(pooled(encoder), expected, rtol=0, atol=1e-6)


def test_an_encoder_is_transformers_to_the_bit(bert):
    """For rows of one length and padded ones, hidden states and pooled outputs are equal."""
    encoder = TextEncoder(TEXT).eval()
    encoder.bert.load_state_dict(bert.state_dict())
    with torch.no_grad():
        for ids, mask in ((IDS, MASK), (IDS[:1], MASK[:1])):
            expected = bert(input_ids=ids, attention_mask=mask)
            found = encoder.bert(ids, torch.zeros_like(ids), mask)
            assert torch.equal(found.pooler_output, expected.pooler_output)
            assert torch.equal(found.last_hidden_state, expected.last_hidden_state)


def test_half_precision_directories_are_computed_in_float32(bert, tmp_path):
    """Weights saved in half precision come back as float32, the type of the whole network."""
    bert.half().save_pretrained(tmp_path)
    encoder = pretrained_text_encoder(str(tmp_path))
    assert {value.dtype for value in encoder.parameters()} == {torch.float32}


def test_a_directory_without_pooler_is_refused(tmp_path):
    """A pooler that transformers would make up at random is an error, not a guess."""
    theirs("BertForMaskedLM").save_pretrained(tmp_path)
    with pytest.raises(EncoderSourceError, match=r"lacks pooler\.dense\.bias and 1 more"):
        pretrained_text_encoder(str(tmp_path))


def test_another_activation_is_refused(tmp_path):
    """A checkpoint cannot say which activation an encoder has, so only BERT's own is accepted."""
    theirs(hidden_act="relu").save_pretrained(tmp_path)
    with pytest.raises(EncoderSourceError, match="its activation is relu"):
        pretrained_text_encoder(str(tmp_path))


def test_a_directory_without_bert_says_what_to_name(tmp_path):
    """No directory, nothing in it, or damaged weights: one error with the source and the next step."""
    (tmp_path / "empty").mkdir()
    theirs().save_pretrained(tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"\0" * 64)
    for source in (tmp_path / "nowhere", tmp_path / "empty", tmp_path / "damaged"):
        with pytest.raises(
            EncoderSourceError, match=r"no BERT weights found \(.*`save_pretrained`"
        ) as caught:
            pretrained_text_encoder(str(source))
        assert str(caught.value).startswith(str(source))


def test_a_file_without_resnet_says_what_to_name(tmp_path):
    """No file, not a torch file, another network's weights: one error with the file and the next step."""
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_bytes(b"hello")
    torch.save({"fc.weight": torch.ones(1)}, tmp_path / "other.pth")
    for path in [tmp_path / f"{name}.pth" for name in ("none", "empty", "text", "other")]:
        with pytest.raises(EncoderSourceError, match=r"no ResNet-50 weights .*state dict") as caught:
            pretrained_vision_encoder(path)
        assert str(caught.value).startswith(str(path))
