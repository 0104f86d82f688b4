"""Figure 2 and what it leaves out: accuracy against radius, for every attacker, in both norms."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.core import DamagedFileError
from groundglass.evaluation.statistics import Proportion, survivors
from groundglass.report import figures
from groundglass.report.cells import BASELINE, DEFENDED, AttackCell, Curve, curves, norm_name, radius
from groundglass.report.drawing import Drawing
from groundglass.report.sections import Rendered
from groundglass.report.study import Study
from groundglass.report.threat_models import attacker

# The curves of the paper's Figure 2. What it calls BPDA is feedback alignment in its published code.
_PAPER = {
    (BASELINE, "bp"): f"{BASELINE} ← BP",
    (DEFENDED, "dfa"): f"{DEFENDED} ← DFA",
    (DEFENDED, "fa"): f"{DEFENDED} ← FA\n(paper's “BPDA”)",
}


@dataclass(frozen=True)
class Row:
    """A line of the table: one attack at every radius; a None where it has no record."""

    name: str
    rule: str | None
    values: tuple[Proportion | None, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """All robust accuracies of a norm. `columns`: the radius in `unit`, and the paper's or an empty string."""

    norm: str
    unit: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    worst: tuple[Row, ...]


@dataclass(frozen=True)
class Effort:
    """What an attack took, over all its radii."""

    name: str
    rule: str
    settings: str
    gradients: float
    zero_gradients: float | None
    fit: str
    seconds: float


class WhiteBoxSection:
    """The white-box study: figures, tables of every number, and what each attack cost."""

    def render(self, study: Study) -> Rendered | None:
        if not study.attacks:
            return None
        linf, l2 = curves(study.attacks, norm="linf"), curves(study.attacks, norm="l2")
        chance = 1 / len(study.classes) if study.classes else None
        linf_drawings = [_paper_figure(study, linf, chance), _rules_figure(study, linf, chance, "white-box-linf")]
        l2_drawings = [_rules_figure(study, l2, chance, "white-box-l2")]
        return Rendered(
            "white-box",
            "White-box attacks: the paper's Figure 2, and the attackers it left out",
            "white_box.html.j2",
            {
                "norms": [
                    (_table(study, lines), [drawing for drawing in drawings if drawing is not None])
                    for lines, drawings in ((linf, linf_drawings), (l2, l2_drawings))
                    if lines
                ],
                "efforts": [_effort(line) for line in (*linf, *l2)],
            },
            study.progress("attack"),
        )


def _paper_figure(study: Study, lines: Sequence[Curve], chance: float | None) -> Drawing | None:
    chosen = [line for line in lines if (line.model, line.rule) in _PAPER and line.attack == "PGD"]
    if not chosen:
        return None
    names = [_PAPER[line.model, line.rule] for line in chosen]
    figure = figures.accuracy(chosen, names, bands=True, paper_axis=True, chance=chance)
    return study.drawings.save(
        "figure-2",
        figure,
        alt=_told(chosen),
        caption=(
            "The paper's Figure 2: PGD in an L∞ ball. Bands are 95% Wilson intervals. Below, the radius in pixels; "
            "above, in the paper's units."
        ),
    )


def _rules_figure(study: Study, lines: Sequence[Curve], chance: float | None, name: str) -> Drawing | None:
    # One control is enough for the eye; the other network's is in the table.
    chosen = [x for x in lines if x.attack != "FGSM" and not (x.attack == "RandomNoise" and x.model == BASELINE)]
    if not chosen:
        return None
    names = [_short(line) for line in chosen]
    paper_axis = chosen[0].norm == "linf"
    figure = figures.accuracy(chosen, names, bands=True, paper_axis=paper_axis, chance=chance)
    what = norm_name(chosen[0].norm)
    return study.drawings.save(
        name,
        figure,
        alt=_told(chosen),
        caption=(
            f"Every attacker in an {what} ball: against {DEFENDED} solid, against {BASELINE} dashed and hollow. "
            "The lowest solid curve is what can be claimed."
        ),
    )


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


