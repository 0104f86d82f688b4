"""The laws of an i.i.d. complex Gaussian matrix, on arrays of intensities: what they are, and their standard errors."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: Intensities over their expectation [inputs, outputs].
Array = npt.NDArray[np.float64]

#: A law holds within so many standard deviations: of fifty laws of an i.i.d. matrix one fails in 3000 tables.
HOLDS_WITHIN = 4.5
# Intensities in the tests of their distribution. Entries of a dense device are integers of std 32, cut at 127: one input's
# light is for that .0027 away from an exponential law, and its contrast .0010 too small. More values would show it.
_VALUES = 2**14
# A p-value of 0 has no deviate: this is the least, 37 standard deviations.
_LEAST = 1e-300
# Outputs of a tile of a dense or procedural device.
_TILE = 32


@dataclass(frozen=True)
class Law:
    """A law of i.i.d. complex Gaussian matrices, and what a medium gives.

    Attributes:
        name: short.
        measured: a statistic of the medium.
        expected: what an i.i.d. matrix of this size gives.
        standard_error: of `measured`, for such a matrix.
        score: how far `measured` is from `expected`, as a deviate of a standard Gaussian. Where the statistic is not
            Gaussian (KS distances, variances, the largest of many) it comes from the p-value.
        says: what it is, and what a failure would mean.
        expected_to_differ: whether a structured medium that passes for speckle may fail it.
    """

    name: str
    measured: float
    expected: float
    standard_error: float
    score: float
    says: str
    expected_to_differ: bool = False

    @property
    def holds(self) -> bool:
        """Whether chance explains the difference."""
        return abs(self.score) < HOLDS_WITHIN


def laws_of_independent_inputs(kind: str, light: Array) -> Iterator[Law]:
    """Of inputs of one kind that have no ones in common: all the light [rows, M] is independent, exponential, of mean 1."""
    rows, outputs = light.shape
    few = light.ravel()[:: -(-light.size // _VALUES)]
    distance, score = kolmogorov_smirnov(few)
    root = math.sqrt(few.size)
    yield Law(
        f"intensity is exponential, {kind}",
        *(distance, 0.8687 / root, 0.2603 / root, score),  # mean and std of Kolmogorov's law
        "Kolmogorov-Smirnov distance over outputs; large when the field is not a complex Gaussian number",
    )
    yield _gaussian_law(
        f"contrast, {kind}",
        *(float(few.std() / few.mean()), 1.0, 1 / root),
        "std over mean of the light; 0 for a constant, 1.41 for a real matrix",
    )
    if rows >= 8:
        yield spread_law(
            f"total over inputs, {kind}",
            *(light.mean(1), outputs),
            "std over mean of the light's sum, times sqrt(M), over inputs at one U; 0 for a unitary U",
        )
    uniform = _uniform(light)
    for step, name in ((1, "neighbouring outputs"), (_TILE, f"outputs {_TILE} apart")):
        yield _correlation_law(
            f"{name}, {kind}",
            *(uniform[:, step:], uniform[:, :-step]),
            "correlation of the light at two outputs; not 0 when they share part of a sum",
        )
    yield _largest_law(
        f"outputs any fixed step apart, {kind}",
        np.concatenate([_scores_of_steps(row) for row in uniform[:8]]),
        1 / math.sqrt(outputs),
        "largest correlation of outputs m and m + s, or m and m xor s, over s, of one input; 1 when they are equal in pairs",
    )


def laws_of_entries(light: Array) -> Iterator[Law]:
    """Of one-hot inputs in their order, a power of two of them: the light [K, M] is |U_mi|^2, and all independent."""
    uniform = _uniform(light)
    yield _correlation_law(
        "neighbouring inputs",
        *(uniform[1:], uniform[:-1]),
        "correlation over outputs of the light of inputs i and i + 1 alone; not 0 when their columns of U share numbers",
    )
    square = uniform[:, : power_of_two(light.shape[1])]
    correlations = xor_correlations(square)
    error = math.sqrt(2 / square.size)
    yield _largest_law(
        "inputs any fixed xor apart",
        *(correlations[1:, 0] / error, error),
        "largest correlation over outputs of the light of inputs i and i xor s alone, over s",
    )
    yield _largest_law(
        "inputs and outputs any fixed xor apart",
        *(correlations.ravel()[1:] / error, error),
        "largest correlation of |U_mi|^2 and |U_m'i'|^2 for m' = m xor s and i' = i xor t, over s and t",
    )
    diagonal = correlations.diagonal()[1:]
    yield _gaussian_law(
        "inputs and outputs the same xor apart",
        *(float(diagonal.mean()), 0.0, error / math.sqrt(diagonal.size)),
        "mean over s of the correlation of |U_mi|^2 and |U_m'i'|^2 for m' = m xor s, i' = i xor s; 1/n for H D H G H D H D",
    )
    sides = ((correlations[0, 1:], "outputs", square.shape[0]), (correlations[1:, 0], "inputs", square.shape[1]))
    for side, many, others in sides:
        ratio = float(np.mean((side / error) ** 2))
        # The product of the four entries of a rectangle is in the squares for both of its sides: they have a covariance.
        score, deviation = spread(ratio, side.size / (1 + 2 / others))
        yield Law(
            f"scatter of the correlation over xors of {many}",
            *(math.sqrt(ratio), 1.0, deviation, score),
            f"std over s of the correlation of {many} s apart (xor), times the root of the number of pairs; above 1 when it "
            "depends on s alone, as it does for outputs of H G H D H D",
            expected_to_differ=True,
        )


def spectrum_law(matrix: Tensor) -> Law:
    """Third moment of U^H U / M over the cube of the first: 1 + 3g + g^2, g = N / M, by Marchenko and Pastur."""
    outputs, inputs = matrix.shape
    smaller = matrix if outputs < inputs else matrix.mH
    gram = smaller @ smaller.mH
    trace = float(gram.diagonal().real.sum(dtype=torch.float64))
    third = float((gram @ gram * gram.conj()).real.sum(dtype=torch.float64)) / trace**3 * inputs**2
    g = inputs / outputs
    expected = 1 + 3 * g + g * g
    # The variance of a sum of f over the eigenvalues b + d cos(t) is sum k a_k^2 / 4, with a_k the Fourier coefficients of
    # f (Johansson, Duke Math. J. 91, 1998); here f = (b + d cos t)^3 - 3 expected (b + d cos t).
    b, d = 1 + g, 2 * math.sqrt(g)
    a1, a2, a3 = 3 * b * b * d + 0.75 * d**3 - 3 * expected * d, 1.5 * b * d * d, d**3 / 4
    error = math.sqrt((a1**2 + 2 * a2**2 + 3 * a3**2) / 4) / inputs
    return _gaussian_law(
        "third moment of the spectrum",
        *(third, expected, error),
        "of U^H U / M, where the matrix can be seen; more for independent Gaussian numbers between unitary factors",
        expected_to_differ=True,
    )


def kernel_law(name: str, products: Array, r: float) -> Law:
    """E[I(x) I(y)] = |x|^2 |y|^2 + <x, y>^2; in units of the first term 1 + r, r the squared cosine of x and y."""
    # E[I^2 J^2] = 4 + 16 r + 4 r^2 for the squared magnitudes of two complex Gaussian numbers.
    error = math.sqrt((3 + 14 * r + 3 * r * r) / products.size)
    says = "mean over outputs of I(x) I(y), over |x|^2 |y|^2: 1 + r, r the squared cosine of x and y; 1 + 2r for a real matrix"
    return _gaussian_law(name, float(products.mean()), 1 + r, error, says)


def spread_law(name: str, totals: Array, count: int, says: str, *, shared: float = 0.0) -> Law:
    """The standard deviation of totals that have mean 1 and variance 1 / count; `shared`: the correlation of any two."""
    ratio = float(totals.var(ddof=1)) * count / (1 - shared)
    score, error = spread(ratio, len(totals) - 1)
    return Law(name, math.sqrt(ratio), 1.0, error, score, says)


def power_of_two(count: int) -> int:
    """The largest power of two that is not larger."""
    return 1 << (count.bit_length() - 1)


def _gaussian_law(
    name: str, measured: float, expected: float, error: float, says: str, *, expected_to_differ: bool = False
) -> Law:
    return Law(name, measured, expected, error, (measured - expected) / error, says, expected_to_differ)


def _correlation_law(name: str, some: Array, others: Array, says: str) -> Law:
    return _gaussian_law(name, float((some * others).mean()), 0.0, 1 / math.sqrt(some.size), says)


def _largest_law(name: str, scores: Array, unit: float, says: str) -> Law:
    """Of correlations over their standard errors; `unit`: the standard error that they are given in."""
    most = float(np.abs(scores).max())
    score, median, deviation = largest(most, scores.size)
    return Law(name, most * unit, median * unit, deviation * unit, score, says)


def _uniform(light: Array) -> Array:
    """1 - exp(-I): of variance 1 and mean 0 here when the light is exponential of mean 1. Bounded, so that means of products
    are soon Gaussian. A constant has no correlation with anything: other laws are for that."""
    level = -np.expm1(-light)
    return np.asarray((level - level.mean()) * math.sqrt(12))


def _scores_of_steps(row: Array) -> Array:
    """Correlations of outputs m, m + s (cyclic) and m, m xor s, over their standard errors."""
    n = power_of_two(len(row))
    shifts = np.fft.irfft(np.abs(np.fft.rfft(row)) ** 2, len(row))[1 : len(row) // 2]
    xors = xor_correlations(row[None, :n])[0, 1:]
    return np.concatenate([shifts / math.sqrt(len(row)), xors * math.sqrt(n / 2)])


def deviate(above: float, below: float) -> float:
    """The standard Gaussian deviate with the probabilities `above` it and `below` it, from the smaller, which is exact."""
    normal = NormalDist()
    if above < below:
        return -normal.inv_cdf(max(above, _LEAST))
    return normal.inv_cdf(max(below, _LEAST))


def kolmogorov_smirnov(values: Array) -> tuple[float, float]:
    """The KS distance of `values` from the exponential law of mean 1, and its deviate: large when the distance is.

    Kolmogorov's series, with Stephens' correction for finite samples (JRSS B 32, 1970).
    """
    law = -np.expm1(-np.sort(values, axis=None))
    n = law.size
    steps = np.arange(n + 1) / n
    distance = float(max((steps[1:] - law).max(), (law - steps[:-1]).max()))
    x = distance * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    # Two series for the one function: each is exact where the other converges slowly.
    above = 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 20))
    below = math.sqrt(2 * math.pi) / x * sum(math.exp(-(((2 * k - 1) * math.pi / x) ** 2) / 8) for k in range(1, 20))
    return distance, deviate(above, 1 - above) if x > 1 else deviate(1 - below, below)


def spread(ratio: float, freedom: float) -> tuple[float, float]:
    """For a variance that is `ratio` of its expectation, with so many degrees of freedom: its deviate, and the standard
    error of its root.

    The cube root of a chi-square is nearly Gaussian (Wilson and Hilferty, PNAS 17, 1931).
    """
    narrow = 2 / (9 * freedom)
    return (ratio ** (1 / 3) - (1 - narrow)) / math.sqrt(narrow), 1 / math.sqrt(2 * freedom)


def largest(score: float, trials: int) -> tuple[float, float, float]:
    """For the largest |score| of `trials` independent Gaussian ones: its deviate, its median and its standard deviation.

    The last by Gumbel's law, in units of the scores.
    """
    one = math.erfc(score / math.sqrt(2))
    log_below = trials * math.log1p(-min(one, 1 - 1e-16))
    median = NormalDist().inv_cdf(0.5 ** (1 / trials) / 2 + 0.5)
    return deviate(-math.expm1(log_below), math.exp(log_below)), median, math.pi / math.sqrt(6) / median


def walsh_hadamard(values: Array, axis: int) -> Array:
    """Unnormalised, along an axis whose length is a power of two; in the natural (Sylvester) order."""
    out = np.moveaxis(values, axis, 0).copy()
    size, step = len(out), 1
    while step < size:
        pairs = out.reshape(size // (2 * step), 2, step, -1)
        pairs[:, 0] += pairs[:, 1]
        # a + b - 2 b = a - b, without another array of this size.
        pairs[:, 1] *= -2
        pairs[:, 1] += pairs[:, 0]
        step *= 2
    return np.moveaxis(out, 0, axis)


def xor_correlations(values: Array) -> Array:
    """[s, t]: the mean of values[i, m] * values[i xor s, m xor t] over all i and m; both lengths are powers of two."""
    power = walsh_hadamard(walsh_hadamard(values, 0), 1) ** 2
    return walsh_hadamard(walsh_hadamard(power, 0), 1) / values.size**2
