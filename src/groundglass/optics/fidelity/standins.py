"""Naive stand-ins for a scattering medium: the controls that the table of laws must find out."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.optics.fidelity.laws import walsh_hadamard

#: N, M, seed -> bits uint8 [batch, N] -> intensities float64 [batch, M], in units of the mean square of an entry of U.
Maker = Callable[[int, int, int], Callable[[Tensor], Tensor]]
_Complex = npt.NDArray[np.complex128]


def real_matrix(in_features: int, out_features: int, seed: int) -> Callable[[Tensor], Tensor]:
    """(Wx)^2 with an i.i.d. real Gaussian W: the simulation that was published with the paper."""
    w = np.random.default_rng(seed).standard_normal((in_features, out_features))
    return _light(lambda x: x @ w)


def low_rank(in_features: int, out_features: int, seed: int) -> Callable[[Tensor], Tensor]:
    """U = A B with complex Gaussian factors, of rank N / 16."""
    rank = max(1, in_features // 16)
    rng = np.random.default_rng(seed)
    a, b = _gaussian(rng, in_features, rank), _gaussian(rng, rank, out_features) / math.sqrt(rank)
    return _light(lambda x: x @ a @ b)


def transforms(diagonals: str) -> Maker:
    """U a product of diagonals, each with a Hadamard transform H behind it, of n >= N, M; outputs 0 to M - 1 are read.

    Args:
        diagonals: as the light meets them, a letter each. "S": random signs; "P": random phases; "G": complex Gaussian
            numbers; "Q": random phases times the magnitudes of the quarter-circle law, in random order.
    """

    def make(in_features: int, out_features: int, seed: int) -> Callable[[Tensor], Tensor]:
        n = 1 << (max(in_features, out_features) - 1).bit_length()
        rng = np.random.default_rng(seed)
        factors = [_DIAGONALS[letter](rng, n) for letter in diagonals]

        def field(x: npt.NDArray[np.float64]) -> _Complex:
            z = np.pad(x, ((0, 0), (0, n - x.shape[1]))).astype(np.complex128)
            for factor in factors:
                z *= factor
                z = walsh_hadamard(z.real, 1) + 1j * walsh_hadamard(z.imag, 1)
            return np.asarray(z[:, :out_features] * n ** (-(len(factors) - 1) / 2))

        return _light(field)

    return make


def _light(field: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.generic]]) -> Callable[[Tensor], Tensor]:
    return lambda bits: torch.from_numpy(np.abs(field(bits.numpy().astype(np.float64))) ** 2)


def _gaussian(rng: np.random.Generator, *shape: int) -> _Complex:
    """Of mean square 1."""
    return np.asarray((rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2))


def _signs(rng: np.random.Generator, n: int) -> _Complex:
    return np.asarray(rng.choice([-1.0, 1.0], n), dtype=np.complex128)


def _phases(rng: np.random.Generator, n: int) -> _Complex:
    return np.asarray(np.exp(2j * np.pi * rng.random(n)))


def _quarter_circle(rng: np.random.Generator, n: int) -> _Complex:
    grid = np.linspace(0, 2, 4097)
    law = (grid * np.sqrt(4 - grid**2) / 2 + 2 * np.arcsin(grid / 2)) / np.pi
    magnitudes = np.interp((np.arange(n) + 0.5) / n, law, grid)
    return rng.permutation(magnitudes) * _phases(rng, n)


_DIAGONALS: dict[str, Callable[[np.random.Generator, int], _Complex]] = {
    "S": _signs,
    "P": _phases,
    "G": _gaussian,
    "Q": _quarter_circle,
}

#: By the name that a table gives them, and what each is known for.
STANDINS: dict[str, Maker] = {
    "real matrix": real_matrix,  # contrast 1.41
    "low rank": low_rank,  # totals that vary too much, outputs that go together
    "H D": transforms("P"),  # one input alone gives a constant
    "H D H D": transforms("PP"),  # unitary: the light's sum does not vary
    "H G H D": transforms("SG"),  # two inputs alone give pairs of equal outputs
    "H G H D H D": transforms("SSG"),  # totals that vary too much; outputs' correlation depends on m xor m'
    "H D H G H D H D": transforms("PPQP"),  # the pairs (m, i) and (m xor s, i xor s) are correlated
}
