"""How long cells take, before they run: what they have to do, at the speed of this machine or of an earlier run."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from groundglass.attacks import frozen_for_attack
from groundglass.core import counting, generator, uniform
from groundglass.core.accelerator import seconds_of
from groundglass.models.vgg import multiplications, vgg16
from groundglass.results import Record
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.simulate import Timed, remaining
from groundglass.studies.engine.work import Passes, passes
from groundglass.training import Precision

#: Of the committed runs nine of ten cells, and every run as a whole, took a time within such a factor of the estimate, once the
#: speed of their machine is known: see `benchmarks/estimates.py`.
OF_A_CELL, OF_A_RUN = 3.3, 1.9


@dataclass(frozen=True)
class Speeds:
    """Multiplications a second, of a network's forward pass, when no more is done, its gradient, or a training step."""

    forward: float
    gradient: float
    step: float

    def seconds(self, work: Passes) -> float:
        """Of some work."""
        of_network = work.forward / self.forward + work.gradient / self.gradient + work.step / self.step
        return of_network + work.seconds * USUAL.forward / self.forward


#: Of a core of the machine on which most of the committed runs were made (EPYC, Zen 4): where nothing is measured.
USUAL = Speeds(forward=7e10, gradient=3.5e10, step=2.2e10)


def measured(
    width: float,
    *,
    size: tuple[int, int] | None = None,
    precision: Precision = "float32",
    where: torch.device | None = None,
    threads: int | None = None,
    seconds: float = 2.0,
) -> Speeds:
    """The speeds of this machine at a VGG-16 of this width, measured now.

    Args:
        size: of its images, pixels; None: 32 x 32.
        precision: of training.
        where: the device; None: the processor.
        threads: of the processor, that a cell has; None: as torch has.
        seconds: about, with a third as much for the first pass, which compiles what is not in a cache.
    """
    where, before = where or torch.device("cpu"), torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        count = max(8, round(16 / width)) if where.type == "cpu" else 512
        images = uniform(count, 3, *(size or (32, 32)), generator=generator(0, "estimate")).to(where)
        labels = counting(count, where) % 10
        network = vgg16(width, classes=10, mean=(0.5,) * 3, std=(0.25,) * 3, size=size, seed=0).to(where)
        frozen = frozen_for_attack(network.eval(), images[:8])

        def forward() -> None:
            with torch.no_grad():
                frozen(images)

        def gradient() -> None:
            x = images.clone().requires_grad_()
            torch.autograd.grad(F.cross_entropy(frozen(x), labels), x)

        def step() -> None:
            with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = network(images)
            F.cross_entropy(logits.float(), labels).backward()

        found = {}
        for one in (forward, gradient, step):
            network.train(one is step)
            found[one.__name__] = count * multiplications(width, size=size) / _best(one, where, seconds / 3)
        return Speeds(**found)
    finally:
        torch.set_num_threads(before)


def _best(work: Callable[[], None], where: torch.device, seconds: float) -> float:
    """Seconds of the fastest of some turns, after one that does not count: other work on this machine only makes them longer."""
    work()
    turns: list[float] = []
    end = time.perf_counter() + seconds
    while not turns or time.perf_counter() < end:
        turns.append(seconds_of(work, where))
    return min(turns)


def timed(
    plan: Plan, speeds: Speeds | Mapping[float, Speeds] = USUAL, *, like: Sequence[Record] = ()
) -> dict[str, Timed]:
    """The cells of a plan with their estimated seconds, by key.

    Args:
        speeds: of this machine; for each width of the plan's networks, where they have several.
        like: records of an earlier run. A cell that is among them takes what it took there. Another takes its estimate times what
            cells of its kind took there, each on the average, for their estimate.
    """

    def estimated(within: Plan, key: str) -> float:
        if isinstance(speeds, Speeds):
            return speeds.seconds(passes(within, key))
        width = within.width(key)
        return speeds[min(speeds, key=lambda one: abs(one - width))].seconds(passes(within, key))

    before = Plan.of_records(like, train=plan.train, test=plan.test)
    known = {record.key: record.seconds for record in like}
    taken: dict[str, list[float]] = {}
    for record in like:
        sums = taken.setdefault(record.kind, [0.0, 0.0])
        sums[0] += record.seconds
        sums[1] += estimated(before, record.key)
    whole = [sum(sums) for sums in zip(*taken.values(), strict=True)] if taken else [1.0, 1.0]

    def seconds(key: str) -> float:
        if key in known:
            return known[key]
        there, guessed = taken.get(plan.units[key].kind, whole)
        return estimated(plan, key) * (there / guessed if there and guessed else 1.0)

    return {unit.key: Timed(unit.key, seconds(unit.key), unit.inputs, unit.alone) for unit in plan.units.values()}


def priority(plan: Plan) -> dict[str, float]:
    """How urgent each cell is, by its key: estimated seconds from its start to the end of the longest chain that begins with it.

    Many workers that start the most urgent first are done sooner; what comes out is the same. Nothing is measured for it.
    """
    return remaining(list(timed(plan).values()))
