"""The figures of the redraw section. Nothing here knows about files or pages."""

from collections.abc import Sequence
from typing import Any

from groundglass.old_report.dot_rows import DotRow, Series, dot_rows
from groundglass.old_report.redraw_reading import Redraw, Survival
from groundglass.old_report.style import FAINT, INK

# No attacker is meant here, so that none of their colours is used.
_BEFORE = Series("before", FAINT, "s", hollow=True)
_UNTUNED = Series("untuned", FAINT, "X")
_TUNED = Series("tuned", INK, "o")
_POOLED = Series("all redraws", INK, "o")
_MARKERS = ("s", "^", "D", "v", "P", "X")


def accuracy_rows(redraws: Sequence[Redraw]) -> list[DotRow]:
    return [
        DotRow(
            one.name,
            (((_BEFORE.name, one.before), (_UNTUNED.name, one.untuned), (_TUNED.name, one.tuned)),),
        )
        for one in redraws
    ]


def accuracies(redraws: Sequence[Redraw]) -> Any:
    """Accuracy before a redraw, after it, and after tuning, a row a redraw."""
    series = (_BEFORE, _UNTUNED, _TUNED)
    return dot_rows(accuracy_rows(redraws), series, titles=("",), label="accuracy on test images (%)")


def survival_rows(survivals: Sequence[Survival], redraws: Sequence[Redraw]) -> list[DotRow]:
    """A row an attack (and radius, where there are several), with a dot a redraw; the pooled one first."""
    several = len({(s.norm, s.eps) for s in survivals}) > 1
    rows = []
    for one in survivals:
        singles = [(_redraw(r), share) for r, share in zip(redraws, one.still, strict=True) if share is not None]
        pooled = one.pooled
        dots = ([(_POOLED.name, pooled)] if pooled is not None and len(singles) > 1 else []) + singles
        if dots:
            rows.append(DotRow(f"{one.label}, {one.ball}" if several else one.label, (tuple(dots),)))
    return rows


def survivors(survivals: Sequence[Survival], redraws: Sequence[Redraw]) -> Any | None:
    """The share of the images that fooled the old network and still fool the new one; None when there is none."""
    rows = survival_rows(survivals, redraws)
    if not rows:
        return None
    there = {name for row in rows for dots in row.panels for name, _ in dots}
    singles = [Series(_redraw(one), FAINT, _MARKERS[i % len(_MARKERS)], hollow=True) for i, one in enumerate(redraws)]
    series = [one for one in (_POOLED, *singles) if one.name in there]
    return dot_rows(rows, series, titles=("",), label="of what fooled the old network, still fools (%)")


def _redraw(one: Redraw) -> str:
    return f"redraw {one.number}"
