"""Where the time of a training step goes, for the networks of a recipe.

    python benchmarks/training_profile.py --data-dir DIR                       # the laptop recipe's VGG-16 on CIFAR-10
    python benchmarks/training_profile.py --data-dir DIR --defended            # its VGG-OPU
    python benchmarks/training_profile.py --data-dir DIR --adversarial         # by PGD, as the adversarial study trains

A step is what `train` does: batch and augmentation, forward and backward passes, optimiser. Shares are of the processor time
that torch's profiler sees, by operator, without what an operator calls; images/s are of the same steps without the profiler.
On a machine that does other work, compare shares, not rates.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch.profiler import ProfilerActivity, profile

from groundglass.core.platform import machine, versions
from groundglass.data import load
from groundglass.models import ModelSpec, build
from groundglass.optics import SimulatedOPU
from groundglass.studies.adversarial_training.study import laptop
from groundglass.training import BackProp, HybridDFA, Precision, TrainingConfig, train


@dataclass(frozen=True)
class Arguments:
    data: Literal["cifar10", "cifar100"] = "cifar10"
    data_dir: Path | None = None
    defended: bool = False
    """VGG-OPU by hybrid training; else VGG-16 by backpropagation."""
    adversarial: bool = False
    precision: Precision = "bfloat16"
    steps: int = 30
    threads: int = 1
    rows: int = 20
    """Operators that are shown."""
    seed: int = 0


class Enough(Exception):
    """So many steps were taken."""


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    data = load(a.data, data_dir=a.data_dir)
    recipe = laptop(a.data, a.seed, a.precision)
    training: TrainingConfig = recipe.hybrid if a.defended else recipe.baseline
    if a.adversarial:
        rule = "dfa" if a.defended else "bp"
        training = replace(training, adversarial=replace(recipe.adversarial, rule=rule))
    sizes: dict[str, Any] = {"device_in": recipe.device_in, "device_out": recipe.device_out} if a.defended else {}
    spec = ModelSpec(width=recipe.width, classes=data.num_classes, mean=data.mean, std=data.std, **sizes)
    device = SimulatedOPU.create(recipe.device_in, recipe.device_out, seed=1) if a.defended else None
    credit = HybridDFA() if a.defended else BackProp()

    def run(steps: int) -> float:
        """Seconds of so many steps of the first epoch."""
        ends = marks(steps)

        class Counted(type(credit)):  # type: ignore[misc]
            def logits(self, model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
                next(ends)
                return super().logits(model, images)  # type: ignore[no-any-return]

        started = time.perf_counter()
        model = build(spec, device=device, seed=0)
        with suppress(Enough):
            train(model, data.train, training, credit=Counted(), seed=0, augment=data.augment)
        return time.perf_counter() - started

    run(3)
    seconds = run(a.steps)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run(a.steps)
    events = sorted(seen.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in events)
    print(f"{machine()}, {a.threads} threads, {versions()}")
    print(f"{'VGG-OPU' if a.defended else 'VGG-16'} of the laptop recipe, {a.data}, {a.precision}: ", end="")
    print(f"{a.steps * training.batch_size / seconds:.0f} images/s\n")
    print(f"{'operator':50}{'share':>8}{'ms/step':>10}{'calls/step':>12}")
    for e in events[: a.rows]:
        share, each = e.self_cpu_time_total / total, e.self_cpu_time_total / 1e3 / a.steps
        print(f"{e.key[:49]:50}{share:8.1%}{each:10.2f}{e.count / a.steps:12.1f}")


def marks(steps: int) -> Iterator[None]:
    """One a step, and then no more."""
    yield from [None] * steps
    raise Enough


if __name__ == "__main__":
    main(tyro.cli(Arguments))
