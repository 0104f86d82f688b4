"""The light of a structured medium is speckle, as that of an i.i.d. matrix; and where it is not.

Every law has a control that breaks it: a stand-in that is simpler than ours in one way, or a real matrix.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from groundglass.optics.dense import DenseMedium
from groundglass.optics.medium import Medium
from groundglass.optics.sealed import Seed
from groundglass.optics.structured import StructuredMedium, quarter_circle
from tests.optics.test_structured import SIZES, UNIT, hot, walsh

N = 1024


def light(medium: Medium, bits: np.ndarray) -> np.ndarray:
    """Intensities over the mean that |x|^2 gives: [inputs, outputs]."""
    found = medium.intensities(torch.from_numpy(np.ascontiguousarray(bits, dtype=np.uint8))).numpy()
    return found / UNIT[medium.matrix] / bits.sum(1, keepdims=True)


# ---- simpler stand-ins -------------------------------------------------------------------------------------------


def turns(rng: np.random.Generator) -> np.ndarray:
    return 1j ** rng.integers(0, 4, N)


def gaussian(rng: np.random.Generator) -> np.ndarray:
    return (rng.normal(size=N) + 1j * rng.normal(size=N)) / 2**0.5


def chain(*diagonals: Callable[[np.random.Generator], np.ndarray]) -> Callable[[int, np.ndarray], np.ndarray]:
    """(seed, bits) -> intensities over the mean, of H Dk ... H D1, k transforms of size N."""

    def intensities(seed: int, bits: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(seed)
        z = bits.astype(complex)
        for diagonal in diagonals:
            z = walsh(z * diagonal(rng))
        return np.abs(z) ** 2 / N ** (len(diagonals) - 1) / bits.sum(1, keepdims=True)

    return intensities


def ours(seed: int, bits: np.ndarray) -> np.ndarray:
    return light(StructuredMedium(Seed(seed), bits.shape[1], N), bits)


def quarters(rng: np.random.Generator) -> np.ndarray:
    return turns(rng) * rng.permutation(quarter_circle(N, 45.0)) / 45.0


one_block = chain(turns)
unitary = chain(turns, turns, turns)
one_on_both = chain(turns, quarters)
two_on_both = chain(turns, turns, quarters, turns)
with_gaussians = chain(turns, turns, turns, gaussian, turns, turns)


# ---- speckle -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ones", [1, 2, 3, 30, 500])
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_intensity_is_exponential(inputs: int, outputs: int, ones: int) -> None:
    """Over outputs, with the mean that |x|^2 gives. One-hot, sparse and dense inputs."""
    bits = hot(ones, 16, inputs)
    found = light(StructuredMedium(Seed(1), inputs, outputs), bits)
    # Of dense inputs one, as they have much in common.
    tried = slice(1 if ones > 100 else None)
    assert stats.kstest(found[tried].ravel(), stats.expon().cdf).pvalue > 0.001
    assert (found.std(1) / found.mean(1)).mean() == pytest.approx(1, abs=5 / (16 * outputs) ** 0.5)
    assert found[tried].mean() == pytest.approx(1, abs=5 / found[tried].size ** 0.5)
    # Control: a real medium's intensity is chi-square of one degree of freedom, of contrast sqrt(2).
    real = light(StructuredMedium(Seed(1), inputs, outputs, "real"), bits)
    assert stats.kstest(real[tried].ravel(), stats.expon().cdf).pvalue < 1e-5
    assert stats.kstest(real[tried].ravel(), stats.chi2(1).cdf).pvalue > 0.0001
    assert (real.std(1) / real.mean(1)).mean() == pytest.approx(2**0.5, abs=0.06)


def test_one_hadamard_block_makes_no_speckle_of_few_inputs() -> None:
    assert one_block(0, np.eye(N)[:5]).std() == 0
    # Neighbours on: at most four brightnesses.
    assert len(np.unique(one_block(0, hot(2, 1, N)).round(6))) <= 4
    assert stats.kstest(ours(0, hot(2, 1, N))[0], stats.expon().cdf).pvalue > 0.001


def spread(totals: np.ndarray, outputs: int) -> float:
    """std over mean of the total light, in units of 1 / sqrt(outputs)."""
    return float(totals.std() / totals.mean() * outputs**0.5)


@pytest.mark.parametrize("ones", [1, 2, 500])
def test_the_total_light_varies_over_redraws_as_independent_outputs_do(ones: int) -> None:
    """1 / sqrt(M), known to 4.1% of 300 redraws."""
    bits = hot(ones, 1, N)
    for inputs, outputs in SIZES:
        some = hot(ones, 1, inputs)
        media = (StructuredMedium(Seed(seed), inputs, outputs) for seed in range(300))
        assert spread(np.array([light(medium, some).sum() for medium in media]), outputs) == pytest.approx(1, abs=0.2)
    # Controls: energy that is conserved, and Gaussian numbers, of which the sum of squares varies by itself.
    assert spread(np.array([unitary(seed, bits).sum() for seed in range(20)]), N) < 1e-6
    if ones == 1:
        totals = np.array([one_on_both(seed, bits).sum() for seed in range(20)])
        assert spread(totals, N) < 1e-6
    totals = np.array([with_gaussians(seed, bits).sum() for seed in range(300)])
    assert spread(totals, N) == pytest.approx(2**0.5, abs=0.25)


def test_the_total_light_varies_over_inputs_as_independent_outputs_do() -> None:
    """At one U: x^H U^H U x varies by the width of the spectrum, 1 / sqrt(M)."""
    for inputs, outputs in SIZES:
        medium = StructuredMedium(Seed(2), inputs, outputs)
        for bits in (np.eye(inputs)[:1000], hot(2, 1000, inputs)):
            assert spread(light(medium, bits).sum(1), outputs) == pytest.approx(1, abs=0.15)
    assert spread(unitary(0, hot(2, 100, N)).sum(1), N) < 1e-6


def kernel_error(medium: Medium, factor: float, seed: int = 0) -> np.ndarray:
    """Relative error of E[|Ux|^2 |Uy|^2] = |x|^2 |y|^2 + factor <x, y>^2, from disjoint inputs to equal ones."""
    rng = np.random.default_rng(seed)
    errors = []
    for ones in (1, 2, 40, 300):
        for shared in {0, ones // 2, ones}:
            order = rng.permutation(medium.in_features)
            x, y = np.zeros((2, medium.in_features), dtype=np.uint8)
            x[order[:ones]] = 1
            y[order[ones - shared : 2 * ones - shared]] = 1
            both = light(medium, np.stack((x, y)))
            errors.append(both.prod(0).mean() / (1 + factor * (shared / ones) ** 2) - 1)
    return np.array(errors)


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_kernel_law(inputs: int, outputs: int) -> None:
    """For x = y the std of I^2 / E[I^2] is sqrt(5), of M outputs; less for all others."""
    medium = StructuredMedium(Seed(4), inputs, outputs)
    assert np.abs(kernel_error(medium, 1)).max() < 4.5 * (5 / outputs) ** 0.5
    real = StructuredMedium(Seed(4), inputs, outputs, "real")
    assert np.abs(kernel_error(real, 1)).max() > 0.3
    assert np.abs(kernel_error(real, 2)).max() < 5 * (10 / outputs) ** 0.5


def test_the_error_of_the_kernel_falls_with_the_root_of_the_outputs() -> None:
    """16 times the outputs, a quarter of the error: within one block, and over many."""
    sizes = [(900, 250), (900, 4000)]
    found = [
        np.sqrt(np.mean([kernel_error(StructuredMedium(Seed(s), *size), 1, s) ** 2 for s in range(25)]))
        for size in sizes
    ]
    assert found[0] / found[1] == pytest.approx(4, rel=0.25)


# ---- neighbours --------------------------------------------------------------------------------------------------


def partners() -> list[np.ndarray]:
    """For each of N: its neighbour, those that differ in one bit of their number, and some that differ in several."""
    here = np.arange(N)
    return [(here + 1) % N, (here + 2) % N, *(here ^ 2**k for k in range(10)), here ^ 3, here ^ 341, here ^ (N - 1)]


@pytest.mark.parametrize("ones", [1, 2, 500])
def test_outputs_share_no_light(ones: int) -> None:
    """Of one input, over redraws: products of 150 x 1024 pairs, so known to 0.0026."""
    bits = hot(ones, 1, N)
    both = np.flatnonzero(bits[0])[:2]
    at = [*partners(), np.arange(N) ^ both[0] ^ both[-1]] if ones > 1 else partners()

    def shared(intensities: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
        found = np.concatenate([intensities(seed, bits) for seed in range(150)]) - 1
        return np.array([np.mean(found * found[:, other]) for other in at])

    assert np.abs(shared(ours)).max() < 5 * 0.0026
    if ones == 2:
        # Control: outputs m and m xor i xor j of two inputs i, j are one, if D1 is +-1 between them: half of the time.
        assert shared(one_on_both)[-1] > 0.3


@pytest.fixture(scope="module")
def square() -> np.ndarray:
    """U / std of an entry: [N, N]."""
    return StructuredMedium(Seed(9), N, N).dense().astype(np.complex128) / UNIT["complex"] ** 0.5


def correlations(light: np.ndarray) -> np.ndarray:
    """Of entries (m, i) and (m xor a, i xor b), over all of them: [a, b], in units of their standard error."""
    power = walsh(walsh(light - light.mean()).T) ** 2
    # Products of N^2 / 2 pairs.
    return walsh(walsh(power).T).T / N**3 / 2**0.5


def seen(found: np.ndarray) -> dict[str, tuple[float, float]]:
    """Mean and size of the correlations between rows, between columns, and of entries that move in both by the same."""
    chosen = {"rows": found[1:, 0], "columns": found[0, 1:], "both": found.diagonal()[1:], "all": found.ravel()[1:]}
    return {name: (float(values.mean()), float(np.sqrt(np.mean(values**2)))) for name, values in chosen.items()}


def test_entries_share_no_light(square: np.ndarray) -> None:
    """All 2^20 shifts: correlations of the size that chance gives, in places where structure would show and elsewhere."""
    light = np.abs(square) ** 2
    found = correlations(light)
    for mean, size in seen(found).values():
        assert abs(mean) < 4.5 / (N - 1) ** 0.5
        assert size == pytest.approx(1, abs=0.12)
    assert np.abs(found.ravel()[1:]).max() < 6.5
    for other in (np.roll(light, 1, 0), np.roll(light, 1, 1), np.roll(light, (1, 1), (0, 1))):
        assert abs(np.mean((light - 1) * (other - 1))) < 5 / N
    # Controls: with one transform on both sides an entry is a function of row xor column; with two, entries that move
    # together share 1 / N of their light.
    assert seen(correlations(one_on_both(0, np.eye(N)).T))["both"][0] > 100
    assert seen(correlations(two_on_both(0, np.eye(N)).T))["both"][0] > 4.5 / (N - 1) ** 0.5


def coherent(columns: np.ndarray) -> float:
    """The largest of sqrt(N) times the mean of u_i^H u_j / N over all pairs (i, j) of one xor."""
    means = [np.mean(np.einsum("ki,ki->i", columns.conj(), columns[:, a])) / N for a in partners()[2:]]
    return float(np.abs(means).max()) * N**0.5


def test_fields_of_neighbours_are_uncorrelated(square: np.ndarray) -> None:
    """The mean over 512 pairs is sqrt(512) times less than one of them, which is 1 / sqrt(N); in rows as in columns."""
    assert coherent(square) < 5 / 512**0.5
    assert coherent(square.T) < 5 / 512**0.5
    # Control: with one transform on the left, the correlation of two outputs hangs on their xor alone.
    assert coherent(fields_with_one_on_the_left().T) > 1


def fields_with_one_on_the_left() -> np.ndarray:
    rng = np.random.default_rng(0)
    z = np.eye(N, dtype=complex)
    for diagonal in (turns, turns, quarters):
        z = walsh(z * diagonal(rng))
    return z.T / N


def test_spectrum_is_that_of_independent_entries() -> None:
    """Moments of U^H U / M: Marchenko and Pastur's 1, 1 + g, 1 + 3g + g^2, g = N / M."""

    def moments(u: np.ndarray) -> list[float]:
        inner = u.conj().T @ u / len(u)
        second = inner @ inner
        traces = [np.trace(inner), np.trace(second), np.vdot(inner, second)]
        return [float(trace.real) / len(inner) for trace in traces]

    for inputs, outputs in ((512, 1024), (1024, 1024), (700, 400), (500, 2048)):
        g = inputs / outputs
        u = StructuredMedium(Seed(3), inputs, outputs).dense() / UNIT["complex"] ** 0.5
        assert moments(u) == pytest.approx([1, 1 + g, 1 + 3 * g + g**2], rel=0.015)
    # Control: of a square block the spectrum is that of |G|^2. Gaussian numbers drawn one by one would give 1 + 3g + 2 g^2.
    drawn = np.concatenate([np.abs(gaussian(np.random.default_rng(seed))) ** 2 for seed in range(500)])
    assert np.mean(drawn**3) == pytest.approx(6, abs=0.2)


def test_where_it_differs() -> None:
    """The total light of all one-hot inputs is a constant of a square device; of independent entries it varies by 1 / N."""
    eye = torch.eye(N, dtype=torch.uint8)

    def total(medium: Medium) -> float:
        return float(medium.intensities(eye).sum() / UNIT["complex"] / N**2)

    totals = [total(StructuredMedium(Seed(seed), N, N)) for seed in range(3)]
    assert np.ptp(totals) < 1e-6
    assert totals[0] == pytest.approx(1, abs=1e-3)
    independent = [total(DenseMedium.make(Seed(seed), N, N, "complex")) for seed in range(3)]
    assert np.ptp(independent) > 1e-4
