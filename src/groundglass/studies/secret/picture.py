"""The picture of the study: accuracy under attack against bits of the secret, and against images that are no bits of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from groundglass.core.statistics import Proportion
from groundglass.report.axes import HEIGHT, declutter, name_ends, new_axes
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import spoken
from groundglass.report.style import FAINT, of_attacker

_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)))
# Decades between "0" and the first number of bits, and between the last and "all".
_GAP = 0.8


@dataclass(frozen=True)
class Line:
    """A curve of one attacker at one radius.

    Attributes:
        name: beside its end.
        rule: whose colour it has.
        against: bits of the secret, 0 to infinite, or images.
        radius: its place among the radii, from 0 for the smallest.
    """

    name: str
    rule: str
    against: Literal["bits", "images"]
    radius: int
    points: Mapping[float, Proportion]


def picture(lines: Sequence[Line], radii: Sequence[str], drawings: Folder) -> Drawing | None:
    """Two panels, one above the other: against bits, from none to all, and against images. Dashes tell radii apart."""
    panels = [[one for one in lines if one.against == what] for what in ("bits", "images")]
    if not all(any(len(one.points) > 1 for one in panel) for panel in panels[:1]):
        return None
    told = [
        (f"{one.name} at {radii[one.radius]}", [(_said(one, x), 100 * one.points[x].share) for x in sorted(one.points)])
        for one in lines
    ]
    told_apart = " (solid), ".join(radii) + (" (dashed)" if len(radii) > 1 else "")
    caption = (
        f"Accuracy under attack, L∞ {told_apart}, with 95% intervals. Above: who knows so many bits of U, or of B, from none to "
        "all; dotted, an own head, which knows none. Below: an own head, by labelled images, and a linear fit to bits and "
        "logits, which learns some of what is above the layer."
    )
    return drawings.save("secret-worth", lambda: _drawn(panels), alt=spoken(told), caption=caption)


def _said(one: Line, x: float) -> str:
    if one.against == "images":
        return f"{x:,.0f} images"
    return "none" if not x else "all" if math.isinf(x) else f"{x:.1e} bits"


def _drawn(panels: Sequence[Sequence[Line]]) -> Any:
    figure, first = new_axes(left=0.13, right=0.74, bottom=0.6, top=0.97)
    figure.set_figheight(1.5 * HEIGHT)
    second = figure.add_axes((0.13, 0.09, 0.61, 0.37))
    finite = [math.log10(x) for one in panels[0] for x in one.points if 0 < x < math.inf]
    low, high = (math.floor(min(finite)), math.ceil(max(finite))) if finite else (0, 1)
    places = {0.0: low - _GAP, math.inf: high + _GAP}
    for axes, panel in zip((first, second), panels, strict=True):
        ends, names, colours = [], [], []
        for one in panel:
            at = sorted(one.points)
            x = [places.get(value, math.log10(value) if value else 0.0) for value in at]
            low_end, high_end = ([100 * one.points[value].interval[k] for value in at] for k in (0, 1))
            style = of_attacker(one.rule)
            y = [100 * one.points[value].share for value in at]
            dash = _DASHES[min(one.radius, len(_DASHES) - 1)]
            axes.plot(x, y, linestyle=dash, clip_on=False, zorder=3, **style.marked)
            axes.fill_between(x, low_end, high_end, color=style.ink.light, alpha=0.1, linewidth=0, zorder=2)
            if one.radius == max(other.radius for other in panel if other.name == one.name):
                ends.append((x[-1], y[-1]))
                names.append(one.name)
                colours.append(style.ink.light)
        if axes is first:
            _levels(axes, panels[1])
        axes.set_ylim(0, 100)
        axes.set_ylabel("accuracy under attack (%)")
        if axes is first:
            axes.set_xlim(places[0.0], places[math.inf])
            # Names of all decades would lie on each other.
            named = {float(k): "" if k % 2 else _power(k) for k in range(low, high + 1)}
            ticks = {places[0.0]: "0", **named, places[math.inf]: "all"}
            axes.set_xlabel("bits of the secret that the attacker has")
            for at_x in (low - _GAP / 2, high + _GAP / 2):
                axes.axvline(at_x, color=FAINT.light, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        else:
            every = [math.log10(x) for one in panel for x in one.points] or [0.0, 1.0]
            axes.set_xlim(min(every), max(every) if max(every) > min(every) else min(every) + 1)
            ticks = {float(k): _power(k) for k in range(math.ceil(min(every)), math.floor(max(every)) + 1)}
            axes.set_xlabel("images that it is fitted to")
        axes.set_xticks(sorted(ticks), [ticks[x] for x in sorted(ticks)])
        axes.minorticks_off()
        name_ends(axes, ends, names, colours)
    return declutter(figure)


def _levels(axes: Any, lines: Sequence[Line]) -> None:
    """What an own head leaves that was fitted to most images: it has no bit of the secret."""
    for one in lines:
        if one.rule == "own-head":
            level = 100 * one.points[max(one.points)].share
            axes.axhline(level, color=of_attacker(one.rule).ink.light, linewidth=1.2, linestyle=_DASHES[2], zorder=2)


def _power(k: int) -> str:
    """ "10 k" for 4."""
    return f"{10 ** (k % 3)}{' kMGT'[k // 3].strip()}" if 0 <= k < 15 else f"1e{k}"
