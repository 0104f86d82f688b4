"""All studies but the ablation in one folder: networks are trained once, and one page tells all of it."""

from dataclasses import dataclass

from groundglass.data import Dataset
from groundglass.studies import black_box, redraws, retrieval, transfer, white_box
from groundglass.studies.black_box import BlackBoxConfig
from groundglass.studies.cells import Cell, with_inputs
from groundglass.studies.redraws import RedrawConfig
from groundglass.studies.retrieval import RetrievalConfig
from groundglass.studies.targets import TargetsConfig
from groundglass.studies.transfer import TransferConfig
from groundglass.studies.white_box import WhiteBoxConfig


@dataclass(frozen=True, kw_only=True)
class EverythingConfig(TargetsConfig):
    """The studies: white-box, black-box, redraw and retrieval with the networks of this one, transfer with some of its own.

    The ablation is a folder of its own: a dozen networks of another width, with names that are taken here.

    Raises:
        ValueError: a study has other networks, another data set or another seed.
    """

    white_box: WhiteBoxConfig
    black_box: BlackBoxConfig
    transfer: TransferConfig
    redraw: RedrawConfig
    retrieval: RetrievalConfig

    def __post_init__(self) -> None:
        shared = tuple(TargetsConfig.__dataclass_fields__)
        for part in (self.white_box, self.black_box, self.redraw, self.retrieval):
            self._check(part, shared)
        self._check(self.transfer, ("data", "seed"))

    def _check(self, part: TargetsConfig, names: tuple[str, ...]) -> None:
        for name in names:
            if getattr(part, name) != getattr(self, name):
                raise ValueError(f"{type(part).__name__} has another `{name}`: all studies share their networks")


def cells(config: EverythingConfig, dataset: Dataset) -> list[Cell]:
    """The cells of every study, each once."""
    return with_inputs(
        [
            *white_box.cells(config.white_box, dataset),
            *black_box.cells(config.black_box, dataset),
            *transfer.cells(config.transfer, dataset),
            *redraws.cells(config.redraw, dataset),
            *retrieval.cells(config.retrieval, dataset),
        ]
    )
