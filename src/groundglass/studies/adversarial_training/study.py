"""The control that any defence must be compared with: adversarial training, without the optical layer and with it."""

from dataclasses import dataclass, replace

from groundglass.data import Dataset
from groundglass.studies.cells.audit import AuditCell, audits
from groundglass.studies.cells.network import NetworkCell, TrainCell
from groundglass.studies.cells.place import PlaceCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, Recipe
from groundglass.studies.targets import (
    TargetsConfig,
    laptop_networks,
    paper_networks,
    quick_networks,
    targets,
    two_stages,
)
from groundglass.training import AdversarialTraining, PGDTraining, Precision, TrainingConfig

#: Names of the trained networks; the ordinary ones are the other studies'.
HARDENED = ("VGG-16 AT", "VGG-OPU AT")


@dataclass(frozen=True, kw_only=True)
class AdversarialTrainingConfig(TargetsConfig):
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
    epochs: int | None = None
    radii: tuple[float, ...] = (8 / 255,)


def cells(config: AdversarialTrainingConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    networks = [*targets(config, dataset), *hardened(config, dataset)]
    found = audits(config, dataset, networks)
    found += [_at(audit, radius) for radius in config.radii for audit in found]
    return with_inputs([*networks, *found])


def early(config: AdversarialTrainingConfig, dataset: Dataset) -> tuple[NetworkCell, ...]:
    """The longest trainings of all: at the end of many studies one worker would wait for the other."""
    return hardened(config, dataset)


def hardened(config: AdversarialTrainingConfig, dataset: Dataset) -> tuple[TrainCell, NetworkCell]:
    """The cells that train VGG-16 AT and VGG-OPU AT."""
    plain, defended = targets(config, dataset)
    baseline = replace(plain, name=HARDENED[0], training=_with(config, plain.training, config.adversarial))
    if isinstance(defended, PlaceCell):
        assert config.classifier is not None
        through = replace(config.adversarial, rule="bp")
        return baseline, two_stages(
            config,
            dataset,
            HARDENED[1],
            features="VGG-DFA AT",
            hybrid=_with(config, config.hybrid, through),
            classifier=config.classifier,
        )
    through = replace(config.adversarial, rule=config.hybrid_rule)
    return baseline, replace(defended, name=HARDENED[1], training=_with(config, defended.training, through))


def _with(
    config: AdversarialTrainingConfig, training: TrainingConfig, adversarial: AdversarialTraining
) -> TrainingConfig:
    epochs = training.epochs if config.epochs is None else config.epochs
    return replace(training, adversarial=adversarial, epochs=epochs)


def _at(audit: AuditCell, radius: float) -> AuditCell:
    """The same audit in a box that is as wide in every channel."""
    return replace(audit, eps=radius, eps_paper=None)


def paper(data: str, seed: int, precision: Precision) -> AdversarialTrainingConfig:
    """The control that the paper leaves for later work, at its sizes."""
    return AdversarialTrainingConfig(**paper_networks(data, seed, precision), adversarial=PGDTraining(eps=8 / 255))


def laptop(data: str, seed: int, precision: Precision) -> AdversarialTrainingConfig:
    """The layer beside the control, at a quarter of the width."""
    return replace(
        paper(data, seed, precision),
        **laptop_networks(data, seed, precision),
        adversarial=PGDTraining(eps=8 / 255, steps=3),
        epochs=6,
    )


def quick(data: str, seed: int, precision: Precision) -> AdversarialTrainingConfig:
    """Two networks more, trained on their own adversarial images."""
    return replace(
        paper(data, seed, precision),
        **quick_networks(data, seed, precision),
        adversarial=PGDTraining(eps=1 / 255, steps=2),
        radii=(1 / 255,),
    )


RECIPES = (
    Recipe("quick", quick, ("shapes",), QUICK_COST, QUICK_EXPECT, in_all=False),
    Recipe(
        "laptop",
        laptop,
        CIFAR,
        "about 40 minutes on two cores, most of them training; CIFAR-100 some 45",
        "the layer beside the control: clean accuracy against the worst case",
    ),
    Recipe("paper", paper, CIFAR, FOR_A_GPU, "the same at the paper's sizes"),
)
