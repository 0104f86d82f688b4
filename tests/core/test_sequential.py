"""Sequential tests: known numbers, and error bounds that hold whenever one stops."""

import math

import numpy as np
import pytest

from groundglass.core.sequential import SequentialTest, SingleOut

FIVE = SequentialTest(rare=0.05, often=0.5, alpha=0.05, beta=0.02)


def said(test: SequentialTest, chance: float, streams: int = 3000, length: int = 400) -> np.ndarray:
    """The share of streams in which it says often, seldom, nothing."""
    drawn = np.random.default_rng(0).random((streams, length)) < chance
    answers = [test.decide(one)[0] for one in drawn]
    return np.array([sum(answer is one for answer in answers) for one in (True, False, None)]) / streams


def most(bound: float, streams: int = 3000) -> float:
    """A share that a true chance of `bound` exceeds once in some thousand times."""
    return bound + 3.5 * math.sqrt(bound / streams)


def test_known_numbers() -> None:
    test = SequentialTest(rare=0.05, often=0.5)
    assert test.decide([True] * 9) == (True, 3)  # each weighs ten times as much, and 1,000 are needed
    assert test.decide([False] * 40) == (False, 11)  # 0.526^11 is the first below 0.001
    assert test.decide([True, False]) == (None, 2)
    assert test.path([True, False]) == pytest.approx([math.log(10), math.log(10) + math.log(0.5 / 0.95)])
    assert test.decide([]) == (None, 0)


def test_its_errors_are_as_rare_as_it_says_however_long_it_looks() -> None:
    seldom, frequent = said(FIVE, FIVE.rare), said(FIVE, FIVE.often)
    assert 0.005 < seldom[0] <= most(FIVE.alpha)
    assert 0.002 < frequent[1] <= most(FIVE.beta)
    assert seldom[2] == frequent[2] == 0
    # Rarer than `rare` it is wrong still less often, and between the two either answer comes.
    assert said(FIVE, 0.01)[0] < seldom[0] / 3
    between = said(FIVE, 0.2)
    assert min(between[:2]) > 0.1


def test_the_bound_holds_where_events_depend_on_what_was_before() -> None:
    """An event that is rare, given the past, whatever it does: here only while the ratio is low it happens at all."""
    random, wrong = np.random.default_rng(1), 0
    up, down = FIVE.path([True])[0], FIVE.path([False])[0]
    for drawn in random.random((1000, 150)):
        events, ratio = [], 0.0
        for one in drawn:
            events.append(bool(one < (FIVE.rare if ratio < 1 else FIVE.rare / 2)))
            ratio += up if events[-1] else down
        wrong += FIVE.decide(events)[0] is True
    assert wrong / 1000 <= most(FIVE.alpha, 1000)


def test_looking_again_and_again_without_such_a_bound_is_wrong_far_more_often() -> None:
    """The control: a test of a fixed number of events at 5%, looked at after each."""
    drawn = np.random.default_rng(0).random((1000, 400)) < FIVE.rare
    counts, seen = drawn.cumsum(1), np.arange(1, 401)
    z = (counts - FIVE.rare * seen) / np.sqrt(FIVE.rare * (1 - FIVE.rare) * seen)
    assert (z > 1.645).any(1).mean() > 5 * FIVE.alpha


@pytest.mark.parametrize(("rare", "often"), [(0.5, 0.5), (0.6, 0.5), (0.0, 0.5), (0.1, 1.0)])
def test_probabilities_that_cannot_be_are_refused(rare: float, often: float) -> None:
    with pytest.raises(ValueError, match=r"rare|often"):
        SequentialTest(rare=rare, often=often)


def test_a_candidate_is_named_after_a_known_number_of_answers() -> None:
    agrees = np.zeros((9, 10), bool)
    agrees[:, 7] = True
    # The mean of (q / .05)^3 over q from .05 to 1 is 2,105, that of its square 140: 1,000 are needed.
    assert SingleOut().decide(agrees) == ((7,), 3)
    assert SingleOut().paths(agrees)[:3, 0] == pytest.approx(
        [math.log(10.5), math.log(140.35), math.log(2105)], abs=2e-3
    )
    assert SingleOut(alpha=0.04).decide(agrees[:, 6:8]) == ((1,), 2)
    assert SingleOut().decide(agrees[:, :7]) == ((), 3)
    assert SingleOut().decide(np.ones((50, 3), bool)) == ((0, 1, 2), 50)
    assert SingleOut().decide(np.zeros((0, 2), bool)) == ((0, 1), 0)
    with pytest.raises(ValueError, match="two candidates"):
        SingleOut().decide(np.ones((4, 1), bool))


