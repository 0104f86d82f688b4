"""The tables of the white-box section: every accuracy, the controls, and what each attack took."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, survivors
from groundglass.old_report.cells import DEFENDED, AttackCell, Curve, curves, method, norm_name, radius
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker
from groundglass.results.records import Record


@dataclass(frozen=True)
class Row:
    """A line of a table: one attack at every radius; a None where it has no record."""

    name: str
    rule: str | None
    values: tuple[Proportion | None, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """All robust accuracies of a norm.

    Attributes:
        columns: the radius in `unit`, and in the paper's or an empty string.
        worst: what is left when the best of the attackers is taken at each radius, or for each image.
        note: what else a reader must know about the radii.
    """

    norm: str
    unit: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    worst: tuple[Row, ...]
    note: str


@dataclass(frozen=True)
class Control:
    """An attack that only shows whether the others can be believed. `beside`: PGD's result at the same radius."""

    name: str
    rule: str
    norm: str
    radius: str
    robust: Proportion
    beside: Proportion | None
    note: str


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


def accuracies(study: Study, lines: Sequence[Curve]) -> Table:
    """The table of a norm: a row a curve, a column a radius, and the worst cases below."""
    norm = lines[0].norm
    paper: dict[float, float | None] = {}
    for point in (point for line in lines for point in line.points):
        paper[point.eps] = paper.get(point.eps) or point.eps_paper
    radii = sorted(paper)
    rows = [_row(line, radii) for line in lines]
    # C&W's few images would leave little of "together", which is over the images that all have tried.
    defended = [line for line in lines if line.model == DEFENDED and not line.points[0].is_control]
    could_be = [line for line in defended if attacker(line.rule).realistic != "no"]
    worst = [
        _strongest(f"{DEFENDED}: strongest without U", could_be, radii),
        _together(study, f"{DEFENDED}: all of those together", could_be, radii),
        _together(study, f"{DEFENDED}: all, with exact U", defended, radii) if len(defended) > len(could_be) else None,
    ]
    return Table(
        norm=norm_name(norm),
        unit="pixel levels of 255" if norm == "linf" else "pixel units",
        columns=tuple(
            (radius(norm, eps).removesuffix("/255"), "" if paper[eps] is None else f"{paper[eps]:.3g}") for eps in radii
        ),
        rows=tuple(rows),
        worst=tuple(row for row in worst if row is not None),
        note=channel_note(p.record for line in lines for p in line.points),
    )


def channel_note(records: Iterable[Record]) -> str:
    """What a reader must know about radii that differ by channel; an empty string where none does."""
    differ = any(record.config.get("eps_per_channel") for record in records)
    return "The paper's radius is another in each colour channel: the largest is given." if differ else ""


def _row(line: Curve, radii: Sequence[float]) -> Row:
    """A curve's line; an attack on other images than most says on how many."""
    name = line.name + (f" ({line.clean.total:,} images)" if line.attack == "CW" else "")
    return Row(name, line.rule, tuple(p.robust if (p := line.at(eps)) else None for eps in radii))


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


def controls(study: Study) -> list[Control]:
    """One step, noise, no bound, smallest distance; each beside PGD of the figure at the same radius."""
    beside = {(c.model, c.rule, c.norm, c.eps): c.robust for c in study.compared}
    return [
        Control(
            name=f"{cell.model} ← {attacker(cell.rule).label}"
            + ("" if attacker(cell.rule).is_control else f", {method(cell.attack)}"),
            rule=cell.rule,
            norm=norm_name(cell.norm),
            radius=cell.radius,
            robust=cell.robust,
            beside=beside.get((cell.model, cell.rule, cell.norm, cell.eps)),
            note=_distance(cell),
        )
        for norm in ("linf", "l2")
        for line in curves(study.controls, norm=norm)
        for cell in line.points
    ]


def _distance(cell: AttackCell) -> str:
    median = cell.record.result.get("median_norm")
    return f"median distance {median:.3g}" if cell.attack == "CW" and median is not None else ""


def effort(line: Curve) -> Effort:
    """Settings, gradients, fit and wall time of a curve."""
    configs = [point.record.config for point in line.points]
    parts = []
    for field, unit in (("steps", "steps"), ("restarts", "restarts")):
        values = sorted({config[field] for config in configs if config.get(field) is not None})
        if values and not (field == "restarts" and values == [1]):
            parts.append(f"{values[0]} {unit}" if len(values) == 1 else f"{values[0]} to {values[-1]} {unit}")
    zeros = [point.zero_gradients for point in line.points if point.zero_gradients is not None]
    control = ", controls" if line.attack == "PGD" and line.points[0].is_control else ""
    return Effort(
        name=f"{line.name}, {norm_name(line.norm)}{control}",
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
