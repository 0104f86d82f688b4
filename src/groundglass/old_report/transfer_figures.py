"""Accuracy on the common images against the radius of transferred attacks. Nothing here knows about files or pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.old_report.canvas import name_ends, new_axes, paper_axis
from groundglass.old_report.cells import norm_name
from groundglass.old_report.style import ink, marker

_LINES = {"transfer": "-", "baseline": (0, (5, 2)), "white-box": (0, (1.2, 1.6))}


@dataclass(frozen=True)
class Line:
    """A curve of the figure.

    Attributes:
        name: its label; may have line breaks.
        ink: whose colour and marker it has.
        points: (eps in pixel units, images still right), rising; the first is at 0.
        role: "transfer", "baseline" (dashed) or "white-box" (dotted); the last two are hollow.
    """

    name: str
    ink: str
    points: Sequence[tuple[float, Proportion]]
    role: str = "transfer"


def accuracy(lines: Sequence[Line], *, norm: str, paper: Mapping[float, float]) -> Any:
    """Accuracy against the radius, with 95% intervals as bands, each curve named at its end.

    Args:
        lines: at least one.
        norm: "linf" or "l2"; of all lines.
        paper: eps -> the paper's units, for the axis above; empty: no such axis.

    Returns:
        A matplotlib Figure.
    """
    figure, axes = new_axes(left=0.13, right=0.615, bottom=0.135, top=0.85 if paper else 0.96)
    scale = 255.0 if norm == "linf" else 1.0
    last = max(line.points[-1][0] for line in lines) * scale or 1.0
    shade = 0.18 if len(lines) <= 3 else 0.09  # many bands lie on each other
    for line in lines:
        colour = ink(line.ink).light
        x = [eps * scale for eps, _ in line.points]
        share = [100 * p.share for _, p in line.points]
        axes.plot(
            x,
            share,
            color=colour,
            marker=marker(line.ink),
            markerfacecolor=colour if line.role == "transfer" else "white",
            linestyle=_LINES[line.role],
            clip_on=False,
            zorder=3,
        )
        low, high = ([100 * p.interval[side] for _, p in line.points] for side in (0, 1))
        axes.fill_between(x, low, high, color=colour, alpha=shade, linewidth=0, zorder=2)
    axes.set_xlim(0, last)
    axes.locator_params(axis="x", nbins=6)
    axes.set_ylim(0, 100)
    axes.set_ylabel("right of the common images (%)")
    axes.set_xlabel(f"radius ε, {norm_name(norm)} ({'pixel levels of 255' if norm == 'linf' else 'pixel units'})")
    ends = [(line.points[-1][0] * scale, 100 * line.points[-1][1].share) for line in lines]
    name_ends(axes, ends, [line.name for line in lines], [ink(line.ink).light for line in lines])
    if paper:
        paper_axis(axes, {eps * scale: told for eps, told in paper.items() if eps * scale <= last})
    return figure
