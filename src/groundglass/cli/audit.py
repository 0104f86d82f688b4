"""`groundglass audit`: what does a network keep, and which claims does that contradict?"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from groundglass.cli.options import Command, ComputeOn, DataDir, DeviceFile
from groundglass.cli.remote import CaFile, OpticalDevice, TokenFile, opened
from groundglass.cli.terminal import Terminal, say, say_table
from groundglass.core.text import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundglass.audit import Audit as Found
    from groundglass.audit import Check


@dataclass(frozen=True)
class Audit(Command):
    """What does a network keep, whatever is tried? The worst case over all attacks, image by image; and for each claim the
    checks of the field, and a verdict."""

    model: tyro.conf.Positional[str]
    """A model file of a study (models/*.safetensors), or a network by name: timm:resnet18, torchvision:resnet18,
    robustbench:Linf/Carmon2019Unlabeled, hub:owner/repository:entry, zoo:vgg-opu-demo of our own zoo, or a function of yours
    that makes a torch module (images in [0, 1] -> logits), package.module:function or file.py:function."""
    out: Path
    """Folder for the record and report.html; a new one, or one of the same audit."""
    data: str
    """cifar10, cifar100, shapes, or your own: an .npz with images (uint8, or floats in [0, 1]) and labels, or a folder with a
    folder of pictures for each class."""
    trained_on: str | None = None
    """What the network was trained on, as --data. Of images without a test split those are audited that are held out then.
    Default: as its file says."""
    model_args: tuple[str, ...] = ()
    """Arguments of the function that makes the network: num_classes=10 pretrained=false."""
    weights: str | None = None
    """A file of weights of a network by name: a state_dict, .safetensors or of torch.save; the file of save_defended, with
    its layer; or random. Default: those that the network is published with; of a function what it makes."""
    mean: tuple[float, ...] = ()
    """Of each channel, to normalise images. Default: as the network's own config says; none for a function of yours."""
    std: tuple[float, ...] = ()
    """The same."""
    norm: Literal["linf", "l2"] = "linf"
    """Of the ball in which images may be changed."""
    eps: str | None = None
    """The radius, pixel units. Default: 8/255 in L-inf; L2 needs one."""
    claim: tuple[str, ...] = ()
    """What is claimed: own (PGD through the network's own gradient), a rule (dfa-fresh, or several: dfa-fresh+fa), an attack of
    --attack, or a robust accuracy that somebody states (0.45). Default: own, and of a defended network the paper's too."""
    attack: tuple[str, ...] = ()
    """Attacks of your own, package.module:name: a function of (model, images, labels, ball) that returns images, or an attack
    of this package."""
    images: int = 500
    """How many images of the test set, from the first."""
    matrix: Path | None = None
    """A retrieved matrix of the network's device (matrix.npy of `groundglass retrieve`)."""
    device_file: DeviceFile = None
    optical_device: OpticalDevice = None
    token_file: TokenFile = None
    ca_file: CaFile = None
    device: ComputeOn = "auto"
    batch_size: int | Literal["auto"] | None = None
    """Images in a pass through the network; auto: as many as fit into the free memory. No result depends on it. Default: as many
    as each attack usually takes."""
    data_dir: DataDir = None
    preset: Literal["quick", "standard"] = "quick"
    """How much is tried: standard has the sizes of AutoAttack's."""
    steps: int | None = None
    """Of PGD and APGD. Default: the preset's, 50 or 100."""
    queries: int | None = None
    """Of Square and RayS, for an image. Default: the preset's, 1,000 or 5,000."""
    seed: int = 0
    """Of all that is drawn."""
    verbose: Annotated[bool, tyro.conf.arg(aliases=["-v"]), tyro.conf.FlagCreatePairsOff] = False
    """Print each attack, each check, and what to try where one failed. The report has them in any case."""

    def run(self) -> None:
        from groundglass.audit import AuditConfig
        from groundglass.report import build
        from groundglass.studies.audit_model import CHECKPOINT, audit_model

        options = dict(vars(self))
        verbose = options.pop("verbose")
        config = AuditConfig.preset(options.pop("preset"))
        sizes = {name: given for name in ("steps", "queries") if (given := options.pop(name)) is not None}
        config = replace(config, **sizes)
        options["arguments"] = options.pop("model_args")
        options["claims"], options["attacks"] = options.pop("claim"), options.pop("attack")
        ca_file = options.pop("ca_file")
        if self.optical_device is not None:
            options["optical_device"] = opened(self.optical_device, self.token_file, ca_file)
        try:
            with Terminal(kept=f"in {self.out}", once=self.out / CHECKPOINT) as terminal:
                found = audit_model(**options, config=config, progress=terminal.progress, note=terminal.note)
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # our own errors say what they mean; and bugs
                raise
            raise ValueError(
                f"{self.model} fails on the images of {self.data}: {error}. Give --data the kind of images it was trained on"
            ) from error
        page = build(self.out)
        if found is None:
            say(f"{self.out} holds this audit already: nothing was run again", f"report: {page}")
            return
        if verbose:
            _print_details(found)
        for attempt in found.invalid:
            say(f"INVALID, and not counted: {attempt.name}: {attempt.invalid}")
        say(f"report: {page} ({duration(found.seconds)})", *found.judged, found.kept)


def _print_details(found: "Found") -> None:
    attempts = []
    for attempt in found.attempts:
        counts = (attempt.tried, attempt.broke, attempt.gradients, attempt.forwards)
        attempts.append((attempt.name, *(f"{count:,}" for count in counts), f"{attempt.seconds:.1f}"))
    heads = ("attack", "tried on", "broke", "gradients", "forward passes", "s")
    say_table("attacks, each on what is left", heads, attempts)
    _print_checks("checks of the network, whatever is claimed", found.checks)
    for claim in found.claims:
        _print_checks(f"checks of the claim {claim.name} ({claim.by})", claim.checks)
        for check in claim.failed:
            say(f"{check.name}: {check.advice}")
    for check in found.failed:
        say(f"{check.name}: {check.advice}")


def _print_checks(title: str, checks: "Sequence[Check]") -> None:
    rows = [(check.name, check.status, check.measured, check.threshold) for check in checks]
    if rows:
        say_table(title, ("check", "", "measured", "expected"), rows)
