"""Devices that count, fail and change while they are read; and what a retrieval from one is judged by."""

from pathlib import Path

import torch
from torch import Tensor

from groundglass.optics import Camera, DeviceAccess, SimulatedOPU
from groundglass.optics.retrieval import FixedExposure, RetrievalMethod, Retrieved, Scale, retrieve
from groundglass.optics.retrieval.plan import OVERHEAD

#: Inputs of a device whose whole retrieval is tested, how it is retrieved, and from how many frames.
N = 32
METHOD = FixedExposure()
FRAMES = 12 * N + OVERHEAD


class Bench:
    """A `SimulatedOPU` behind a counter: it may stop, change its matrix, lose its light or lend it by a factor.

    Args:
        inner: the device.
        stops: an OSError in the call that would go beyond so many frames; no frame of that call is taken.
        swaps: from this frame on, `after` answers; frames before it are answered by `inner`.
        light: times the exposure, unknown to the device's own description.
    """

    def __init__(
        self,
        inner: SimulatedOPU,
        *,
        stops: int | None = None,
        swaps: int | None = None,
        after: SimulatedOPU | None = None,
        light: float = 1.0,
    ) -> None:
        self.inner, self.after = inner, after
        self.stops, self.swaps, self.light = stops, swaps, light
        self.taken = 0
        self.seen: list[Tensor] = []
        self.in_features, self.out_features = inner.in_features, inner.out_features
        self.fingerprint, self.mean_reading, self.camera = inner.fingerprint, inner.mean_reading, inner.camera

    def measure(self, bits: Tensor) -> Tensor:
        return self.measure_at(bits, 1.0)

    def measure_at(self, bits: Tensor, exposure: float) -> Tensor:
        if self.stops is not None and self.taken + len(bits) > self.stops:
            raise OSError("the laser went out")
        first = self.taken
        self.taken += len(bits)
        self.seen.append(bits.clone())
        split = len(bits) if self.swaps is None else min(max(self.swaps - first, 0), len(bits))
        answers = [self.inner.measure_at(bits[:split], exposure * self.light)]
        if split < len(bits):
            assert self.after is not None
            answers.append(self.after.measure_at(bits[split:], exposure * self.light))
        return torch.cat(answers)


def scale_of(device: SimulatedOPU, noise: float = 0.0) -> Scale:
    return Scale(None if device.camera.bits is None else device.camera.top, device.mean_reading, noise)


def opu(n: int, m: int, camera: Camera | None = None, *, seed: int = 3) -> SimulatedOPU:
    return SimulatedOPU.create(n, m, seed=seed, camera=camera)


def run(
    device: SimulatedOPU | Bench,
    folder: Path | None = None,
    *,
    method: RetrievalMethod = METHOD,
    frames: int = FRAMES,
    seed: int = 1,
    rows: int | None = None,
    budget: int | None = None,
) -> Retrieved:
    access = DeviceAccess(device, budget=budget, exposure_control=True)
    return retrieve(access, method, frames=frames, seed=seed, rows=rows, folder=folder)
