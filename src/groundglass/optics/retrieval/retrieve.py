"""Retrieve U: take the frames, solve block by block of rows, and see how far the result can be believed."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Complex, Complex64, Float
from torch import Tensor

from groundglass.core import Progress, check_seed, derive_seed, silent
from groundglass.core.accelerator import Device, torch_device
from groundglass.core.platform import available_memory
from groundglass.core.sealed import without_locals
from groundglass.core.settings import Count, fit
from groundglass.core.text import size
from groundglass.optics.access import DeviceAccess
from groundglass.optics.retrieval.folder import RetrievalFolder
from groundglass.optics.retrieval.held_out import HeldOutReadings, wrong_beyond
from groundglass.optics.retrieval.method import RetrievalMethod, Scale, SolvesAgain
from groundglass.optics.retrieval.plan import OVERHEAD, FramePlan
from groundglass.optics.retrieval.readings import read_noise, take

# Bytes of readings that a block of rows may have: memory is a few times that, whatever N and M are.
_BLOCK_BYTES = 2**26
# Bytes that the plan takes for a frame, and what is computed from it meanwhile.
_FRAME_BYTES = 48
# Where held-out readings speak against more of the rows of a block than this, it is light or frames that lack, not luck: they are
# not tried again.
_FEW = 0.02


@dataclass(frozen=True)
class Retrieved:
    """A retrieved matrix, with what an attacker can know of it.

    Attributes:
        matrix: complex64 [rows, N]; |Ux|^2 is in reading steps. Each row is known up to its phase and conjugation, which no
            camera sees.
        frames: taken, `OVERHEAD` for checks included.
        complete: False when a budget ended it early; `note` says so.
        note: for people; empty when all went as asked.
        held_out: mean distance of predicted readings from held-out ones, in reading steps, [rows].
        chance: median over rows of the same for a reading of another input.
        noise: std of a reading between frames of one input, as measured.
        retried: rows that held-out readings spoke against, and that were solved again from the same frames, [rows]. Only where
            the method has something else to try, and these are few.
        doubtful: rows that held-out readings speak against in the end, [rows]: far from them by what noise and rounding explain,
            and beside the other rows or beside chance; or nearly always at the top, where nothing can be said.
        device_seconds: what the frames take at the device's frame rate.
        measure_seconds, compute_seconds: of this machine, over all sessions; the first is the simulation's where the device
            is simulated.
    """

    matrix: Complex64[Tensor, "rows n"] = field(repr=False)
    frames: int
    complete: bool
    note: str
    held_out: Float[Tensor, "rows"]
    chance: float
    noise: float
    retried: Bool[Tensor, "rows"]
    doubtful: Bool[Tensor, "rows"]
    device_seconds: float
    measure_seconds: float
    compute_seconds: float

    @property
    def told_wrong(self) -> Bool[Tensor, "rows"]:
        """Rows that held-out readings show to be wrong, by more than read noise explains: about those of an error above 0.1. Not
        the brightest, whose readings are at the top whatever the row is: these are `doubtful`."""
        return self.held_out > wrong_beyond(self.chance, self.noise)


def frames_needed(method: RetrievalMethod, in_features: int) -> int:
    """The fewest frames of a retrieval, checks included."""
    return method.least(in_features) + OVERHEAD


def retrieve(
    access: DeviceAccess,
    method: RetrievalMethod,
    *,
    frames: int,
    seed: int,
    rows: int | None = None,
    drifting: bool = False,
    folder: Path | str | None = None,
    device: Device = "cpu",
    progress: Progress = silent,
) -> Retrieved:
    """Retrieve the matrix of a device through its readings alone.

    `HELD_OUT` random inputs are measured first, and some of them again now and then: they show the exposure, the noise, a
    matrix that changes, and in the end how well the retrieved one predicts. Rows that they speak against are solved again,
    from the same frames.

    Args:
        access: the device, with what the attacker may do.
        method: how to retrieve.
        frames: how many may be taken, checks included; fewer if the budget of the access is smaller.
        seed: of inputs and starts.
        rows: only the first so many of M; None for all.
        drifting: the matrix is known to drift: go on, whatever the checks show. What is found is a matrix of some time
            between the first frame and the last; `noise` then holds what the drift changes in a reading.
        folder: readings and solved rows are kept there as they come, and the same call resumes from them. None: in memory.
        device: where rows are solved, and where the bits lie that are measured: "cpu", "cuda", "cuda:1", "auto" (a card where
            there is one). A card's rows are as right as the CPU's, and differ from them in their last digits.
        progress: called with the frames and rows that are done.

    Raises:
        ValueError: readings that are not intensities; too few frames, or more than there is memory to plan, said before one is
            taken; a folder with another retrieval; a negative seed; no such `device`.
        PermissionError: the method needs control of the exposure, and the access has none.
        ExposureError: the camera sees nothing, or nothing but white; says which exposure would do.
        MatrixChangedError: the matrix changed meanwhile.
        DamagedFileError, DiskFullError, OSError: of the folder; raised before a frame is taken.
    """
    access.check_intensity("retrieval")
    folder = None if folder is None else Path(folder)
    frames, seed, rows = fit(int, frames, "frames"), fit(int, seed, "seed"), fit(Count | None, rows, "rows")
    check_seed(seed)
    where = torch_device(device)
    plan, given = _plan(access, method, frames, seed, folder)
    count = access.out_features if rows is None else rows
    if count > access.out_features:
        raise ValueError(f"`rows` (={rows}) must be 1 to {access.out_features}, the device's outputs")
    identity = {
        "fingerprint": access.fingerprint,
        "method": repr(method),
        "frames": frames,
        "seed": seed,
        "rows": count,
        **({"drifting": True} if drifting else {}),
    }
    dtype = np.dtype(np.float32 if access.top is None else np.uint8)
    shape = (count, access.in_features)
    with RetrievalFolder(folder, identity, planned=given, readings=(count, len(plan), dtype), matrix=shape) as kept:
        _measure(access, plan, kept, drifting, where, progress)
        scale = Scale(access.top, access.mean_reading, read_noise(kept.readings, plan, access.top))
        _solve(method, plan, scale, kept, derive_seed(seed, "solve"), where, progress)
        held = HeldOutReadings.of(kept.readings, plan, scale)
        retried = torch.zeros(count, dtype=torch.bool, device="cpu")
        retried[list(kept.retried)] = True
        return Retrieved(
            matrix=torch.from_numpy(np.asarray(kept.result())),
            frames=len(plan),
            complete=given == frames,
            note=""
            if given == frames
            else f"the budget ended it: {given} frames ({given / access.in_features:.1f} N) of the {frames} that were asked for",
            held_out=torch.from_numpy(held.away(kept.matrix)),
            chance=held.chance,
            noise=scale.noise,
            retried=retried,
            doubtful=torch.from_numpy(held.doubtful(kept.matrix)),
            device_seconds=len(plan) / access.frame_rate,
            measure_seconds=kept.seconds["measure"],
            compute_seconds=kept.seconds["compute"],
        )


def _plan(
    access: DeviceAccess, method: RetrievalMethod, frames: int, seed: int, folder: Path | None
) -> tuple[FramePlan, int]:
    """The frames, and how many may be taken: those asked for, or what a budget leaves."""
    if method.exposure_control and not access.exposure_control:
        raise PermissionError(
            f"the method {method.name!r} sets the exposure, and this access may not: use a method for a fixed exposure, or "
            "give the attacker that control if the threat model has it"
        )
    n, needed = access.in_features, frames_needed(method, access.in_features)
    # A resumed retrieval keeps its plan: its budget was checked when it began.
    given = RetrievalFolder.planned_in(folder, frames)
    if given is None:
        given = frames if access.remaining is None else min(frames, access.remaining)
    if given < needed:
        whose = f"{given} frames, what the budget leaves," if given < frames else f"{frames} frames"
        raise ValueError(
            f"{whose} are too few for {n} inputs: {method.name!r} needs at least {method.least(n)} "
            f"({method.least(n) / n:.1f} N), and {OVERHEAD} for checks: {needed}"
        )
    memory = available_memory()
    if memory is not None and given * _FRAME_BYTES > memory:
        raise ValueError(
            f"{given:,} frames take {size(given * _FRAME_BYTES)} of memory to plan, and there are {size(memory)}: ask for "
            f"fewer; {method.name!r} needs at least {needed:,}"
        )
    design = method.design(
        n, given - OVERHEAD, Scale(access.top, access.mean_reading), seed=derive_seed(seed, "design")
    )
    return FramePlan(design, seed=seed), given


def _measure(
    access: DeviceAccess,
    plan: FramePlan,
    kept: RetrievalFolder,
    drifting: bool,
    where: torch.device,
    progress: Progress,
) -> None:
    # What an earlier access took; this one may be the same, and has counted it.
    access.charge(max(0, kept.taken - access.frames))
    started = time.perf_counter()
    for frames in take(access, plan, kept.readings, kept.taken, drifting=drifting, where=where):
        kept.keep_frames(frames, time.perf_counter() - started)
        started = time.perf_counter()
        progress("frames", frames, len(plan))


def _solve(
    method: RetrievalMethod,
    plan: FramePlan,
    scale: Scale,
    kept: RetrievalFolder,
    seed: int,
    where: torch.device,
    progress: Progress,
) -> None:
    rows, frames = kept.readings.shape
    step = max(64, _BLOCK_BYTES // (frames * kept.readings.itemsize) // 64 * 64)
    for begin in range(kept.solved, rows, step):
        end = min(begin + step, rows)
        started = time.perf_counter()
        block = kept.readings[begin:end]
        readings = torch.from_numpy(block[:, plan.columns]).to(where)
        found = method.solve(plan.design, readings, scale, seed=seed).cpu().numpy()
        held = HeldOutReadings.of(block, plan, scale)
        doubtful = np.flatnonzero(held.doubtful(found))
        if 0 < len(doubtful) <= max(1, _FEW * len(found)) and isinstance(method, SolvesAgain):
            again = method.solve_again(plan.design, readings[doubtful], scale, seed=derive_seed(seed, "again"))
            part = held.part(doubtful)
            better = part.misfits(again.cpu().numpy()) < part.misfits(found[doubtful])
            found[doubtful[better]] = again.cpu().numpy()[better]
        else:
            doubtful = doubtful[:0]
        kept.keep_rows(begin, found, time.perf_counter() - started, retried=(begin + doubtful).tolist())
        progress("rows", end, rows)


@without_locals
def row_errors(estimate: Complex[Tensor, "m n"], truth: Complex[Tensor, "m n"]) -> Float[Tensor, "m"]:
    """Relative error of each row, whatever its phase and conjugation: |Ux|^2 of real x is the same for all of them.

    min over phase and conjugation of |u - e^(i phi) v| / |u|, that is
    sqrt(|u|^2 + |v|^2 - 2 max(|<u, v>|, |<conj u, v>|)) / |u|. A row of chance with the right length has about sqrt(2).
    """
    if estimate.shape != truth.shape:
        raise ValueError(f"the estimate is {list(estimate.shape)}, the matrix {list(truth.shape)}: not the same device")
    u, v = truth.to(torch.complex128), estimate.to(torch.complex128)
    size = u.abs().square().sum(1)
    agreement = torch.maximum((u.conj() * v).sum(1).abs(), (u * v).sum(1).abs())
    return ((size + v.abs().square().sum(1) - 2 * agreement).clamp_min(0) / size).sqrt()
