"""Where the table of laws says too little of a structured medium: fields, spectra, and totals over many redraws.

Every law has a control that breaks it: a stand-in that is simpler than ours in one way.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from groundglass.core.sealed import Seed
from groundglass.optics.structured import StructuredMedium, quarter_circle
from tests.kernels.references import walsh_hadamard
from tests.optics.test_structured import SIZES, UNIT, hot

N = 1024


def turns(rng: np.random.Generator) -> np.ndarray:
    return 1j ** rng.integers(0, 4, N)


def gaussian(rng: np.random.Generator) -> np.ndarray:
    return (rng.normal(size=N) + 1j * rng.normal(size=N)) / 2**0.5


def quarters(rng: np.random.Generator) -> np.ndarray:
    return turns(rng) * rng.permutation(quarter_circle(N, 45.0)) / 45.0


def chain(*diagonals: Callable[[np.random.Generator], np.ndarray], seed: int, z: np.ndarray) -> np.ndarray:
    """Fields of H Dk ... H D1, k transforms of size N, over their mean size."""
    rng = np.random.default_rng(seed)
    for diagonal in diagonals:
        z = walsh_hadamard(z * diagonal(rng))
    return z / N ** ((len(diagonals) - 1) / 2)


def spread(totals: list[float], outputs: int) -> float:
    """std over mean of the total light, in units of 1 / sqrt(outputs)."""
    return float(np.std(totals) / np.mean(totals) * outputs**0.5)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("ones", [1, 2, 500])
def test_the_total_light_varies_over_redraws_as_independent_outputs_do(ones: int) -> None:
    """1 / sqrt(M), known to 4.1% of 300 redraws."""
    for inputs, outputs in SIZES:
        bits = torch.from_numpy(hot(ones, 1, inputs))
        media = (StructuredMedium(Seed(seed), inputs, outputs) for seed in range(300))
        assert spread([float(m.intensities(bits).sum()) for m in media], outputs) == pytest.approx(1, abs=0.2)

    def control(*diagonals: Callable[[np.random.Generator], np.ndarray], redraws: int) -> float:
        bits = hot(ones, 1, N).astype(complex)
        return spread([float((np.abs(chain(*diagonals, seed=k, z=bits)) ** 2).sum()) for k in range(redraws)], N)

    # Energy that is conserved, and Gaussian numbers, of which the sum of squares varies by itself.
    assert control(turns, turns, turns, redraws=20) < 1e-6
    assert ones > 1 or control(turns, quarters, redraws=20) < 1e-6
    assert control(turns, turns, turns, gaussian, turns, turns, redraws=300) == pytest.approx(2**0.5, abs=0.25)


def coherent(columns: np.ndarray) -> float:
    """The largest of sqrt(N) times the mean of u_i^H u_j / N over all pairs (i, j) of one xor."""
    here = np.arange(N)
    partners = [*(here ^ 2**k for k in range(10)), here ^ 3, here ^ 341, here ^ (N - 1)]
    means = [np.mean(np.einsum("ki,ki->i", columns.conj(), columns[:, other])) / N for other in partners]
    return float(np.abs(means).max()) * N**0.5


def test_fields_of_neighbours_are_uncorrelated() -> None:
    """The mean over 512 pairs is sqrt(512) times less than one of them, which is 1 / sqrt(N); in rows as in columns."""
    u = StructuredMedium(Seed(9), N, N).dense().astype(np.complex128) / UNIT["complex"] ** 0.5
    assert coherent(u) < 5 / 512**0.5
    assert coherent(u.T) < 5 / 512**0.5
    # Control: with one transform on the left, the correlation of two outputs depends on their xor alone.
    assert coherent(chain(turns, turns, quarters, seed=0, z=np.eye(N, dtype=complex))) > 1


def test_spectrum_is_that_of_independent_entries() -> None:
    """Moments of U^H U / M: Marchenko and Pastur's 1, 1 + g, 1 + 3g + g^2, g = N / M."""
    for inputs, outputs in ((512, 1024), (1024, 1024), (700, 400), (500, 2048)):
        g = inputs / outputs
        u = StructuredMedium(Seed(3), inputs, outputs).dense() / UNIT["complex"] ** 0.5
        inner = u.conj().T @ u / outputs
        second = inner @ inner
        traces = [np.trace(inner), np.trace(second), np.vdot(inner, second)]
        moments = [float(trace.real) / inputs for trace in traces]
        assert moments == pytest.approx([1, 1 + g, 1 + 3 * g + g**2], rel=0.015)
    # Control: of a square block the spectrum is that of |G|^2. Gaussian numbers drawn one by one would give 1 + 3g + 2 g^2.
    drawn = np.concatenate([np.abs(gaussian(np.random.default_rng(seed))) ** 2 for seed in range(500)])
    assert np.mean(drawn**3) == pytest.approx(6, abs=0.2)
