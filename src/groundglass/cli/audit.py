"""`groundglass audit`: can a robustness figure be believed?"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from groundglass.cli.options import Command, DataDir
from groundglass.cli.terminal import Terminal, say, say_table

if TYPE_CHECKING:
    from groundglass.audit import Audit as Found


@dataclass(frozen=True)
class Audit(Command):
    """Can a robustness figure be believed? The checks of the field, and the worst case over all attacks, image by image."""

    model: tyro.conf.Positional[str]
    """A model file of a study (models/*.safetensors), or package.module:factory, a function that makes a torch module: images in
    [0, 1] -> logits."""
    out: Path
    """Folder for the record and report.html; a new one, or one of the same audit."""
    data: str
    """cifar10, cifar100, shapes, or an .npz file with images (uint8, or floats in [0, 1]; n, c, h, w) and labels."""
    weights: Path | None = None
    """A factory's weights: a state_dict, .safetensors or of torch.save."""
    norm: Literal["linf", "l2"] = "linf"
    eps: str = "8/255"
    """The radius, pixel units."""
    claimed: float | None = None
    """A robust accuracy that somebody states, in [0, 1]: is it borne out?"""
    images: int = 500
    """The first so many of the test set."""
    matrix: Path | None = None
    """A retrieved matrix of the network's device (matrix.npy of `groundglass retrieve`)."""
    device_dir: Path | None = None
    """Folder of the model's device file. Default: devices/ beside the model's folder."""
    data_dir: DataDir = None
    steps: int = 50
    """Of PGD and APGD."""
    queries: int = 1000
    """An image, of the attacks that only ask."""
    seed: int = 0

    def run(self) -> None:
        from groundglass.audit import AuditConfig
        from groundglass.report import build
        from groundglass.studies.audit_model import audit_model

        options = dict(vars(self))
        config = AuditConfig(steps=options.pop("steps"), queries=options.pop("queries"))
        try:
            with Terminal() as terminal:
                found = audit_model(**options, config=config, progress=terminal.progress)
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # our own errors say what they mean; and bugs
                raise
            raise ValueError(
                f"{self.model} fails on the images of {self.data}: {error}. Give --data the kind of images it was trained on"
            ) from error
        page = build(self.out)
        if found is None:
            say(f"{self.out} holds this audit already: nothing was run again")
        else:
            _print_audit(found)
        say(f"report: {page}")


def _print_audit(found: "Found") -> None:
    attempts = []
    for attempt in found.attempts:
        counts = (attempt.tried, attempt.broke, attempt.gradients, attempt.forwards)
        attempts.append((attempt.name, *(f"{count:,}" for count in counts), f"{attempt.seconds:.1f}"))
    heads = ("attack", "tried on", "broke", "gradients", "forward passes", "s")
    say_table("attacks, each on what is left", heads, attempts)
    checks = [(check.name, check.status, check.measured, check.threshold) for check in found.checks]
    say_table("checks", ("check", "", "measured", "expected"), checks)
    for check in found.failed:
        say(f"{check.name}: {check.advice}")
    say(f"\n{found.sentence}")
    say(f"seconds: {found.seconds:.0f}")
