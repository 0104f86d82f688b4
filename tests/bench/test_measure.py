"""Times that are known come out as they went in."""

import math

import pytest

from groundglass.bench import Contest, Job, Part, Row, Spread, measure
from tests.bench.fakes import Hands, bench, row


def test_times_share_and_ratio_are_of_the_same_turns():
    found = row("a", work=[1, 2, 4, 8, 16], floor=[0.5, 1, 1, 6, 4], peer=[3, 4, 12, 16, 80])
    assert found.ours.seconds == (1, 2, 4, 8, 16)
    assert found.ours.wall == (2, 4, 8, 16, 32)
    assert found.ours.spread == Spread(2, 4, 8)
    assert found.share == Spread(0.25, 0.5, 0.5)
    assert found.ratio == Spread(2, 3, 3)


def test_the_clock_is_chosen():
    hands = Hands()
    job = Job("a", "", "", lambda _: Contest(hands.moved(1.0)))
    found = measure(job, bench(), turns=2, clock="wall", now=hands.now)
    assert found.ours.seconds == found.ours.wall == (2, 2)
    assert found.floor is found.peer is found.share is found.ratio is None


def test_a_time_is_of_one_unit_of_work_and_parts_count_as_often_as_they_say():
    hands = Hands()
    job = Job(
        "a",
        "",
        "",
        lambda _: Contest(
            hands.moved(6.0), units=lambda found: found / 2, floors=lambda found: {"x": Part(hands.moved(0.1), times=5)}
        ),
    )
    found = measure(job, bench(), turns=3, now=hands.now)
    assert found.ours.seconds == pytest.approx((2, 2, 2))
    assert found.floor is not None
    assert found.floor.seconds == pytest.approx((0.5,) * 3)


def test_what_is_short_is_repeated_and_its_time_is_that_of_once():
    hands, done = Hands(), []
    work = hands.moved(1e-3)
    job = Job("a", "", "", lambda _: Contest(lambda: done.append(work())))
    found = measure(job, bench(), turns=4, now=hands.now)
    assert found.ours.seconds == pytest.approx((1e-3,) * 4)
    assert len(done) == 2 + 4 * 10  # two milliseconds on the wall each, twenty a turn


def test_the_fastest_floor_and_the_fastest_peer_count():
    hands = Hands()

    def broken() -> Part:
        raise ImportError("it is not installed")

    def fails() -> Part:
        return Part(lambda: 1 / 0)

    job = Job(
        "a",
        "",
        "",
        lambda _: Contest(
            hands.moved(1.0),
            floors=lambda _: {"slow": Part(hands.moved(0.9)), "quick": Part(hands.moved(0.01), times=80)},
            peers={
                "slow": lambda: Part(hands.moved(3.0)),
                "quick": lambda: Part(hands.moved(2.0)),
                "broken": broken,
                "fails": fails,
            },
        ),
    )
    found = measure(job, bench(), turns=2, now=hands.now)
    assert (found.floor.what, found.peer.what) == ("quick", "quick")
    assert found.share.median == pytest.approx(0.8)
    assert found.ratio.median == pytest.approx(2)
    assert found.skipped == {
        "broken": "ImportError: it is not installed",
        "fails": "ZeroDivisionError: division by zero",
    }
    alone = measure(job, bench(), turns=2, peers=False, now=hands.now)
    assert alone.peer is None
    assert alone.skipped == {}


def test_a_floor_within_the_work_is_a_share_of_the_same_turn():
    hands = Hands()
    job = Job("a", "", "", lambda _: Contest(hands.moved(1, 1, 2, 4), within=("part", lambda found: 1 / (1 + found))))
    found = measure(job, bench(), turns=2, now=hands.now)
    assert found.ours.seconds == (2, 4)
    assert found.floor.what == "part"
    assert found.floor.seconds == pytest.approx((2 / 3, 4 / 5))


def test_memory_is_what_the_work_held():
    if row("a", [1.0]).peak_bytes is None:
        pytest.skip("this system does not tell")

    def held(count: int) -> Row:
        job = Job("a", "", "", lambda _: Contest(lambda: sum(bytearray(count)[:1])))
        return measure(job, bench(), turns=1)

    few, many = held(1000), held(2**27)
    assert many.peak_bytes - few.peak_bytes > 2**26
    told = Job("a", "", "", lambda _: Contest(lambda: 5.0, peak=lambda found: int(found) * 100))
    assert measure(told, bench(), turns=1).peak_bytes == 500


def test_quartiles_are_those_of_the_turns():
    assert Spread.of([3.0]) == Spread(3, 3, 3)
    assert Spread.of([1, 2, 3, 4, 100]) == Spread(2, 3, 4)
    assert math.isclose(Spread.of([1, 2]).median, 1.5)
