"""Exact limits and tests of a binomial probability, by the incomplete beta function."""

import math
from typing import Annotated

from groundglass.core.settings import Count, In, Tally, fit

_ERRS = Annotated[float, In("(0, 0.5)", "how often it may be wrong: 0.001 for once in a thousand")]
# What stands for 0 in a denominator of the continued fraction.
_TINY = 1e-300
_EXACT = 1e-15


def lower_limit(count: int, total: int, *, alpha: float) -> float:
    """The one-sided Clopper-Pearson limit: a probability that is below the true one with confidence 1 - `alpha`.

    It is the p at which `count` or more of `total` would be seen with probability alpha; 0 where count is 0.

    Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 1934. The same as `proportion_confint(count, total, alpha=2 * alpha, method="beta")[0]` of statsmodels.

    Raises:
        ValueError: not 0 <= count <= total with total >= 1, or alpha not in (0, 0.5).
    """
    count, total, alpha = fit(Tally, count, "count"), fit(Count, total, "total"), fit(_ERRS, alpha, "alpha")
    if count > total:
        raise ValueError(f"`count` (={count}) must be at most `total` (={total})")
    if count == 0:
        return 0.0
    if count == total:
        return alpha ** (1 / total)
    low, high = 0.0, count / total
    # Bisection to neighbouring floats: the lower of them is on the safe side.
    while low < (middle := (low + high) / 2) < high:
        if incomplete_beta(count, total - count + 1, middle) < alpha:
            low = middle
        else:
            high = middle
    return low


def fair_p(first: int, second: int) -> float:
    """Two-sided p of a fair coin that fell `first` times on one side and `second` times on the other; 1 for no toss.

    The exact binomial test at probability 1/2: as `scipy.stats.binomtest(first, first + second, 0.5).pvalue`.
    """
    first, second = fit(Tally, first, "first"), fit(Tally, second, "second")
    if first == second:
        return 1.0
    # P(at most k of n) is I_{1/2}(n - k, k + 1).
    return min(1.0, 2 * incomplete_beta(max(first, second), min(first, second) + 1, 0.5))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0 and x in [0, 1].

    Source: the continued fraction 8.17.22 of the NIST Digital Library of Mathematical Functions, by the modified method of
    Lentz (1976, with the changes of Thompson and Barnett 1986).
    """
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # there the fraction of the other tail converges
        return 1 - incomplete_beta(b, a, 1 - x)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # 1 + d_1 / (1 + d_2 / (1 + ...)), from the front: ratios of neighbouring numerators, and of denominators.
    found = upper = 1.0
    lower, step = 0.0, 1
    while True:
        m = step // 2
        numerator = -(a + m) * (a + b + m) if step % 2 else m * (b - m)
        term = numerator * x / ((a + step - 1) * (a + step))
        lower, upper = 1 / _kept(1 + term * lower), _kept(1 + term / upper)
        found *= upper * lower
        if abs(upper * lower - 1) < _EXACT:
            return math.exp(log) / (a * found)
        step += 1


def _kept(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
