"""What the query attacks show: the strongest on each network, beside gradients at the same radius, and beside VGG-16."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import BASELINE, DEFENDED, AttackCell
from groundglass.old_report.queries import QueryCell, ball_name, share_of
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import attacker, rank


@dataclass(frozen=True)
class Reference:
    """What white-box PGD by a rule does to the images that were right at first. `cell`: where that comes from."""

    rule: str
    fooled: Proportion
    cell: AttackCell

    @property
    def label(self) -> str:
        return attacker(self.rule).label


@dataclass(frozen=True)
class Contest:
    """The query attacks of one ball.

    Attributes:
        cells: of the figures, in order.
        yardsticks: network -> white-box attacks and random noise in the same ball, the weakest knowledge first.
    """

    norm: str
    eps: float
    cells: tuple[QueryCell, ...]
    yardsticks: Mapping[str, tuple[Reference, ...]]

    @property
    def ball(self) -> str:
        return ball_name(self.norm, self.eps)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.model for cell in self.cells))

    def strongest(self, model: str) -> QueryCell | None:
        """The attack that fools the largest share; of equals the one that asks less. None while no image was attacked."""
        tried = [cell for cell in self.cells if cell.model == model and cell.success is not None]
        return max(tried, key=lambda c: (rate(c).share, -(c.median or 0)), default=None)

    @property
    def references(self) -> dict[str, tuple[Reference, ...]]:
        """The white-box attacks alone."""
        return {model: tuple(x for x in found if x.rule != "none") for model, found in self.yardsticks.items()}

    def reference(self, model: str, rule: str) -> Reference | None:
        return next((x for x in self.references.get(model, ()) if x.rule == rule), None)

    @property
    def pairs(self) -> list[tuple[QueryCell, QueryCell]]:
        """(on VGG-16, on VGG-OPU) of each attack that met both, with one budget."""
        met = {cell.attack: cell for cell in self.cells if cell.model == BASELINE and cell.success is not None}
        return [
            (met[cell.attack], cell)
            for cell in self.cells
            if cell.model == DEFENDED
            and cell.success is not None
            and cell.attack in met
            and met[cell.attack].budget == cell.budget
        ]


def contests(study: Study) -> list[Contest]:
    """One for each ball that was attacked: L-inf first, then by radius. References without queries have none."""
    balls = sorted({cell.ball for cell in study.asked}, key=lambda ball: (ball[0] != "linf", ball))
    return [
        Contest(
            norm,
            eps,
            tuple(cell for cell in study.asked if cell.ball == (norm, eps)),
            _references([cell for cell in study.references if (cell.norm, cell.eps) == (norm, eps)]),
        )
        for norm, eps in balls
    ]


def _references(cells: Sequence[AttackCell]) -> dict[str, tuple[Reference, ...]]:
    """By network; a rule that was tried twice counts by its stronger attack."""
    best: dict[tuple[str, str], Reference] = {}
    for cell in cells:
        fooled = share_of(cell.clean.count - cell.robust.count, cell.clean.count)
        there = best.get((cell.model, cell.rule))
        if fooled is not None and (there is None or fooled.share > there.fooled.share):
            best[cell.model, cell.rule] = Reference(cell.rule, fooled, cell)
    models = sorted({model for model, _ in best}, key=lambda model: (model != BASELINE, model))
    return {
        model: tuple(sorted((x for (m, _), x in best.items() if m == model), key=lambda x: rank(x.rule)))
        for model in models
    }


def rate(cell: QueryCell) -> Proportion:
    """The success of an attack that had images to attack."""
    assert cell.success is not None
    return cell.success


def beats(one: Proportion, other: Proportion) -> bool:
    """Whether `one` is the larger by more than chance: the 95% intervals are apart."""
    return other.clearly_below(one)
