"""The zoo: small trained networks by name, in files of bfloat16 whose checksum stands here. `groundglass zoo` makes them."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from groundglass.core import DamagedFileError, lookup
from groundglass.core.imported import MissingLibraryError
from groundglass.core.schema import read
from groundglass.core.sealed import Seed
from groundglass.core.settings import Count, Settings, Share
from groundglass.core.untrusted import check_file
from groundglass.data import user_cache
from groundglass.models.files import checksum, load_model, read_card
from groundglass.optics import SimulatedOPU

ZOO_VARIABLE = "GROUNDGLASS_ZOO"
#: The most bytes of a file.
MOST = 4_000_000
#: The device seed of the runs whose defended networks are in the zoo. It is public, and so is their U: it protects nothing. The
#: networks show what the defence does to an attack; a secret that everybody downloads is none. Draw your own for any other use.
#: It is used as version 0.2, which made the runs, used it.
DEMONSTRATION_SEED = 7
#: What makes the same devices today.
DEMONSTRATION_OPTION = f"--device-seed raw:{DEMONSTRATION_SEED}"


@dataclass(frozen=True, kw_only=True)
class Card(Settings):
    """What the file of a network of the zoo says of it.

    Attributes:
        command: trains it.
        key: of its record in that run, made from all its settings.
        original: SHA-256 of the file of float32 that was rounded.
        original_accuracy: of that file, in its run.
        accuracy: of this one.
        images: test images of both.
    """

    command: str
    key: str
    original: str
    original_accuracy: Share
    accuracy: Share
    images: Count


@dataclass(frozen=True)
class Pinned:
    """The file of a network: its `checksum`, and the command, of version 0.2, whose run folder it was made from."""

    checksum: str
    command: str


_WHITE_BOX = (
    f"groundglass run white-box --data cifar10 --recipe laptop --device-seed {DEMONSTRATION_SEED} "
    "--precision bfloat16 --seed 0"
)
_HARDENED = _WHITE_BOX.replace("white-box", "adversarial-training")
PINNED: dict[str, Pinned] = {
    "vgg-16": Pinned("e152fca9788d35c2184b9c1d6f39098d46d5cb6bbe855702bb4517ac72a37431", _WHITE_BOX),
    "vgg-opu-demo": Pinned("f8ca58c33ea3c50d28a67326ee662ee32e0372e974e91c57eb84e4c40840950b", _WHITE_BOX),
    "vgg-16-at": Pinned("4cd27084c8535a454f99a0ea6ce1e080fedbe65d6834ca6b07e513abd11eb13b", _HARDENED),
}


def load(name: str) -> nn.Module:
    """A trained network of the zoo, in eval mode: images in [0, 1] to logits, float32.

    "vgg-16" and "vgg-opu-demo" are the quarter-width networks of the white-box study on CIFAR-10 (seed 0); the second is
    a `DefendedNetwork` with a `demonstration_device`. "vgg-16-at" is the first, trained on adversarial images (L-inf, 8/255).

    The file is looked for in $GROUNDGLASS_ZOO, then in `zoo/` of the clone that the package runs from, then in `zoo/` of the
    user's cache. Nothing is downloaded.

    Raises:
        ValueError: no such network; the nearest name is offered.
        FileNotFoundError: its file is in none of these; says where to put it.
        DamagedFileError: the first of these that has it has another file.
    """
    return load_model(find(name), find_device=lambda fingerprint: demonstration_device())


def card(name: str) -> Card:
    """Where a network of the zoo is from, and its accuracy.

    Raises:
        ValueError, FileNotFoundError, DamagedFileError: as of `load`.
    """
    path = find(name)
    return read(Card, read_card(path), f"the card of {path}")


def demonstration_device(in_features: int = 512, out_features: int = 8000) -> SimulatedOPU:
    """The public device of the zoo's defended networks: the one that a study with `--device-seed raw:7` makes.
    Its U is no secret."""
    seed = Seed.raw(DEMONSTRATION_SEED)
    return SimulatedOPU.create(in_features, out_features, seed=seed.at("device", in_features, out_features))


def find(name: str) -> Path:
    """The checked file of a network; see `load`."""
    pinned = lookup("network of the zoo", name, PINNED)
    folders = _folders()
    for folder in folders:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            continue
        check_file(path, most=MOST)
        found = checksum(path)
        if found != pinned.checksum:
            raise DamagedFileError(
                f"{path} is not the network {name!r} of this version (its checksum is {found}, and should be {pinned.checksum}): "
                "copy zoo/ of the repository again. One that you have trained yourself is read by groundglass.models.load_model"
            )
        return path
    places = " or ".join(map(str, folders)) or "any folder that is known"
    raise FileNotFoundError(
        f"{name}.safetensors is not in {places}: copy it there from zoo/ of the repository, or name the "
        f"folder that holds it by {ZOO_VARIABLE}. It was made by `{pinned.command} --out RUN` (version 0.2; "
        f"today with {DEMONSTRATION_OPTION}), then by `groundglass zoo RUN --out zoo`"
    )


def _folders() -> list[Path]:
    given = os.environ.get(ZOO_VARIABLE)
    clone = Path(__file__).parents[3]
    folders = [
        *([Path(given).expanduser()] if given else []),
        *([clone / "zoo"] if (clone / "pyproject.toml").exists() else []),
    ]
    with suppress(MissingLibraryError):  # who attacks need not have what finds the cache
        folders.append(user_cache() / "zoo")
    return folders