def test_one_that_is_rejected_stays_so() -> None:
    agrees = np.ones((400, 3), bool)
    agrees[:3, 0] = False  # rejected, and right ever after
    agrees[200:, 1] = False
    assert SingleOut().paths(agrees)[300, 0] < 0
    left, used = SingleOut().decide(agrees)
    assert left == (2,)
    assert 200 < used < 250


def named(
    test: SingleOut, misses: float, rivals: list[float], *, streams: int, length: int
) -> tuple[float, float, float]:
    """How often another than the true one is named, how often the true one is, and after how many answers, in the median.

    Each candidate agrees by itself; the true one, the first, misses so often.
    """
    random, wrong, after = np.random.default_rng(3), 0, []
    for _ in range(streams):
        agrees = random.random((length, 1 + len(rivals))) < np.array([1 - misses, *rivals])
        left, used = test.decide(agrees)
        wrong += len(left) == 1 and left != (0,)
        after += [used] if left == (0,) else []
    return wrong / streams, len(after) / streams, float(np.median(after)) if after else math.inf


def lead_named(miss: float, alpha: float, rivals: list[float], *, streams: int, length: int) -> float:
    """The control: who leads by enough agreements is named, as a ratio of two candidates' likelihoods has it."""
    random, wrong = np.random.default_rng(3), 0
    for _ in range(streams):
        agrees = random.random((length, 1 + len(rivals))) < np.array([1 - miss, *rivals])
        weights = np.cumsum(np.where(agrees, 0.0, math.log(miss / (1 - miss))), axis=0)
        order = np.sort(weights, axis=1)
        ends = np.flatnonzero(order[:, -1] - order[:, -2] >= math.log(len(rivals) / alpha))
        wrong += len(ends) > 0 and weights[ends[0]].argmax() != 0
    return wrong / streams


@pytest.mark.parametrize("others", [1, 9])
def test_another_is_not_named_though_it_agrees_as_often_as_the_true_one(others: int) -> None:
    test, size = SingleOut(miss=0.05, alpha=0.05), {"streams": 200, "length": 300}
    rivals = [0.95] * others
    wrong, _, _ = named(test, test.miss, rivals, **size)
    assert wrong <= most(test.alpha, 200)
    # Who looks at the lead alone is wrong in half of the cases, and of ten in nine of ten.
    assert lead_named(test.miss, test.alpha, rivals, **size) > 0.4


def test_the_bound_holds_whatever_the_others_do() -> None:
    """They know when the true one misses, and agree then alone; or always."""
    test, random = SingleOut(miss=0.2, alpha=0.1), np.random.default_rng(2)
    for always in (False, True):
        wrong = 0
        for _ in range(1000):
            true = random.random(200) >= test.miss
            agrees = np.column_stack([true, ~true | always])
            wrong += test.decide(agrees)[0] == (1,)
        # It is the true one's own test that errs, and not much more seldom than it says.
        assert (0.02 if always else 0) <= wrong / 1000 <= most(test.alpha, 1000)
    # One that misses twice as often as it may is rejected for sure: the bound is of `miss`.
    assert named(test, 0.4, [1.0], streams=100, length=400)[0] > 0.9


@pytest.mark.parametrize(("others", "soon"), [(1, 15), (9, 25)])
def test_it_names_the_true_one_soon_where_others_agree_half_of_the_time(others: int, soon: int) -> None:
    wrong, right, after = named(SingleOut(), 0.02, [0.5] * others, streams=200, length=200)
    assert wrong <= most(1e-3, 200)
    assert right > 0.98
    assert after <= soon
    # Others that are nearly as good take longer, and are rejected in the end.
    _, right, _ = named(SingleOut(), 0.02, [0.8] * others, streams=40, length=400)
    assert right > 0.9
