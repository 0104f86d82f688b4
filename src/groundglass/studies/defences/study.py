"""Defences side by side: each alone and with the layer, with the same images, the same attacks and the same certificates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from groundglass.core.settings import Count, Positive
from groundglass.data import Dataset
from groundglass.studies import kit
from groundglass.studies.adversarial_training.study import AdversarialTrainingConfig, hardened
from groundglass.studies.cells.network import NetworkCell, TrainCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.engine.repeats import repeated
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.training import TRADES, AdversarialTraining, PGDTraining, Precision, TrainingConfig

Family = Literal["ordinary", "adversarial", "trades", "smoothed"]


@dataclass(frozen=True, kw_only=True)
class DefencesConfig(AdversarialTrainingConfig):
    """A study of defences, complete.

    Attributes:
        families: of defences, in the order of the table.
        trades: inside the training of VGG-16 TRADES and VGG-OPU TRADES; epochs and rule as of adversarial training.
        sigma: std of the noise that the smoothed networks are trained and certified with, pixel units.
        repeats: of everything, each with a seed and a device of its own.
        radii_l2: L2, pixel units, at which the networks are audited, beside the L-inf `radii`.
    """

    families: tuple[Family, ...] = ("ordinary", "adversarial", "trades", "smoothed")
    trades: AdversarialTraining = field(default_factory=lambda: TRADES(eps=8 / 255))
    sigma: Positive = 0.25
    repeats: Count = 3
    radii_l2: tuple[Positive, ...] = (0.25,)


def cells(config: DefencesConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    networks = defences(config, dataset)
    found: list[Cell] = [*networks]
    for audit in kit.audits(config, dataset, networks):
        found += [replace(audit, eps=radius, eps_paper=None) for radius in config.radii]
        found += [replace(audit, norm="l2", eps=radius, eps_paper=None) for radius in config.radii_l2]
    return with_inputs(repeated(found, config.repeats))


def early(config: DefencesConfig, dataset: Dataset) -> tuple[NetworkCell, ...]:
    """The longest trainings of all, see `adversarial_training.study.early`."""
    return tuple(
        cell for name in ("adversarial", "trades") if name in config.families for cell in _MADE[name](config, dataset)
    )


def defences(config: DefencesConfig, dataset: Dataset) -> list[NetworkCell]:
    """The networks of the study."""
    return [network for name in config.families for network in _MADE[name](config, dataset)]


def _ordinary(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    return kit.targets(config, dataset)


def _adversarial(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    return hardened(config, dataset)


def _trades(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    return hardened(replace(config, adversarial=config.trades), dataset, "TRADES")


def _smoothed(config: DefencesConfig, dataset: Dataset) -> Sequence[NetworkCell]:
    """Trained under the noise that they are smoothed with: a smoothed classifier is certified by forward passes alone."""
    noisy: dict[str, Any] = {
        name: replace(getattr(config, name), noise=config.sigma) for name in ("baseline", "hybrid")
    }
    plain, defended = kit.targets(replace(config, **noisy), dataset)
    if isinstance(defended, TrainCell):
        return replace(plain, name="VGG-16 smoothed"), replace(defended, name="VGG-OPU smoothed")
    features = replace(defended.features, name="VGG-DFA smoothed")
    return replace(plain, name="VGG-16 smoothed"), replace(defended, name="VGG-OPU smoothed", features=features)


_MADE: dict[str, Callable[[DefencesConfig, Dataset], Sequence[NetworkCell]]] = {
    "ordinary": _ordinary,
    "adversarial": _adversarial,
    "trades": _trades,
    "smoothed": _smoothed,
}


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> DefencesConfig:
    """The networks of the other studies, and two that are trained with noise."""
    return DefencesConfig(**kit.quick_networks(data, seed, precision), families=("ordinary", "smoothed"), repeats=1)


@recipe(CIFAR, "about 6 hours on two cores", "each defence alone and with the layer, three seeds")
def laptop(data: str, seed: int, precision: Precision) -> DefencesConfig:
    networks = kit.laptop_networks(data, seed, precision)
    inside: dict[str, Any] = {"adversarial": PGDTraining(eps=8 / 255, steps=2), "trades": TRADES(eps=8 / 255, steps=2)}
    return DefencesConfig(**{**networks, "audit_images": 200}, **inside, epochs=12)


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> DefencesConfig:
    return DefencesConfig(**kit.paper_networks(data, seed, precision))


RECIPES = (quick, laptop, paper)
