"""The moving matrix: what a redraw of U costs, and what it undoes of the attacks that were made before it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from groundglass.attacks import PGD, Square, TransferPGD
from groundglass.core.settings import Count, NotNegative, Positive, Tally
from groundglass.data import Dataset
from groundglass.studies import kit
from groundglass.studies.cells.craft import CommonCell, CraftCell, TransferCell
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.cells.redraw import RandomisedCell, RedrawCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import AS_GOOD, CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.studies.transfer.study import attackers_vgg
from groundglass.studies.workstation import networks
from groundglass.training import Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING

# Attackers with gradients, by rule: made against the old U, and again, afresh, against the first new one.
_GRADIENTS = {"DFA": "dfa", "BPDA, fitted": "bpda-fit-linear", "Exact U": "exact"}


@dataclass(frozen=True, kw_only=True)
class RedrawConfig(kit.TargetsConfig):
    """A study of redraws, complete.

    Attributes:
        redraws: how many, each from the network as it was trained.
        eps: L-inf radius, pixel units.
        steps: of the attacks by gradients, each of 2.5 times radius / steps.
        budget: queries an image, of the attack by queries.
        fine_tuning: of the classifier after a redraw.
        moving: numbers of matrices that a device switches among, image by image.
        read_noises: of cameras, grey levels.
    """

    redraws: Count = 3
    n_images: Count
    eps: Positive = 8 / 255
    steps: Count = 50
    budget: Count = 2000
    fit_images: Tally = 10_000
    fine_tuning: TrainingConfig = FINE_TUNING
    moving: tuple[Count, ...] = (4,)
    read_noises: tuple[NotNegative, ...] = (4.0,)


def cells(config: RedrawConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first: accuracy and time before any attack."""
    network = kit.targets(config, dataset)[1]
    source = attackers_vgg(config, dataset)
    shared: dict[str, Any] = {"network": network, "training": config.fine_tuning, "seed": config.seed}
    redrawn = [RedrawCell(number=k, **shared) for k in range(1, config.redraws + 1)]
    common = CommonCell((network, *redrawn, source), config.n_images)
    tried = [
        TransferCell(made, target)
        for made in _crafted(config, common, network, source)
        for target in (network, *redrawn)
    ]
    randomised = [
        *(RandomisedCell(matrices=count, **shared) for count in config.moving),
        *(RandomisedCell(read_noise=noise, **shared) for noise in config.read_noises),
    ]
    audited = kit.audits(config, dataset, (network, *randomised))
    # The attackers come again, against a network which they may study as they did the old one.
    attack = PGD(steps=config.steps, step_size=2.5 * config.eps / config.steps)
    afresh = [
        kit.attack_cell(config, redrawn[0], rule, attack, eps=config.eps, common=common, purpose="redraw")
        for rule in _GRADIENTS.values()
    ]
    return with_inputs([network, *redrawn, *audited, *tried, *afresh])


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


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> RedrawConfig:
    """Two redraws of the white-box study's network."""
    return RedrawConfig(
        **kit.quick_networks(data, seed, precision),
        redraws=2,
        moving=(2,),
        read_noises=(),
        n_images=100,
        eps=4 / 255,
        steps=20,
        budget=150,
        fit_images=2000,
    )


@recipe(
    CIFAR,
    "about 20 minutes on two cores, most of them training; CIFAR-100 some 25",
    "accuracy over three redraws, and what they undo",
)
def laptop(data: str, seed: int, precision: Precision) -> RedrawConfig:
    return RedrawConfig(**kit.laptop_networks(data, seed, precision), n_images=1000)


@recipe(
    CIFAR, "0.6 core-hours by estimate; CIFAR-100 3.4, most of them training", f"what redraws cost and undo, {AS_GOOD}"
)
def workstation(data: str, seed: int, precision: Precision) -> RedrawConfig:
    return RedrawConfig(**networks(data, seed, precision), n_images=1000)


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> RedrawConfig:
    return RedrawConfig(**kit.paper_networks(data, seed, precision), n_images=10_000, fit_images=50_000)


RECIPES = (quick, laptop, workstation, paper)
