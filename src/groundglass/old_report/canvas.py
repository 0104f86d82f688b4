"""What every figure has in common: its size, and names beside its curves instead of a legend."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from groundglass.old_report.labels import spread

# Inches. Two stand side by side on a desk; one fills a phone, where its smallest letters, of 8.5 points, are 10 pixels.
_WIDTH, _HEIGHT = 4.3, 3.6
_LABEL_LEFT = 1.04  # where labels start, in widths of the axes
_LETTER = 4.9  # points, of a name: on average
_TICK_LETTER = 0.026  # of the width of the axes: room for a digit of a number such as 0.005


def new_axes(*, left: float, right: float, bottom: float, top: float) -> tuple[Any, Any]:
    """A matplotlib Figure and its Axes, with these edges in [0, 1]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT))
    axes = figure.add_axes((left, bottom, right - left, top - bottom))
    axes.spines["top"].set_visible(False)
    return figure, axes


def name_ends(axes: Any, ends: Sequence[tuple[float, float]], names: Sequence[str], colours: Sequence[str]) -> None:
    """Write each curve's name beside the right edge, at the height of its end, with a line in its colour to it.

    A name too long for the room at the right goes on in a second line.

    Limits and scale of the axes are set before; the y axis goes from 0 to 100.
    """
    names = [_fitting(axes, name) for name in names]
    rows = 100 / (axes.get_position().height * _HEIGHT * 72)  # percent a point of type
    heights = [rows * (11 * (name.count("\n") + 1) + 2) for name in names]
    edges = axes.get_position()
    above = min(8.0, 100 * (1 - edges.y1) / edges.height)  # not out of the picture
    places = spread([y for _, y in ends], heights, low=-8, high=100 + above)
    to_axes = axes.transScale + axes.transLimits
    beside = axes.get_yaxis_transform()  # x in widths of the axes, y in percent
    for (x, y), name, colour, place in zip(ends, names, colours, places, strict=True):
        start = float(to_axes.transform((x, y))[0])
        at = [start, 1.015, _LABEL_LEFT + 0.03, _LABEL_LEFT + 0.06]
        axes.plot(at, [y, y, place, place], color=colour, linewidth=0.9, clip_on=False, zorder=1, transform=beside)
        axes.text(_LABEL_LEFT + 0.075, place, name, transform=beside, va="center", fontsize=8.5, linespacing=1.1)


def _fitting(axes: Any, name: str) -> str:
    edges = axes.get_position()
    room = 72 * _WIDTH * (1 - edges.x0 - edges.width * (_LABEL_LEFT + 0.075))
    return "\n".join(part for line in name.split("\n") for part in textwrap.wrap(line, max(6, int(room / _LETTER))))


def paper_axis(axes: Any, told: Mapping[float, float]) -> None:
    """A second axis above: the paper's radii where they were measured, so that no conversion is redone here.

    Args:
        told: x -> the same radius in the paper's units.
    """
    pairs = {**told, 0.0: 0.0}  # the same in any unit
    written = {x: f"{value:.3g}" for x, value in pairs.items()}
    wide = axes.get_xlim()[1] - axes.get_xlim()[0]
    places: list[float] = []
    for x in sorted(pairs, reverse=True):  # from the largest radius down; one too close to the last is left out
        room = _TICK_LETTER * wide * (len(written[x]) + len(written[places[-1]])) / 2 if places else 0.0
        if not places or places[-1] - x > room:
            places.append(x)
    top = axes.twiny()
    top.spines["top"].set_visible(True)
    top.grid(visible=False)
    top.set_xlim(axes.get_xlim())
    top.set_xticks(places, [written[x] for x in places])
    top.set_xlabel("ε in the paper's units (normalised)", labelpad=6)
