"""Two kinds of figure serve every study: curves named at their ends, and dots with intervals, a row a network."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.core.statistics import Gain, Proportion
from groundglass.report.axes import declutter, log_ticks, name_ends, new_axes, tick, top_axis
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.style import FAINT, GRID, INK, Style

# Inches, of dots.
_NAMES = 1.38
_BETWEEN = 0.27  # panels; room for "100" beside "0"
_LINE = 0.15
_ROW = 0.34
_NAME_LETTERS = 16
_LETTER = 4.9 / 72  # of a title: on average


@dataclass(frozen=True)
class Curve:
    """A line through points.

    Attributes:
        name: beside its end; may have line breaks. An empty string: no name.
        x, y: its points.
        low, high: of the band around it, or empty.
        steps: y stays until the next x; only the last point has a marker.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: Style
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    steps: bool = False


def shares(name: str, points: Mapping[float, Proportion], style: Style, *, scale: float = 1.0) -> Curve:
    """Shares of images as a curve in percent, with 95% intervals as its band: x -> share."""
    at = sorted(points)
    low, high = ([100 * points[x].interval[side] for x in at] for side in (0, 1))
    return Curve(name, [x * scale for x in at], [100 * points[x].share for x in at], style, low, high)


def curves(
    lines: Sequence[Curve],
    *,
    x: str,
    y: str,
    y_range: tuple[float, float] | None = (0, 100),
    x_log: bool = False,
    y_log: bool = False,
    x_ticks: Mapping[float, str] | None = None,
    y_write: Callable[[float], str] | None = None,
    above: tuple[str, Mapping[float, str]] | None = None,
    level: tuple[str, float] | None = None,
    left: float = 0.15,
    right: float = 0.62,
) -> Any:
    """Curves, each named at its end.

    Args:
        x, y: labels of the axes, with units.
        y_range: None: as the points have it.
        x_ticks: x -> what is written there; None: as matplotlib has it.
        y_write: how a value of a logarithmic y axis is written.
        above: a second x axis: its label, and x -> what is written there.
        level: a horizontal line: its name, and its y.
        left, right: edges of the axes; names have the rest at the right.

    Returns:
        A matplotlib Figure.
    """
    figure, axes = new_axes(left=left, right=right, bottom=0.135, top=0.85 if above else 0.95)
    shade = 0.18 if len(lines) <= 3 else 0.09  # many bands lie on each other
    for one in lines:
        look = {"linestyle": one.style.dash, "clip_on": False, "zorder": 3, **one.style.marked}
        if one.steps:
            look |= {"markevery": [len(one.x) - 1], "drawstyle": "steps-post"}
        axes.plot(one.x, one.y, **look)
        if one.low:
            band = {"step": "post" if one.steps else None, "color": one.style.ink.light, "alpha": shade}
            axes.fill_between(one.x, one.low, one.high, **band, linewidth=0, zorder=2)
    every = [value for one in lines for value in one.x]
    axes.set_xscale("log" if x_log else "linear")
    axes.set_yscale("log" if y_log else "linear")
    axes.set_xlim(min(every) if x_log else min(0.0, *every), max(every) if max(every) > min(every) else min(every) + 1)
    axes.set_ylim(*(axes.get_ylim() if y_range is None else y_range))  # fixed before names are placed beside it
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if x_ticks is not None:
        axes.set_xticks(sorted(x_ticks), [tick(x_ticks[at]) for at in sorted(x_ticks)])
        axes.minorticks_off()
    elif not x_log:
        axes.locator_params(axis="x", nbins=6)
    if y_log and y_write is not None:
        log_ticks(axes.yaxis, y_write)
    if level is not None:
        name, at = level
        axes.axhline(at, color=FAINT.light, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
        place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
        axes.annotate(name, (0, at), (4, 2), color=FAINT.light, fontsize=8, **place)
    named = [one for one in lines if one.name]
    ends = [(one.x[-1], one.y[-1]) for one in named]
    name_ends(axes, ends, [one.name for one in named], [one.style.ink.light for one in named])
    if above:
        top_axis(axes, above[1], above[0])
    return declutter(figure)


@dataclass(frozen=True)
class Series:
    """What all dots of a kind have in common, and their name in the key."""

    name: str
    style: Style


@dataclass(frozen=True)
class DotRow:
    """A row. `panels`: for each panel the dots, by the name of their series. `rule_above`: a line sets it apart."""

    name: str
    panels: tuple[tuple[tuple[str, Proportion | Gain], ...], ...]
    rule_above: bool = False


def dots(
    rows: Sequence[DotRow],
    series: Sequence[Series],
    *,
    x: str,
    titles: Sequence[str] = ("",),
    key: bool = True,
    around_zero: bool = False,
) -> Any:
    """Shares as dots with their 95% intervals: a panel a title, side by side; rows are named at the left; the key is above.

    Args:
        rows: from the top; each has as many panels as there are titles.
        series: in the order of the key; each dot's series is one of these.
        x: label of the x axis, which goes from 0 to 100%.
        around_zero: gains in place of shares: the axis goes as far as they do, with a line at no gain.
        titles: of the panels; may be empty strings.
        key: name the series above; needless where every row is one.

    Returns:
        A matplotlib Figure.
    """
    heights = [max(_ROW, _LINE * (max(map(len, row.panels)) + 0.8)) for row in rows]
    there = {name for row in rows for panel in row.panels for name, _ in panel}
    series = [one for one in series if one.name in there]
    keys = math.ceil(len(series) / _columns(series)) if series and key else 0
    below, body = 0.44, sum(heights)
    figure, first = new_axes(left=0, right=1, bottom=0, top=1)
    wide = figure.get_figwidth()
    panel = (wide - _NAMES - 0.14 - _BETWEEN * (len(titles) - 1)) / len(titles)
    wrapped = [_wrap(title, int((panel + 0.6 * _BETWEEN) / _LETTER)) for title in titles]
    above = 0.08 + 0.19 * keys + (0.22 if any(titles) else 0.04) + 0.14 * max(title.count("\n") for title in wrapped)
    total = above + body + below
    figure.set_figheight(total)
    panels = [first, *(figure.add_axes((0, 0, 1, 1)) for _ in titles[1:])]
    by_name = {one.name: one.style for one in series}
    for i, (axes, title) in enumerate(zip(panels, wrapped, strict=True)):
        axes.set_position(((_NAMES + i * (panel + _BETWEEN)) / wide, below / total, panel / wide, body / total))
        _frame(axes, title, body, wide_ticks=len(titles) > 2)
        if around_zero:
            _around_zero(axes, [share for row in rows for panel in row.panels for _, share in panel])
        top = 0.0
        for row, height in zip(rows, heights, strict=True):
            if top:
                axes.axhline(top, color=(FAINT if row.rule_above else GRID).light, linewidth=0.8, zorder=1)
            start = top + (height - _LINE * (len(row.panels[i]) - 1)) / 2
            for k, (name, share) in enumerate(row.panels[i]):
                _dot(axes, start + _LINE * k, share, by_name[name], size=4.2 if len(titles) > 2 else 5.2)
            top += height
    _names(first, rows, heights)
    middle = (_NAMES + (wide - 0.14)) / 2
    figure.text(middle / wide, 0.03 / total, x, ha="center", va="bottom", fontsize=9, color=INK.light)
    if keys:
        _key(figure, series)
    return declutter(figure)


def _frame(axes: Any, title: str, body: float, *, wide_ticks: bool) -> None:
    axes.set_xlim(0, 100)
    axes.set_ylim(body, 0)
    axes.set_xticks([0, 50, 100] if wide_ticks else [0, 25, 50, 75, 100])
    axes.tick_params(axis="x", labelsize=8.5, length=2)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    if title:
        axes.set_title(title, fontsize=8.5, pad=5, color=INK.light)


def _around_zero(axes: Any, gains: Sequence[Proportion | Gain]) -> None:
    """One axis for all panels: to the next ten points past the farthest end."""
    far = 10 * math.ceil(max((10 * abs(end) for one in gains for end in one.interval), default=1) + 1e-9)
    axes.set_xlim(-far, far)
    half = far // 2
    axes.set_xticks([-half, 0, half], [f"\u2212{half}", "0", f"+{half}"])
    axes.axvline(0, color=FAINT.light, linewidth=0.9, zorder=2)


def _dot(axes: Any, y: float, share: Proportion | Gain, style: Style, *, size: float) -> None:
    ends = [100 * end for end in share.interval]
    axes.plot(ends, [y, y], color=style.ink.light, linewidth=1.5, solid_capstyle="butt", clip_on=False)
    axes.plot([100 * share.share], [y], markersize=size, linestyle="", clip_on=False, zorder=4, **style.marked)


def _names(axes: Any, rows: Sequence[DotRow], heights: Sequence[float]) -> None:
    from matplotlib.transforms import ScaledTranslation

    beside = axes.get_yaxis_transform() + ScaledTranslation(-0.12, 0, axes.figure.dpi_scale_trans)
    top = 0.0
    for row, height in zip(rows, heights, strict=True):
        name = _wrap(row.name, _NAME_LETTERS, lines=2)
        axes.text(0, top + height / 2, name, transform=beside, ha="right", va="center", fontsize=8.8, linespacing=1.05)
        top += height


def _wrap(text: str, letters: int, lines: int | None = None) -> str:
    """In lines of so many letters; none begins with "= 8/255" (to the wrapper, a no-break space is no space)."""
    return "\n".join(textwrap.wrap(text.replace(" = ", "\u00a0=\u00a0"), letters)[:lines])


def _columns(series: Sequence[Series]) -> int:
    longest = max(len(one.name) for one in series)
    return min(len(series), 4 if longest <= 9 else 3 if longest <= 15 else 2)


def _key(figure: Any, series: Sequence[Series]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], markersize=5.2, linewidth=1.5, label=one.name, **one.style.marked) for one in series]
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


