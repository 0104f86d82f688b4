"""The control that any defence must be compared with: adversarial training, without the optical layer and with it."""

from dataclasses import dataclass, replace

from groundglass.data import Dataset
from groundglass.studies.audited import AuditCell, audits
from groundglass.studies.cells import Cell, with_inputs
from groundglass.studies.networks import NetworkCell, TrainCell
from groundglass.studies.placed import PlaceCell
from groundglass.studies.targets import TargetsConfig, targets, two_stages
from groundglass.training import AdversarialTraining, PGDTraining, TrainingConfig

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

    adversarial: AdversarialTraining = PGDTraining(eps=8 / 255)  # noqa: RUF009 - frozen
    hybrid_rule: str = "dfa"
    epochs: int | None = None
    radii: tuple[float, ...] = (8 / 255,)


def cells(config: AdversarialTrainingConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    networks = [*targets(config, dataset), *hardened(config, dataset)]
    found = audits(config, dataset, networks)
    found += [_at(audit, radius) for radius in config.radii for audit in found]
    return with_inputs([*networks, *found])


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
