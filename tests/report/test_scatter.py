"""Points with names: the numbers they are given, and no name on another or across the line of another."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundglass.report.drawing import drawing_style
from groundglass.report.figure import Series
from groundglass.report.scatter import Group, Spot, scatter
from groundglass.report.style import OPEN, PLAIN
from tests.report.collisions import collisions
from tests.report.test_figure import outside, texts

SERIES = (Series("without", OPEN), Series("with", PLAIN))


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with drawing_style():
        yield


def drawn(*panels: tuple[str, list[Group]], tick: str = "") -> Any:
    return scatter(panels, x="clean (%)", y="worst case (%)", series=SERIES, tick=tick)


def one(name: str, x: float, y: float) -> Group:
    return Group(name, (Spot(x, y, PLAIN),))


def leaders(axes: Any) -> list[list[list[float]]]:
    """The thin lines to names: their two ends, in [0, 1] of the axes."""
    return [line.get_xydata().tolist() for line in axes.lines if line.get_transform() == axes.transAxes]


def crosses(one: list[list[float]], other: list[list[float]]) -> bool:
    def side(a: list[float], b: list[float], c: list[float]) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    a, b = (side(*one, end) * 1e6 for end in other)
    c, d = (side(*other, end) * 1e6 for end in one)
    return a * b < -1e-6 and c * d < -1e-6


def test_a_group_has_its_points_their_repeats_its_interval_and_its_tick() -> None:
    pair = Group("a", (Spot(80, 0, OPEN, ends=(0, 5)), Spot(60, 20, PLAIN, each=[(59, 18), (61, 22)], tick=33)))
    (axes,) = drawn(("L2", [pair]), tick="certified").axes
    found = [line.get_xydata().tolist() for line in axes.lines if line.get_transform() != axes.transAxes]
    assert found == [[[80, 0], [60, 20]], [[80, 0], [80, 5]], [[80, 0]], [[59, 18], [61, 22]], [[60, 33]], [[60, 20]]]
    assert (axes.get_xlim(), axes.get_ylim()) == ((50, 90), (0, 40))
    ((start, _),) = leaders(axes)
    assert start == pytest.approx([0.5, 0.25]), "from the middle of the pair"


POINT = st.tuples(st.integers(0, 100), st.integers(0, 100))


@settings(deadline=None, max_examples=6)
@given(st.lists(POINT, min_size=1, max_size=14, unique=True))
def test_names_are_apart_and_no_line_to_one_crosses_another(points: list[tuple[int, int]]) -> None:
    figure = drawn(("", [one(f"name {i}", *point) for i, point in enumerate(points)]))
    assert (collisions(figure), outside(figure)) == ([], [])
    assert not any(crosses(a, b) for a, b in combinations(leaders(figure.axes[0]), 2))


def test_panels_have_room_for_long_names_and_a_phone_shows_them() -> None:
    names = [f"a name of two lines that is number {i}" for i in range(12)]
    groups = [one(name, 80, 0) for name in names]
    figure = drawn(("L∞ ε = 8/255", groups), ("L2 ε = 0.25", groups[:2]), ("a $x$", groups[:1]), tick="certified")
    assert (collisions(figure), outside(figure)) == ([], [])
    heights = [axes.get_position().height * figure.get_figheight() for axes in figure.axes]
    assert heights[0] > 12 * 0.3 > heights[1] == pytest.approx(heights[2])
    assert min(text.get_fontsize() for text in texts(figure)) * 362 / (72 * figure.get_figwidth()) > 9
