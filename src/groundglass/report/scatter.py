"""The third kind of figure: points that stand for things, in panels one below the other, each named at the right."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from groundglass.report.axes import WIDTH, declutter, new_axes, spread
from groundglass.report.figure import Series
from groundglass.report.style import FAINT, INK, Style

# Inches.
_LEFT, _RIGHT = 0.6, 2.62
_NAMES = 2.86  # where they begin
_PANEL = 1.75
_LINE = 0.155  # of a name
_BETWEEN = 0.62
_LETTER = 4.9 / 72


@dataclass(frozen=True)
class Spot:
    """A point.

    Attributes:
        each: what it is the mean of; small points.
        ends: of its interval along y; none, if empty.
        tick: a further value along y, a short line.
    """

    x: float
    y: float
    style: Style
    each: Sequence[tuple[float, float]] = ()
    ends: Sequence[float] = ()
    tick: float | None = None


@dataclass(frozen=True)
class Group:
    """Points that belong together: a line joins them, and they have one name."""

    name: str
    spots: tuple[Spot, ...]

    @property
    def middle(self) -> tuple[float, float]:
        count = len(self.spots)
        return sum(one.x for one in self.spots) / count, sum(one.y for one in self.spots) / count


def scatter(
    panels: Sequence[tuple[str, Sequence[Group]]],
    *,
    x: str,
    y: str,
    series: Sequence[Series],
    tick: str = "",
) -> Any:
    """Groups of points in percent, panel by panel, over one x axis.

    Args:
        panels: title and groups, from the top; each has a group.
        x, y: labels of the axes.
        series: of the key above.
        tick: what the short lines are, in the key; none, if empty.

    Returns:
        A matplotlib Figure.
    """
    figure, first = new_axes(left=0, right=1, bottom=0, top=1)
    letters = int((WIDTH - _NAMES - 0.02) / _LETTER)
    named = [[textwrap.wrap(group.name, letters)[:2] for group in groups] for _, groups in panels]
    steps = [_LINE * max(len(lines) for lines in names) + 0.02 for names in named]
    heights = [max(_PANEL, step * len(names)) for step, names in zip(steps, named, strict=True)]
    key = 0.08 + 0.19 * math.ceil((len(series) + bool(tick)) / 2)
    titled = 0.24 if any(title for title, _ in panels) else 0.06
    total = key + titled + sum(heights) + (titled + _BETWEEN - 0.24) * (len(panels) - 1) + 0.5
    figure.set_figheight(total)
    across = _limits([spot for _, groups in panels for group in groups for spot in group.spots])
    top = key + titled
    for i, ((title, groups), names, step, height) in enumerate(zip(panels, named, steps, heights, strict=True)):
        axes = figure.add_axes((0, 0, 1, 1)) if i else first
        axes.set_position((_LEFT / WIDTH, 1 - (top + height) / total, (_RIGHT - _LEFT) / WIDTH, height / total))
        axes.set_xlim(*across)
        axes.set_ylim(0, _highest(groups))
        axes.locator_params(nbins=5)
        axes.set_ylabel(y)
        axes.set_title(title, fontsize=9, loc="left", pad=5, color=INK.light)
        for group in groups:
            _draw(axes, group)
        _name(axes, groups, names, step=step, height=height)
        top += height + titled + _BETWEEN - 0.24
    axes.set_xlabel(x, labelpad=3)
    _key(figure, series, tick)
    return declutter(figure)


def _limits(spots: Sequence[Spot]) -> tuple[float, float]:
    """Of the x axis: whole tens around all points."""
    every = [value for spot in spots for value in (spot.x, *(x for x, _ in spot.each))]
    low, high = 10 * math.floor((min(every) - 1) / 10), 10 * math.ceil((max(every) + 1) / 10)
    return max(0, low), min(100, max(high, low + 10))


def _highest(groups: Sequence[Group]) -> float:
    spots = [spot for group in groups for spot in group.spots]
    every = [v for spot in spots for v in (spot.y, *spot.ends, spot.tick or 0.0, *(y for _, y in spot.each))]
    return min(100.0, max(10.0, 10 * math.ceil((max(every) + 1) / 10)))


def _draw(axes: Any, group: Group) -> None:
    axes.plot(
        [spot.x for spot in group.spots],
        [spot.y for spot in group.spots],
        color=INK.light,
        linewidth=0.9,
        clip_on=False,
        zorder=3,
    )
    for spot in group.spots:
        look = {"linestyle": "", "clip_on": False, **spot.style.marked}
        if spot.each:
            axes.plot(*zip(*spot.each, strict=True), markersize=2.2, markeredgewidth=0.6, alpha=0.6, zorder=3, **look)
        if spot.ends:
            axes.plot([spot.x] * 2, spot.ends, color=spot.style.ink.light, linewidth=1.0, clip_on=False, zorder=3)
        if spot.tick is not None:
            axes.plot([spot.x], [spot.tick], **{**look, "marker": "_"}, markersize=9, markeredgewidth=1.8, zorder=5)
        axes.plot([spot.x], [spot.y], markersize=5.5, zorder=4, **look)


def _name(axes: Any, groups: Sequence[Group], names: Sequence[Sequence[str]], *, step: float, height: float) -> None:
    """Names in a column at the right, with a thin line from each group: shortest together, so that none crosses another.

    Args:
        step, height: of a name and of the axes, inches.
    """
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    at = [tuple(map(float, to_axes(group.middle))) for group in groups]
    order = sorted(range(len(at)), key=lambda i: (at[i][1], -at[i][0]))
    places = spread([at[i][1] for i in order], [step / height] * len(at), low=-0.06, high=1.06)
    edge = (_NAMES - _LEFT - 0.04) / (_RIGHT - _LEFT)

    def length(group: int, place: int) -> float:
        x, y = at[order[group]]
        return math.hypot((edge - x) * (_RIGHT - _LEFT), (places[place] - y) * height)

    taken, better = list(range(len(order))), True
    while better:
        better = False
        for one, two in combinations(range(len(order)), 2):
            now = length(one, taken[one]) + length(two, taken[two])
            if length(one, taken[two]) + length(two, taken[one]) < now - 1e-9:
                taken[one], taken[two], better = taken[two], taken[one], True
    for one, place in enumerate(taken):
        x, y = at[order[one]]
        path = ([x, edge], [y, places[place]])
        axes.plot(*path, color=FAINT.light, linewidth=0.6, clip_on=False, zorder=2, transform=axes.transAxes)
        axes.text(
            edge + 0.015,
            places[place],
            "\n".join(names[order[one]]),
            transform=axes.transAxes,
            va="center",
            fontsize=8.5,
            linespacing=1.1,
            color=INK.light,
        )


def _key(figure: Any, series: Sequence[Series], tick: str) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linestyle="", markersize=5.5, label=one.name, **one.style.marked) for one in series]
    if tick:
        look: dict[str, Any] = {"marker": "_", "markersize": 9, "markeredgewidth": 1.8, "color": INK.light}
        handles.append(Line2D([], [], linestyle="", label=tick, **look))
    # A legend fills column by column; a reader goes row by row.
    handles = [handle for i in range(2) for handle in handles[i::2]]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=2,
        fontsize=8.5,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.2,
        labelspacing=0.35,
        borderaxespad=0.2,
    )
