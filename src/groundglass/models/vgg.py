"""VGG-16 for 32 x 32 images, at any width (Simonyan and Zisserman 2014; the paper's network of section 3)."""

import math
from functools import partial
from typing import Any

import torch
from torch import nn

from groundglass.models.classifier import Classifier
from groundglass.models.scaled import of_width, scaled

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def _features(width: float, channels: int, size: tuple[int, int], *, stages: int = len(_STAGES)) -> nn.Sequential:
    layers: list[nn.Module] = []
    incoming, (height, breadth) = channels, size
    for number, stage in enumerate(_STAGES):
        for unscaled in stage if number < stages else ():
            outgoing = of_width(unscaled, width)
            # BatchNorm has the bias.
            conv = nn.Conv2d(incoming, outgoing, 3, padding=1, bias=False, dtype=torch.float32, device="cpu")
            nn.init.normal_(conv.weight, 0.0, math.sqrt(2 / (9 * outgoing)))
            layers += [conv, nn.BatchNorm2d(outgoing, dtype=torch.float32, device="cpu"), nn.ReLU(inplace=True)]
            incoming = outgoing
        if min(height, breadth) > 1:
            layers.append(nn.MaxPool2d(2))
            height, breadth = height // 2, breadth // 2
    if (height, breadth) != (1, 1):
        layers.append(nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers, nn.Flatten())


def multiplications(
    width: float, *, channels: int = 3, size: tuple[int, int] | None = None, depth: int | None = None
) -> int:
    """Of all convolutions, for one image: what a forward pass takes but for a small rest; of those up to a max-pool, where there
    is a `depth`."""
    incoming, (height, breadth), total = channels, size or (32, 32), 0
    for stage in _STAGES[: _stages(size, depth)]:
        for unscaled in stage:
            outgoing = of_width(unscaled, width)
            total += 9 * incoming * outgoing * height * breadth
            incoming = outgoing
        if min(height, breadth) > 1:
            height, breadth = height // 2, breadth // 2
    return total


def taken(width: float) -> int:
    """Features in front of the head."""
    return of_width(512, width)


def largest(width: float, size: tuple[int, int] | None, depth: int | None = None) -> int:
    """Weights of the largest layer, at least; of those up to a max-pool, where there is a `depth`."""
    return 9 * of_width(_STAGES[_stages(size, depth) - 1][-1], width) ** 2


def _stages(size: tuple[int, int] | None, depth: int | None) -> int:
    """Stages up to the max-pool of this number; what is behind the last pool belongs to it."""
    pools = min(len(_STAGES), min(size or (32, 32)).bit_length() - 1)
    return len(_STAGES) if depth is None or depth >= pools else depth


def vgg16(
    width: float = 1.0,
    *,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dropout: float = 0.5,
    size: tuple[int, int] | None = None,
    seed: int,
) -> Classifier:
    """VGG-16: 13 convolutions with BatchNorm, five max-pools, then `head`: Dropout, Linear, ReLU, twice, and Linear.

    The paper's is for 32 x 32 pixels, of which five pools leave one. Of smaller images the pools that would leave none are left
    out; of larger ones what the five leave is averaged.

    Args:
        width: factor on every number of channels and on the head's 512; 1 is the paper's, 0.25 a quarter.
        classes: logits.
        mean, std: of the data set, one a channel; applied inside.
        dropout: of the head, in [0, 1).
        size: height and width of the images, pixels; None: 32 x 32.
        seed: of the initial weights (convolutions: normal, std sqrt(2 / (9 out))).
    """
    shared: dict[str, Any] = {
        "classes": classes,
        "mean": mean,
        "std": std,
        "dropout": dropout,
        "size": size,
        "seed": seed,
    }
    return scaled("vgg16", _features, width, taken=taken, hidden=2, **shared)


def shallow(
    width: float,
    depth: int,
    *,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    size: tuple[int, int] | None = None,
    seed: int,
) -> Classifier:
    """What `ensemble_on` needs of `vgg16` where no part takes features from behind a max-pool: its convolutions up to that.

    It is no classifier that could be run: pools that come later follow without convolutions, and the head takes one feature.

    Args:
        depth: the number of the max-pool, 1 and up.
        width, classes, mean, std, size, seed: see `vgg16`.
    """
    shared: dict[str, Any] = {"classes": classes, "mean": mean, "std": std, "dropout": 0.0, "size": size, "seed": seed}
    return scaled("vgg16", partial(_features, stages=_stages(size, depth)), width, taken=lambda _: 1, **shared)
