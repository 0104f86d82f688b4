"""Networks beside each other, image by image."""

import pytest

from groundglass.old_report.pairing import clearly_fewer


def outcome(right: int, wrong: int, start: int = 0) -> dict[int, bool]:
    return {start + i: i < right for i in range(right + wrong)}


@pytest.mark.parametrize(("lost", "clear"), [(7, False), (8, True)])
def test_fewer_is_clear_from_eight_images_all_one_way(lost: int, clear: bool) -> None:
    # By hand: 2 / 2**7 = 0.016, 2 / 2**8 = 0.008.
    assert clearly_fewer(outcome(50 - lost, lost), outcome(50, 0)) is clear
    assert not clearly_fewer(outcome(50, 0), outcome(50 - lost, lost))


def test_images_that_one_alone_has_do_not_count() -> None:
    more = outcome(40, 10) | outcome(500, 0, start=1000)
    assert clearly_fewer(more, outcome(50, 0))
    assert not clearly_fewer(outcome(50, 0), more)
    assert not clearly_fewer({}, outcome(50, 0))
