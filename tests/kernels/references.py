"""What the compiled kernels compute, in plain numpy and torch: slow, and short enough to check by eye."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

Reals = npt.NDArray[np.floating]
Complexes = npt.NDArray[np.complexfloating]


def philox(key: Sequence[int], counter: Sequence[int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) of one counter."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        p, q = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (q >> 32) ^ c1 ^ k0, q & 0xFFFFFFFF, (p >> 32) ^ c3 ^ k1, p & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def walsh_hadamard(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The unnormalised transform of the last axis, from the nearest pairs to the farthest, in the values' own type."""
    values = values.copy()
    step = 1
    while step < values.shape[-1]:
        pairs = values.reshape(*values.shape[:-1], -1, 2, step)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        pairs[...] = np.stack((first + second, first - second), -2)
        step *= 2
    return values


def chain_of_transforms(
    bits: npt.NDArray[np.uint8],
    phases: npt.NDArray[np.uint16],
    levels: npt.NDArray[np.uint8],
    kind: type[np.floating],
) -> Reals:
    """Fields of one block of a structured medium, real and imaginary parts [2, batch, n]; all arithmetic in this type."""
    parts = np.zeros((2, len(bits), len(phases)), dtype=kind)
    parts[0, :, : bits.shape[1]] = bits
    for stage in range(6):
        turn = phases >> (2 * stage) & 3
        cos, sin = np.array([1, 0, -1, 0], kind)[turn], np.array([0, 1, 0, -1], kind)[turn]
        parts = np.stack((cos * parts[0] - sin * parts[1], sin * parts[0] + cos * parts[1]))
        parts = walsh_hadamard(parts * levels.astype(kind) if stage == 3 else parts)
    return parts


def sweep(rows: Complexes, signs: Reals, low: Reals, high: Reals, trust: Reals) -> tuple[Complexes, Complexes, Reals]:
    """sum of s_k r_k [lanes, n], sum of r_k [lanes] and sum of |r_k|^2 [lanes] over frames k; see `jit.hadamard.sweep`.

    Args:
        rows: [lanes, n].
        signs: s_k, [frames, n].
        low, high: intensities [frames, lanes].
        trust: [lanes].
    """
    z = (rows.sum(1)[None] + signs @ rows.T) / 2
    size = np.sqrt(np.square(np.abs(z)) + 1e-12)
    with np.errstate(invalid="ignore", over="ignore"):
        target = np.sqrt(np.clip(size**2, low, high))
        share = np.minimum(1.0, np.where(np.isinf(high), 1.0, high * trust))
    step = (target / size - 1) * share
    r = z * step
    return r.T @ signs, r.sum(0), np.square(size * step).sum(0)


def weighted(rows: Complexes, signs: Reals, weights: Reals) -> Complexes:
    """sum of weight_k s_k (s_k . row) over frames k, [lanes, n]; weights: [frames, lanes]."""
    return np.asarray(((signs @ rows.T) * weights).T @ signs)


def convolve(layers: Sequence[tuple[Tensor, Tensor, bool]], images: Tensor) -> Tensor:
    """3 x 3 convolutions of (weight, bias, whether to pool), each with ReLU and perhaps 2 x 2 max-pooling."""
    for weight, bias, pool in layers:
        images = F.relu(F.conv2d(images, weight.to(images.dtype), bias.to(images.dtype), padding=1))
        images = F.max_pool2d(images, 2) if pool else images
    return images
