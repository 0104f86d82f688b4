"""Intervals against published values and an independent implementation; the worst case image by image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact

from groundglass.core.statistics import (
    Family,
    Paired,
    Proportion,
    Repeated,
    as_good,
    differs,
    gain,
    holm,
    paired,
    survivors,
    wilson,
)


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


def outcomes(both: int, first: int, second: int, neither: int = 0) -> tuple[dict[int, bool], dict[int, bool]]:
    """Two outcomes of the same images: how many hold in both, in the first alone, in the second alone, in neither."""
    each = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    one, other = zip(*each, strict=True)
    return dict(enumerate(one)), dict(enumerate(other))


def test_a_difference_on_the_same_images_is_mcnemars() -> None:
    """Of 20 that differ, 15 one way: 2 P(X >= 15) of a fair coin is 43400 / 2^20."""
    found = differs(*outcomes(70, 15, 5, 10))
    assert found is not None
    assert found.paired
    assert found.p == pytest.approx(43_400 / 2**20)
    assert (found.first, found.second) == (Proportion(85, 100), Proportion(75, 100))
    assert found.points == pytest.approx(10)
    assert differs(*outcomes(70, 1, 0, 10)).p == 1  # type: ignore[union-attr]


tables = st.tuples(*(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))) for _ in "ab"))


@given(tables)
def test_a_difference_of_proportions_is_fishers(table: tuple[tuple[int, int], tuple[int, int]]) -> None:
    (a, n), (b, m) = table
    found = differs(Proportion(a, n), Proportion(b, m))
    assert found is not None
    assert not found.paired
    assert found.p == pytest.approx(fisher_exact([[a, n - a], [b, m - b]]).pvalue, rel=1e-6, abs=1e-12)
    swapped = differs(Proportion(b, m), Proportion(a, n))
    assert swapped is not None
    assert swapped.p == pytest.approx(found.p)
    assert swapped.points == pytest.approx(-found.points)


def test_fisher_agrees_with_scipy_at_the_sizes_of_a_study() -> None:
    for a, b in ((512, 480), (9000, 8850), (0, 3), (10_000, 9_990)):
        found = differs(Proportion(a, 10_000), Proportion(b, 10_000))
        assert found is not None
        expected = fisher_exact([[a, 10_000 - a], [b, 10_000 - b]]).pvalue
        assert found.p == pytest.approx(expected, rel=1e-6)


def test_pairing_tells_more_and_only_shared_images_count() -> None:
    first, second = outcomes(50, 10, 0, 40)
    paired_p, loose = differs(first, second), differs(first, Proportion(50, 100))
    assert paired_p is not None
    assert loose is not None
    assert paired_p.p < 0.05 < loose.p
    more = differs({**first, 1000: True, 1001: True}, {**second, 2000: False})
    assert more == paired_p
    assert differs({1: True}, {2: True}) is None
    assert differs({}, Proportion(1, 2)) is None


def test_a_gain_has_its_interval_and_a_loss_the_mirrored_one() -> None:
    first, second = outcomes(300, 60, 20, 120)
    found, lost = gain(first, second), gain(second, first)
    assert found is not None
    assert lost is not None
    assert found.share == pytest.approx(40 / 500)
    low, high = found.interval
    # sqrt((60 + 20 - 40^2 / 500) / 500^2) = 0.0175: the plain interval is +- 0.034.
    assert (low, high) == pytest.approx((0.046, 0.114), abs=0.003)
    assert lost.interval == pytest.approx((-high, -low))
    assert gain({1: True}, {2: True}) is None


def test_as_good_needs_images_and_a_margin() -> None:
    assert as_good(*outcomes(900, 10, 10, 80), margin=0.02)
    assert not as_good(*outcomes(9, 0, 0, 1), margin=0.02), "ten images say nothing, equal as they are"
    assert not as_good(*outcomes(900, 0, 50, 50), margin=0.02)
    assert as_good(*outcomes(900, 0, 50, 50), margin=0.1)
    assert as_good(*outcomes(900, 50, 0, 50), margin=0.0), "better is as good"
    assert not as_good({1: True}, {2: True}, margin=0.9)
    assert as_good(*outcomes(500, 0, 0), margin=0.02), "all right under both"


def test_newcombes_paired_interval() -> None:
    """Newcombe (1998), example of table II: 36, 12, 2, 0 of 50; method 10 gives 0.0569 to 0.3404."""
    first, second = outcomes(36, 12, 2, 0)
    assert as_good(first, second, margin=-0.0568)
    assert not as_good(first, second, margin=-0.0570)


def test_holm_by_the_book() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_is_no_smaller(ps: list[float]) -> None:
    corrected = holm(ps)
    assert all(p <= c <= 1 for p, c in zip(ps, corrected, strict=True))
    assert max(corrected) <= min(1, len(ps) * max(ps)) + 1e-12
    by_p = [c for _, c in sorted(zip(ps, corrected, strict=True))]
    assert by_p == sorted(by_p)
    assert min(corrected) == pytest.approx(min(1, len(ps) * min(ps)))


def test_a_family_corrects_what_is_read_together() -> None:
    more, less = differs(*outcomes(70, 15, 2, 13)), differs(*outcomes(70, 2, 15, 13))
    loose = differs(Proportion(50, 100), Proportion(52, 100))
    alone = Family("exact U", {"more": more})
    together = Family("exact U", {"more": more, "less": less, "none": None, "loose": loose})
    assert more is not None
    assert alone.corrected == {"more": more.p}
    assert together.corrected["more"] == pytest.approx(3 * more.p)
    assert (together.above("more"), together.below("more"), together.stands("more")) == (True, False, True)
    assert (together.above("less"), together.below("less")) == (False, True)
    for nothing in ("none", "loose", "of another family"):
        assert not any(asked(nothing) for asked in (together.stands, together.above, together.below))
    wide = Family("many", dict.fromkeys(range(40), more))
    assert not wide.stands(0), "one of forty is chance"
    assert alone.note == "exact U: one comparison, exact McNemar test, Holm-corrected at 5%"
    assert together.note == "exact U: 3 comparisons, Fisher's exact and exact McNemar test, Holm-corrected at 5%"
