"""`groundglass harden`: a device in place of a trained network's classifier, and whether that buys anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from groundglass.cli.options import Command, ComputeOn, DataDir, SeedFile, SeedOption, given_seed
from groundglass.cli.remote import CaFile, TokenFile, opened
from groundglass.cli.terminal import Terminal, say, say_table

if TYPE_CHECKING:
    from groundglass.studies.harden_audit import Judged


@dataclass(frozen=True)
class Harden(Command):
    """Put a secret device in place of a trained network's classifier, and fine-tune what is new by hybrid DFA on natural images
    (ROPUST); the old model stays. With --audit, what the network keeps before and after, whatever is tried."""

    model: tyro.conf.Positional[str]
    """A network without an optical layer: a model file of a study, or by name, as `groundglass audit` takes it: zoo:vgg-16-at,
    timm:resnet18, robustbench:Linf/Carmon2019Unlabeled, package.module:function or file.py:function."""
    out: Path
    """The new model file; not an existing one. The same command goes on where it was interrupted."""
    data: str
    """The data set that the model was trained with: cifar10, cifar100, shapes, or your own; see `groundglass run`. Its training
    images are fine-tuned on."""
    at: str | None = None
    """The module that the device takes the place of, as named_modules() has it: fc, or classifier.2. Default: the classifier."""
    frozen: Literal["below", "nothing"] = "below"
    """What stays as it is: all below the device, or nothing."""
    inputs: int | None = None
    """N, the bits that enter the device. Default: 512."""
    outputs: int | None = None
    """M, its readings. Default: 8000."""
    epochs: int | None = None
    """Of the fine-tuning. Default: 8."""
    learning_rate: float | None = None
    """Its largest. Default: 0.05."""
    model_args: tuple[str, ...] = ()
    """Arguments of the function that makes the network: num_classes=10 pretrained=false."""
    weights: str | None = None
    """A file of weights of a network by name: a state_dict, .safetensors or of torch.save. Default: those that it is published
    with; of a function what it makes."""
    mean: tuple[float, ...] = ()
    """Of each channel, to normalise images. Default: as the network's own config says; none for a function of yours."""
    std: tuple[float, ...] = ()
    """The same."""
    device_file: Annotated[
        Path | None,
        tyro.conf.arg(
            aliases=["--device-dir"],
            help="File of an optical device to put in, or the folder for a new one's. Default: devices/ beside the folder of the "
            "new model file.",
        ),
    ] = None
    optical_device: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="ADDRESS", help="A device at a service to put in. It measures every training image in every epoch."
        ),
    ] = None
    token_file: TokenFile = None
    ca_file: CaFile = None
    audit: Path | None = None
    """A folder for two audits, of the network before and after; with the same command they go on too. Default: none."""
    norm: Literal["linf", "l2"] = "linf"
    """Of the ball of the audits."""
    eps: str | None = None
    """Their radius, pixel units. Default: 8/255 in L-inf; L2 needs one."""
    images: int = 500
    """Of the test set, from the first, that are audited."""
    device: ComputeOn = "auto"
    data_dir: DataDir = None
    seed: int = 0
    """Of new weights, and of the order of images."""
    device_seed: SeedOption = None
    """The new device's secret, to repeat it exactly; it makes the device public. Default: a fresh secret."""
    device_seed_file: SeedFile = None

    def run(self) -> None:
        from groundglass.report import build
        from groundglass.studies.harden_audit import KEPT, audit_both, fitting
        from groundglass.studies.harden_model import harden_model

        options = dict(vars(self))
        options["arguments"] = options.pop("model_args")
        options["device_seed"] = given_seed("--device-seed", self.device_seed, options.pop("device_seed_file"))
        of_service = {name: options.pop(name) for name in ("token_file", "ca_file")}
        folder = options.pop("audit")
        of_audit: dict[str, Any] = {name: options.pop(name) for name in ("norm", "eps", "images")}
        unused = [f"--{name}" for name, value in of_audit.items() if value != getattr(Harden, name)]
        if folder is None and unused:
            raise ValueError(f"{', '.join(unused)} is for audits, and there are none: name their folder by --audit")
        if folder is not None:
            options |= {"beforehand": fitting(folder, **of_audit), "kept": folder / KEPT}
        if self.optical_device is not None:
            options["optical_device"] = opened(self.optical_device, **of_service)
        with Terminal(kept=f"beside {self.out}") as terminal:
            done = harden_model(**options, progress=terminal.progress)
        say(f"accuracy on {done.test_images} test images:")
        say(f"  {done.before:7.2%}  before")
        say(f"  {done.after:7.2%}  with the device at {done.at!r}, fine-tuned on {done.train_images} training images")
        say(f"seconds: {done.seconds:.1f} fine-tuning")
        holds = "says where it is" if self.optical_device is not None else "holds the secret"
        if done.public:
            holds = "public seed: no secret"
        say(f"device: {done.device} ({holds}; without it the model guesses)")
        say(f"model: {done.model}")
        if folder is None:
            say(f"whether it is robust: {done.command(self.data)}")
            return
        shared: dict[str, Any] = {
            name: options.get(name) for name in ("data", "optical_device", "device", "data_dir", "seed")
        }
        with Terminal(kept=f"in {folder}") as terminal:
            found = audit_both(done, folder, **of_audit, **shared, progress=terminal.progress)
        _compare(found)
        say(f"reports: {build(folder / 'before')} {build(folder / 'after')}")


def _compare(found: "Judged") -> None:
    rows = []
    for name, result in (("before", found.before), ("after", found.after)):
        if result.clean is None or result.worst is None:
            rows.append((name, "", "", "", result.judged))
            continue
        for claim in result.each:
            claimed = "" if claim.figure is None else f"{claim.figure.share:.1%}"
            row = (
                name,
                f"{result.clean.share:.1%}",
                f"{claimed} ({claim.name})",
                f"{result.worst.share:.1%}",
                claim.verdict,
            )
            rows.append(row)
    say_table("before and after", ("network", "right", "claimed (by)", "worst case", "the claim is"), rows)
    if (worst := found.worst) is not None:
        how = "a difference" if worst.p < _SURE else "no difference that so many images show"
        say(
            f"worst case after and before: {0.0 - worst.points:+.1f} points on {worst.first.total} images, "
            f"{how} (exact McNemar test, p = {worst.p:.2g})"
        )


_SURE = 0.05
