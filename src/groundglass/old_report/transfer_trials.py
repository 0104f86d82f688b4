"""What the transferred attacks show: each target under each attack, beside VGG-16, and beside who holds the weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, paired
from groundglass.old_report.cells import BASELINE, AttackCell, norm_name, radius
from groundglass.old_report.queries import share_of
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker, rank
from groundglass.old_report.transfers import (
    CONTROL,
    FEATURES,
    LOWER,
    PAPER,
    UNDEFENDED,
    Common,
    Crafted,
    TransferCurve,
    Transferred,
    read_crafted,
    read_transferred,
    transfer_curves,
)

PURPOSE = "transfer"


@dataclass(frozen=True)
class Yardstick:
    """What a white-box attack leaves of the common images that it was tried on. `cell`: where that comes from."""

    target: str
    rule: str
    eps: float
    left: Proportion
    cell: AttackCell

    @property
    def label(self) -> str:
        return attacker(self.rule).label


@dataclass(frozen=True)
class Gain:
    """One target beside VGG-16, or another, at one radius."""

    eps: float
    before: Transferred
    after: Transferred

    @property
    def points(self) -> float:
        """Of accuracy on the common images; positive: the target withstands more."""
        return 100 * (self.after.correct.share - self.before.correct.share)

    @property
    def is_clear(self) -> bool:
        """Whether the images that one loses and the other keeps tell them apart, whichever is the higher."""
        return self.before.clearly_below(self.after) or self.after.clearly_below(self.before)

    @property
    def p(self) -> float | None:
        """Of an exact McNemar test; None where a record has no arrays."""
        before, after = self.before.stands, self.after.stands
        return paired(after, before).p if before and after else None


@dataclass(frozen=True)
class Trial:
    """All transferred attacks of a norm.

    Attributes:
        common: the images, or None while their record is missing.
        yardsticks: white-box attacks on the targets, the weakest knowledge first.
    """

    norm: str
    common: Common | None
    curves: tuple[TransferCurve, ...]
    crafted: tuple[Crafted, ...]
    yardsticks: tuple[Yardstick, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(curve.target for curve in self.curves))

    @property
    def defended(self) -> tuple[str, ...]:
        return tuple(target for target in self.compared if target not in UNDEFENDED)

    @property
    def compared(self) -> tuple[str, ...]:
        """Who is held against VGG-16: the defended networks, and the controls."""
        return tuple(target for target in self.targets if target != BASELINE)

    @property
    def radii(self) -> tuple[float, ...]:
        """Of anything in this norm, rising, without 0."""
        points = {point.eps for curve in self.curves for point in curve.points}
        points |= {one.eps for one in self.crafted} | {one.eps for one in self.yardsticks}
        return tuple(sorted(points - {0.0}))

    @property
    def paper_radii(self) -> dict[float, float]:
        """eps -> the same radius in the paper's units, where a record tells it."""
        cells: list[Crafted | Transferred] = [*self.crafted, *(p for curve in self.curves for p in curve.points)]
        return {cell.eps: cell.eps_paper for cell in cells if cell.eps_paper is not None}

    def written(self, eps: float) -> str:
        return radius(self.norm, eps)

    def ball(self, eps: float) -> str:
        """ "L∞ ε = 6.38/255 (the paper's 0.05)"."""
        paper = self.paper_radii.get(eps)
        return f"{norm_name(self.norm)} ε = {self.written(eps)}" + (f" (the paper's {paper:.3g})" if paper else "")

    def at(self, target: str, label: str, eps: float) -> Transferred | None:
        found = next((c for c in self.curves if (c.target, c.label) == (target, label)), None)
        return found.at(eps) if found else None

    def tried(self, target: str, eps: float) -> tuple[Transferred, ...]:
        """Every attack on a target at a radius."""
        curves = (curve for curve in self.curves if curve.target == target)
        return tuple(point for curve in curves if (point := curve.at(eps)))

    def strongest(self, target: str, eps: float) -> Transferred | None:
        """The attack that leaves least; of equals the paper's."""
        return min(self.tried(target, eps), key=lambda cell: cell.correct.share, default=None)

    def yardstick(self, target: str, eps: float) -> Yardstick | None:
        """The white-box attack that leaves least."""
        there = [one for one in self.yardsticks if (one.target, one.eps) == (target, eps)]
        return min(there, key=lambda one: one.left.share, default=None)

    def craft(self, label: str, eps: float) -> Crafted | None:
        return next((one for one in self.crafted if (one.label, one.eps) == (label, eps)), None)

    def gain(self, target: str, eps: float, label: str | None = PAPER, *, beside: str = BASELINE) -> Gain | None:
        """The target beside VGG-16, or another, under one attack, or, with None, each under the strongest on it."""
        before, after = (
            self.strongest(who, eps) if label is None else self.at(who, label, eps) for who in (beside, target)
        )
        return Gain(eps, before, after) if before and after else None

    def gains(self, target: str, label: str | None = PAPER, *, beside: str = BASELINE) -> list[Gain]:
        return [gain for eps in self.radii if (gain := self.gain(target, eps, label, beside=beside)) is not None]

    def peer(self, target: str) -> str:
        """The undefended network to judge a target by: of those that were tried the one that is most like it.

        That is the one with its features, then one that was trained as short, then VGG-16.
        """
        alike = (FEATURES.get(target), CONTROL if target == LOWER else None)
        return next((name for name in alike if name in self.targets), BASELINE)

    @property
    def headline(self) -> float | None:
        """The radius to judge at: the largest where the paper's attack met VGG-16 and a defended network.

        Of these, where a stronger attack was tried too if there is such a radius: without one nothing can be judged.
        """
        met = [eps for eps in self.radii if any(self.gain(target, eps) for target in self.defended)]
        harder = [eps for eps in met if any(len(self.tried(target, eps)) > 1 for target in self.defended)]
        return max(harder or met, default=None)


