"""Walsh-Hadamard transforms of tensors, with the butterflies of the compiled ones in the same order."""

import torch
from torch import Tensor


def transform(values: Tensor) -> Tensor:
    """The unnormalised transform of the last axis, of a power of two, from the nearest pairs to the farthest.

    Each level is the sums and the differences of its pairs, each rounded once: the same bits as `jit.structured.transform`.
    """
    step, size = 1, values.shape[-1]
    while step < size:
        first, second = values.unflatten(-1, (size // (2 * step), 2, step)).unbind(-2)
        values = torch.stack((first + second, first - second), -2).flatten(-3)
        step *= 2
    return values
