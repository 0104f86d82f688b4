"""Shares as dots with their intervals, a row a network or an attack. Nothing here knows about files or pages."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.old_report.canvas import new_axes
from groundglass.old_report.style import FAINT, GRID, INK, Ink

# Inches.
_NAMES = 1.38
_BETWEEN = 0.27  # panels; room for "100" beside "0"
_LINE = 0.15
_ROW = 0.34
_NAME_LETTERS = 16
_LETTER = 4.9 / 72  # of a title: on average


@dataclass(frozen=True)
class Series:
    """What all dots of a kind have in common, and their name in the key."""

    name: str
    colour: Ink
    marker: str
    hollow: bool = False


@dataclass(frozen=True)
class DotRow:
    """A row. `panels`: for each panel the dots, by the name of their series. `rule_above`: a line sets it apart."""

    name: str
    panels: tuple[tuple[tuple[str, Proportion], ...], ...]
    rule_above: bool = False


@dataclass(frozen=True)
class Guide:
    """Thin lines at the shares of the row `of`, from that row down to the last."""

    of: int


def dot_rows(
    rows: Sequence[DotRow],
    series: Sequence[Series],
    *,
    titles: Sequence[str],
    label: str,
    guide: Guide | None = None,
) -> Any:
    """A panel a title, side by side; the rows are named once, at the left; the key is above.

    Args:
        rows: from the top; each has as many panels as there are titles.
        series: in the order of the key; each dot's series is one of these.
        titles: of the panels; may be empty strings.
        label: of the x axis, which goes from 0 to 100%.
        guide: a row that those below it are to be held against.

    Returns:
        A matplotlib Figure.
    """
    heights = [max(_ROW, _LINE * (max(map(len, row.panels)) + 0.8)) for row in rows]
    keys = _key_rows(series)
    below, body = 0.44, sum(heights)
    figure, first = new_axes(left=0, right=1, bottom=0, top=1)
    wide = figure.get_figwidth()
    panel = (wide - _NAMES - 0.14 - _BETWEEN * (len(titles) - 1)) / len(titles)
    wrapped = [_wrap(title, int((panel + 0.6 * _BETWEEN) / _LETTER)) for title in titles]
    above = 0.08 + 0.19 * keys + (0.22 if any(titles) else 0.04) + 0.14 * max(title.count("\n") for title in wrapped)
    total = above + body + below
    figure.set_figheight(total)
    panels = [first, *(figure.add_axes((0, 0, 1, 1)) for _ in titles[1:])]
    by_name = {one.name: one for one in series}
    for i, (axes, title) in enumerate(zip(panels, wrapped, strict=True)):
        left = (_NAMES + i * (panel + _BETWEEN)) / wide
        axes.set_position((left, below / total, panel / wide, body / total))
        _frame(axes, title, body, wide_ticks=len(titles) > 2)
        top = 0.0
        for row, height in zip(rows, heights, strict=True):
            if top:
                axes.axhline(top, color=(FAINT if row.rule_above else GRID).light, linewidth=0.8, zorder=1)
            dots = row.panels[i]
            start = top + (height - _LINE * (len(dots) - 1)) / 2
            for k, (name, share) in enumerate(dots):
                _dot(axes, start + _LINE * k, share, by_name[name], size=4.2 if len(titles) > 2 else 5.2)
            top += height
        if guide is not None:
            for name, share in rows[guide.of].panels[i]:
                at, first_y = 100 * share.share, sum(heights[: guide.of])
                colour = by_name[name].colour.light
                axes.plot([at, at], [first_y, body], color=colour, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    _names(first, rows, heights)
    middle = (_NAMES + (wide - 0.14)) / 2
    figure.text(middle / wide, 0.03 / total, label, ha="center", va="bottom", fontsize=9, color=INK.light)
    _key(figure, series, keys)
    return figure


def _frame(axes: Any, title: str, body: float, *, wide_ticks: bool) -> None:
    axes.set_xlim(0, 100)
    axes.set_ylim(body, 0)
    axes.set_xticks([0, 50, 100] if wide_ticks else [0, 25, 50, 75, 100])
    axes.tick_params(axis="x", labelsize=8.5, length=2)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines[["left", "top"]].set_visible(False)
    if title:
        axes.set_title(title, fontsize=8.5, pad=5, color=INK.light)


def _dot(axes: Any, y: float, share: Proportion, kind: Series, *, size: float) -> None:
    colour = kind.colour.light
    low, high = share.interval
    axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=1.5, solid_capstyle="butt", clip_on=False)
    axes.plot(
        [100 * share.share],
        [y],
        color=colour,
        marker=kind.marker,
        markersize=size,
        markerfacecolor="white" if kind.hollow else colour,
        linestyle="",
        clip_on=False,
        zorder=4,
    )


def _names(axes: Any, rows: Sequence[DotRow], heights: Sequence[float]) -> None:
    from matplotlib.transforms import ScaledTranslation

    beside = axes.get_yaxis_transform() + ScaledTranslation(-0.12, 0, axes.figure.dpi_scale_trans)
    middles = [sum(heights[:i]) + height / 2 for i, height in enumerate(heights)]
    for row, y in zip(rows, middles, strict=True):
        name = _wrap(row.name, _NAME_LETTERS, lines=2)
        axes.text(0, y, name, transform=beside, ha="right", va="center", fontsize=8.8, linespacing=1.05)


def _wrap(text: str, letters: int, lines: int | None = None) -> str:
    """In lines of so many letters; none begins with "= 8/255" (to the wrapper, a no-break space is no space)."""
    return "\n".join(textwrap.wrap(text.replace(" = ", "\u00a0=\u00a0"), letters)[:lines])


def _key_rows(series: Sequence[Series]) -> int:
    return math.ceil(len(series) / _columns(series)) if series else 0


def _columns(series: Sequence[Series]) -> int:
    longest = max(len(one.name) for one in series)
    return min(len(series), 4 if longest <= 9 else 3 if longest <= 15 else 2)


def _key(figure: Any, series: Sequence[Series], rows: int) -> None:
    from matplotlib.lines import Line2D

    if not rows:
        return
    handles = [
        Line2D(
            [],
            [],
            color=one.colour.light,
            marker=one.marker,
            markersize=5.2,
            markerfacecolor="white" if one.hollow else one.colour.light,
            linewidth=1.5,
            label=one.name,
        )
        for one in series
    ]
    columns = _columns(series)
    # A legend fills column by column; a reader goes row by row.
    handles = [handle for i in range(columns) for handle in handles[i::columns]]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        fontsize=8.5,
        frameon=False,
        handlelength=1.7,
        columnspacing=1.2,
        labelspacing=0.35,
        borderaxespad=0.2,
    )


def told(rows: Sequence[DotRow], titles: Sequence[str]) -> str:
    """The figure in words, for those who don't see it: each dot's share, rounded."""
    said = []
    for row in rows:
        parts = [
            (f"at {title}: " if title else "") + ", ".join(f"{name} {100 * share.share:.0f}%" for name, share in dots)
            for title, dots in zip(titles, row.panels, strict=True)
            if dots
        ]
        if parts:
            said.append(f"{row.name}: {'; '.join(parts)}")
    return ". ".join(said) + "."
