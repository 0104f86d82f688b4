"""The figures: accuracy against radius, and the course of the training. Nothing here knows about files or pages."""

from collections.abc import Sequence
from typing import Any

from groundglass.old_report import canvas
from groundglass.old_report.canvas import name_ends, new_axes
from groundglass.old_report.cells import BASELINE, UNLAYERED, Curve, norm_name
from groundglass.old_report.style import FAINT, INK, ink, line, marker
from groundglass.results.records import Record


def accuracy(
    curves: Sequence[Curve], names: Sequence[str], *, bands: bool, paper_axis: bool, chance: float | None
) -> Any:
    """Accuracy under attack against the radius, each curve named at its end.

    Args:
        curves: of one norm.
        names: the label of each; may have line breaks.
        bands: fill the 95% intervals.
        paper_axis: add the paper's axis (normalised units) above, at the radii that were measured.
        chance: accuracy of a guess, in [0, 1], drawn as a line; None: no line.

    Returns:
        A matplotlib Figure.
    """
    figure, axes = new_axes(left=0.13, right=0.635, bottom=0.135, top=0.85 if paper_axis else 0.96)
    scale = 255.0 if curves[0].norm == "linf" else 1.0
    last = max(point.eps for curve in curves for point in curve.points) * scale or 1.0
    if chance is not None:
        axes.axhline(100 * chance, color=FAINT.light, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
        axes.text(0.012 * last, 100 * chance + 1, "chance", color=FAINT.light, fontsize=8, va="bottom")
    ends = []
    shade = 0.18 if len(curves) <= 3 else 0.09  # many bands lie on each other
    for curve in curves:
        x, share, low, high = _series(curve, scale)
        colour = ink(curve.rule).light
        # Filled for the defended network, hollow for the others: a second sign beside the colour.
        hollow = curve.model in (BASELINE, UNLAYERED)
        axes.plot(
            x,
            share,
            color=colour,
            marker="d" if curve.model == UNLAYERED else marker(curve.rule),
            markerfacecolor="white" if hollow else colour,
            linestyle=line(curve.attack, defended=not hollow),
            clip_on=False,
            zorder=3,
        )
        if bands:
            axes.fill_between(x, low, high, color=colour, alpha=shade, linewidth=0, zorder=2)
        ends.append((x[-1], share[-1]))
    axes.set_xlim(0, last)
    axes.locator_params(axis="x", nbins=6)
    axes.set_ylim(0, 100)
    axes.set_ylabel("accuracy under attack (%)")
    unit = "pixel levels of 255" if curves[0].norm == "linf" else "pixel units"
    axes.set_xlabel(f"radius ε, {norm_name(curves[0].norm)} ({unit})")
    name_ends(axes, ends, names, [ink(curve.rule).light for curve in curves])
    told = {p.eps * scale: p.eps_paper for c in curves for p in c.points if p.eps_paper is not None}
    if paper_axis and told:
        canvas.paper_axis(axes, told)
    return figure


def training(records: Sequence[Record]) -> Any | None:
    """Accuracy in each epoch of each network, on whatever images it was measured on; fainter on training images.

    Without the fits of a classifier alone: their epochs are others, and a matter of seconds.
    """
    lines = []
    for record in records:
        if record.config.get("training", {}).get("credit") == "classifier":
            continue
        epochs = list(enumerate(record.result.get("epochs") or [], start=1))
        tested = any(epoch.get("test_accuracy") is not None for _, epoch in epochs)
        for field, what in (("test_accuracy", "test"), ("train_accuracy", "training")):
            points = [(i, 100 * epoch[field]) for i, epoch in epochs if epoch.get(field) is not None]
            if len(points) > 1:
                lines.append((f"{record.name}, {what}", record.name, tested and what == "training", points))
    if not lines:
        return None
    figure, axes = new_axes(left=0.13, right=0.565, bottom=0.135, top=0.95)
    last = max(x for *_, points in lines for x, _ in points)
    first = min(x for *_, points in lines for x, _ in points)
    ends, names, colours = [], [], []
    for label, name, faint, points in lines:
        colour = FAINT.light if faint else INK.light
        axes.plot(
            *zip(*points, strict=True),
            color=colour,
            linewidth=1.0 if faint else 1.8,
            linestyle=line("PGD", defended=name != BASELINE),
            clip_on=False,
        )
        ends.append(points[-1])
        names.append(label)
        colours.append(colour)
    axes.set_xlim(first, last)
    axes.set_ylim(0, 100)
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy (%)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    name_ends(axes, ends, names, colours)
    return figure


def _series(curve: Curve, scale: float) -> tuple[list[float], list[float], list[float], list[float]]:
    """x, and in percent the share and its bounds; from eps = 0 on, which is the clean accuracy."""
    points = [(point.eps, point.robust) for point in curve.points]
    if points[0][0] > 0:
        points.insert(0, (0.0, curve.clean))
    return (
        [eps * scale for eps, _ in points],
        [100 * p.share for _, p in points],
        [100 * p.interval[0] for _, p in points],
        [100 * p.interval[1] for _, p in points],
    )
