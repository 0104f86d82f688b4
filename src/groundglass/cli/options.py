"""What commands share: their base, and options that several have."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

DataDir = Annotated[
    Path | None,
    tyro.conf.arg(
        help="Folder with cifar-10-batches-bin or cifar-100-binary. Default: $GROUNDGLASS_DATA, then the user's cache."
    ),
]
RunFolder = Annotated[
    tyro.conf.Positional[Path], tyro.conf.arg(help="A run folder, finished or not, or a compact copy of one.")
]


@dataclass(frozen=True)
class Command(ABC):
    """A command: a frozen dataclass of its options, which parses, calls one function, prints."""

    @abstractmethod
    def run(self) -> None:
        """Carry the command out."""
