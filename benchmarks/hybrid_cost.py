"""What hybrid BP-DFA training costs beside backpropagation: the same steps of both, interleaved, in one run.

    python benchmarks/hybrid_cost.py --width 0.25 --steps 20 --repeats 7

Prints the median ratio of step times, with the spread over repeats. Random images: the time does not depend on them.
"""

import statistics
import time
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
import tyro
from torch import nn

from groundglass.core.platform import machine
from groundglass.models import ModelSpec, build
from groundglass.optics import SimulatedOPU
from groundglass.training import BackProp, CreditAssignment, HybridDFA, fastest_precision


@dataclass(frozen=True)
class Arguments:
    width: float = 0.25
    batch_size: int = 128
    steps: int = 10
    """Steps a repeat."""
    repeats: int = 7
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device_in: int = 512
    device_out: int = 8000


def main(a: Arguments) -> None:
    torch.manual_seed(0)
    spec = {"width": a.width, "classes": 10, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    device = SimulatedOPU.create(a.device_in, a.device_out, seed=0)
    pair: dict[str, tuple[nn.Module, CreditAssignment]] = {
        "bp": (build(ModelSpec(**spec), seed=0), BackProp()),
        "hybrid": (
            build(ModelSpec(**spec, device_in=a.device_in, device_out=a.device_out), device=device, seed=0),
            HybridDFA(),
        ),
    }
    images = torch.rand(a.batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (a.batch_size,))
    precision = fastest_precision() if a.precision == "auto" else a.precision
    optimisers = {
        name: torch.optim.SGD(m.to(memory_format=torch.channels_last).train().parameters(), 1e-3, 0.9)
        for name, (m, _) in pair.items()
    }

    def step(name: str) -> None:
        model, credit = pair[name]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = credit.logits(model, images)
        loss = F.cross_entropy(logits.float(), labels)
        optimisers[name].zero_grad(set_to_none=True)
        loss.backward()
        optimisers[name].step()

    for name in pair:
        step(name)
    times: dict[str, list[float]] = {name: [] for name in pair}
    for _ in range(a.repeats):
        for name in pair:
            started = time.perf_counter()
            for _ in range(a.steps):
                step(name)
            times[name].append((time.perf_counter() - started) / a.steps)
    ratios = [h / b for h, b in zip(times["hybrid"], times["bp"], strict=True)]
    print(
        f"{machine()['processor']}, {torch.get_num_threads()} threads, {precision}, VGG-16 at width {a.width}, seed 0"
    )
    for name, values in times.items():
        rate = a.batch_size / statistics.median(values)
        print(f"{name:7s} {rate:8.1f} images/s (median of {a.repeats} x {a.steps} steps)")
    print(f"hybrid / bp: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
