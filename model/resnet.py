"""ResNet (He et al. 2016, arXiv:1512.03385) with torchvision's names, without the classifier.

Written out, because importing torchvision takes as long as importing torch.
"""

from torch import Tensor, nn

from model.config import EXPANSION

STEM = 64  # channels


class Block(nn.Module):
    """Two 3 x 3 convolutions, or one between two 1 x 1 convolutions, with a shortcut around them."""

    def __init__(self, kind: str, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * EXPANSION[kind]
        self.is_bottleneck = kind == "bottleneck"
        if self.is_bottleneck:
            self.conv1, self.bn1 = _convolution(channels, width, 1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = _convolution(width, width, 3, stride), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = _convolution(width, out, 1), nn.BatchNorm2d(out)
        else:
            self.conv1, self.bn1 = _convolution(channels, width, 3, stride), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = _convolution(width, width, 3), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(_convolution(channels, out, 1, stride), nn.BatchNorm2d(out))
            if stride != 1 or channels != out
            else None
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, H / stride, W / stride)."""
        out: Tensor = self.relu(self.bn1(self.conv1(pixels)))
        out = self.bn2(self.conv2(out))
        if self.is_bottleneck:
            out = self.bn3(self.conv3(self.relu(out)))
        out += pixels if self.downsample is None else self.downsample(pixels)
        activated: Tensor = self.relu(out)
        return activated


def _convolution(channels: int, out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, stride, padding=size // 2, bias=False)


def resnet(kind: str, stages: tuple[int, ...]) -> nn.Sequential:
    """(B, 3, H, W) to (B, 512 * expansion, 1, 1): stem, four stages of `stages` blocks, global average."""
    stem = [nn.Conv2d(3, STEM, 7, 2, padding=3, bias=False), nn.BatchNorm2d(STEM), nn.ReLU(inplace=True)]
    layers: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, padding=1)]
    channels = STEM
    for number, blocks in enumerate(stages):
        width, found = STEM * 2**number, []
        for block in range(blocks):
            found.append(Block(kind, channels, width, 2 if number and not block else 1))
            channels = width * EXPANSION[kind]
        layers.append(nn.Sequential(*found))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d((1, 1)))
