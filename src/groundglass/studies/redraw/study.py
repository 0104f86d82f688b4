"""The moving matrix: what a redraw of U costs, and what it undoes of the attacks that were made before it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from groundglass.attacks import PGD, Square, TransferPGD
from groundglass.data import Dataset
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.audit import audits
from groundglass.studies.cells.craft import CommonCell, CraftCell, TransferCell
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.cells.randomise import RandomisedCell
from groundglass.studies.cells.redraw import RedrawCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, Recipe
from groundglass.studies.targets import TargetsConfig, laptop_networks, paper_networks, quick_networks, targets
from groundglass.studies.transfer.study import attackers_vgg
from groundglass.training import Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING

# Attackers with gradients, by rule: made against the old U, and again, afresh, against the first new one.
_GRADIENTS = {"DFA": "dfa", "BPDA, fitted": "bpda-fit-linear", "Exact U": "exact"}


@dataclass(frozen=True, kw_only=True)
class RedrawConfig(TargetsConfig):
    """A study of redraws, complete.

    Attributes:
        redraws: how many, each from the network as it was trained.
        n_images: of the first so many test images, those that every network gets right are attacked.
        eps: L-inf radius, pixel units.
        steps: of the attacks by gradients, each of 2.5 times radius / steps.
        budget: queries an image, of the attack by queries.
        fit_images: natural training images that a fitted surrogate has seen.
        fine_tuning: of the classifier after a redraw.
        moving: numbers of matrices that a device switches among, image by image.
        read_noises: of cameras, grey levels.
    """

    redraws: int = 3
    n_images: int
    eps: float = 8 / 255
    steps: int = 50
    budget: int = 2000
    fit_images: int = 10_000
    fine_tuning: TrainingConfig = FINE_TUNING
    moving: tuple[int, ...] = (4,)
    read_noises: tuple[float, ...] = (4.0,)

    def __post_init__(self) -> None:
        if self.redraws < 1 or self.n_images < 1:
            raise ValueError(f"redraws (={self.redraws}) and n_images (={self.n_images}) must be at least 1")


def cells(config: RedrawConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first: accuracy and time before any attack."""
    network = targets(config, dataset)[1]
    source = attackers_vgg(config, dataset)
    redrawn = [
        RedrawCell(network=network, number=k, training=config.fine_tuning, seed=config.seed)
        for k in range(1, config.redraws + 1)
    ]
    common = CommonCell((network, *redrawn, source), config.n_images)
    tried = [
        TransferCell(made, target)
        for made in _crafted(config, common, network, source)
        for target in (network, *redrawn)
    ]
    shared: dict[str, Any] = {"network": network, "training": config.fine_tuning, "seed": config.seed}
    randomised = [
        *(RandomisedCell(matrices=count, **shared) for count in config.moving),
        *(RandomisedCell(read_noise=noise, **shared) for noise in config.read_noises),
    ]
    audited = audits(config, dataset, (network, *randomised))
    return with_inputs([network, *redrawn, *audited, *tried, *_afresh(config, common, redrawn[0])])


def _crafted(
    config: RedrawConfig, common: CommonCell, network: NetworkCell, source: NetworkCell
) -> Iterator[CraftCell]:
    """Attacks on the old network, and one from elsewhere. Those by gradients run to their end: far past the border."""
    attack = TransferPGD(steps=config.steps, step_size=2.5 * config.eps / config.steps)
    shared: dict[str, Any] = {
        "common": common,
        "eps": config.eps,
        "fit_images": config.fit_images,
        "seed": config.seed,
        "purpose": "redraw",
    }
    for label, rule in _GRADIENTS.items():
        yield CraftCell(label=label, sources=((network, rule),), attack=attack, **shared)
    yield CraftCell(label="VGG-16 transfer", sources=((source, "bp"),), attack=attack, **shared)
    yield CraftCell(label="Square", sources=((network, "none"),), attack=Square(), budget=config.budget, **shared)


def _afresh(config: RedrawConfig, common: CommonCell, redrawn: RedrawCell) -> Iterator[AttackCell]:
    """The same attackers against a redrawn network, which they may study as they did the old one."""
    for rule in _GRADIENTS.values():
        yield AttackCell(
            target=redrawn,
            rule=rule,
            attack=PGD(steps=config.steps, step_size=2.5 * config.eps / config.steps),
            norm="linf",
            eps=config.eps,
            eps_paper=None,
            n_images=config.n_images,
            fit_images=config.fit_images,
            gallery=0,
            seed=config.seed,
            common=common,
            purpose="redraw",
        )


def paper(data: str, seed: int, precision: Precision) -> RedrawConfig:
    """The same at the paper's sizes."""
    return RedrawConfig(**paper_networks(data, seed, precision), n_images=10_000, fit_images=50_000)


def laptop(data: str, seed: int, precision: Precision) -> RedrawConfig:
    """Three redraws, and what they undo."""
    return replace(
        paper(data, seed, precision), **laptop_networks(data, seed, precision), n_images=1000, fit_images=10_000
    )


def quick(data: str, seed: int, precision: Precision) -> RedrawConfig:
    """Two redraws of the white-box study's network."""
    return replace(
        paper(data, seed, precision),
        **quick_networks(data, seed, precision),
        redraws=2,
        moving=(2,),
        read_noises=(),
        n_images=100,
        eps=4 / 255,
        steps=20,
        budget=150,
        fit_images=2000,
    )


RECIPES = (
    Recipe("quick", quick, ("shapes",), QUICK_COST, QUICK_EXPECT),
    Recipe(
        "laptop",
        laptop,
        CIFAR,
        "about 20 minutes on two cores, most of them training; CIFAR-100 some 25",
        "accuracy over three redraws, and what they undo",
    ),
    Recipe("paper", paper, CIFAR, FOR_A_GPU, "the same at the paper's sizes"),
)
