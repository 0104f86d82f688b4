"""The figures of the study of size. Nothing here knows about files or pages."""

from collections.abc import Callable, Sequence
from math import ceil, floor, log2
from typing import Any

from groundglass.old_report import scale_numbers
from groundglass.old_report.canvas import new_axes
from groundglass.old_report.dot_rows import DotRow, Series, dot_rows
from groundglass.old_report.scale_reading import KINDS, Cost, Network, Scale
from groundglass.old_report.style import FAINT, INK, KIND_INK, ink, marker
from groundglass.old_report.threat_models import attacker

Value = Callable[[Cost], float | None]

_LINES = {"dense": "-", "procedural": (0, (5, 2)), "structured": "-"}
_TOGETHER = Series("all of them", INK, "o")
_CLEAN = Series("untouched", FAINT, "D", hollow=True)


def costs(scale: Scale, value: Value, *, label: str, write: Callable[[float], str], stored: bool = False) -> Any | None:
    """A cost against N = M, both logarithmic; None where no size was measured.

    Args:
        label: of the y axis.
        write: a value of the y axis in words.
        stored: also what a stored matrix takes, in complex64.
    """
    lines = {kind: _points(scale.of("square", kind), value) for kind in KINDS}
    if not any(lines.values()):
        return None
    figure, axes = new_axes(left=0.2, right=0.97, bottom=0.13, top=0.97)
    for kind, points in lines.items():
        _line(axes, kind, points)
    if stored:
        xs = [x for points in lines.values() for x, _, _ in points]
        ends = [min(xs), max(xs)]
        matrix = [8.0 * x * x for x in ends]
        axes.plot(ends, matrix, color=FAINT.light, linestyle=(0, (1, 2)), label="a stored matrix, complex64")
    _log_axes(axes, [x for points in lines.values() for x, _, _ in points], write)
    axes.set_xlabel("N = M (logarithmic)")
    axes.set_ylabel(label)
    _legend(axes, any(hollow for points in lines.values() for *_, hollow in points))
    return figure


def sides(scale: Scale) -> Any | None:
    """Seconds of each measurement of a batch, while M grows at one N and while N grows at one M; None without any."""
    sweeps = [sweep for sweep in ("outputs", "inputs") if any(scale.of(sweep, kind) for kind in KINDS)]
    if not sweeps:
        return None
    figure, first = new_axes(left=0.2, right=0.97, bottom=0.13, top=0.91)
    wide = (0.97 - 0.2 - 0.05 * (len(sweeps) - 1)) / len(sweeps)
    panels = [first, *(figure.add_axes((0, 0, 1, 1), sharey=first) for _ in sweeps[1:])]
    for i, (axes, sweep) in enumerate(zip(panels, sweeps, strict=True)):
        axes.set_position((0.2 + i * (wide + 0.05), 0.13, wide, 0.78))
        axes.spines["top"].set_visible(False)
        found = {kind: scale.of(sweep, kind) for kind in KINDS}
        for kind, line in found.items():
            _line(axes, kind, _points(line, lambda one: one.each))
        some = next(one for line in found.values() for one in line)
        fixed = f"N = {some.n:,}" if sweep == "outputs" else f"M = {some.m:,}"
        axes.set_title(f"at {fixed}", fontsize=9, color=INK.light)
        _log_axes(axes, [one.size for line in found.values() for one in line], scale_numbers.tick_seconds)
        axes.set_xlabel("M (logarithmic)" if sweep == "outputs" else "N (logarithmic)")
        if i:
            axes.tick_params(axis="y", which="both", labelleft=False)
    first.set_ylabel("each measurement of a batch (logarithmic)")
    _legend(first, any(c.projected for sweep in sweeps for kind in KINDS for c in scale.of(sweep, kind)))
    return figure


