"""Intervals against published values and an independent implementation; the worst case image by image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from groundglass.core.statistics import Paired, Proportion, Repeated, paired, survivors, wilson


@pytest.mark.parametrize(("count", "total"), [(0, 10), (1, 10), (81, 263), (500, 1000), (10, 10), (1, 1)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_agrees_with_scipy(count: int, total: int, confidence: float) -> None:
    expected = binomtest(count, total).proportion_ci(confidence_level=confidence, method="wilson")
    assert wilson(count, total, confidence=confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_has_width(pair: tuple[int, int]) -> None:
    count, total = pair
    low, high = wilson(count, total)
    assert 0 <= low <= count / total <= high <= 1
    assert high - low > 0
    assert wilson(total - count, total) == pytest.approx((1 - high, 1 - low))


def test_nonsense_is_refused() -> None:
    for count, total in ((-1, 10), (11, 10), (0, 0)):
        with pytest.raises(ValueError, match="total"):
            wilson(count, total)
        with pytest.raises(ValueError, match="total"):
            Proportion(count, total)
    with pytest.raises(ValueError, match=r"0\.95, not 95"):
        wilson(1, 2, confidence=95)


def test_clearly_below_needs_intervals_apart() -> None:
    assert Proportion(100, 1000).clearly_below(Proportion(200, 1000))
    assert not Proportion(190, 1000).clearly_below(Proportion(200, 1000))
    assert not Proportion(200, 1000).clearly_below(Proportion(100, 1000))


def attack(index: list[int], fooled: set[int], wrong: set[int] = frozenset()) -> dict[str, np.ndarray]:  # type: ignore[assignment]
    return {
        "index": np.array(index),
        "success": np.array([i in fooled for i in index]),
        "clean_correct": np.array([i not in wrong for i in index]),
    }


def test_an_image_survives_only_what_it_survives_every_time() -> None:
    one, two = attack([0, 1, 2, 3], {0}, wrong={3}), attack([3, 2, 1, 0], {1}, wrong={3})
    assert survivors([one]) == Proportion(2, 4)
    assert survivors([one, two]) == Proportion(1, 4)


def test_only_images_that_all_have_tried_count() -> None:
    assert survivors([attack([0, 1, 2], {0}), attack([1, 2, 7], set())]) == Proportion(2, 2)
    assert survivors([attack([0], set()), attack([1], set())]) is None
    assert survivors([]) is None


@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_mcnemar_agrees_with_scipy(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert Paired(first, second, 200).p == pytest.approx(expected, rel=1e-9)


def test_pairs_are_over_the_images_that_both_have() -> None:
    first = {0: True, 1: True, 2: False, 3: True, 8: True}
    second = {0: False, 1: True, 2: True, 3: False, 9: False}
    assert paired(first, second) == Paired(first=2, second=1, total=4)
    assert paired(second, first) == Paired(first=1, second=2, total=4)
    assert paired(first, {}) == Paired(0, 0, 0)
    assert paired(first, {}).p == 1


def test_trials_on_the_same_images_are_no_more_images() -> None:
    """15 images, 12 and 11 of them: the mean is no whole number of images, and is not rounded to one."""
    both = Repeated(23, 30, times=2)
    assert both.share == pytest.approx(23 / 30)
    low, high = both.interval
    assert wilson(11, 15)[0] < low < wilson(12, 15)[0]
    assert wilson(11, 15)[1] < high < wilson(12, 15)[1]
    assert Repeated(12, 15, times=1).interval == wilson(12, 15)