def spoken(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    """A figure in words, for those who do not see it: of each row its values, rounded, in percent."""
    parts = [
        f"{name}: " + ", ".join(f"{what} {value:.0f}%" for what, value in values) for name, values in rows if values
    ]
    return "; ".join(parts) + "."


def save_curves(
    drawings: Folder, name: str, lines: Sequence[Curve], *, caption: str, said: str = "at {:.3g}", **look: Any
) -> Drawing:
    """Draw curves in percent for the page. `said`: how the x of a curve's end is put into words; `look`: see `curves`."""
    alt = spoken([(line.name, [(said.format(line.x[-1]), line.y[-1])]) for line in lines])
    return drawings.save(name, lambda: curves(lines, **look), alt=alt, caption=caption)


def save_dots(
    drawings: Folder,
    name: str,
    rows: Sequence[DotRow],
    series: Sequence[Series],
    *,
    caption: str,
    titles: Sequence[str] = ("",),
    **look: Any,
) -> Drawing:
    """Draw dots for the page. `look`: see `dots`."""
    told = []
    for row in rows:
        panels = [(title, *dot) for title, panel in zip(titles, row.panels, strict=True) for dot in panel]
        told.append((row.name, [(title if what == row.name else what, 100 * p.share) for title, what, p in panels]))
    return drawings.save(name, lambda: dots(rows, series, titles=titles, **look), alt=spoken(told), caption=caption)
