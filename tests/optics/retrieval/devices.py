"""Devices that count, fail and change while they are read; and what a retrieval from one is judged by."""

import torch
from torch import Tensor

from groundglass.optics import Camera, SimulatedOPU
from groundglass.optics.retrieval import Scale


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
