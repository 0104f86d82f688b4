"""All studies in one folder: the networks are trained once, and one page tells all of it."""

from dataclasses import dataclass

from groundglass.data import Dataset
from groundglass.studies import black_box, white_box
from groundglass.studies.black_box import BlackBoxConfig
from groundglass.studies.cells import Cell, key_of
from groundglass.studies.targets import TargetsConfig
from groundglass.studies.white_box import WhiteBoxConfig


@dataclass(frozen=True, kw_only=True)
class EverythingConfig(TargetsConfig):
    """The studies, each with the networks of this one.

    Raises:
        ValueError: a study has other networks, another data set or another seed.
    """

    white_box: WhiteBoxConfig
    black_box: BlackBoxConfig

    def __post_init__(self) -> None:
        for part in (self.white_box, self.black_box):
            for name in TargetsConfig.__dataclass_fields__:
                if getattr(part, name) != getattr(self, name):
                    raise ValueError(f"{type(part).__name__} has another `{name}`: all studies share their networks")


def cells(config: EverythingConfig, dataset: Dataset) -> list[Cell]:
    """The cells of every study, each once."""
    found = {
        key_of(cell): cell
        for cell in (*white_box.cells(config.white_box, dataset), *black_box.cells(config.black_box, dataset))
    }
    return list(found.values())