def rows(scale: Scale) -> Any | None:
    """Seconds of computing that a row of U takes to retrieve, against N; None with fewer than two N."""
    if len({one.n for one in scale.rows}) < 2:
        return None
    figure, axes = new_axes(left=0.2, right=0.97, bottom=0.13, top=0.97)
    for kind in KINDS:
        own = sorted((one for one in scale.rows if one.kind == kind), key=lambda one: one.n)
        _line(axes, kind, [(one.n, one.row, False) for one in own])
    _log_axes(axes, [one.n for one in scale.rows], scale_numbers.tick_seconds)
    axes.set_xlabel("N (logarithmic)")
    axes.set_ylabel("computing for a row of U (logarithmic)")
    _legend(axes, hollow=False)
    return figure


def network_rows(scale: Scale) -> list[DotRow]:
    """A row a network: untouched, then at each radius what each attacker leaves, and all of them together."""
    there = [one for one in (scale.baseline, *scale.networks) if one is not None]
    return [
        DotRow(one.label, (((_CLEAN.name, one.clean),), *(_dots(scale, one, i) for i in range(len(scale.balls)))))
        for one in there
    ]


def network_titles(scale: Scale) -> list[str]:
    return ["untouched", *(ball.short for ball in scale.balls)]


def networks(scale: Scale) -> Any | None:
    """Accuracy of each network by attacker; None where none was trained."""
    found = network_rows(scale)
    if not found:
        return None
    drawn = {name for row in found for dots in row.panels for name, _ in dots}
    every = [_CLEAN, Series(attacker("bp").label, ink("bp"), marker("bp"))]
    every += [Series(attacker(rule).label, ink(rule), marker(rule)) for rule in scale.rules]
    series = [one for one in (*every, _TOGETHER) if one.name in drawn]
    return dot_rows(found, series, titles=network_titles(scale), label="of the test images, right (%)")


def _dots(scale: Scale, one: Network, at: int) -> tuple[tuple[str, Any], ...]:
    ball = scale.balls[at]
    found = [
        (attacker(rule).label, share) for rule in ("bp", *scale.rules) if (share := one.by(ball, rule)) is not None
    ]
    worst = one.together.get((ball.norm, ball.eps))
    return (*found, (_TOGETHER.name, worst)) if worst is not None and len(found) > 1 else tuple(found)


def _points(line: Sequence[Cost], value: Value) -> list[tuple[int, float, bool]]:
    return [(one.size, found, one.projected) for one in line if (found := value(one)) is not None and found > 0]


def _line(axes: Any, kind: str, points: Sequence[tuple[int, float, bool]]) -> None:
    """Filled where measured, hollow where projected."""
    if not points:
        return
    colour = KIND_INK[kind].light
    x, y = [p[0] for p in points], [p[1] for p in points]
    axes.plot(x, y, color=colour, linestyle=_LINES[kind], linewidth=1.4, label=kind, marker=marker(kind), zorder=3)
    hollow = [(a, b) for a, b, projected in points if projected]
    if hollow:
        axes.plot(
            *zip(*hollow, strict=True),
            linestyle="",
            marker=marker(kind),
            markeredgecolor=colour,
            markerfacecolor="white",
            markersize=6,
            zorder=4,
        )


def _log_axes(axes: Any, xs: Sequence[int], write: Callable[[float], str]) -> None:
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    # Powers of two from the smallest size on, evenly: at most six.
    low, high = floor(log2(min(xs))), ceil(log2(max(xs)))
    ticks = [2.0**power for power in range(low, high + 1, max(1, ceil((high - low) / 5)))]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(lambda value, _: scale_numbers.power_of_two(round(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    if high < 100 * low:  # hardly a decade would be named
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: write(value))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _legend(axes: Any, hollow: bool) -> None:
    from matplotlib.lines import Line2D

    handles = axes.get_legend_handles_labels()[0]
    if hollow:
        look: dict[str, Any] = {"color": FAINT.light, "linestyle": "", "marker": "o", "markerfacecolor": "white"}
        handles.append(Line2D([], [], label="hollow: projected", **look))
    axes.legend(handles=handles, loc="upper left", fontsize=8.5, frameon=False, handlelength=2.2, labelspacing=0.3)
