"""What makes the error of a retrieved U: frames, noise, bits, exposure. Nothing here knows about files or pages."""

from collections.abc import Sequence
from math import floor, log, log10
from typing import Any

from groundglass.old_report.canvas import name_ends, new_axes
from groundglass.old_report.retrieval_numbers import CHANCE, percent_ticks
from groundglass.old_report.retrieval_reading import FAILED, Retrieval
from groundglass.old_report.style import FAINT, INK

_SIZES = ((INK, "-", "o"), (FAINT, (0, (5, 2)), "s"), (INK, (0, (1, 1.5)), "^"), (FAINT, "-.", "D"))


def lines_of(retrievals: Sequence[Retrieval]) -> dict[str, list[Retrieval]]:
    """The curves against frames: a line each N of its own device, and the defended network's device."""
    made: dict[str, list[Retrieval]] = {}
    for purpose in ("queries", "price"):
        for one in retrievals:
            if one.purpose == purpose and one.median is not None:
                name = f"N = {one.n:,}" + ("\nthe network's" if purpose == "price" else "")
                made.setdefault(name, []).append(one)
    return made


def against_frames(lines: dict[str, list[Retrieval]], *, failed: bool) -> Any:
    """The median error (logarithmic), or the share of failed rows, against frames for each input bit."""
    figure, axes = new_axes(left=0.14, right=0.70, bottom=0.135, top=0.96)
    every = [one for line in lines.values() for one in line]
    most = max(one.per_input for one in every)
    axes.set_xlim(0, most * 1.04)
    if failed:
        axes.set_ylim(0, 100)
    else:
        _error_axis(axes, every)
        for error, name in ((FAILED, "counts as failed"), (CHANCE, "guessed row")):
            axes.axhline(100 * error, color=FAINT.light, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
            axes.text(
                0.985,
                100 * error * 1.05,
                name,
                color=FAINT.light,
                fontsize=8,
                va="bottom",
                ha="right",
                transform=_across(axes),
            )
    ends = []
    styles = [_SIZES[i % len(_SIZES)] for i in range(len(lines))]
    for (colour, dash, sign), line in zip(styles, lines.values(), strict=True):
        x = [one.per_input for one in line]
        y = [100 * ((one.failed if failed else one.median) or 0.0) for one in line]
        own = line[0].purpose == "price"
        axes.plot(
            x,
            y if failed else [max(value, axes.get_ylim()[0]) for value in y],
            color=INK.light if own else colour.light,
            linestyle="-" if own else dash,
            linewidth=1.8 if own else 1.3,
            marker="*" if own else sign,
            markersize=8 if own else 5,
            markerfacecolor="white" if not own else INK.light,
            clip_on=False,
            zorder=3,
        )
        ends.append((x[-1], y[-1]))
    axes.set_xlabel("frames for each input bit (frames / N)")
    axes.set_ylabel("rows that fail (%)" if failed else "median error of a row (%, logarithmic)")
    _name_lines(axes, ends, list(lines), logarithmic=not failed)
    return figure


def _error_axis(axes: Any, retrievals: Sequence[Retrieval]) -> None:
    smallest = min((100 * one.median for one in retrievals if one.median), default=1.0)
    axes.set_yscale("log")
    axes.set_ylim(10 ** floor(log10(smallest)), 300)
    percent_ticks(axes.yaxis)


def _across(axes: Any) -> Any:
    return axes.get_yaxis_transform()


def _name_lines(axes: Any, ends: Sequence[tuple[float, float]], names: Sequence[str], *, logarithmic: bool) -> None:
    """As `name_ends`, which wants heights from 0 to 100: of a log axis they are given in percent of its length."""
    over = axes
    if logarithmic:
        low, high = (log(bound) for bound in axes.get_ylim())
        ends = [(x, 100 * (log(max(y, axes.get_ylim()[0])) - low) / (high - low)) for x, y in ends]
        over = axes.twinx()
        over.set_ylim(0, 100)
        over.axis("off")
    name_ends(over, ends, names, [INK.light] * len(ends))


_SWEEPS = (
    ("noise", "read noise\n(grey levels)", lambda one: one.read_noise),
    ("bits", "bits of a\nreading", lambda one: -float(one.bits if one.bits is not None else 99)),
    ("exposure", "share of readings\nat the top (%)", lambda one: one.saturation),
)


def sweep_lines(retrievals: Sequence[Retrieval]) -> list[tuple[str, list[tuple[str, Retrieval]]]]:
    """(what is varied, [(its value in words, retrieval)]), from the kindest camera on; without what has no records."""
    made = []
    for purpose, title, value in _SWEEPS:
        found = sorted((r for r in retrievals if r.purpose == purpose and r.median is not None), key=value)
        if found:
            made.append((title, [(_value(purpose, one), one) for one in found]))
    return made


def _value(purpose: str, one: Retrieval) -> str:
    if purpose == "noise":
        return f"{one.read_noise:g}"
    if purpose == "bits":
        return "float" if one.bits is None else str(one.bits)
    return f"{100 * one.saturation:g}"


def sweeps(lines: Sequence[tuple[str, list[tuple[str, Retrieval]]]]) -> Any:
    """The median error against what the camera does to a reading, a panel each; failed rows beside the dots."""
    figure, first = new_axes(left=0.14, right=0.98, bottom=0.2, top=0.96)
    wide = (0.98 - 0.14 - 0.03 * (len(lines) - 1)) / len(lines)
    panels = [first, *(figure.add_axes((0, 0, 1, 1), sharey=first) for _ in lines[1:])]
    _error_axis(first, [one for _, line in lines for _, one in line])
    for i, (axes, (title, line)) in enumerate(zip(panels, lines, strict=True)):
        axes.set_position((0.14 + i * (wide + 0.03), 0.2, wide, 0.76))
        axes.spines["top"].set_visible(False)
        axes.set_xlim(-0.5, len(line) - 0.5)
        axes.set_xticks(range(len(line)), [word for word, _ in line])
        axes.tick_params(axis="x", labelsize=7)
        axes.set_xlabel(title, fontsize=8.5, linespacing=1.1)
        axes.axhline(100 * FAILED, color=FAINT.light, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
        y = [max(100 * (one.median or 0.0), first.get_ylim()[0]) for _, one in line]
        axes.plot(range(len(line)), y, color=INK.light, marker="o", markersize=4.5, linewidth=1.3, zorder=3)
        for k, (_, one) in enumerate(line):
            if one.failed and one.failed >= 0.005:
                rises = k > 0 and y[k] > y[k - 1]
                axes.annotate(
                    f"{100 * one.failed:.0f}%",
                    (k, y[k]),
                    xytext=(-3, 4) if rises else (3, 5),  # above, on the side that the line does not come from
                    textcoords="offset points",
                    ha="right" if rises else "center",
                    fontsize=8,
                    color=FAINT.light,
                )
        if i:
            axes.tick_params(axis="y", which="both", labelleft=False, length=0)
            axes.spines["left"].set_visible(False)
    first.set_ylabel("median error of a row (%, logarithmic)")
    return figure
