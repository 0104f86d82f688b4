"""Measuring a file of bit vectors into a file of readings, of any size, in bounded memory; the same call resumes."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from groundglass.core import Progress, check_writable, refuse_existing, silent
from groundglass.core.accelerator import Device, torch_device
from groundglass.optics.camera import Camera
from groundglass.optics.device import OpticalDevice
from groundglass.optics.simulated import SimulatedOPU
from groundglass.optics.streams.bit_file import BitFile
from groundglass.optics.streams.packed import rows_at_a_time
from groundglass.optics.streams.reading_file import ReadingFile

# What a piece should take: a session that is killed loses one. A span is longer, as each one packs the whole batch for the
# procedural device, half a second for 256 MiB of bits.
_FRAME_SECONDS = 2.0
_SPAN_SECONDS = 5.0
# Rows to begin with, and the fewest if they take longer: a device makes a row of a batch cheaper than a row alone.
_ROWS = 16
# Outputs to begin with, and in a multiple of which they come: of whole tiles of a procedural device.
_OUTPUTS = 256
_TILE = 64


@dataclass(frozen=True)
class Measured:
    """What a measurement of a file was.

    Attributes:
        rows: inputs, one frame each.
        seconds: of measuring, over all sessions.
        rate: readings a second, of this session.
        gone_on_from: the share of the readings that an earlier session had taken.
        saturated: the share of the readings at the top of the camera; None for float readings.
    """

    rows: int
    seconds: float
    rate: float
    gone_on_from: float
    saturated: float | None


def measure_file(
    device: OpticalDevice,
    source: Path | str,
    out: Path | str,
    *,
    packed: bool | None = None,
    where: Device = "cpu",
    progress: Progress = silent,
) -> Measured:
    """Measure every row of a .npy file, and write the readings into another.

    The whole input is checked before a frame is taken. Readings go into a part file beside `out`, piece by piece of a
    few seconds; after an interruption, of whatever kind, the same call resumes from there. Memory is bounded by some 256 MiB
    and what the device itself holds, whatever the sizes.

    A noisy `SimulatedOPU` gives row k the noise of its k-th frame: give it as it was when the measurement began (loaded, or
    new), here and when it is resumed.

    Args:
        device: any `OpticalDevice`. Of a procedural one without noise a few outputs of many rows are measured at a time, as its
            entries are drawn once for a batch; of others whole frames.
        source: uint8 or bool [rows, N] of 0 and 1, or packed uint8 [rows, ceil(N / 8)] as `numpy.packbits` makes them.
        out: the readings, uint8 [rows, M], or float32 for a camera without bits; not there yet.
        packed: whether eight bits are in a byte of `source`; None: its width says so.
        where: what it is computed on: "cpu", "cuda", "cuda:1", "auto" (a card where there is one). The readings are the same.
        progress: called with the rows that are checked, then with the readings.

    Raises:
        FileNotFoundError: no `source`.
        FileExistsError: `out` is there, or a part file that is not from here.
        DamagedFileError: `source` is not a .npy file, or one of the files was cut short.
        ValueError: no such `where`; `source` does not hold bits of this device; or the part file is of another device or input.
        DiskFullError: no room for the readings, said before a frame is taken.
    """
    source, out, there = Path(source), Path(out), torch_device(where)
    refuse_existing(out)
    bits = BitFile(source, device.in_features, packed)
    check_writable(out.parent)  # before all of the input is read
    camera: Camera | None = getattr(device, "camera", None)
    noisy = camera is not None and camera.noisy
    identity = {
        "fingerprint": device.fingerprint,
        "in_features": device.in_features,
        "source_sha256": bits.check(progress),
        "packed": bits.packed,
        "noise_seed": getattr(device, "noise_seed", None) if noisy else None,
        "first_frame": getattr(device, "frames", None) if noisy else None,
    }
    dtype = torch.float32 if camera is not None and camera.bits is None else torch.uint8
    shape = (bits.rows, device.out_features)
    with ReadingFile(out, identity, shape, np.float32 if dtype == torch.float32 else np.uint8) as readings:
        if isinstance(device, SimulatedOPU) and device.kind == "procedural" and not noisy:
            pieces = _spans(device, bits, readings)
        else:
            readings.drop_batch()
            pieces = _frames(device, bits, readings)
        before, seconds_before = readings.done, readings.seconds
        _tell(progress, readings)
        for some, x, pace in pieces:
            began = time.perf_counter()
            found = some.measure(x.to(there)).cpu()
            seconds = time.perf_counter() - began
            if found.dtype != dtype:
                raise TypeError(f"the device reads {found.dtype}, and its camera says {dtype}: give it its `camera`")
            top = 255 if camera is None else camera.top
            saturated = 0 if found.is_floating_point() else int((found == top).sum())
            readings.add(found.numpy(), saturated=saturated, seconds=seconds)
            pace.took(seconds)
            _tell(progress, readings)
            del x, found  # before the next ones are read
        bits.check_unchanged()
        readings.finish()
    total = math.prod(shape)
    return Measured(
        rows=bits.rows,
        seconds=readings.seconds,
        rate=(total - before) / max(readings.seconds - seconds_before, 1e-9),
        gone_on_from=before / total,
        saturated=None if dtype == torch.float32 else readings.saturated / total,
    )


class _Pace:
    """How much to do at a time: what takes so many seconds, going by how long the last piece took."""

    def __init__(self, seconds: float, size: int, most: int, step: int = 1) -> None:
        self.size = size
        self._seconds = seconds
        self._least = min(size, _TILE) if step > 1 else size
        self._most = most
        self._step = step

    def took(self, seconds: float) -> None:
        factor = min(4.0, max(0.25, self._seconds / max(seconds, 1e-9)))
        size = int(self.size * factor) // self._step * self._step
        self.size = min(self._most, max(self._least, size))


#: What to measure next, by what, and whose pace it goes.
_Piece = tuple[OpticalDevice, Tensor, _Pace]


def _tell(progress: Progress, readings: ReadingFile) -> None:
    progress("readings", readings.done, math.prod(readings.shape), rows=readings.row)


def _frames(device: OpticalDevice, bits: BitFile, kept: ReadingFile) -> Iterator[_Piece]:
    """Whole frames: as many rows at a time as take `_FRAME_SECONDS`, or as memory allows."""
    rows, m = kept.shape
    if kept.row and isinstance(device, SimulatedOPU):
        device.skip_frames(kept.row)
    most = rows_at_a_time(device.in_features, m)
    # A row of a noisy procedural device may be minutes.
    slow = isinstance(device, SimulatedOPU) and device.kind == "procedural"
    pace = _Pace(_FRAME_SECONDS, 1 if slow else min(_ROWS, most), most)
    while kept.row < rows:
        yield device, bits.read(kept.row, min(kept.row + pace.size, rows)), pace


def _spans(device: SimulatedOPU, bits: BitFile, kept: ReadingFile) -> Iterator[_Piece]:
    """A batch of rows as large as memory allows, and of it as many outputs at a time as take `_SPAN_SECONDS`."""
    rows, m = kept.shape
    largest = rows_at_a_time(device.in_features, _OUTPUTS)
    # 2^25 readings, of which the device may want float64 light.
    pace = _Pace(_SPAN_SECONDS, _OUTPUTS, max(_OUTPUTS, 2**25 // largest // _TILE * _TILE), _TILE)
    while kept.row < rows:
        row, x = kept.row, bits.read(kept.row, kept.row + (kept.batch or min(largest, rows - kept.row)))
        while kept.row == row:
            span = range(kept.output, min(kept.output + pace.size, m))
            yield (device if len(span) == m else device.region(span)), x, pace
