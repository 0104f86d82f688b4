"""What a linear model loses at most, by a plain loop: in L1 and in L0, within [0, 1]."""

import torch
from torch import Tensor


def best_in_l1(weight: Tensor, centre: Tensor, eps: float) -> Tensor:
    """The change of one image that adds most to `weight * x`: entries of the largest weights, each to its end of [0, 1]."""
    flat, values = weight.flatten().tolist(), centre.flatten().tolist()
    left, moved = eps, [0.0] * len(flat)
    for at in sorted(range(len(flat)), key=lambda at: -abs(flat[at])):
        size = min(left, 1 - values[at] if flat[at] > 0 else values[at])
        moved[at], left = size if flat[at] > 0 else -size, left - size
    return torch.tensor(moved).view_as(weight)


def best_in_l0(weight: Tensor, centre: Tensor, eps: int) -> Tensor:
    """The same by whole pixels: those that gain most, each channel at its end of [0, 1]."""
    moved = torch.where(weight > 0, 1 - centre, torch.where(weight < 0, -centre, 0))
    gains = (moved * weight).sum(0).flatten().tolist()
    chosen = sorted(range(len(gains)), key=lambda at: -gains[at])[:eps]
    mask = torch.zeros(len(gains))
    mask[chosen] = 1
    return moved * mask.view(weight.shape[1:])
