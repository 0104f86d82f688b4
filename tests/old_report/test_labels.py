"""Labels beside curves never lie on each other."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundglass.old_report.labels import spread

labels = st.lists(st.tuples(st.floats(0, 100), st.floats(1, 12)), min_size=1, max_size=8)


@given(labels)
def test_no_overlap_within_bounds_and_in_order(pairs: list[tuple[float, float]]) -> None:
    centres, heights = [list(column) for column in zip(*pairs, strict=True)]
    placed = spread(centres, heights, low=-8, high=108)
    order = sorted(range(len(pairs)), key=lambda i: (centres[i], i))
    for below, above in itertools.pairwise(order):
        assert placed[above] - placed[below] >= (heights[above] + heights[below]) / 2 - 1e-9
    for i in order:
        assert placed[i] - heights[i] / 2 >= -8 - 1e-9
        assert placed[i] + heights[i] / 2 <= 108 + 1e-9


@given(labels)
def test_labels_that_have_room_stay_where_they_are(pairs: list[tuple[float, float]]) -> None:
    centres = [20.0 * i for i in range(len(pairs))]
    assert spread(centres, [height for _, height in pairs], low=-10, high=200) == pytest.approx(centres)


def test_a_pair_moves_apart_by_equal_steps() -> None:
    assert spread([50, 51], [4, 4], low=0, high=100) == pytest.approx([48.5, 52.5])
    assert spread([51, 50], [4, 4], low=0, high=100) == pytest.approx([52.5, 48.5])
    assert spread([0, 0, 0], [4, 4, 4], low=0, high=100) == pytest.approx([2, 6, 10])
