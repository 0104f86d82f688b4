"""`groundglass audit`: can a robustness figure be believed?"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from groundglass.cli.options import Command, DataDir

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
        from groundglass.cli.terminal import Terminal
        from groundglass.report import build
        from groundglass.studies.audit_model import audit_model

        options = dict(vars(self))
        config = AuditConfig(steps=options.pop("steps"), queries=options.pop("queries"))
        with Terminal() as terminal:
            found = audit_model(**options, config=config, progress=terminal.progress)
        page = build(self.out)
        if found is None:
            print(f"{self.out} holds this audit already: nothing was run again")
        else:
            _print_audit(found)
        print(f"report: {page}")


def _print_audit(found: "Found") -> None:
    from rich.console import Console
    from rich.table import Table

    attempts = Table(
        "attack", "tried on", "broke", "gradients", "forward passes", "s", title="attacks, each on what is left"
    )
    for attempt in found.attempts:
        counts = (attempt.tried, attempt.broke, attempt.gradients, attempt.forwards)
        attempts.add_row(attempt.name, *(f"{count:,}" for count in counts), f"{attempt.seconds:.1f}")
    table = Table("check", "", "measured", "expected", title="checks")
    for check in found.checks:
        table.add_row(check.name, check.status, check.measured, check.threshold)
    console = Console()
    console.print(attempts)
    console.print(table)
    for check in found.failed:
        console.print(f"{check.name}: {check.advice}", highlight=False)
    console.print(f"\n{found.sentence}", highlight=False)
    console.print(f"seconds: {found.seconds:.0f}")
