"""What every figure has in common: its size, names beside its curves instead of a legend, and no label on another."""

import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean as mean
from typing import Any

from groundglass.core.plots import load_matplotlib
from groundglass.core.text import visible
from groundglass.report.style import INK

# Inches. Two stand side by side on a desk; one fills a phone, where its smallest letters, of 8.5 points, are 10 pixels.
WIDTH, HEIGHT = 4.3, 3.6
_LETTER = 4.9  # points, of a name: on average
_LABELS = 1.115  # where names start, in widths of the axes


def new_axes(*, left: float, right: float, bottom: float, top: float) -> tuple[Any, Any]:
    """A matplotlib Figure and its Axes, with these edges in [0, 1]."""
    load_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT))
    return figure, figure.add_axes((left, bottom, right - left, top - bottom))


def name_ends(axes: Any, ends: Sequence[tuple[float, float]], names: Sequence[str], colours: Sequence[str]) -> None:
    """Write each curve's name beside the right edge, near the height of its end, with a line in its colour to it.

    A name too long for the room at the right goes on in a second line. Limits and scales of the axes are set before.
    """
    box, points = axes.get_position(), 72 * HEIGHT
    room = 72 * WIDTH * (1 - box.x0 - box.width * _LABELS) / _LETTER
    wrapped = [
        "\n".join(p for part in name.split("\n") for p in textwrap.wrap(part, max(6, int(room)))) for name in names
    ]
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    at = [tuple(map(float, to_axes(end))) for end in ends]
    heights = [(11 * (name.count("\n") + 1) + 2) / (points * box.height) for name in wrapped]
    places = spread([y for _, y in at], heights, low=-0.08, high=1 + min(0.08, (1 - box.y1) / box.height))
    for (x, y), name, colour, place in zip(at, wrapped, colours, places, strict=True):
        path = ([x, 1.015, 1.07, 1.1], [y, y, place, place])
        axes.plot(*path, color=colour, linewidth=0.9, clip_on=False, zorder=1, transform=axes.transAxes)
        axes.text(
            _LABELS, place, name, transform=axes.transAxes, va="center", fontsize=8.5, linespacing=1.1, color=INK.light
        )


def spread(centres: Sequence[float], heights: Sequence[float], *, low: float, high: float) -> list[float]:
    """Move labels apart, each as little as may be, and keep them within [low, high].

    Labels that would overlap become a block around the mean of where they wanted to be; blocks that then overlap
    are merged in turn. Order is kept. Too many for the room: they overflow at the top.

    Args:
        centres: where each label's middle would best be.
        heights: of each label, with the space around it.

    Returns:
        The middle of each label, in the order given.
    """
    order = sorted(range(len(centres)), key=lambda i: (centres[i], i))
    below = [sum(heights[k] for k in order[:place]) for place in range(len(order) + 1)]
    # Where the pile of all labels would begin if each had its own way; that may not fall from a label to the next.
    blocks: list[list[float]] = []
    for i, under in zip(order, below[:-1], strict=True):
        blocks.append([centres[i] - heights[i] / 2 - under])
        while len(blocks) > 1 and mean(blocks[-2]) > mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    begins = [max(low, min(mean(block), high - below[-1])) for block in blocks for _ in block]
    placed = [0.0] * len(centres)
    for i, under, begin in zip(order, below[:-1], begins, strict=True):
        placed[i] = begin + under + heights[i] / 2
    return placed


def top_axis(axes: Any, ticks: Mapping[float, str], label: str) -> None:
    """A second axis above, with a tick at these x."""
    top = axes.twiny()
    top.spines["top"].set_visible(True)
    top.grid(visible=False)
    top.set_xscale(axes.get_xscale())
    top.set_xlim(axes.get_xlim())
    places = sorted(ticks)
    top.set_xticks(places, [tick(ticks[x]) for x in places])
    top.minorticks_off()
    top.set_xlabel(label, labelpad=6)


def tick(text: str) -> str:
    """A text as a tick label, to be shown as it is: in matplotlib's own a "$" begins a formula, so ours is escaped."""
    return visible(text).replace("$", r"\$")


def log_ticks(axis: Any, write: Callable[[float], str]) -> None:
    """Name the decades of a logarithmic axis, or 1, 2 and 5 of each where there are hardly two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_formatter(NullFormatter())


def declutter(figure: Any) -> Any:
    """Hide tick labels that would overlap another of their axis: the last one stays, and those that have room before it.

    The last step of every figure, so also the place where names are made harmless: a "$" in one begins no formula, and control
    characters are made visible.
    """
    named = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        named += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
    for text in named:
        text.set_parse_math(False)
        text.set_text(visible(text.get_text()))
    renderer = _renderer(figure)
    for axes in figure.axes:
        for axis, sides in ((axes.xaxis, ("x0", "x1")), (axes.yaxis, ("y0", "y1"))):
            shown = [t.label1 if t.label1.get_visible() else t.label2 for t in axis.get_major_ticks()]
            last = None
            for label in sorted(shown, key=lambda t: getattr(t.get_window_extent(renderer), sides[0]), reverse=True):
                if not label.get_text():
                    continue
                box = label.get_window_extent(renderer)
                if last is not None and getattr(box, sides[1]) + 4 > last:
                    label.set_visible(False)
                else:
                    last = getattr(box, sides[0])
    return figure


def _renderer(figure: Any) -> Any:
    """What the figure was laid out by; nothing is drawn, as in `Figure.draw_without_rendering`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    with without_glyphs(), renderer._draw_disabled():
        figure.draw(renderer)
    return renderer


@contextmanager
def without_glyphs() -> Iterator[None]:
    """Letters that the font lacks are drawn as boxes; no warning for each of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        yield
