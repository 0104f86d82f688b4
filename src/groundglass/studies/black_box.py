"""The paper's Figure 3, and past it: one defended and one ordinary network under attackers who only ask."""

from dataclasses import dataclass, field, replace
from typing import Any

from groundglass.attacks import NES, PGD, Bandits, Parsimonious, RandomNoise, RayS, Square
from groundglass.attacks.search import QueryAttack
from groundglass.data import Dataset
from groundglass.studies.attack_cells import AttackCell
from groundglass.studies.audited import audits
from groundglass.studies.cells import Cell, with_inputs
from groundglass.studies.checks import QUERY_CHECKS, CheckCell
from groundglass.studies.networks import NetworkCell
from groundglass.studies.query_cells import ChoiceCell, QueryCell
from groundglass.studies.targets import TargetsConfig, targets


@dataclass(frozen=True, kw_only=True)
class BlackBoxConfig(TargetsConfig):
    """A black-box study, complete.

    Attributes:
        n_images: of the first so many test images, those that a network gets right are attacked.
        eps: radius of the L-inf ball, pixel units.
        budget: queries for each image, all that goes through the model counted.
        sigmas: of NES; the best is kept for each network.
        nes, others: the attacks.
        reference_steps: of PGD at the same radius, the white-box attacker to compare with.
    """

    n_images: int
    eps: float = 8 / 256
    budget: int = 15_000
    sigmas: tuple[float, ...] = (0.05, 0.1, 0.5, 1.0)
    nes: NES = field(default_factory=NES)
    others: tuple[QueryAttack, ...] = (Bandits(), Parsimonious(), Square(), RayS())
    reference_steps: int = 50

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise ValueError(f"n_images (={self.n_images}) must be at least 1")
        if not self.sigmas:
            raise ValueError("`sigmas` is empty: NES needs one at least")


def cells(config: BlackBoxConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first: the attacks that say most come first too."""
    baseline, defended = targets(config, dataset)
    both = (baseline, defended)
    found: list[QueryCell] = [_query(config, target, attack) for attack in config.others for target in both]
    choices = []
    for target in both:
        sweep = tuple(
            _query(config, target, replace(config.nes, sigma=sigma), purpose="sweep") for sigma in config.sigmas
        )
        found += sweep
        choices.append(ChoiceCell("sigma", sweep))
    references = [_reference(config, *who) for who in ((baseline, "bp"), (defended, "dfa"), (defended, "exact"))]
    references += [_reference(config, target, "none") for target in both]
    checks = [CheckCell(check=name, attacks=(*found, *choices, *references)) for name in QUERY_CHECKS]
    audited = audits(config, dataset, both)
    return with_inputs([*defended.inputs, *both, *audited, *references, *found, *choices, *checks])


def _query(config: BlackBoxConfig, target: NetworkCell, attack: QueryAttack, **changes: Any) -> QueryCell:
    return QueryCell(
        target=target,
        attack=attack,
        norm="linf",
        eps=config.eps,
        budget=config.budget,
        n_images=config.n_images,
        seed=config.seed,
        **changes,
    )


def _reference(config: BlackBoxConfig, target: NetworkCell, rule: str) -> AttackCell:
    """What an attacker with a gradient gets at the same radius on the same images; with the rule "none", what noise gets."""
    return AttackCell(
        target=target,
        rule=rule,
        attack=RandomNoise() if rule == "none" else PGD(steps=config.reference_steps, step_size=None),
        norm="linf",
        eps=config.eps,
        eps_paper=None,
        n_images=config.n_images,
        fit_images=0,
        gallery=0,
        seed=config.seed,
        purpose="reference",
    )
