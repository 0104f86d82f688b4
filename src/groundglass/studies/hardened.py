"""A network that is hardened into files: as it was, as it is, and what was found, for a command that goes on."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import nn

from groundglass.core import load_state, make_folder, save_state
from groundglass.core.schema import read, written
from groundglass.models import DefendedNetwork, ModelSpec, read_spec
from groundglass.models.files import device_fingerprint, is_defended_file
from groundglass.models.named import zoo_name
from groundglass.models.zoo import find
from groundglass.optics import RemoteOPU, SimulatedOPU
from groundglass.studies.audit_model import read_network

#: How the name of a device's file ends.
DEVICE_FILE = ".device"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network as it is named, see `audit_model`."""

    model: str
    arguments: tuple[str, ...] = ()
    weights: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def spec(self) -> ModelSpec | None:
        """What its file says to build; None where it has no such file.

        Raises:
            ValueError: it has an optical layer already.
        """
        ours = zoo_name(self.model)
        path = find(ours) if ours is not None else Path(self.model)
        spec = read_spec(path) if path.is_file() and self.weights is None else None
        own = self.weights is not None and Path(self.weights).is_file() and is_defended_file(Path(self.weights))
        if own or (spec is not None and spec.defended):
            raise ValueError(_defended(self.weights or self.model))
        return spec

    def read(self) -> nn.Module:
        """The network.

        Raises:
            ValueError, OSError: see `read_network`; it has an optical layer already.
        """
        made = read_network(self.model, self.weights, None, self.arguments, self.mean, self.std)
        if isinstance(made, DefendedNetwork):
            raise ValueError(_defended(self.model))
        return made

    @property
    def options(self) -> list[str]:
        """What a command is given, in front of its own options."""
        given = (("--model-args", self.arguments), ("--mean", self.mean), ("--std", self.std))
        return [word for name, values in given if values for word in (name, *map(str, values))]


def _defended(what: str) -> str:
    return f"{what} has an optical layer already: `groundglass redraw` gives it another matrix. Harden a network without one"


@dataclass(frozen=True, kw_only=True)
class Hardened:
    """A network that was hardened into files. Nothing in it is secret.

    Attributes:
        source: the network as it was.
        before, after: clean accuracy on all test images.
        at: the place of the device.
        whole: the file says itself what to build; else the network is named beside it.
        model, device: the files; the second holds the secret, or says where the device is served.
        fingerprint, public: of the device; whether its seed was given.
        trained_on: the data, by the name that `load` gives it.
        seconds: of the fine-tuning, earlier sessions included.
    """

    source: Source
    before: float
    after: float
    at: str
    whole: bool
    model: Path
    device: Path
    fingerprint: str
    public: bool
    trained_on: str
    train_images: int
    test_images: int
    seconds: float

    @property
    def hardened(self) -> Source:
        """The network as it is now, named like the one before."""
        return Source(model=str(self.model)) if self.whole else replace(self.source, weights=str(self.model))

    def command(self, data: str) -> str:
        """That audits the hardened network."""
        now = self.hardened
        words = ["groundglass", "audit", now.model, "--data", data, *now.options]
        words += [] if now.weights is None else ["--weights", now.weights]
        where = self.device if self.device.suffix == DEVICE_FILE else self.device.parent
        return shlex.join([*words, "--device-file", str(where), "--out", "AUDIT"])


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found, for a file: see `Hardened`."""

    before: float
    after: float
    at: str
    whole: bool
    model: str
    device: str
    fingerprint: str
    public: bool
    seconds: float

    @classmethod
    def read(cls, path: Path, identity: dict[str, Any]) -> Self | None:
        """That of a file; None where there is none.

        Raises:
            DamagedFileError: truncated or altered.
            ValueError: of another hardening; names the first setting that differs.
        """
        return read(cls, load_state(path, identity)[1], f"the notes of {path}") if path.exists() else None

    def keep(self, path: Path | None, identity: dict[str, Any]) -> None:
        if path is not None:
            make_folder(path.parent)
            save_state(path, {}, written(self), identity)

    def is_of(self, device: SimulatedOPU | RemoteOPU) -> bool:
        """Whether the model is there, with this device.

        Raises:
            ValueError: the hardening was with another device.
        """
        if device.fingerprint != self.fingerprint:
            raise ValueError(
                f"this hardening was begun with the device {self.fingerprint}, not with {device.fingerprint}: give that one, or "
                "another folder for the audits"
            )
        path = Path(self.model)
        return path.exists() and device_fingerprint(path) == self.fingerprint

    def hardened(self, shared: dict[str, Any]) -> Hardened:
        """With what is known without the file."""
        told = {name: value for name, value in vars(self).items() if name not in ("model", "device")}
        return Hardened(model=Path(self.model), device=Path(self.device), **told, **shared)
