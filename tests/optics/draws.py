"""Inputs and matrices for tests of devices."""

import torch
from torch import Tensor

from groundglass.optics.entries import Entries
from groundglass.optics.medium import MatrixKind
from groundglass.optics.sealed import Seed
from groundglass.optics.secret_matrix import SecretMatrix


def draw(rows: int, inputs: int, density: float = 0.5, seed: int = 0) -> Tensor:
    """Random bits, uint8 [rows, inputs]."""
    uniform = torch.rand(rows, inputs, generator=torch.Generator().manual_seed(seed))
    return (uniform < density).to(torch.uint8)


def drawn(
    seed: int, in_features: int, out_features: int, matrix: MatrixKind = "complex", *, by_shake: bool = False
) -> SecretMatrix:
    """The dense matrix of a secret."""
    return SecretMatrix.draw(Entries(Seed(seed), in_features, out_features, matrix), by_shake=by_shake)