def trials(study: Study) -> list[Trial]:
    """One for each norm in which images were made or tried, L-inf first; none without such records.

    Raises:
        DamagedFileError: a record that cannot be read, or whose arrays tell other numbers.
    """
    crafted, cells = read_crafted(study, PURPOSE), read_transferred(study, PURPOSE)
    common = _common(study, crafted)
    yardsticks = _yardsticks(study, common)
    norms = sorted(
        {one.norm for one in crafted} | {cell.norm for cell in cells}, key=lambda norm: (norm != "linf", norm)
    )
    return [
        Trial(
            norm,
            common,
            tuple(transfer_curves(cells, norm=norm)),
            tuple(one for one in crafted if one.norm == norm),
            tuple(one for one in yardsticks if one.cell.norm == norm),
        )
        for norm in norms
    ]


def _common(study: Study, crafted: Sequence[Crafted]) -> Common | None:
    """The images that the attacks started from. A folder may have other such sets, of other studies."""
    keys = {key for one in crafted for key in one.record.inputs}
    found = [record for record in study.of_kind("common") if record.key in keys]
    return Common.from_record(found[0]) if found else None


def _yardsticks(study: Study, common: Common | None) -> list[Yardstick]:
    """White-box attacks on the targets, restricted to the common images. Where one was tried twice the stronger counts."""
    arrays = study.store.arrays(common.record) if common else {}
    if common is None or not arrays:
        return []
    index = _field(arrays, "index", common.record.name)
    if len(index) != common.share.count:
        raise DamagedFileError(
            f"{common.record.arrays} ({common.record.name}) has {len(index)} images, its record {common.share.count}: "
            "rebuild the page with the version that ran the study"
        )
    best: dict[tuple[str, str, str, float], Yardstick] = {}
    records = (record for record in study.of_kind("attack") if record.config.get("purpose") == PURPOSE)
    for cell in map(AttackCell.from_record, records):
        left = _left(study, cell, index)
        who = cell.model, cell.rule, cell.norm, cell.eps
        if left is not None and (who not in best or left.share < best[who].left.share):
            best[who] = Yardstick(cell.model, cell.rule, cell.eps, left, cell)
    return sorted(best.values(), key=lambda one: (rank(one.rule), one.rule, one.eps))


def _left(study: Study, cell: AttackCell, index: np.ndarray) -> Proportion | None:
    """Of the common images that the attack was tried on, those still right; None when there are none."""
    arrays = study.store.arrays(cell.record)
    if not arrays:
        return None
    tried, success, right = (_field(arrays, name, cell.record.name) for name in ("index", "success", "clean_correct"))
    robust = right.astype(bool) & ~success.astype(bool)
    if int(robust.sum()) != cell.robust.count or len(tried) != cell.robust.total:
        raise DamagedFileError(
            f"{cell.record.arrays} ({cell.record.name}) tells {int(robust.sum())} right of {len(tried)}, its record "
            f"{cell.robust.count} of {cell.robust.total}: rebuild the page with the version that ran the study"
        )
    common = np.isin(tried, index)
    return share_of(int((robust & common).sum()), int(common.sum()))


def _field(arrays: dict[str, np.ndarray], name: str, of: str) -> np.ndarray:
    if name not in arrays:
        raise DamagedFileError(
            f"the arrays of {of} lack {name!r}: rebuild the page with the version that ran the study"
        )
    return arrays[name]
