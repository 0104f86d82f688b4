"""The paper's Figure 3, and past it: one defended and one ordinary network under attackers who only ask."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from groundglass.attacks import NES, PGD, Bandits, Parsimonious, RandomNoise, RayS, Square
from groundglass.attacks.search import QueryAttack
from groundglass.core.statistics import Proportion
from groundglass.data import Dataset
from groundglass.results import Record
from groundglass.results.kinds import ATTACK, CHOICE, QUERY
from groundglass.results.kinds.attack import AttackConfig
from groundglass.results.kinds.query import QueryConfig, QueryResult
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.audit import audits
from groundglass.studies.cells.check import Check, Found, check_cells
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.cells.query import ChoiceCell, QueryCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, Recipe
from groundglass.studies.targets import (
    TargetsConfig,
    laptop_networks,
    paper_hybrid,
    paper_networks,
    quick_networks,
    targets,
)
from groundglass.training import Precision


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
    checks = check_cells(CHECKS, (*found, *choices, *references))
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


def _fooled(record: Record) -> Proportion | None:
    """Of the images that were right at first; None when none was."""
    if record.kind == QUERY.name:
        return QUERY.result_of(record).success
    found = ATTACK.result_of(record)
    return Proportion(found.clean_correct - found.correct, found.clean_correct) if found.clean_correct else None


def _asked(records: Sequence[Record]) -> list[tuple[QueryConfig, QueryResult]]:
    return [(QUERY.config_of(r), QUERY.result_of(r)) for r in records if r.kind == QUERY.name]


def _white_box(records: Sequence[Record]) -> list[tuple[AttackConfig, Record]]:
    return [(ATTACK.config_of(r), r) for r in records if r.kind == ATTACK.name]


def _strongest(records: Sequence[Record], model: str) -> Proportion | None:
    found = [_fooled(r) for r in records if r.kind == QUERY.name and QUERY.config_of(r).model == model]
    return max((p for p in found if p is not None), key=lambda p: p.share, default=None)


def _over_budget(records: Sequence[Record]) -> dict[str, int]:
    asked = _asked(records)
    return {f"{c.model} <- {c.attack}": r.most_queries for c, r in asked if r.most_queries > c.budget}


def _confirmed(records: Sequence[Record]) -> Found:
    withdrawn = sum(result.unconfirmed for _, result in _asked(records))
    claims = withdrawn + sum(result.fooled for _, result in _asked(records))
    return Found(withdrawn <= 0.01 * claims, {"claims": claims, "withdrawn": withdrawn})


def _flat(records: Sequence[Record]) -> dict[str, float]:
    chosen = {CHOICE.result_of(r).key for r in records if r.kind == CHOICE.name}
    flat = {}
    for record in (r for r in records if r.kind == QUERY.name):
        config, share = QUERY.config_of(record), QUERY.result_of(record).flat_share
        if (config.purpose == "figure" or record.key in chosen) and share is not None and share > 0.01:
            sigma = config.settings.get("sigma")
            flat[f"{config.model} <- {config.attack}" + (f", sigma {sigma:g}" if sigma else "")] = round(share, 4)
    return flat


def _weaker_than_noise(records: Sequence[Record]) -> dict[str, list[float]]:
    """The strongest attack by queries on each network against random corners of the same ball."""
    weaker = {}
    for config, record in _white_box(records):
        chance, best = _fooled(record), _strongest(records, config.model)
        if config.attack == "RandomNoise" and chance is not None and best is not None and best.share < chance.share:
            weaker[config.model] = [round(best.share, 4), round(chance.share, 4)]
    return weaker


def _weaker_than_queries(records: Sequence[Record]) -> dict[str, list[float]]:
    """An attacker with the training signal's gradient should do better than one with none: if not, that gradient is bad."""
    masked = {}
    for config, record in _white_box(records):
        white, best = _fooled(record), _strongest(records, config.model)
        if config.rule in ("bp", "dfa") and white is not None and best is not None and white.clearly_below(best):
            masked[f"{config.model} <- {config.rule}"] = [round(white.share, 4), round(best.share, 4)]
    return masked


#: Signs of a success rate that is not true.
CHECKS = (
    Check("queries within budget", "no image took more queries than its budget, checks included", _over_budget),
    Check(
        "query successes confirmed",
        "at least 99% of the adversarial images fool a fresh forward pass of the network itself",
        _confirmed,
    ),
    Check(
        "gradient estimates are not zero",
        "at most 1% of the gradient estimates are zero everywhere, with the setting that is shown",
        _flat,
    ),
    Check("queries stronger than random noise", "asking beats guessing", _weaker_than_noise),
    Check(
        "gradients at least as strong as queries",
        "an attacker with gradients fools as many images as one who only asks",
        _weaker_than_queries,
    ),
)


def paper(data: str, seed: int, precision: Precision) -> BlackBoxConfig:
    """Figure 3 at the paper's sizes. CIFAR-100's network is trained whole here."""
    shared = {**paper_networks(data, seed, precision, epochs=55), "device_in": 2000, "device_out": 10_000}
    hybrid = paper_hybrid(80 if data == "cifar100" else 55, 0.005, precision)
    return BlackBoxConfig(**{**shared, "hybrid": hybrid, "classifier": None}, n_images=10_000)


def laptop(data: str, seed: int, precision: Precision) -> BlackBoxConfig:
    """Figure 3 at a quarter of the width, with the paper's budget, on the networks of the white-box recipe."""
    # Of CIFAR-100 about half are right, and so attacked: at least 200 of either.
    n_images = 400 if data == "cifar100" else 260
    return replace(paper(data, seed, precision), **laptop_networks(data, seed, precision), n_images=n_images)


def quick(data: str, seed: int, precision: Precision) -> BlackBoxConfig:
    """Every attack by queries, with a budget of minutes."""
    return replace(
        paper(data, seed, precision),
        **quick_networks(data, seed, precision),
        n_images=16,
        eps=2 / 255,
        budget=250,
        sigmas=(0.1, 1.0),
        reference_steps=20,
    )


RECIPES = (
    Recipe("quick", quick, ("shapes",), QUICK_COST, QUICK_EXPECT),
    Recipe(
        "laptop",
        laptop,
        CIFAR,
        "about 30 minutes on two cores, a third of them training; CIFAR-100 some 40",
        "Figure 3 at a quarter of the width",
    ),
    Recipe("paper", paper, CIFAR, FOR_A_GPU, "Figure 3 at the paper's sizes"),
)
