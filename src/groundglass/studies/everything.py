"""All studies in one folder: networks are trained once, and one page tells all of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from groundglass.data import Dataset
from groundglass.studies import (
    ablation,
    adversarial_training,
    black_box,
    redraws,
    retrieval,
    scale,
    transfer,
    white_box,
)
from groundglass.studies.ablation import AblationConfig
from groundglass.studies.adversarial_training import AdversarialTrainingConfig
from groundglass.studies.black_box import BlackBoxConfig
from groundglass.studies.cells import Cell, with_inputs
from groundglass.studies.redraws import RedrawConfig
from groundglass.studies.retrieval import RetrievalConfig
from groundglass.studies.scale import ScaleConfig
from groundglass.studies.targets import TargetsConfig
from groundglass.studies.transfer import TransferConfig
from groundglass.studies.white_box import WhiteBoxConfig

# Data and seed make a network of one name one network; one network is audited in one way.
_COMMON = ("data", "seed", "audit_images", "audit_eps_paper", "audit")


@dataclass(frozen=True, kw_only=True)
class EverythingConfig(TargetsConfig):
    """The studies: most with the networks of this one; transfer, ablation and scale with some of their own. None leaves one out.

    Raises:
        ValueError: a study has other networks, another data set, another seed or other audits.
    """

    white_box: WhiteBoxConfig
    black_box: BlackBoxConfig
    transfer: TransferConfig
    redraw: RedrawConfig
    retrieval: RetrievalConfig
    ablation: AblationConfig | None = None
    scale: ScaleConfig | None = None
    adversarial_training: AdversarialTrainingConfig | None = None

    def __post_init__(self) -> None:
        shared = tuple(TargetsConfig.__dataclass_fields__)
        self._check(shared, self.white_box, self.black_box, self.redraw, self.retrieval, self.adversarial_training)
        self._check(_COMMON, self.transfer, self.ablation, self.scale)

    def _check(self, names: tuple[str, ...], *parts: TargetsConfig | None) -> None:
        for part in parts:
            for name in names if part is not None else ():
                if getattr(part, name) != getattr(self, name):
                    raise ValueError(f"{type(part).__name__} has another `{name}`: all studies share their networks")


def cells(config: EverythingConfig, dataset: Dataset) -> list[Cell]:
    """The cells of every study, each once: the paper's figures first, then what takes them apart."""
    return with_inputs(_cells(config, dataset))


def _cells(config: EverythingConfig, dataset: Dataset) -> Iterator[Cell]:
    yield from white_box.cells(config.white_box, dataset)
    if config.adversarial_training is not None:
        # The longest trainings of all: at the end one worker would wait for the other.
        yield from adversarial_training.hardened(config.adversarial_training, dataset)
    yield from transfer.cells(config.transfer, dataset)
    yield from black_box.cells(config.black_box, dataset)
    yield from redraws.cells(config.redraw, dataset)
    yield from retrieval.cells(config.retrieval, dataset)
    if config.ablation is not None:
        yield from ablation.cells(config.ablation, dataset)
    if config.scale is not None:
        yield from scale.cells(config.scale, dataset)
    if config.adversarial_training is not None:
        yield from adversarial_training.cells(config.adversarial_training, dataset)
