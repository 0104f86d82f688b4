"""The price curve: what an error of U is worth. Nothing here knows about files or pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, floor, log10
from typing import Any

from groundglass.old_report.canvas import name_ends, new_axes
from groundglass.old_report.retrieval_attacks import Attacked, Radius
from groundglass.old_report.retrieval_numbers import percent_ticks
from groundglass.old_report.style import INK, ink, marker

# Of a label at a dot, in points of type: a letter's width, and the room to the next label.
_LETTER, _GAP = 4.7, 4.0
# The height of a label, in points of accuracy.
_TALL = 6.5
# The width of the strip for one sign, in widths of the axes.
_SIGN = 0.05


@dataclass(frozen=True)
class DotName:
    """A label for one dot or for several.

    Attributes:
        x: the middle of its dots, in percent (of the error).
        top: what the label stands on, in points of accuracy.
    """

    x: float
    top: float
    text: str


def price_curve(radius: Radius) -> Any | None:
    """Accuracy under PGD against the error of the U that it uses; None while no attack has such a U.

    The blurred U is a line with its 95% band, a retrieved one a dot, hollow for a redraw period.
    Attackers without an error of their own are lines across, each with its sign and interval in a strip at the left.
    """
    blurred = [one for one in radius.blurred if one.matrix_error]
    errors = [100 * one.matrix_error for one in (*blurred, *radius.retrieved) if one.matrix_error]
    if not errors:
        return None
    figure, axes = new_axes(left=0.13, right=0.635, bottom=0.135, top=0.96)
    axes.set_xscale("log")
    first, last = min(errors) / 1.6, max(*errors, 30) * 1.25
    marks = [one for one in (radius.exact, *radius.without, radius.baseline) if one is not None]
    # A strip at the left, that is no part of the axis, for the signs of those without an error.
    strip = _SIGN * len(marks)
    axes.set_xlim(first / (last / first) ** (strip / (1 - strip)), last)
    axes.set_ylim(0, 100)
    colour = ink("exact").light
    ends: list[tuple[float, float]] = []
    for one in marks:
        ends.append((last, 100 * one.robust.share))
    for i, one in enumerate(marks):
        _mark(axes, one, _SIGN * (i + 0.5))
    if blurred:
        x = [100 * (one.matrix_error or 0.0) for one in blurred]
        low, high = ([100 * one.robust.interval[k] for one in blurred] for k in (0, 1))
        share = [100 * one.robust.share for one in blurred]
        axes.plot(x, share, color=colour, marker="o", markersize=3.5, clip_on=False, zorder=3)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)
    for one in radius.retrieved:
        _retrieved(axes, one)
    _name_dots(axes, radius.retrieved)
    axes.set_xlabel("relative error of U (%, logarithmic)")
    axes.set_ylabel("accuracy under attack (%)")
    percent_ticks(axes.xaxis)
    decades = range(floor(log10(first)), ceil(log10(last)) + 1)
    axes.set_xticks([10.0**k for k in decades if first <= 10.0**k <= last])
    axes.set_xticks([d * 10.0**k for k in decades for d in range(2, 10) if first <= d * 10.0**k <= last], minor=True)
    if marks:
        axes.axvline(first, color=INK.light, linewidth=0.8, zorder=1)
        axes.text(strip / 2, 0.985, "exact U,\nor none", transform=axes.transAxes, ha="center", va="top", fontsize=8)
    names = [_mark_name(one) for one in marks]
    colours = [ink(one.cell.rule).light for one in marks]
    if blurred:
        ends.append((100 * (blurred[-1].matrix_error or 0.0), 100 * blurred[-1].robust.share))
        names.append("U blurred\nby so much")
        colours.append(colour)
    name_ends(axes, ends, names, colours)
    return figure


def _mark_name(one: Attacked) -> str:
    return one.label if one.cell.rule != "bp" else "VGG-16\n← BP"


def _mark(axes: Any, one: Attacked, place: float) -> None:
    """A line across; its sign and its interval where they hide nothing. `place`: in widths of the axes."""
    colour, across = ink(one.cell.rule).light, axes.get_yaxis_transform()
    share, hollow = 100 * one.robust.share, one.cell.rule == "bp"
    low, high = (100 * bound for bound in one.robust.interval)
    dash = "-" if one.cell.rule == "exact" else (0, (5, 2))
    axes.axhline(share, color=colour, linewidth=1.0, linestyle=dash, zorder=1)
    axes.plot([place, place], [low, high], color=colour, linewidth=1.5, transform=across, clip_on=False, zorder=3)
    axes.plot(
        [place],
        [share],
        color=colour,
        marker=marker(one.cell.rule),
        markersize=5.5,
        markerfacecolor="white" if hollow else colour,
        linestyle="",
        transform=across,
        clip_on=False,
        zorder=4,
    )


def _retrieved(axes: Any, one: Attacked) -> None:
    x, share = 100 * (one.matrix_error or 0.0), 100 * one.robust.share
    low, high = (100 * bound for bound in one.robust.interval)
    hollow = one.retrieval is not None and one.retrieval.purpose == "period"
    axes.plot([x, x], [low, high], color=INK.light, linewidth=1.5, clip_on=False, zorder=4)
    axes.plot(
        [x],
        [share],
        color=INK.light,
        marker="D",
        markersize=5,
        markerfacecolor="white" if hollow else INK.light,
        linestyle="",
        clip_on=False,
        zorder=5,
    )


def dot_names(dots: Sequence[Attacked], decades: float) -> list[DotName]:
    """Labels for retrieved matrices; dots whose labels would meet share one, such as "8–24 N".

    The dots of redraw periods have none: they lie close together, and a table tells of them.

    Args:
        dots: all dots of the figure.
        decades: of the error axis, in one point of type.
    """
    named = [d for d in dots if d.matrix_error and d.retrieval is not None and d.retrieval.purpose == "price"]
    groups = [[one] for one in sorted(named, key=lambda d: d.matrix_error or 0.0)]
    while (met := next((pair for pair in combinations(groups, 2) if _meet(*pair, decades)), None)) is not None:
        one, other = met
        groups = [group for group in groups if group not in met] + [one + other]
    others = [d for d in dots if d.matrix_error and d not in named]
    return sorted((_named(group, others, decades) for group in groups), key=lambda name: name.x)


def _meet(one: Sequence[Attacked], other: Sequence[Attacked], decades: float) -> bool:
    """Whether the labels, or one label and a dot of the other, have too little room beside each other."""
    room = (_wide(_text(one), decades) + _wide(_text(other), decades)) / 2 + _GAP * decades
    beside = abs(log10(_middle(one)) - log10(_middle(other))) >= room
    return not beside and _low(one) < _top(other) + _TALL and _low(other) < _top(one) + _TALL


def _named(group: Sequence[Attacked], others: Sequence[Attacked], decades: float) -> DotName:
    """The label of a group, above the dots without a name that it would hide."""
    x, top, text = _middle(group), _top(group), _text(group)
    for one in sorted(others, key=lambda d: d.robust.share):
        beside = abs(log10(100 * (one.matrix_error or 1.0)) - log10(x)) > _wide(text, decades) / 2
        if not beside and _low([one]) < top + _TALL and _top([one]) > top:
            top = _top([one])
    return DotName(x, top, text)


def _text(group: Sequence[Attacked]) -> str:
    frames = sorted({(d.retrieval.frames, d.retrieval.times_n) for d in group if d.retrieval is not None})
    first, last = frames[0][1], frames[-1][1]
    return first if first == last else f"{first.removesuffix(' N')}–{last}"


def _wide(text: str, decades: float) -> float:
    return _LETTER * len(text) * decades


def _middle(group: Sequence[Attacked]) -> float:
    errors = [100 * (d.matrix_error or 1.0) for d in group]
    return float((min(errors) * max(errors)) ** 0.5)


def _low(group: Sequence[Attacked]) -> float:
    return 100 * min(d.robust.interval[0] for d in group)


def _top(group: Sequence[Attacked]) -> float:
    return 100 * max(d.robust.interval[1] for d in group)


def _name_dots(axes: Any, dots: Sequence[Attacked]) -> None:
    first, last = (log10(bound) for bound in axes.get_xlim())
    points = 72 * axes.get_position().width * axes.figure.get_figwidth()
    for name in dot_names(dots, (last - first) / points):
        at_top = name.top > 92
        axes.annotate(
            name.text,
            (name.x, name.top if not at_top else 88),
            xytext=(0, 3) if not at_top else (7, 0),
            textcoords="offset points",
            ha="center" if not at_top else "left",
            va="bottom" if not at_top else "center",
            fontsize=8.5,
            color=INK.light,
            zorder=6,
        )
