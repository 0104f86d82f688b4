"""Inputs and matrices for tests of devices."""

import torch
from torch import Tensor

from groundglass.core.sealed import Seed
from groundglass.optics.dense import DenseMedium
from groundglass.optics.medium import MatrixKind


def draw(rows: int, inputs: int, density: float = 0.5, seed: int = 0) -> Tensor:
    """Random bits, uint8 [rows, inputs]."""
    uniform = torch.rand(rows, inputs, generator=torch.Generator().manual_seed(seed))
    return (uniform < density).to(torch.uint8)


def drawn(
    seed: int, in_features: int, out_features: int, matrix: MatrixKind = "complex", *, by_shake: bool = False
) -> DenseMedium:
    """The dense matrix of a secret."""
    return DenseMedium(Seed(seed), in_features, out_features, matrix, 1 if by_shake else 2)
