"""`groundglass device guard`: fit a guard that `groundglass device serve --guard FILE` uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groundglass.cli.options import Command, ComputeOn, DataDir, DeviceFile
from groundglass.cli.terminal import Terminal, say


@dataclass(frozen=True)
class Fit(Command):
    """Fit a guard on the bits that a network's images give. Nothing of the device is in its file."""

    model: tyro.conf.Positional[str]
    """A model file with an optical layer, as a study leaves it in models/; or package.module:factory, with --weights."""
    data: str
    """The data set that the model was trained with: cifar10, cifar100, shapes, or your own; see `groundglass run`."""
    out: Path
    """The guard's file; not an existing one."""
    frames: float = 1e8
    """Between two false alarms, on average and at least. More frames: later findings, by a frame or two for each factor of
    ten."""
    by_class: bool = False
    """Keep to that even if clients send classes in any order and share. It takes longer to find somebody."""
    weights: Path | None = None
    """Of a network of your own: the file that save_defended wrote."""
    device_file: DeviceFile = None
    device: ComputeOn = "auto"
    data_dir: DataDir = None

    def run(self) -> None:
        from groundglass.core import check_writable, refuse_existing
        from groundglass.service.guard import GuardSettings
        from groundglass.studies.guard_model import guard_model

        refuse_existing(self.out)
        check_writable(self.out.parent)
        settings = GuardSettings(frames=self.frames)
        options = {name: value for name, value in vars(self).items() if name not in ("out", "frames")}
        with Terminal() as terminal:
            guard = guard_model(options.pop("model"), **options, settings=settings, progress=terminal.progress)
        guard.save(self.out)
        say(f"calibrated with {guard.calibrated:,} images that the network was not trained with")
        say(f"false alarms: at most one in {self.frames:,.0f} frames of natural traffic, on average")
        say(f"guard: {self.out}")


@dataclass(frozen=True)
class Info(Command):
    """What a guard was fitted to, and how often it may be wrong."""

    file: tyro.conf.Positional[Path]
    """The guard's file."""

    def run(self) -> None:
        from groundglass.service.guard import NaturalBits

        guard = NaturalBits.load(self.file)
        say(f"rows of {guard.in_features:,} bits, calibrated with {guard.calibrated:,}")
        say(f"false alarms: at most one in {guard.settings.frames:,.0f} frames of natural traffic, on average")


@dataclass(frozen=True)
class Guard(Command):
    """Guards: they look at the bits that come to a device, and say who is retrieving its matrix."""

    command: Annotated[Fit, tyro.conf.subcommand("fit")] | Annotated[Info, tyro.conf.subcommand("info")]

    def run(self) -> None:
        return self.command.run()