def _table(study: Study, lines: Sequence[Curve]) -> Table:
    norm = lines[0].norm
    paper = {p.eps: p.eps_paper for line in lines for p in line.points}
    radii = sorted(paper)
    rows = [
        Row(line.name, line.rule, tuple(p.robust if (p := line.at(eps)) else None for eps in radii)) for line in lines
    ]
    defended = [line for line in lines if line.model == DEFENDED and not attacker(line.rule).is_control]
    could_be = [line for line in defended if attacker(line.rule).realistic != "no"]
    worst = [
        _strongest(f"{DEFENDED}: strongest that needs no secret", could_be, radii),
        _together(study, f"{DEFENDED}: all of those together", could_be, radii),
        _together(study, f"{DEFENDED}: all, with exact U", defended, radii) if len(defended) > len(could_be) else None,
    ]
    columns = tuple(
        (radius(norm, eps).removesuffix("/255"), "" if paper[eps] is None else f"{paper[eps]:.3g}") for eps in radii
    )
    unit = "pixel levels of 255" if norm == "linf" else "pixel units"
    return Table(norm_name(norm), unit, columns, tuple(rows), tuple(row for row in worst if row is not None))


def _strongest(name: str, lines: Sequence[Curve], radii: Sequence[float]) -> Row | None:
    """The lowest accuracy at each radius, and whose it is."""
    if not lines:
        return None
    best = [
        min((p for line in lines if (p := line.at(eps))), key=lambda p: p.robust.share, default=None) for eps in radii
    ]
    return Row(
        name,
        None,
        tuple(p.robust if p else None for p in best),
        tuple(attacker(p.rule).label if p and p.eps > 0 else "" for p in best),
    )


def _together(study: Study, name: str, lines: Sequence[Curve], radii: Sequence[float]) -> Row | None:
    """Image by image: an image counts only when it survives every attack on it."""
    values = []
    for eps in radii:
        cells = [p for line in lines if (p := line.at(eps))]
        values.append(_survivors(study, cells) if len(cells) > 1 else None)
    return Row(name, None, tuple(values)) if any(values) else None


def _survivors(study: Study, cells: Sequence[AttackCell]) -> Proportion | None:
    arrays = [study.store.arrays(cell.record) for cell in cells]
    if not all(arrays):
        return None
    try:
        return survivors(arrays)
    except (KeyError, ValueError) as error:
        raise DamagedFileError(
            f"the arrays of {', '.join(cell.record.key for cell in cells)} lack what an attack's arrays have: {error}"
        ) from error


def _effort(line: Curve) -> Effort:
    configs = [point.record.config for point in line.points]
    parts = []
    for field, unit in (("steps", "steps"), ("restarts", "restarts")):
        values = sorted({config[field] for config in configs if config.get(field) is not None})
        if values and not (field == "restarts" and values == [1]):
            parts.append(f"{values[0]} {unit}" if len(values) == 1 else f"{values[0]} to {values[-1]} {unit}")
    zeros = [point.zero_gradients for point in line.points if point.zero_gradients is not None]
    return Effort(
        name=f"{line.name}, {norm_name(line.norm)}",
        rule=line.rule,
        settings=", ".join(parts) or "–",
        gradients=sum(point.gradients for point in line.points) / len(line.points),
        zero_gradients=max(zeros) if zeros else None,
        fit=_fit(line.points[0]),
        seconds=sum(point.record.seconds for point in line.points),
    )


def _fit(point: AttackCell) -> str:
    """What a fitted surrogate was fitted on, and how well it predicts images it has not seen."""
    if not point.fit:
        return "–"
    r2 = point.fit.get("held_out_r2")
    return f"{point.fit['n_images']:,} images" + ("" if r2 is None else f", R² {r2:.2f} held out")
