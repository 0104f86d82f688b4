"""The control that any defence must be compared with: adversarial training, without the optical layer and with it."""

from dataclasses import dataclass, replace
from typing import Any

from groundglass.core.settings import Count, Positive
from groundglass.data import Dataset
from groundglass.studies import kit
from groundglass.studies.cells.network import NetworkCell, TrainCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.training import AdversarialTraining, PGDTraining, Precision

#: Names of the trained networks; the ordinary ones are the other studies'.
HARDENED = ("VGG-16 AT", "VGG-OPU AT")


@dataclass(frozen=True, kw_only=True)
class AdversarialTrainingConfig(kit.TargetsConfig):
    """A study of adversarial training, complete.

    Attributes:
        adversarial: inside the training of VGG-16 AT; of VGG-OPU AT too, by `hybrid_rule`.
        hybrid_rule: how the attack inside the training of VGG-OPU AT differentiates it: by default through the training B,
            the one gradient that the defender has anyway. In two stages the features are trained under a linear head,
            and the attack is through that.
        epochs: of these two trainings, of VGG-OPU AT's features where it is made in two stages; None: as of the ordinary ones.
        radii: L-inf, pixel units, at which the networks are audited, beside `audit_eps_paper`.
    """

    adversarial: AdversarialTraining = PGDTraining(eps=8 / 255)
    hybrid_rule: str = "dfa"
    epochs: Count | None = None
    radii: tuple[Positive, ...] = (8 / 255,)


def cells(config: AdversarialTrainingConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    networks = [*kit.targets(config, dataset), *hardened(config, dataset)]
    found = kit.audits(config, dataset, networks)
    # The same audits in boxes that are as wide in every channel.
    found += [replace(audit, eps=radius, eps_paper=None) for radius in config.radii for audit in found]
    return with_inputs([*networks, *found])


def early(config: AdversarialTrainingConfig, dataset: Dataset) -> tuple[NetworkCell, ...]:
    """The longest trainings of all: at the end of many studies one worker would wait for the other."""
    return hardened(config, dataset)


def hardened(config: AdversarialTrainingConfig, dataset: Dataset, kind: str = "AT") -> tuple[TrainCell, NetworkCell]:
    """The cells that train VGG-16 and VGG-OPU on adversarial images, by the `kind` in their names."""
    plain, defended = kit.targets(config, dataset)
    # What adversarial training refuses is for the ordinary networks alone.
    changes: dict[str, Any] = {"label_smoothing": 0.0, "average": 0.0}
    if config.epochs is not None:
        changes["epochs"] = config.epochs
    baseline = replace(
        plain, name=f"VGG-16 {kind}", training=replace(plain.training, adversarial=config.adversarial, **changes)
    )
    whole = isinstance(defended, TrainCell)
    through = replace(config.adversarial, rule=config.hybrid_rule if whole else "bp")
    training = replace(config.hybrid, adversarial=through, **changes)
    if isinstance(defended, TrainCell):
        return baseline, replace(defended, name=f"VGG-OPU {kind}", training=training)
    features = kit.hybrid_network(config, dataset, f"VGG-DFA {kind}", training=training)
    return baseline, kit.placed_network(config, f"VGG-OPU {kind}", features, defended.device)


def laptop_networks(data: str, seed: int, precision: Precision) -> dict[str, Any]:
    """The settings of `kit.laptop_networks`, and of the adversarial trainings: `defences` has these networks too, and one name is
    one network in every folder."""
    return {
        **kit.laptop_networks(data, seed, precision),
        "adversarial": PGDTraining(eps=8 / 255, steps=2),
        "epochs": 12,
    }


@recipe(SMALL, QUICK_COST, QUICK_EXPECT, in_all=False)
def quick(data: str, seed: int, precision: Precision) -> AdversarialTrainingConfig:
    """Two networks more, trained on their own adversarial images."""
    networks = kit.quick_networks(data, seed, precision)
    return AdversarialTrainingConfig(**networks, adversarial=PGDTraining(eps=1 / 255, steps=2), radii=(1 / 255,))


@recipe(
    CIFAR,
    "about 55 minutes on two cores, most of them training; CIFAR-100 some 60",
    "the layer beside the control: clean accuracy against the worst case",
)
def laptop(data: str, seed: int, precision: Precision) -> AdversarialTrainingConfig:
    return AdversarialTrainingConfig(**laptop_networks(data, seed, precision))


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> AdversarialTrainingConfig:
    """The control that the paper leaves for later work, at its sizes."""
    return AdversarialTrainingConfig(**kit.paper_networks(data, seed, precision))


RECIPES = (quick, laptop, paper)
