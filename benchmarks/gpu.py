"""What a card makes of the package's work, in one run: layer, product, attacks, retrieval, an epoch.

    python benchmarks/gpu.py                       # on the card, where there is one
    python benchmarks/gpu.py --device cuda:1 --only layer product
    python benchmarks/gpu.py --device cpu --small  # tries every line in under a minute; its figures mean nothing

- `layer`: the optical layer's forward pass beside a `Linear` of the same size, and a step of hybrid training beside one of
  backpropagation. Goal: at most 1.05 times as long, at full width, batch 512.
- `product`: multiply-adds of the exact product |Ux|^2 a second, as a share of what a bfloat16 product of large square matrices
  reaches here.
- `pgd`: PGD-20 beside torchattacks, all steps. Goal: twice as many images a second.
- `queries`: NES and Square on images that are never fooled, so that each takes its whole budget; Square beside torchattacks'.
  `black_box_peers.py` has the published codes.
- `retrieval`: U of a device from its readings.
- `epoch`: one of hybrid training, augmentation included, in the precision that is faster here.

Work that is compared is done in turns, the first is not counted, and ratios are of the medians. Weights and images are random:
times do not depend on them. What is not installed is left out, and said to be.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from groundglass.attacks import NES, PGD, Linf, Square
from groundglass.core import accelerator
from groundglass.core.accelerator import described, repeatable, torch_device
from groundglass.core.platform import machine, versions
from groundglass.data import Augment, ImageSet
from groundglass.models import ModelSpec, build
from groundglass.optics import DeviceAccess, OpticalLayer, SimulatedOPU
from groundglass.optics.retrieval import FixedExposure, retrieve, row_errors
from groundglass.optics.true_matrix import true_matrix
from groundglass.training import BackProp, CreditAssignment, HybridDFA, TrainingConfig, fastest_precision, train


@dataclass(frozen=True)
class Sizes:
    """How large each measurement is."""

    width: float = 1.0
    batch: int = 512
    inputs: int = 512
    outputs: int = 8000
    products: int = 8192
    """Inputs, outputs and batch of the product alone."""
    square: int = 8192
    """Of the bfloat16 product that the peak is measured with."""
    pgd: int = 1024
    asked: int = 10_000
    budget: int = 100
    retrieved: tuple[int, int] = (2000, 10_000)
    epoch: int = 50_000


SMALL = Sizes(
    width=0.05, batch=8, inputs=48, outputs=96, products=128, square=128, pgd=4, asked=4, budget=8, retrieved=(32, 24),
    epoch=32,
)  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    device: str = "auto"
    small: bool = False
    """Tries every line; the figures mean nothing."""
    only: tuple[str, ...] = ()
    """Of layer, product, pgd, queries, retrieval and epoch; all if none is given."""
    turns: int = 5


@dataclass(frozen=True)
class Bench:
    """Where, how large, how often."""

    where: torch.device
    sizes: Sizes
    turns: int

    def seconds(self, **work: Callable[[], object]) -> dict[str, float]:
        """Of each, the median of so many turns; all take turns, and the card has finished when the clock stops."""
        found: dict[str, list[float]] = {name: [] for name in work}
        for turn in range(self.turns + 1):
            for name, one in work.items():
                self._wait()
                started = time.perf_counter()
                one()
                self._wait()
                if turn:
                    found[name].append(time.perf_counter() - started)
        return {name: statistics.median(each) for name, each in found.items()}

    def _wait(self) -> None:
        if self.where.type == "cuda":
            torch.cuda.synchronize(self.where)

    def drawn(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=torch.Generator().manual_seed(0)).to(self.where)

    def network(self, *, device: SimulatedOPU | None = None) -> nn.Module:
        told: dict[str, Any] = {"width": self.sizes.width, "classes": 10, "mean": (0.5,) * 3, "std": (0.25,) * 3}
        if device is not None:
            told |= {"device_in": device.in_features, "device_out": device.out_features}
        return build(ModelSpec(**told), device=device, seed=0).to(self.where)


def layer(b: Bench) -> dict[str, float]:
    n, m = b.sizes.inputs, b.sizes.outputs
    device = SimulatedOPU.create(n, m, seed=0)
    bits = (b.drawn(b.sizes.batch, n) > 0.5).float()
    optical, linear = OpticalLayer(device), nn.Linear(n, m).to(b.where)
    with torch.no_grad():
        forward = b.seconds(optical=lambda: optical(bits), linear=lambda: linear(bits))

    images, labels = b.drawn(b.sizes.batch, 3, 32, 32), (b.drawn(b.sizes.batch) * 10).long()
    images = images.contiguous(memory_format=torch.channels_last)
    precision = fastest_precision(b.where)

    def steps(model: nn.Module, credit: CreditAssignment) -> Callable[[], None]:
        model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        optimiser = torch.optim.SGD(model.parameters(), 1e-3, 0.9)

        def step() -> None:
            with torch.autocast(b.where.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = credit.logits(model, images)
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(logits.float(), labels).backward()
            optimiser.step()

        return step

    both = b.seconds(bp=steps(b.network(), BackProp()), hybrid=steps(b.network(device=device), HybridDFA()))
    return {
        "layer_ms": 1e3 * forward["optical"],
        "linear_ms": 1e3 * forward["linear"],
        "layer_over_linear": forward["optical"] / forward["linear"],
        "bp_step_ms": 1e3 * both["bp"],
        "hybrid_step_ms": 1e3 * both["hybrid"],
        "hybrid_over_bp": both["hybrid"] / both["bp"],
    }


def product(b: Bench) -> dict[str, float]:
    n, side = b.sizes.products, b.sizes.square
    device = SimulatedOPU.create(n, n, seed=0)
    bits = (b.drawn(n, n) > 0.5).to(torch.uint8)
    large = b.drawn(side, side).to(torch.bfloat16)
    found = b.seconds(exact=lambda: device.measure(bits), peak=lambda: large @ large)
    # Real and imaginary part; a multiply-add is two operations.
    exact, peak = 2 * 2 * n**3 / found["exact"], 2 * side**3 / found["peak"]
    return {"exact_tflops": exact / 1e12, "bfloat16_tflops": peak / 1e12, "share_of_peak": exact / peak}


def pgd(b: Bench) -> dict[str, float | str]:
    network, images = b.network().eval().requires_grad_(False), b.drawn(b.sizes.pgd, 3, 32, 32)
    labels = network(images).argmax(1)
    eps, size, steps = 8 / 255, 2 / 255, 20
    ours = PGD(steps=steps, step_size=size, stop_when_fooled=False)
    size_of_pass = min(b.sizes.batch, len(images))
    work: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(network, images, labels, Linf(eps), batch_size=size_of_pass)
    }
    try:
        import torchattacks
    except ImportError:
        pass
    else:
        peer = torchattacks.PGD(network, eps=eps, alpha=size, steps=steps, random_start=False)
        parts = list(zip(images.split(size_of_pass), labels.split(size_of_pass), strict=True))
        work["torchattacks"] = lambda: [peer(*part) for part in parts]
    found = b.seconds(**work)
    rates: dict[str, float | str] = {f"{name}_images_per_s": len(images) / each for name, each in found.items()}
    return rates | _beside(found)


def _beside(found: dict[str, float]) -> dict[str, float | str]:
    """How many times as fast as the peer."""
    return {"times_as_fast": found["torchattacks"] / found["ours"] if "torchattacks" in found else "no torchattacks"}


def queries(b: Bench) -> dict[str, float | str]:
    network, images = b.network().eval().requires_grad_(False), b.drawn(b.sizes.asked, 3, 32, 32)
    with torch.no_grad():
        labels = torch.cat([network(part).argmax(1) for part in images.split(b.sizes.batch)])
    ball, budget = Linf(1e-6), b.sizes.budget  # nothing is fooled
    once = Bench(b.where, b.sizes, 1)
    work: dict[str, Callable[[], object]] = {
        "nes": lambda: NES(samples=2, step_size=1e-6)(network, images, labels, ball, budget=budget, batch_size="auto"),
        "ours": lambda: Square()(network, images, labels, ball, budget=budget, batch_size="auto"),
    }
    try:
        import torchattacks
    except ImportError:
        pass
    else:
        peer = torchattacks.Square(network, norm="Linf", eps=ball.eps, n_queries=budget)
        parts = list(zip(images.split(1000), labels.split(1000), strict=True))
        work["torchattacks"] = lambda: [peer(*part) for part in parts]
    found = once.seconds(**work)
    told: dict[str, float | str] = {
        f"{'square' if name == 'ours' else name}_queries_per_s": len(images) * budget / each
        for name, each in found.items()
    }
    return told | _beside(found)


def retrieval(b: Bench) -> dict[str, float]:
    n, m = b.sizes.retrieved
    device = SimulatedOPU.create(n, m, seed=0)
    found = retrieve(DeviceAccess(device), FixedExposure(), frames=12 * n + 96, seed=0, device=b.where)
    errors = row_errors(found.matrix, true_matrix(device))
    return {
        "computing_s": found.compute_seconds,
        "simulating_s": found.measure_seconds,
        "median_error": float(errors.median()),
    }


def epoch(b: Bench) -> dict[str, float]:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (b.sizes.epoch, 3, 32, 32), dtype=torch.uint8, generator=draws)
    labels = torch.randint(0, 10, (b.sizes.epoch,), generator=draws)
    images = ImageSet("noise", "train", pixels, labels, tuple("abcdefghij"))
    network = b.network(device=SimulatedOPU.create(b.sizes.inputs, b.sizes.outputs, seed=0))
    config = TrainingConfig(
        epochs=2, batch_size=b.sizes.batch, learning_rate=1e-3, precision=fastest_precision(b.where)
    )
    _, done = train(network, images, config, credit=HybridDFA(), seed=0, augment=Augment())
    return {"seconds": done.seconds, "images_per_s": done.images_per_second}


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    part.__name__: part for part in (layer, product, pgd, queries, retrieval, epoch)
}


def main(a: Arguments) -> None:
    unknown = set(a.only) - PARTS.keys()
    if unknown:
        raise SystemExit(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    where = torch_device(a.device)
    if a.small:
        torch.set_num_threads(1)  # of so little work, threads would wait for each other most of the time
    bench = Bench(where, SMALL if a.small else Sizes(), 1 if a.small else a.turns)
    print(json.dumps({**machine(), **described(where), **versions(), "sizes": asdict(bench.sizes)}))
    for name, part in PARTS.items():
        if a.only and name not in a.only:
            continue
        accelerator.watch_memory(where)
        started = time.perf_counter()
        with repeatable(where):
            found = part(bench)
        memory = accelerator.most_memory(where)
        told = {**found, **({} if memory is None else {"card_gib": memory / 2**30})}
        figures = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in told.items()
        )
        print(f"{name:10s} {figures}  ({time.perf_counter() - started:.1f} s)", flush=True)
    if where.type != "cuda":
        print("no card was there: these are figures of the processor, and of a card nothing was measured")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
