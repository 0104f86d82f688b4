"""`groundglass redraw`: a new secret matrix for a trained network."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groundglass.cli.options import Command, ComputeOn, DataDir, DeviceFile, SeedFile, SeedOption, given_seed
from groundglass.cli.remote import CaFile, TokenFile, opened
from groundglass.cli.terminal import Terminal, say


@dataclass(frozen=True)
class Redraw(Command):
    """Give a trained network a new secret matrix, and fit its classifier to it; the old model and device stay."""

    model: tyro.conf.Positional[str]
    """A model file with an optical layer, as a study leaves it in models/; or package.module:factory, a function that makes a
    network of your own, with --weights."""
    out: Path
    """The new model file; not an existing one."""
    data: str
    """The data set that the model was trained with: cifar10, cifar100, shapes, or your own; see `groundglass run`."""
    weights: Path | None = None
    """Of a network of your own: the file that save_defended wrote."""
    device_file: DeviceFile = None
    optical_device: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="ADDRESS",
            help="The network's device at a service: it is asked for another matrix, which takes a token with the role redraw, "
            "unless it has drawn one since.",
        ),
    ] = None
    token_file: TokenFile = None
    ca_file: CaFile = None
    device: ComputeOn = "auto"
    data_dir: DataDir = None
    seed: int = 0
    """Of the order of images."""
    device_seed: SeedOption = None
    """The new device's secret, to repeat a redraw exactly; it makes the device public. Default: a fresh secret."""
    device_seed_file: SeedFile = None

    def run(self) -> None:
        from groundglass.studies.redraw_model import redraw_model

        options = dict(vars(self))
        options["device_seed"] = given_seed("--device-seed", self.device_seed, options.pop("device_seed_file"))
        of_service = {name: options.pop(name) for name in ("token_file", "ca_file")}
        if self.optical_device is not None:
            options["optical_device"] = opened(self.optical_device, **of_service)
        with Terminal() as terminal:
            done = redraw_model(options.pop("model"), **options, progress=terminal.progress)
        say(f"accuracy on {done.test_images} test images:")
        gone = "(not known: that matrix is gone) " if math.isnan(done.before) else ""
        say(f"  {done.before:7.2%}  {gone}before, device {done.old_fingerprint}")
        say(f"  {done.untuned:7.2%}  redrawn, classifier not tuned")
        say(f"  {done.tuned:7.2%}  redrawn and tuned on {done.train_images} training images, device {done.fingerprint}")
        features = "read from the cache" if done.features_cached else "kept beside the model for the next redraw"
        say(f"seconds: {done.draw_seconds:.1f} drawing, {done.tune_seconds:.1f} tuning, ", end="")
        say(f"{done.feature_seconds:.1f} features ({features})")
        holds = "says where it is" if self.optical_device is not None else "holds the secret"
        if done.public:
            holds = "public seed: no secret"
        say(f"device: {done.device} ({holds}; without it the model guesses)")
        say(f"model: {done.model}")
