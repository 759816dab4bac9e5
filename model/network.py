"""The network: two frozen encoders, eighteen scalars, one fusion head with two outputs.

    title, description -> BERT      768 \\
    thumbnail          -> ResNet-50 2048 -> concat 2834 -> 1024 -> 256 -> viral? (2 logits)
    18 scalars                      18  /                              -> velocity (1)
"""

import torch
from torch import Tensor, nn

from model.config import FusionConfig
from model.encoders import TextEncoder, VisionEncoder


class MultimodalViralityPredictor(nn.Module):
    """BERT and ResNet-50, frozen, into one trained fusion head with a classifier and a regressor."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        wide, narrow = config.hidden
        self.text_encoder = TextEncoder(config.text)
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
        """Give the encoders' constant buffers their values after a construction on the meta device."""
        self.text_encoder.fill_buffers()
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
        text = self.text_encoder(input_ids, token_type_ids, attention_mask)  # (B, 768)
        image = self.encode_image(pixel_values, len(text))  # (B, 2048)
        return self.score(text, image, scalars)

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
