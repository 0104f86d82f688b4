"""What PGD did with a retrieved matrix, with the exact one, with blurred ones, and without any."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import BASELINE, DEFENDED, AttackCell
from groundglass.old_report.retrieval_reading import PURPOSE, RETRIEVED, Retrieval
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker, rank
from groundglass.results.records import Record

# The rules that hold U, whole or in part; every other one does without.
EXACT, BLURRED = "exact", "exact-blurred"
_LABELS = {BLURRED: "blurred U", RETRIEVED: "retrieved U"}


@dataclass(frozen=True)
class Attacked:
    """PGD on a network with one stand-in for the device's derivative.

    Attributes:
        matrix_error: of the blurred U, or the median of the retrieved one; None for those without.
        retrieval: what the retrieved U comes from.
    """

    cell: AttackCell
    matrix_error: float | None = None
    retrieval: Retrieval | None = None

    @property
    def robust(self) -> Proportion:
        return self.cell.robust

    @property
    def label(self) -> str:
        return _LABELS.get(self.cell.rule) or attacker(self.cell.rule).label


@dataclass(frozen=True)
class Radius:
    """All attacks of one radius.

    Attributes:
        exact: PGD with the true U.
        without: the attackers on the defended network that have no U, in the order used everywhere.
        blurred: with a U that is wrong by so much, errors rising.
        retrieved: in the order of their frames.
        baseline: PGD on the network without a device.
    """

    norm: str
    eps: float
    eps_paper: float | None
    exact: Attacked | None
    without: tuple[Attacked, ...]
    blurred: tuple[Attacked, ...]
    retrieved: tuple[Attacked, ...]
    baseline: Attacked | None

    @property
    def best_without(self) -> Attacked | None:
        return min(self.without, key=lambda a: a.robust.share, default=None)

    @property
    def tells(self) -> bool:
        """Whether U can be worth anything here: with the exact one PGD is clearly stronger than no attack."""
        return self.exact is not None and self.exact.robust.clearly_below(self.exact.cell.clean)

    @property
    def name(self) -> str:
        eps = self._any.cell.radius
        return f"ε = {eps}" + ("" if self.eps_paper is None else f" (the paper's {self.eps_paper:.3g})")

    @property
    def short(self) -> str:
        return f"ε = {self._any.cell.radius}"

    def of(self, retrieval: Retrieval) -> Attacked | None:
        return next((a for a in self.retrieved if a.retrieval == retrieval), None)

    @property
    def _any(self) -> Attacked:
        here = (self.exact, self.baseline, *self.without, *self.blurred, *self.retrieved)
        return next(one for one in here if one is not None)


def read_radii(study: Study, retrievals: Sequence[Retrieval]) -> list[Radius]:
    """The attacks of this study, radius by radius; without those of radius 0, which are none.

    Raises:
        DamagedFileError: an attack that cannot be read.
    """
    records = [record for record in study.of_kind("attack") if record.config.get("purpose") == PURPOSE]
    read = [_attacked(record, retrievals) for record in records]
    attacks = [one for one in read if one is not None and one.cell.eps > 0]
    balls = sorted({(one.cell.norm, one.cell.eps) for one in attacks}, key=lambda b: (b[0] != "linf", b))
    return [_radius([one for one in attacks if (one.cell.norm, one.cell.eps) == ball]) for ball in balls]


def _attacked(record: Record, retrievals: Sequence[Retrieval]) -> Attacked | None:
    """None for a retrieved matrix of which no record tells how good it is: there is no place for it in any figure."""
    cell = AttackCell.from_record(record)
    if cell.rule == RETRIEVED:
        source = next((r for r in retrievals if r.record.key in record.inputs), None)
        return None if source is None or source.median is None else Attacked(cell, source.median, source)
    if cell.rule != BLURRED:
        return Attacked(cell)
    error: Any = record.config.get("matrix_error")
    if not isinstance(error, int | float) or error < 0:
        raise DamagedFileError(
            f"the record {record.key} ({record.name}) attacks with a blurred matrix, and its `matrix_error` is {error!r}. "
            "Rebuild the page with the version that ran the study"
        )
    return Attacked(cell, float(error))


def _radius(attacks: Sequence[Attacked]) -> Radius:
    one = attacks[0].cell
    ours = [a for a in attacks if a.cell.model == DEFENDED]
    by_rule: dict[str, Attacked] = {}
    for a in ours:
        if a.cell.rule not in (BLURRED, RETRIEVED):
            by_rule[a.cell.rule] = _stronger([by_rule.get(a.cell.rule), a])
    retrieved = {a.retrieval.record.key: a for a in ours if a.retrieval is not None}
    rules = sorted((rule for rule in by_rule if rule != EXACT and not attacker(rule).is_control), key=rank)
    theirs = [a for a in attacks if a.cell.model == BASELINE]
    return Radius(
        norm=one.norm,
        eps=one.eps,
        eps_paper=next((a.cell.eps_paper for a in attacks if a.cell.eps_paper is not None), None),
        exact=by_rule.get(EXACT),
        without=tuple(by_rule[rule] for rule in rules),
        blurred=tuple(sorted((a for a in ours if a.cell.rule == BLURRED), key=lambda a: a.matrix_error or 0.0)),
        retrieved=tuple(sorted(retrieved.values(), key=lambda a: a.retrieval.frames if a.retrieval else 0)),
        baseline=_stronger(theirs) if theirs else None,
    )


def _stronger(attacks: Iterable[Attacked | None]) -> Attacked:
    """Robust accuracy is a worst case: of two attacks by one rule the stronger counts."""
    return min((a for a in attacks if a is not None), key=lambda a: a.robust.share)
