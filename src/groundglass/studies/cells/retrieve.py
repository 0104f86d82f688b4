"""Cells that retrieve the matrix of a device from its readings, as an attacker who holds it would."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from groundglass.core import derive_seed
from groundglass.core.arrays import read_npy
from groundglass.core.settings import Count, Positive
from groundglass.optics import DeviceAccess, DriftingDevice, SimulatedOPU, true_matrix
from groundglass.optics.retrieval import FixedExposure, RetrievalMethod, retrieve, row_errors
from groundglass.results import Record
from groundglass.results.kinds.network import CameraSettings
from groundglass.results.kinds.retrieve import RETRIEVE, HeldOut, RetrieveResult, RowErrors, RowsResult
from groundglass.studies.cells.network import NEEDS_U, DeviceCell
from groundglass.studies.engine.cell import BaseCell, Outcome, filled, key_of
from groundglass.studies.engine.context import Context

# A row that is further off counts as failed.
_FAILED = 0.1
# Steps in which U drifts while it is retrieved, at least.
_STEPS = 128
_DEFAULT = FixedExposure()


@dataclass(frozen=True, kw_only=True)
class RetrieveCell(BaseCell):
    """Retrieve the matrix of a device, and see how far it is from the true one.

    Attributes:
        frames: that are taken, checks included.
        rows: the first so many; None for all.
        kept: the matrix is kept in the run folder, readable by its owner alone, for attacks to use.
        frame_rate: of the device, frames a second.
        period: seconds between two redraws that allow so many frames.
        correlation: correlation time of U, frames; None: it stands still. The error is then that of U after the last frame.
    """

    device: DeviceCell
    frames: Count
    method: RetrievalMethod = _DEFAULT
    rows: Count | None = None
    kept: bool = False
    frame_rate: Positive = 2000.0
    seed: int
    purpose: Literal["price", "period", "queries", "noise", "bits", "exposure", "method", "drift", "guard"]
    period: Positive | None = None
    correlation: Positive | None = None

    kind = "retrieve"

    def needs(self) -> str:
        return NEEDS_U if self.correlation is not None and self.device.given else ""

    @property
    def per_input(self) -> float:
        """Frames an input of the device."""
        return self.frames / self.device.in_features

    @property
    def name(self) -> str:
        count = self.device.out_features if self.rows is None else self.rows
        camera, varied = self.device.camera, ""
        if self.purpose == "noise":
            varied = f", read noise {camera.read_noise:g}"
        elif self.purpose == "bits":
            varied = f", {camera.bits} bits"
        elif self.purpose == "exposure":
            varied = f", {camera.saturation:.2%} saturated"
        elif self.correlation is not None:
            varied = f", correlation time {self.correlation / self.device.in_features:.3g} N frames"
        elif self.purpose == "method":
            varied = f", {self.method.name}"
        elif self.period is not None:
            varied = f", redrawn every {self.period:g} s"
        return f"U {self.device.in_features} -> {count} from {self.per_input:.3g} N frames{varied}"

    def described(self) -> dict[str, Any]:
        return {
            "method": self.method.name,
            "settings": asdict(self.method),  # type: ignore[call-overload]
            "per_input": round(self.per_input, 4),
            "in_features": self.device.in_features,
            "out_features": self.device.out_features,
            "camera": CameraSettings(**asdict(self.device.camera)),
            "exposure_control": self.method.exposure_control,
        }

    def chosen(self, inputs: Sequence[Record], context: Context) -> RetrievalMethod:
        """The method, where it needs what other cells have made."""
        return self.method

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        device = context.device(inputs[0])
        if self.correlation is not None:
            assert isinstance(device, SimulatedOPU)
            hold = max(1, min(self.frames // _STEPS, int(self.correlation / _STEPS)))
            device = DriftingDevice(device, correlation=self.correlation, hold=hold)
        access = DeviceAccess(
            device, budget=self.frames, exposure_control=self.method.exposure_control, frame_rate=self.frame_rate
        )
        folder = Path("retrieved") / key_of(self) if self.kept else None
        found = retrieve(
            access,
            self.chosen(inputs, context),
            frames=self.frames,
            # One plan for all numbers of frames would make their errors hang together.
            seed=derive_seed(self.seed, "retrieve", self.frames),
            rows=self.rows,
            # Under noise as large as the light a frame that comes again is not known again: the checks would see a drift.
            drifting=self.correlation is not None or self.device.camera.read_noise > device.mean_reading,
            folder=None if folder is None else context.folder / folder,
            device=context.where,
            progress=context.progress,
        )
        last = device.now() if isinstance(device, DriftingDevice) else device
        known = not self.device.given
        # What was not measured is nan.
        errors = np.full(len(found.matrix), np.nan)
        if known:
            errors = row_errors(found.matrix, true_matrix(last)[: len(found.matrix)]).numpy()
        result = filled(
            RetrieveResult,
            found,
            rows=len(errors),
            error=_summary(errors) if known else None,
            failed_share=float((errors > _FAILED).mean()) if known else None,
            held_out=HeldOut(median=float(found.held_out.median()), chance=found.chance, noise=found.noise),
            told_share=float(found.told_wrong.float().mean()),
            retried_rows=int(found.retried.sum()),
            doubtful_rows=int(found.doubtful.sum()),
            measure_seconds=round(found.measure_seconds, 2),
            compute_seconds=round(found.compute_seconds, 2),
            threads=torch.get_num_threads(),
            matrix=None if folder is None else str(folder / "matrix.npy"),
        )
        # Once the record is written the readings, the largest of the files, are not needed. Before that, a retrieval that is
        # interrupted continues from them.
        readings = None if folder is None else context.folder / folder / "readings.npy"
        each = {"error": errors.astype(np.float32), "held_out": found.held_out.numpy()}
        return Outcome(result, each, scratch=readings)


def _summary(errors: np.ndarray) -> RowErrors:
    low, middle, high = (float(np.quantile(errors, share)) for share in (0.1, 0.5, 0.9))
    return RowErrors(median=middle, q10=low, q90=high, max=float(errors.max()), mean=float(errors.mean()))


@dataclass(frozen=True, kw_only=True)
class RowsCell(BaseCell):
    """Retrieve some rows of U, from a camera that reads these outputs alone, and see what a row takes.

    Frames serve all rows at once, and rows are solved one by one: the whole matrix takes the same frames, and as much more
    computing as it has more rows.
    """

    device: DeviceCell
    rows: Count
    frames: Count
    frame_rate: Positive
    seed: int

    kind = "rows"

    def needs(self) -> str:
        return NEEDS_U if self.device.given else ""

    # The time of a row is measured: not beside another cell.
    alone = True

    @property
    def name(self) -> str:
        return f"{self.rows} rows of the U of {self.device.name}"

    def described(self) -> dict[str, Any]:
        return {
            "method": _DEFAULT.name,
            "settings": asdict(_DEFAULT),
            "device_kind": self.device.device_kind,
            "in_features": self.device.in_features,
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        whole = context.device(inputs[0])
        assert isinstance(whole, SimulatedOPU)
        device = whole.region(range(self.rows))
        # Compiling, or loading what was compiled, does not count as time of a row.
        small = DeviceAccess(SimulatedOPU.create(64, 64))
        retrieve(small, _DEFAULT, frames=12 * 64, seed=0, device=context.where)
        found = retrieve(
            DeviceAccess(device, budget=self.frames, frame_rate=self.frame_rate),
            _DEFAULT,
            frames=self.frames,
            seed=derive_seed(self.seed, "rows", self.frames),
            device=context.where,
            progress=context.progress,
        )
        errors = row_errors(found.matrix, true_matrix(device)).numpy()
        return Outcome(
            filled(
                RowsResult,
                found,
                rows=len(errors),
                median_error=float(np.median(errors)),
                failed=int((errors > _FAILED).sum()),
                row_seconds=found.compute_seconds / len(errors),
                threads=torch.get_num_threads(),
            ),
            {"error": errors.astype(np.float32)},
        )


def retrieved_matrix(record: Record, context: Context) -> Tensor:
    """The matrix that a `RetrieveCell` has kept: complex64 [m, n]."""
    matrix = RETRIEVE.result_of(record).matrix
    assert matrix is not None
    path = context.file(record, matrix)
    return torch.from_numpy(read_npy(path, "delete the record's line, and the matrix is retrieved again"))
