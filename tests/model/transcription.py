"""Section 1 of the design as a plain PyTorch transcription: what the owner's own script would compute.

Shares no code with `model`: torchvision's and transformers' classes, filled from the state dict by hand, the
text padded to its full length, the statistics undone with the formulas written out.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

import model.torchvision_compat  # noqa: F401  torchvision does not import without it
from tests.support.tiny import SIDE

MAX_TOKENS = 128
MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


class Transcription:
    """The network, one video at a time; by default the tiny one, at `full_size` the owner's."""

    def __init__(
        self,
        state: dict[str, Tensor],
        *,
        heads: int,
        velocity: dict[str, float],
        temperature: float,
        full_size: bool = False,
        pooling: str = "pooler",
    ):
        # Imported here, because they take seconds in every process that collects the tests.
        from torchvision.models.resnet import BasicBlock, ResNet, resnet50
        from transformers import BertConfig, BertModel

        self.pooling = pooling
        self.state, self.velocity, self.temperature = state, velocity, temperature
        tiny = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
        shape = {} if full_size else tiny  # transformers' own defaults are bert-base-uncased
        self.bert = BertModel(BertConfig(num_attention_heads=heads, **shape)).eval()
        self.bert.load_state_dict(self._part("text_encoder.bert."))
        self.resnet = (resnet50() if full_size else ResNet(BasicBlock, [1, 1, 1, 1])).eval()
        self.resnet.fc = torch.nn.Identity()
        self.resnet.load_state_dict(
            {
                ".".join([CHILDREN[name.partition(".")[0]], name.partition(".")[2]]): value
                for name, value in self._part("vision_encoder.feature_extractor.").items()
            }
        )
        side = 224 if full_size else SIDE
        with torch.no_grad():
            self.neutral = self.resnet(torch.zeros(1, 3, side, side))

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): value for name, value in self.state.items() if name.startswith(prefix)
        }

    def _image(self, pixels: Tensor) -> Tensor:
        vector: Tensor = self.resnet((((pixels.float() / 255) - MEAN) / STD).permute(2, 0, 1)[None])
        return vector

    @torch.no_grad()
    def score(
        self, ids: list[int], types: list[int], pixels: Tensor | None, scalars: Tensor, bias: float = 0.0
    ) -> tuple[float, float]:
        """P(viral) and views per day of one video; `pixels` is (side, side, 3) uint8 or None.

        The probability is sigmoid((z + bias) / temperature) of the difference z of the logits.
        """
        padding = [0] * (MAX_TOKENS - len(ids))
        encoded = self.bert(
            input_ids=torch.tensor([ids + padding]),
            token_type_ids=torch.tensor([types + padding]),
            attention_mask=torch.tensor([[1] * len(ids) + padding]),
        )
        is_mean = self.pooling == "mean"
        text = encoded.last_hidden_state[:, : len(ids)].mean(dim=1) if is_mean else encoded.pooler_output
        image = self.neutral if pixels is None else self._image(pixels)
        fused = torch.cat([text, image, scalars[None]], dim=1)
        wide = torch.relu(self._linear("fusion.0", fused))
        narrow = torch.relu(self._linear("fusion.3", wide))
        not_viral, viral = self._linear("classifier", narrow)[0].tolist()
        log = self._linear("regressor", narrow).item() * self.velocity["scale"] + self.velocity["mean"]
        log = min(max(log, 0.0), self.velocity["high"])
        z = (viral - not_viral + bias) / self.temperature
        return 1 / (1 + math.exp(-z)), math.exp(log) - 1

    def _linear(self, name: str, value: Tensor) -> Tensor:
        return functional.linear(value, self.state[f"{name}.weight"], self.state[f"{name}.bias"])
