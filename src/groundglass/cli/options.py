"""What commands share: their base, and options that several have."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groundglass.core.sealed import Seed, without_locals

DataDir = Annotated[
    Path | None,
    tyro.conf.arg(
        help="Folder with cifar-10-batches-bin or cifar-100-binary. Default: $GROUNDGLASS_DATA, then the user's cache."
    ),
]
DeviceFile = Annotated[
    Path | None,
    tyro.conf.arg(
        aliases=["--device-dir"],
        help="File of the network's optical device, or the folder that holds it. A new device's goes to the same folder. "
        "Default: devices/ beside the folder of the model file.",
    ),
]
ComputeOn = Annotated[
    str,
    tyro.conf.arg(metavar="auto|cpu|cuda|cuda:N", help="What to compute on. auto: a CUDA card where there is one."),
]
RunFolder = Annotated[
    tyro.conf.Positional[Path], tyro.conf.arg(help="A run folder, finished or not, or a compact copy of one.")
]


@without_locals
def _seed(words: Sequence[str]) -> Seed:
    """A number, sealed; "raw:7" is one that is used as version 0.2 used it, see `Seed.raw`.

    A text that is not a number is not repeated: it may be a secret with a typo in it.
    """
    text = words[0].strip().lower()
    number = text.removeprefix("raw:")
    with suppress(ValueError):
        value = int(number, 16 if number.startswith("0x") else 10)
        return Seed(value) if number == text else Seed.raw(value)
    raise ValueError("not a whole number, like 1234 or 0x4d2 (what was given is not shown)")


SeedOption = Annotated[
    Seed | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=_seed,
        is_instance=lambda value: isinstance(value, Seed),
        str_from_instance=lambda value: ["None" if value is None else "sealed"],
    ),
]
SeedFile = Annotated[
    Path | None,
    tyro.conf.arg(
        help="A file with that number, or - for standard input: every user of a machine can see a command line."
    ),
]


def given_seed(name: str, seed: Seed | None, file: Path | None) -> Seed | None:
    """The seed of an option, or of the file that is given in its place; None where neither is.

    Args:
        name: of the option, "--seed"; the other one is "--seed-file".

    Raises:
        ValueError: both are given, or there is no number in the file.
        OSError: it cannot be read.
    """
    if file is None:
        return seed
    if seed is not None:
        raise ValueError(f"give {name} or {name}-file, not both")
    try:
        return _read(file)
    except ValueError as error:
        raise ValueError(f"{name}-file {file}: {error}") from None


@without_locals
def _read(file: Path) -> Seed:
    return _seed([sys.stdin.readline() if str(file) == "-" else file.read_text()])


def count_of(name: str, text: str) -> int:
    """A whole number that may be written as 1000000, 1_000_000 or 1e6.

    Raises:
        ValueError: it is not a whole number.
    """
    for read in (int, float):
        with suppress(ValueError, OverflowError):
            value = read(text)
            if value == int(value):
                return int(value)
    raise ValueError(f"`{name}` (={text!r}) must be a whole number: 1000000, 1_000_000 or 1e6")


@dataclass(frozen=True)
class Command(ABC):
    """A command: a frozen dataclass of its options, which parses, calls one function, prints."""

    @abstractmethod
    def run(self) -> None:
        """Carry the command out."""
