"""`groundglass redraw`: a new secret matrix for a trained network."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from groundglass.cli.options import Command, ComputeOn, DataDir, DeviceFile, SeedFile, SeedOption, given_seed
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
        with Terminal() as terminal:
            done = redraw_model(options.pop("model"), **options, progress=terminal.progress)
        say(f"accuracy on {done.test_images} test images:")
        say(f"  {done.before:7.2%}  before, device {done.old_fingerprint}")
        say(f"  {done.untuned:7.2%}  redrawn, classifier not tuned")
        say(f"  {done.tuned:7.2%}  redrawn and tuned on {done.train_images} training images, device {done.fingerprint}")
        features = "read from the cache" if done.features_cached else "kept beside the model for the next redraw"
        say(f"seconds: {done.draw_seconds:.1f} drawing, {done.tune_seconds:.1f} tuning, ", end="")
        say(f"{done.feature_seconds:.1f} features ({features})")
        say(f"device: {done.device} (holds the secret; without it the model guesses)")
        say(f"model: {done.model}")
