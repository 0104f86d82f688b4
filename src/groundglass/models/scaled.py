"""What the networks of this package have in common: a width, a seed of their weights, and a `Classifier` around them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated

import torch
from torch import nn

from groundglass.core import derive_seed, own_streams
from groundglass.core.settings import Count, Dropout, In, fit
from groundglass.models.classifier import Classifier

#: Width, channels, size of the images -> the layers up to [batch, d].
Features = Callable[[float, int, tuple[int, int]], nn.Module]


def of_width(channels: int, width: float) -> int:
    """So many channels, times `width`."""
    return max(1, round(channels * width))


def linear_head(features: int, classes: int, dropout: float, *, hidden: int = 0) -> nn.Sequential:
    """Dropout, Linear, ReLU, `hidden` times, and Linear: [batch, features] -> [batch, classes]."""
    layers: list[nn.Module] = []
    for a, b in pairwise((features,) * (hidden + 1)):
        linear = nn.Linear(a, b, dtype=torch.float32, device="cpu")
        # For ReLU: torch's default shrinks the signal through the head, and training starts late.
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [nn.Dropout(dropout), linear, nn.ReLU()]
    last = nn.Linear(features, classes, dtype=torch.float32, device="cpu")
    return nn.Sequential(*layers, last) if hidden else nn.Sequential(nn.Dropout(dropout), last)


def scaled(
    name: str,
    features: Features,
    width: float,
    *,
    taken: Callable[[float], int],
    hidden: int = 0,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dropout: float,
    size: tuple[int, int] | None,
    seed: int,
) -> Classifier:
    """`features` and a head, with weights that are drawn from `seed` and `name`; the other arguments are those of `vgg16`.

    Args:
        taken: d, of a width.
        hidden: layers of the head before its last.

    Raises:
        ValueError: an argument that cannot be.
    """
    width = fit(Annotated[float, In("(0, 8]", "a factor on the channels, 1 is the published network")], width, "width")
    shape = (32, 32) if size is None else fit(tuple[Count, Count], size, "size")
    classes, dropout = fit(Annotated[int, In("[2, inf)")], classes, "classes"), fit(Dropout, dropout, "dropout")
    with own_streams(derive_seed(seed, name)):
        body = features(width, len(mean), shape)
        head = linear_head(taken(width), classes, dropout, hidden=hidden)
    return Classifier(body, head, mean=mean, std=std, size=size)
