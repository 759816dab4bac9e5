"""The architecture as plain values. Imports no torch."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field

from model.values import Number

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# How tokens become one vector: BERT's pooler, or the mean that sentence encoders are trained with.
POOLINGS = ("pooler", "mean")
Pooling = Literal["pooler", "mean"]
# Output channels of a ResNet block over its width: BasicBlock's and Bottleneck's in torchvision.
EXPANSION = {"basic": 1, "bottleneck": 4}
Size = Annotated[int, Field(ge=32, le=1024)]
Mean = Annotated[Number, Field(ge=-1, le=2)]
Spread = Annotated[Number, Field(ge=1e-3, le=1e3)]


@dataclass(frozen=True)
class TextConfig:
    """BERT's shape; the defaults are bert-base-uncased."""

    vocab_size: int = 30522
    hidden_size: int = 768
    layers: int = 12
    heads: Annotated[int, Field(strict=True, ge=1)] = 12
    intermediate_size: int = 3072
    max_positions: int = 512
    token_types: int = 2
    layer_norm_eps: Annotated[Number, Field(ge=0, le=1)] = 1e-12
    pooling: Pooling = "pooler"

    @property
    def output_dim(self) -> int:
        """Length of the pooled vector."""
        return self.hidden_size


@dataclass(frozen=True)
class VisionConfig:
    """ResNet's shape and the pixels it takes; the defaults are ResNet-50 at 224 x 224."""

    block: str = "bottleneck"
    stages: tuple[int, ...] = (3, 4, 6, 3)
    height: Size = 224
    width: Size = 224
    mean: tuple[Mean, Mean, Mean] = IMAGENET_MEAN
    std: tuple[Spread, Spread, Spread] = IMAGENET_STD

    @property
    def output_dim(self) -> int:
        """Length of the pooled vector: 2048 for bottleneck blocks, 512 for basic ones."""
        return 512 * EXPANSION[self.block]


@dataclass(frozen=True)
class FusionConfig:
    """The architecture as plain values. `text` or `vision` is None in a checkpoint without such weights."""

    text: TextConfig | None = field(default_factory=TextConfig)
    vision: VisionConfig | None = field(default_factory=VisionConfig)
    scalars: int = 18
    hidden: tuple[int, int] = (1024, 256)
    dropout: tuple[float, float] = (0.3, 0.2)

    @property
    def text_dim(self) -> int:
        """Length of the text vector, 0 without a text tower."""
        return self.text.output_dim if self.text else 0

    @property
    def image_dim(self) -> int:
        """Length of the image vector, 0 without an image tower."""
        return self.vision.output_dim if self.vision else 0

    @property
    def fused_dim(self) -> int:
        """Inputs of the fusion: 768 + 2048 + 18 = 2834 at full size."""
        return self.text_dim + self.image_dim + self.scalars

    @property
    def widths(self) -> dict[str, int]:
        """The inputs of the fusion in order, and their lengths."""
        towers = {"text": self.text_dim, "image": self.image_dim}
        return {name: width for name, width in towers.items() if width} | {"scalars": self.scalars}

    @property
    def modalities(self) -> tuple[str, ...]:
        """The inputs of the network."""
        return tuple(self.widths)

    def with_scalars(self, scalars: int) -> "FusionConfig":
        """The same architecture over another number of scalar features."""
        return replace(self, scalars=scalars)
