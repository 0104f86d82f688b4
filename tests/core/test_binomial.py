"""Against scipy, whose functions statsmodels uses too."""

import pytest
from scipy.stats import beta, binomtest

from groundglass.core.binomial import fair_p, incomplete_beta, lower_limit


@pytest.mark.parametrize("total", [1, 2, 10, 100, 1000, 10_000, 100_000])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_the_lower_limit_is_that_of_clopper_and_pearson(total: int, alpha: float) -> None:
    for count in {1, total // 2, total * 99 // 100, total - 1, total} - {0}:
        found = lower_limit(count, total, alpha=alpha)
        assert found == pytest.approx(beta.ppf(alpha, count, total - count + 1), rel=1e-8)
        assert incomplete_beta(count, total - count + 1, found) == pytest.approx(alpha, rel=1e-8)
    assert lower_limit(0, total, alpha=alpha) == 0


def test_at_the_limit_so_many_are_seen_as_seldom_as_asked() -> None:
    from math import comb

    p = lower_limit(7, 9, alpha=0.01)
    assert sum(comb(9, k) * p**k * (1 - p) ** (9 - k) for k in range(7, 10)) == pytest.approx(0.01, rel=1e-12)


@pytest.mark.parametrize("sides", [(3, 5), (0, 7), (8, 8), (130, 100), (49_000, 51_000), (1, 0)])
def test_the_test_of_a_fair_coin_is_the_exact_one(sides: tuple[int, int]) -> None:
    assert fair_p(*sides) == pytest.approx(binomtest(sides[0], sum(sides), 0.5).pvalue, rel=1e-8)


def test_no_toss_says_nothing() -> None:
    assert fair_p(0, 0) == 1


@pytest.mark.parametrize("bad", [(2, 1, 0.1), (-1, 2, 0.1), (0, 0, 0.1), (1, 2, 0.5), (1, 2, 0.0)])
def test_what_is_no_count_is_refused(bad: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        lower_limit(bad[0], bad[1], alpha=bad[2])
