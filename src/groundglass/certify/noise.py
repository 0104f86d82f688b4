"""Gaussian noise of the draws of an image: a function of the seed, the image and the draw alone."""

import math

import numpy as np
import torch
from torch import Tensor

from groundglass.core import derive_seed
from groundglass.kernels.tensor import is_card, normals
from groundglass.kernels.threads import for_each


def gaussian(
    seed: int, stage: str, image: int, first: int, draws: int, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Standard normal numbers, float32 [draws, *shape], of the draws from `first` on of an image.

    Each draw has a stream of its own (Philox, counted), so it is the same alone, in any batch and after a resume. A card
    draws the same numbers there, where it can be shown to.

    Args:
        stage: what the draws are for: those that choose a class are not those that estimate its probability.
        image: the place of the image in its set.
    """
    key, count = derive_seed(seed, "smoothing", stage, image), math.prod(shape)
    if is_card(device) and normals.are_right(device):
        return normals.normals(key, first, draws, count, device).float().view(draws, *shape)
    values = np.empty((draws, count), np.float32)

    def draw(row: int) -> None:
        stream = np.random.Generator(np.random.Philox(key=key, counter=(first + row) << 128))
        values[row] = stream.standard_normal(count)

    for_each(range(draws), draw)
    return torch.from_numpy(values).to(device).view(draws, *shape)
