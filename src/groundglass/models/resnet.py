"""ResNet-18 for 32 x 32 images, at any width (He et al. 2016)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.models.classifier import Classifier
from groundglass.models.scaled import of_width, scaled

_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
_BLOCKS = 2


def _convolution(incoming: int, outgoing: int, kernel: int, stride: int) -> nn.Conv2d:
    # BatchNorm has the bias.
    conv = nn.Conv2d(
        incoming, outgoing, kernel, stride, padding=kernel // 2, bias=False, dtype=torch.float32, device="cpu"
    )
    nn.init.normal_(conv.weight, 0.0, math.sqrt(2 / (kernel * kernel * outgoing)))
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, dtype=torch.float32, device="cpu")


class ResidualBlock(nn.Module):
    """ReLU of two convolutions' output plus the input: [batch, incoming, h, w] -> [batch, outgoing, h / stride, w / stride].

    Where the shape changes the input goes through a 1 x 1 convolution (the paper's option B).
    """

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(incoming, outgoing, 3, stride),
            _norm(outgoing),
            nn.ReLU(inplace=True),
            _convolution(outgoing, outgoing, 3, 1),
            _norm(outgoing),
        )
        same = stride == 1 and incoming == outgoing
        layers = () if same else (_convolution(incoming, outgoing, 1, stride), _norm(outgoing))
        self.shortcut = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _features(width: float, channels: int, size: tuple[int, int]) -> nn.Sequential:
    incoming = of_width(64, width)
    layers: list[nn.Module] = [_convolution(channels, incoming, 3, 1), _norm(incoming), nn.ReLU(inplace=True)]
    for unscaled, stride in _STAGES:
        outgoing = of_width(unscaled, width)
        for number in range(_BLOCKS):
            layers.append(ResidualBlock(incoming, outgoing, 1 if number else stride))
            incoming = outgoing
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def multiplications(width: float, *, channels: int = 3, size: tuple[int, int] | None = None) -> int:
    """Of all convolutions, for one image."""
    (height, breadth), incoming = size or (32, 32), of_width(64, width)
    total = 9 * channels * incoming * height * breadth
    for unscaled, stride in _STAGES:
        outgoing = of_width(unscaled, width)
        height, breadth = -(-height // stride), -(-breadth // stride)
        changed = 0 if stride == 1 and incoming == outgoing else incoming
        total += (9 * incoming + changed + (2 * _BLOCKS - 1) * 9 * outgoing) * outgoing * height * breadth
        incoming = outgoing
    return total


def taken(width: float) -> int:
    """Features in front of the head."""
    return of_width(512, width)


def largest(width: float, size: tuple[int, int] | None) -> int:
    """Weights of the largest layer, at least."""
    return 9 * taken(width) ** 2


def resnet18(
    width: float = 1.0,
    *,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dropout: float = 0.0,
    size: tuple[int, int] | None = None,
    seed: int,
) -> Classifier:
    """ResNet-18 as it is used for CIFAR: a first convolution of 3 x 3 pixels, without a pool after it, then four stages of two
    residual blocks, the mean over all pixels, and a linear `head`.

    Args:
        width: factor on every number of channels; 1 is the paper's.
        classes: logits.
        mean, std: of the data set, one a channel; applied inside.
        dropout: in front of the head, in [0, 1).
        size: height and width of the images, pixels; None: any.
        seed: of the initial weights (convolutions: normal, std sqrt(2 / fan-out)).

    Raises:
        ValueError: an argument that cannot be.
    """
    shared: dict[str, Any] = {
        "classes": classes,
        "mean": mean,
        "std": std,
        "dropout": dropout,
        "size": size,
        "seed": seed,
    }
    return scaled("resnet18", _features, width, taken=taken, **shared)
