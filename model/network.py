"""The network: two frozen encoders, eighteen scalars, one fusion head with two outputs.

    title, description -> BERT      768 \\
    thumbnail          -> ResNet-50 2048 -> concat 2834 -> 1024 -> 256 -> viral? (2 logits)
    18 scalars                      18  /                              -> velocity (1)

Attribute names are the owner's (`bert`, `feature_extractor`), kept so that their checkpoints load.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.bert import Bert
from model.config import FusionConfig, TextConfig, VisionConfig
from model.resnet import resnet


class TextEncoder(nn.Module):
    """BERT's pooled output, or the mean of its tokens for a sentence encoder trained that way."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) ids, types and mask to (B, hidden_size)."""
        output = self.bert(input_ids, token_type_ids, attention_mask)
        if self.config.pooling == "mean":
            return masked_mean(output.last_hidden_state, attention_mask)
        pooled: Tensor = output.pooler_output  # (B, 768)
        return pooled


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the (B, T, D) tokens whose mask (B, T) is 1, (B, D)."""
    weights = mask.to(hidden.dtype)
    return torch.einsum("btd,bt->bd", hidden, weights) / weights.sum(dim=1, keepdim=True)


class VisionEncoder(nn.Module):
    """ResNet without its classifier: global average pool of the last stage."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_extractor = resnet(config.block, config.stages)
        self.register_buffer("mean", _per_channel(config.mean), persistent=False)
        self.register_buffer("std", _per_channel(config.std), persistent=False)

    def fill_buffers(self) -> None:
        """Compute the buffers that checkpoints do not hold, after construction on the meta device."""
        self.mean, self.std = _per_channel(self.config.mean), _per_channel(self.config.std)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pixels to (B, output_dim)."""
        pooled: Tensor = self.feature_extractor(pixel_values)  # (B, 2048, 1, 1)
        return pooled.flatten(1)  # (B, 2048)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to (B, 3, H, W) float: torchvision's ToTensor and Normalize, bit for bit."""
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32).div(255)
        return scaled.sub(self.mean).div(self.std)


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


class MultimodalViralityPredictor(nn.Module):
    """BERT and ResNet-50, frozen, into one trained fusion head with a classifier and a regressor."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        wide, narrow = config.hidden
        self.text_encoder = TextEncoder(config.text) if config.text else None
        self.vision_encoder = VisionEncoder(config.vision) if config.vision else None
        self.fusion = nn.Sequential(
            nn.Linear(config.fused_dim, wide),
            nn.ReLU(),
            nn.Dropout(config.dropout[0]),
            nn.Linear(wide, narrow),
            nn.ReLU(),
            nn.Dropout(config.dropout[1]),
        )
        self.classifier = nn.Linear(narrow, 2)
        self.regressor = nn.Linear(narrow, 1)

    def fill_buffers(self) -> None:
        """Compute the buffers that checkpoints do not hold, after construction on the meta device."""
        if self.vision_encoder is not None:
            self.vision_encoder.fill_buffers()

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None,
        scalars: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, 2) and the transformed velocity (B, 1); `pixel_values` None is the neutral image."""
        text = self.encode_text(input_ids, token_type_ids, attention_mask)  # (B, 768)
        image = self.encode_image(pixel_values, len(text))  # (B, 2048)
        return self.score(text, image, scalars)

    def encode_text(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) ids, types and mask to (B, 768); (B, 0) without a text tower."""
        if self.text_encoder is None:
            return torch.zeros(len(input_ids), 0, device=self.classifier.weight.device)
        encoded: Tensor = self.text_encoder(input_ids, token_type_ids, attention_mask)
        return encoded

    def encode_image(self, pixel_values: Tensor | None, batch_size: int) -> Tensor:
        """(B, 3, H, W) normalised pixels to (B, 2048); None is zeros, the ImageNet mean."""
        if self.vision_encoder is None or self.config.vision is None:
            return torch.zeros(batch_size, 0, device=self.classifier.weight.device)
        if pixel_values is None:
            vision = self.config.vision
            pixel_values = self.classifier.weight.new_zeros(batch_size, 3, vision.height, vision.width)
        encoded: Tensor = self.vision_encoder(pixel_values)
        return encoded

    def score(self, text: Tensor, image: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Tower outputs and standardised scalars to logits (B, 2) and transformed velocity (B, 1)."""
        fused = self.fusion(torch.cat([text, image, scalars], dim=1))  # (B, 2834) -> (B, 256)
        return self.classifier(fused), self.regressor(fused)
