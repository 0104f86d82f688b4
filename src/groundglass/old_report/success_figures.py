"""Cumulative success of query attacks against the queries they asked. Nothing here knows about files or pages."""

from collections.abc import Sequence
from typing import Any

from groundglass.core.statistics import wilson
from groundglass.old_report.canvas import name_ends, new_axes
from groundglass.old_report.cells import BASELINE
from groundglass.old_report.queries import QueryCell, SuccessCurve
from groundglass.old_report.style import FAINT, ink, line, marker


def successes(
    cells: Sequence[QueryCell], curves: Sequence[SuccessCurve], names: Sequence[str], *, bands: bool, logarithmic: bool
) -> Any:
    """The share of images fooled within so many queries each, each curve named at its end.

    Args:
        cells, curves, names: one of each an attack; every curve has images (total > 0).
        bands: fill the 95% intervals.
        logarithmic: show the first hundred queries as wide as the last ten thousand.

    Returns:
        A matplotlib Figure.
    """
    figure, axes = new_axes(left=0.13, right=0.59, bottom=0.135, top=0.91)
    first = 1 if logarithmic else 0
    ends = []
    shade = 0.18 if len(cells) <= 3 else 0.09  # many bands lie on each other
    for cell, curve in zip(cells, curves, strict=True):
        colour, hollow = ink(cell.attack).light, cell.model == BASELINE
        x = [max(first, queries) for queries in curve.queries]
        share = [100 * count / curve.total for count in curve.fooled]
        bounds = [wilson(count, curve.total) for count in curve.fooled]
        axes.plot(
            x,
            share,
            drawstyle="steps-post",
            color=colour,
            linestyle=line("PGD", defended=not hollow),
            linewidth=1.6,
            marker=marker(cell.attack),
            markevery=[len(x) - 1],
            markerfacecolor="white" if hollow else colour,
            clip_on=False,
            zorder=3,
        )
        if bands:
            low, high = [100 * low for low, _ in bounds], [100 * high for _, high in bounds]
            axes.fill_between(x, low, high, step="post", color=colour, alpha=shade, linewidth=0, zorder=2)
        ends.append((x[-1], share[-1]))
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlim(first, max(cell.budget for cell in cells))
    _ticks(axes, logarithmic)
    axes.set_ylim(0, 100)
    axes.set_ylabel("images fooled (%)")
    axes.set_xlabel("queries per image" + (" (logarithmic)" if logarithmic else ""))
    name_ends(axes, ends, names, [ink(cell.attack).light for cell in cells])
    _key(axes, cells)
    return figure


def _ticks(axes: Any, logarithmic: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    locator = LogLocator(base=10) if logarithmic else MaxNLocator(nbins=4, integer=True, steps=[1, 2, 2.5, 5, 10])
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _key(axes: Any, cells: Sequence[QueryCell]) -> None:
    """What a dashed and a solid line are, above the axes, where no curve can be."""
    from matplotlib.lines import Line2D

    models = list(dict.fromkeys(cell.model for cell in cells))
    handles = [
        Line2D([], [], color=FAINT.light, linewidth=1.6, linestyle=line("PGD", defended=model != BASELINE), label=model)
        for model in models
    ]
    axes.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.1, 1.0),
        ncols=len(handles),
        fontsize=8.5,
        frameon=False,
        handlelength=2.6,
    )
