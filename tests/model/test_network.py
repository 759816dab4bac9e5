"""The network at full size, by its shapes, and its forward on the tiny one."""

import pytest
import torch

from model.config import FusionConfig
from model.network import MultimodalViralityPredictor, TextEncoder
from tests.support.tiny import SIDE, TINY_TEXT, tiny_checkpoint

HEAD = ("fusion", "classifier", "regressor")


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return MultimodalViralityPredictor(FusionConfig())


def parameters(model, *, of_head):
    return sum(
        value.numel()
        for name, value in model.named_parameters()
        if (name.partition(".")[0] in HEAD) == of_head
    )


def test_the_full_size_matches_the_design(full_size):
    """768 + 2048 + 18 = 2834 -> 1024 -> 256 -> 2 and 1."""
    shapes = {name: tuple(value.shape) for name, value in full_size.state_dict().items()}
    assert shapes["fusion.0.weight"] == (1024, 2834)
    assert shapes["fusion.3.weight"] == (256, 1024)
    assert shapes["classifier.weight"] == (2, 256)
    assert shapes["regressor.weight"] == (1, 256)
    assert shapes["text_encoder.bert.pooler.dense.weight"] == (768, 768)
    assert shapes["vision_encoder.feature_extractor.7.2.conv3.weight"] == (2048, 512, 1, 1)


def test_the_parameters_are_136_million_of_which_3_2_are_trained(full_size):
    """BERT-base has 109,482,240 parameters, ResNet-50 without fc 23,508,032, the head 3,166,211."""
    assert parameters(full_size, of_head=False) == 109_482_240 + 23_508_032
    assert parameters(full_size, of_head=True) == 3_166_211


def test_text_only_fusion_takes_786():
    """Without an image tower the fusion takes 768 + 18 and the whole has 110.6 million parameters."""
    with torch.device("meta"):
        model = MultimodalViralityPredictor(FusionConfig(vision=None))
    assert model.fusion[0].weight.shape == (1024, 786)
    assert not any(name.startswith("vision") for name in model.state_dict())
    assert round(sum(value.numel() for value in model.parameters()) / 1e6, 1) == 110.6


def test_no_embedding_is_drawn():
    """Weights are loaded; drawing them on the meta device would spend a second importing torch's compiler."""
    embeddings = TextEncoder(TINY_TEXT).bert.embeddings
    tables = [module for module in embeddings.modules() if isinstance(module, torch.nn.Embedding)]
    assert [bool(table.weight.any()) for table in tables] == [False] * 3


def test_forward_without_pixels_is_forward_with_zeros():
    """No image is the neutral image: zeros, the ImageNet mean after normalising."""
    model = tiny_checkpoint().build_model()
    ids = torch.tensor([[101, 2003, 102]])
    inputs = (ids, torch.zeros_like(ids), torch.ones_like(ids))
    scalars = torch.zeros(1, 18)
    with torch.no_grad():
        absent = model(*inputs, None, scalars)
        zeros = model(*inputs, torch.zeros(1, 3, SIDE, SIDE), scalars)
    assert all(torch.equal(a, b) for a, b in zip(absent, zeros, strict=True))


def test_a_built_model_has_nothing_left_on_the_meta_device():
    """Every buffer that no checkpoint holds gets its value, and nothing is trainable."""
    model = tiny_checkpoint().build_model()
    assert not any(value.is_meta for value in [*model.parameters(), *model.buffers()])
    assert not any(value.requires_grad for value in model.parameters())
    assert not model.training
