"""bfloat16 where the device that trains is fast at it, else float32: measured, not guessed from a name."""

from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from groundglass.core import generator, own_streams
from groundglass.core.accelerator import Device, repeatable, seconds_of, torch_device

#: In which numbers a network computes while it is trained.
Precision = Literal["float32", "bfloat16"]


@cache
def step_seconds(where: Device = "cpu") -> dict[Precision, float]:
    """Seconds of a training step of a small convolution in each precision on this device, measured now; it takes about a second.

    Infinite for bfloat16 if its results are wrong.
    """
    device = torch_device(where)
    # A card is measured on what fills it: of a small batch it would show how long it takes to start a kernel.
    count, channels = (512, 128) if device.type == "cuda" else (16, 32)
    net = _convolutions(channels, device)
    images = torch.zeros(count, channels, 16, 16, device=device, dtype=torch.float32)
    images = images.to(memory_format=torch.channels_last)

    def step(enabled: bool) -> None:
        with repeatable(device):  # as training does
            with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
                out = net(images)
            out.float().sum().backward()

    def seconds(enabled: bool) -> float:
        # The first is warm-up and never the best.
        return min(seconds_of(lambda: step(enabled), device) for _ in range(4))

    return {"bfloat16": seconds(True) if bfloat16_is_right(device) else float("inf"), "float32": seconds(False)}


def _convolutions(channels: int, where: torch.device) -> nn.Module:
    with own_streams():
        first, second = (
            nn.Conv2d(channels, channels, 3, padding=1, dtype=torch.float32, device="cpu") for _ in range(2)
        )
    return nn.Sequential(first, nn.ReLU(), second).to(where)


@cache
def bfloat16_is_right(where: Device = "cpu") -> bool:
    """Whether a convolution and its gradients are the same in bfloat16 as in float32, up to bfloat16's rounding."""
    device, random = torch_device(where), generator(0, "bfloat16")
    net = _convolutions(8, device)
    images = torch.randn(4, 8, 8, 8, generator=random, dtype=torch.float32, device="cpu").to(device).requires_grad_()

    def step(enabled: bool) -> list[Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            out = net(images)
        return [out.detach().float(), *torch.autograd.grad(out.float().square().sum(), [images, *net.parameters()])]

    return all(bool((a - b).norm() < 0.1 * b.norm()) for a, b in zip(step(True), step(False), strict=True))


def fastest_precision(where: Device = "cpu") -> Precision:
    """The faster of bfloat16 autocast and float32 on this device; float32 if bfloat16 gains little, or is wrong.

    The two give different roundings: a run asks once and keeps the answer in its records, so that it resumes in the
    precision that it began with.
    """
    seconds = step_seconds(torch_device(where))
    return "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"


def times_slower(precision: Precision, where: Device = "cpu") -> float:
    """How many times as long a training step takes in this precision as in the other one, on this machine."""
    seconds = step_seconds(torch_device(where))
    return seconds[precision] / seconds["float32" if precision == "bfloat16" else "bfloat16"]
