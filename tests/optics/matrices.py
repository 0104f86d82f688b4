"""Matrices for tests."""

from groundglass.optics.entries import Entries
from groundglass.optics.medium import MatrixKind
from groundglass.optics.sealed import Seed
from groundglass.optics.secret_matrix import SecretMatrix


def drawn(
    seed: int, in_features: int, out_features: int, matrix: MatrixKind = "complex", *, by_shake: bool = False
) -> SecretMatrix:
    """The dense matrix of a secret."""
    return SecretMatrix.draw(Entries(Seed(seed), in_features, out_features, matrix), by_shake=by_shake)
