"""What an audit costs beside its most expensive attack, on networks of a run folder: in time, and in images through them.

    python benchmarks/audit.py RUN/models/vgg-16.safetensors RUN/models/vgg-opu.safetensors --data-dir DATA

A gradient is counted as three forward passes. The checks, fits and fresh passes are all in the total.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from groundglass.attacks import Linf
from groundglass.audit import audit
from groundglass.core.platform import machine
from groundglass.data import load
from groundglass.studies.audit_model import parse_eps, read_network


@dataclass(frozen=True)
class Options:
    """Options."""

    models: tyro.conf.Positional[tuple[Path, ...]]
    """Model files of a study."""
    data: str = "cifar10"
    data_dir: Path | None = None
    images: int = 500
    eps: str = "8/255"
    repeats: int = 3
    """Of each audit; times are their medians."""
    seed: int = 0


def main(options: Options) -> None:
    dataset = load(options.data, data_dir=options.data_dir)
    test = dataset.test.head(options.images)
    ball = Linf(parse_eps(options.eps))
    where = machine()
    print(
        f"{where.get('processor', where)}, {torch.get_num_threads()} threads, {options.images} images, seed {options.seed}"
    )
    for path in options.models:
        network = read_network(str(path), None, None)
        ratios, seconds = [], []
        for _ in range(options.repeats):
            found = audit(network, test.floats(), test.labels, ball, natural=dataset.train, seed=options.seed)
            ratios.append(found.seconds / max(attempt.seconds for attempt in found.attempts))
            seconds.append(found.seconds)
        dearest = max(found.attempts, key=lambda attempt: attempt.seconds)
        middle, median = sorted(ratios)[len(ratios) // 2], sorted(seconds)[len(seconds) // 2]
        print(f"\n{path.name}: {found.sentence}")
        print(f"  {median:.1f} s ({min(seconds):.1f} to {max(seconds):.1f}, {options.repeats} runs)")
        print(f"  {middle:.2f} times its dearest attack ({min(ratios):.2f} to {max(ratios):.2f}), {dearest.name}")
        for attempt in found.attempts:
            if attempt.tried:
                passes = attempt.forwards + 3 * attempt.gradients
                print(
                    f"    {attempt.name}: {attempt.broke} of {attempt.tried}, {passes:,} passes, {attempt.seconds:.1f} s"
                )


if __name__ == "__main__":
    main(tyro.cli(Options))
