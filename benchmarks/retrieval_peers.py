"""Retrieval of U beside the published code of the method: the same device, the same frames at most, in turns, in one run.

    python benchmarks/retrieval_peers.py --published phase-retrieval-opu

`--published` names the checkout of lightonai/phase-retrieval-opu, the implementation of Gupta et al. (2020) by the makers
of the device; without it, it is left out. None of its code is here. It is loaded from its files and mended on the way, in
memory: `torch.rfft`, `torch.fft`, `torch.ifft` and `torch.symeig` are gone from torch, and functions of ours with their
old meaning stand in for them. For the device it takes any object that is called with bits: it gets ours.

All of them measure at the device's own exposure, but for the methods that need to set it; those are told apart in the
table. The published code has its default supports, three quarters of the inputs a half (down to a prime: see below why),
and as many anchors as the frames allow. It was made for an exposure that suits it, which the device's own is not. Hence
two further tables: one of a device that is calibrated so that few readings reach the top, and one without a camera, where
readings are floats. In the last one all are nearly exact if they are in order.

Computing is what is not measuring, in seconds of processor time: simulated frames are timed apart.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

from groundglass.core.platform import machine, versions
from groundglass.optics import SimulatedOPU
from groundglass.optics.access import DeviceAccess
from groundglass.optics.camera import Camera
from groundglass.optics.retrieval import (
    FixedExposure,
    Multilateration,
    RetrievalMethod,
    Scale,
    SparseInputs,
    row_errors,
)
from groundglass.optics.true_matrix import true_matrix
from published_codes import mended, standing_in

# Ours, each at the same number of frames.
METHODS: tuple[RetrievalMethod, ...] = (FixedExposure(), Multilateration(), SparseInputs())

CAMERAS = {
    "8 bits, 1% of calibration readings at the top": Camera(),
    "8 bits, 0.001% of calibration readings at the top": Camera(saturation=1e-5),
    "float readings": Camera(bits=None),
}


@dataclass(frozen=True)
class Arguments:
    """What is compared.

    Attributes:
        published: checkout of lightonai/phase-retrieval-opu.
        inputs: N.
        rows: M.
        frames_per_input: frames / N, at most. 16: five anchors, the zero one included, for the published code; 66: its
            notebook's 21.
        seed: of the device and the designs.
        turns: repetitions, with other designs; errors are pooled, times are the least.
        threads: of torch.
    """

    published: Path | None = None
    inputs: int = 256
    rows: int = 500
    frames_per_input: float = 16
    seed: int = 1
    turns: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Turn:
    """One retrieval."""

    estimate: Tensor
    frames: int
    computing: float


class Measured:
    """A device that notes the time spent in it."""

    def __init__(self, device: SimulatedOPU, budget: int, exposure_control: bool) -> None:
        self.access = DeviceAccess(device, budget=budget, exposure_control=exposure_control)
        self.seconds = 0.0

    def __call__(self, bits: Tensor, exposure: float = 1.0) -> Tensor:
        start = time.process_time()
        out = self.access.measure(bits.to(torch.uint8), exposure=exposure)
        self.seconds += time.process_time() - start
        return out


Contender = Callable[[Measured, Scale, int], Tensor]


def ours(method: RetrievalMethod, frames: int) -> Contender:
    def contender(device: Measured, scale: Scale, seed: int) -> Tensor:
        design = method.design(device.access.in_features, frames, scale, seed=seed)
        exposures = design.exposures()
        parts, start = [], 0
        while start < len(design):
            # As many frames as share an exposure, in portions.
            same = (exposures[start : start + 1024] == exposures[start]).long().cumprod(0).sum()
            stop = start + int(same)
            parts.append(device(design.bits(start, stop), float(exposures[start])))
            start = stop
        return method.solve(design, torch.cat(parts).T.contiguous(), scale, seed=seed)

    return contender


def _old_fft(x: Tensor, signal_ndim: int) -> Tensor:
    assert signal_ndim == 1
    return torch.view_as_real(torch.fft.fft(torch.view_as_complex(x.contiguous())))


def _old_ifft(x: Tensor, signal_ndim: int) -> Tensor:
    assert signal_ndim == 1
    return torch.view_as_real(torch.fft.ifft(torch.view_as_complex(x.contiguous())))


def _old_rfft(x: Tensor, signal_ndim: int, onesided: bool) -> Tensor:
    assert signal_ndim == 1
    assert not onesided
    return torch.view_as_real(torch.fft.fft(x))


@dataclass(frozen=True)
class _Eigen:
    eigenvalues: Tensor
    eigenvectors: Tensor


def _old_symeig(x: Tensor, eigenvectors: bool) -> _Eigen:
    assert eigenvectors
    return _Eigen(*torch.linalg.eigh(x))


def published(folder: Path, inputs: int, rows: int, frames: int) -> tuple[str, Contender]:
    """LightOn's `PhaseRetriever`, and its name with the settings that fit into the frames."""
    numbers = mended(folder / "complex.py", "lighton_complex", {})
    with standing_in(complex=numbers):
        changes = {name + "(": f"_old_{name.removeprefix('torch.')}(" for name in ("torch.rfft", "torch.symeig")}
        changes |= {"torch.fft(": "_old_fft(", "torch.ifft(": "_old_ifft("}
        code: Any = mended(folder / "phase_retrieval_encode.py", "lighton_phase_retrieval", changes)
    code.tqdm = lambda what: what
    vars(code).update(_old_fft=_old_fft, _old_ifft=_old_ifft, _old_rfft=_old_rfft, _old_symeig=_old_symeig)
    # Its notebook has int(0.75 N). It divides by the eigenvalues of its random circulant matrices, and of a size with small
    # divisors one is exactly 0 often enough (the alternating sum, for an even one) to make all rows NaN: so, a prime.
    support = max(n for n in range(2, int(0.75 * inputs) + 1) if all(n % d for d in range(2, math.isqrt(n) + 1)))

    def needed(anchors: int) -> int:
        k = anchors + 1  # the zero anchor, which it does not count
        return 2 * (k + 2 * support * k + k * (k + 1) // 2)

    fitting = [k for k in range(2, 21) if needed(k) <= frames]
    if not fitting:
        raise SystemExit(
            f"the published code needs {needed(2)} frames at least, not {frames}: raise --frames-per-input"
        )
    anchors = max(fitting)

    def contender(device: Measured, scale: Scale, seed: int) -> Tensor:
        np.random.seed(seed)  # noqa: NPY002  (it draws from it)
        retriever = code.PhaseRetriever(
            rows, inputs, support, n_signals=2 * support, n_anchors=anchors, batch_size=rows, verbose=0
        )
        return torch.from_numpy(retriever.fit(device).numpy()).to(torch.complex64)

    return f"published code, {anchors + 1} anchors", contender


def run(contender: Contender, device: SimulatedOPU, frames: int, exposure_control: bool, seed: int) -> Turn:
    scale = Scale(None if device.camera.bits is None else device.camera.top, device.mean_reading)
    measured = Measured(device, frames, exposure_control)
    start = time.process_time()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        estimate = contender(measured, scale, seed)
    return Turn(estimate, measured.access.frames, time.process_time() - start - measured.seconds)


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    frames = math.floor(a.frames_per_input * a.inputs)
    print(f"{machine()}, {torch.get_num_threads()} threads, {versions()}")
    print(f"N = {a.inputs}, M = {a.rows}, at most {frames} frames; device seed {a.seed}, {a.turns} turns")
    entries: list[tuple[str, bool, Contender]] = []
    for method in METHODS:
        name = method.name + (" (sets the exposure)" if method.exposure_control else "")
        entries.append((name, method.exposure_control, ours(method, frames)))
    if a.published is None:
        print("LEFT OUT: the published code; --published names its checkout")
    else:
        name, contender = published(a.published, a.inputs, a.rows, frames)
        entries.append((name, False, contender))
    for what, camera in CAMERAS.items():
        device = SimulatedOPU.create(a.inputs, a.rows, seed=a.seed, camera=camera)
        truth = true_matrix(device)
        turns: dict[str, list[Turn]] = {name: [] for name, _, _ in entries}
        for turn in range(a.turns):
            for name, control, contender in entries if turn % 2 == 0 else entries[::-1]:
                turns[name].append(run(contender, device, frames, control, a.seed + turn))
        print(f"\n### {what}\n")
        print("| method | frames | frames/N | median error | rows above 10% | CPU seconds of computing |")
        print("|---|---|---|---|---|---|")
        for name, runs in turns.items():
            # A row that came out as no number is lost.
            errors = torch.cat([row_errors(t.estimate, truth) for t in runs]).nan_to_num(math.inf)
            print(
                f"| {name} | {runs[0].frames} | {runs[0].frames / a.inputs:.1f} | {errors.median():.3g} | "
                f"{(errors > 0.1).double().mean():.1%} | {min(t.computing for t in runs):.2f} |"
            )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
