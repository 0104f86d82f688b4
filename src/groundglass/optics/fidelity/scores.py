"""How far a statistic is from what an i.i.d. complex Gaussian matrix gives, as deviates of a standard Gaussian."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

# A p-value of 0 has no deviate: this is the least, 37 standard deviations.
_LEAST = 1e-300


def deviate(above: float, below: float) -> float:
    """The standard Gaussian deviate with the probabilities `above` it and `below` it, from the smaller, which is exact."""
    normal = NormalDist()
    if above < below:
        return -normal.inv_cdf(max(above, _LEAST))
    return normal.inv_cdf(max(below, _LEAST))


def kolmogorov_smirnov(values: npt.NDArray[np.float64]) -> tuple[float, float]:
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


def walsh_hadamard(values: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
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


def xor_correlations(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[s, t]: the mean of values[i, m] * values[i xor s, m xor t] over all i and m; both lengths are powers of two."""
    power = walsh_hadamard(walsh_hadamard(values, 0), 1) ** 2
    return walsh_hadamard(walsh_hadamard(power, 0), 1) / values.size**2
