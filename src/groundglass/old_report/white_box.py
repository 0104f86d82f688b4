"""Figure 2 and what it leaves out: accuracy against radius, for every attacker, in both norms."""

from collections.abc import Sequence

from groundglass.old_report import figures, tables
from groundglass.old_report.cells import BASELINE, DEFENDED, UNLAYERED, Curve, curves, norm_name, of_distances
from groundglass.old_report.drawing import Drawing
from groundglass.old_report.sections import Rendered
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker

# The curves of the paper's Figure 2. What it calls BPDA is feedback alignment in its published code.
_PAPER = {
    (BASELINE, "bp"): f"{BASELINE} ← BP",
    (DEFENDED, "dfa"): f"{DEFENDED} ← DFA",
    (DEFENDED, "fa"): f"{DEFENDED} ← FA\n(paper's “BPDA”)",
}


class WhiteBoxSection:
    """The white-box study: figures, tables of every number, and what each attack cost."""

    def render(self, study: Study) -> Rendered | None:
        if not study.attacks:
            return None
        norms = []
        for norm in ("linf", "l2"):
            lines = curves(study.compared, norm=norm)
            if not lines:
                continue
            lines += _distance_curves(study, norm, lines)
            drawings = [_paper_figure(study, lines)] if norm == "linf" else []
            drawings.append(_rules_figure(study, [*lines, *_noise(study, norm, lines)], f"white-box-{norm}"))
            norms.append((tables.accuracies(study, lines), [d for d in drawings if d is not None]))
        context = {
            "norms": norms,
            "controls": tables.controls(study),
            "efforts": [
                tables.effort(line)
                for norm in ("linf", "l2")
                for cells in (study.compared, study.controls)
                for line in curves(cells, norm=norm)
            ],
        }
        title = "White-box attacks: the paper's Figure 2, and the attackers it left out"
        return Rendered("white-box", title, "white_box.html.j2", context, study.progress("attack"))


def _distance_curves(study: Study, norm: str, lines: Sequence[Curve]) -> list[Curve]:
    """Attacks that look for the smallest change (C&W) at the radii of the others."""
    radii = sorted({point.eps for line in lines for point in line.points})
    return [
        of_distances(cell, study.store.arrays(cell.record), radii)
        for cell in study.controls
        if cell.attack == "CW" and cell.norm == norm and cell.record.arrays is not None
    ]


def _noise(study: Study, norm: str, lines: Sequence[Curve]) -> list[Curve]:
    """Noise on the defended network, at the radii of the others; one control is enough for the eye."""
    radii = {point.eps for line in lines for point in line.points}
    chosen = [c for c in study.controls if c.attack == "RandomNoise" and c.model == DEFENDED and c.eps in radii]
    return curves(chosen, norm=norm)


def _paper_figure(study: Study, lines: Sequence[Curve]) -> Drawing | None:
    chosen = [line for line in lines if (line.model, line.rule) in _PAPER and line.attack == "PGD"]
    if not chosen:
        return None
    names = [_PAPER[line.model, line.rule] for line in chosen]
    return study.drawings.save(
        "figure-2",
        figures.accuracy(chosen, names, bands=True, paper_axis=True, chance=_chance(study)),
        alt=_told(chosen),
        caption=(
            "The paper's Figure 2: PGD in an L∞ ball. Bands are 95% Wilson intervals. Below, the radius in pixels; "
            "above, in the paper's units."
        ),
    )


def _rules_figure(study: Study, lines: Sequence[Curve], name: str) -> Drawing:
    names = [_short(line) for line in lines]
    norm = lines[0].norm
    unlayered = any(line.model == UNLAYERED for line in lines)
    undefended = f"{BASELINE}, and {UNLAYERED} which is {DEFENDED} without the layer," if unlayered else BASELINE
    return study.drawings.save(
        name,
        figures.accuracy(lines, names, bands=True, paper_axis=norm == "linf", chance=_chance(study)),
        alt=_told(lines),
        caption=(
            f"Every attacker in an {norm_name(norm)} ball: against {DEFENDED} solid, against {undefended} dashed and "
            "hollow. The lowest solid curve is what can be claimed."
        ),
    )


def _chance(study: Study) -> float | None:
    return 1 / len(study.classes) if study.classes else None


def _short(line: Curve) -> str:
    """The attacker's name; the network's too where it is not the defended one."""
    name = attacker(line.rule).label + (", C&W" if line.attack == "CW" else "")
    return name if line.model == DEFENDED else f"{name} ({line.model})"


def _told(lines: Sequence[Curve]) -> str:
    """A figure in words: where each curve starts and ends."""
    ends = [
        f"{line.name} falls from {100 * line.clean.share:.0f}% to {100 * line.points[-1].robust.share:.0f}% "
        f"at {line.points[-1].radius}"
        for line in lines
    ]
    return f"Accuracy under attack against the radius, {norm_name(lines[0].norm)}. " + "; ".join(ends) + "."
