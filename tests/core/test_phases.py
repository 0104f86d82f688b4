"""What the epochs of a training are about."""

import pytest

from groundglass.core.phases import effort, phases, still_at, undisturbed

PLAIN = {"epochs": 4}
BOTH = {
    "epochs": 10,
    "growing": {"start": 0.5, "until": 0.4},
    "freezing": {"layers": 4, "after": 0.75},
}


def test_images_grow_and_early_layers_stop():
    assert phases(PLAIN) == [(1.0, False)] * 4
    assert phases(BOTH) == [
        *((share, False) for share in (0.5, 0.625, 0.75, 0.875)),
        *[(1.0, False)] * 4,
        *[(1.0, True)] * 2,
    ]


def test_a_start_between_eighths_is_rounded_down_and_never_to_nothing():
    assert phases({"epochs": 2, "growing": {"start": 0.01, "until": 0.5}})[0][0] == 1 / 8


def test_early_layers_stop_at_the_share_itself_however_it_is_rounded():
    assert 0.56 * 25 > 14, "of floats"
    assert [still_at(epoch, 25, after=0.56) for epoch in (13, 14)] == [False, True]


def test_effort():
    assert effort(PLAIN) == 1
    small = 0.5**2 + 0.625**2 + 0.75**2 + 0.875**2
    assert effort(BOTH) == pytest.approx((small + 4 + 2 * 0.7) / 10)


def test_the_quickest_epoch_of_each_phase_stands_for_the_others():
    assert undisturbed(PLAIN, [9.0, 2.0, 5.0, 3.0]) == 8.0
    seconds = [1.0, 2.0, 3.0, 4.0, 8.0, 5.0, 6.0, 9.0, 3.5, 3.0]
    assert undisturbed(BOTH, seconds) == 1 + 2 + 3 + 4 + 4 * 5 + 2 * 3
    assert undisturbed(PLAIN, [9.0, 2.0]) == 4.0, "an unfinished one"
