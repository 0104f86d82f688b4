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
    assert SingleOut().decide(agrees) == (7, 4)  # 19^4 is the first above 9 / 0.001
    assert SingleOut(alpha=0.04).decide(agrees[:, 6:8]) == (1, 2)
    assert SingleOut().decide(np.ones((50, 3), bool)) == (None, 50)
    assert SingleOut().decide(np.zeros((0, 2), bool)) == (None, 0)
    with pytest.raises(ValueError, match="two candidates"):
        SingleOut().decide(np.ones((4, 1), bool))


def test_another_candidate_is_named_as_rarely_as_it_says() -> None:
    """The worst that can be: whenever the true one disagrees one of the others agrees alone."""
    test, random, wrong, right = SingleOut(miss=0.2, alpha=0.1), np.random.default_rng(2), 0, 0
    for _ in range(2000):
        true = random.random(200) >= test.miss
        rival = random.integers(1, 4, 200)
        agrees = np.column_stack([true, *(~true & (rival == k) for k in (1, 2, 3))])
        which, _ = test.decide(agrees)
        wrong, right = wrong + (which not in (0, None)), right + (which == 0)
    assert wrong / 2000 <= most(test.alpha, 2000)
    assert right / 2000 > 0.85
    # With an opponent of one alone, which takes all of the disagreement, the bound is nearly reached.
    hits = sum(
        test.decide(np.column_stack([true := random.random(200) >= test.miss, ~true]))[0] == 1 for _ in range(2000)
    )
    assert 0.01 < hits / 2000 <= most(test.alpha, 2000)
