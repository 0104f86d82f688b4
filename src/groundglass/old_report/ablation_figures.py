"""The figures of the ablation: a row a network, a dot an attacker. Nothing here knows about files or pages."""

from collections.abc import Sequence
from typing import Any

from groundglass.old_report.ablation_reading import PAPER, REFERENCE, REFITTED, Column, Met, Threat
from groundglass.old_report.ablation_words import judged_ball
from groundglass.old_report.cells import BASELINE, norm_name
from groundglass.old_report.dot_rows import DotRow, Guide, Series, dot_rows
from groundglass.old_report.style import ink, marker, transfer_style

_PANELS = 3


def panels(threat: Threat) -> list[tuple[str, float]]:
    """The balls that are shown: at most three, up to the largest where something is left, of one norm."""
    mets = list(threat.mets.values())
    there = sorted({(met.norm, met.eps) for met in mets if met.eps > 0}, key=lambda b: (b[0] != "linf", b))
    last = judged_ball(mets) or (there[-1] if there else None)
    if last is None:
        return []
    same = [ball for ball in there if ball[0] == last[0] and ball[1] <= last[1]]
    return same[-_PANELS:]


def titles(balls: Sequence[tuple[str, float]]) -> list[str]:
    return [f"ε = {Column('', norm, eps).radius}" for norm, eps in balls]


def rows(threat: Threat, balls: Sequence[tuple[str, float]]) -> tuple[list[DotRow], Guide | None]:
    """VGG-16, the paper's four, then the variants below what guides the eye: OPU refitted, or OPU once more."""
    names = list(threat.networks)
    variants = [name for name in names if name not in (BASELINE, *PAPER)]
    found = [DotRow(name, _dots(threat, name, balls)) for name in names if name not in variants]
    if not variants:
        return found, None
    guide = None
    if REFITTED in variants:
        guide = Guide(len(found))
        found.append(DotRow(REFITTED, _dots(threat, REFITTED, balls), rule_above=True))
        variants.remove(REFITTED)
    elif REFERENCE in names:
        guide = Guide(len(found))
        found.append(DotRow(f"{REFERENCE} (once more)", _dots(threat, REFERENCE, balls), rule_above=True))
    found += [
        DotRow(name, _dots(threat, name, balls), rule_above=guide is None and i == 0) for i, name in enumerate(variants)
    ]
    return found, guide


def outcomes(threat: Threat, balls: Sequence[tuple[str, float]]) -> Any:
    """Robust accuracy, or the share fooled, a panel a radius."""
    found, guide = rows(threat, balls)
    there = {name for row in found for dots in row.panels for name, _ in dots}
    series = []
    for name in threat.series:
        style = transfer_style(name) if threat.name == "transfer" else name
        if threat.label(name) in there:
            series.append(Series(threat.label(name), ink(style), marker(style)))
    what = "images fooled" if threat.name == "black-box" else "accuracy under attack"
    label = f"{what} (%), {norm_name(balls[0][0])}"
    return dot_rows(found, series, titles=titles(balls), label=label, guide=guide)


def _dots(threat: Threat, network: str, balls: Sequence[tuple[str, float]]) -> tuple[Any, ...]:
    """For each ball, the dots of a network in the order of the key; of several budgets the largest."""
    made = []
    for ball in balls:
        here: dict[str, Met] = {}
        for met in sorted(threat.mets.values(), key=lambda met: met.budget or 0):
            if met.network == network and (met.norm, met.eps) == ball:
                here[met.series] = met
        made.append(tuple((threat.label(name), here[name].shown) for name in threat.series if name in here))
    return tuple(made)
