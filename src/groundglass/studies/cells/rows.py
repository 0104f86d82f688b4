"""Cells that time the retrieval of rows of U."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from groundglass.core import derive_seed
from groundglass.optics import DeviceAccess, SimulatedOPU, true_matrix
from groundglass.optics.retrieval import FixedExposure, retrieve, row_errors
from groundglass.results import Record
from groundglass.results.kinds.retrieve import RowsResult
from groundglass.studies.cells.network import DeviceCell
from groundglass.studies.cells.retrieve import FAILED
from groundglass.studies.engine.cell import BaseCell, Outcome, filled
from groundglass.studies.engine.context import Context

_METHOD = FixedExposure()


@dataclass(frozen=True, kw_only=True)
class RowsCell(BaseCell):
    """Retrieve some rows of U, from a camera that reads these outputs alone, and see what a row takes.

    Frames serve all rows at once, and rows are solved one by one: the whole matrix takes the same frames, and as much more
    computing as it has more rows.

    Attributes:
        device: whose matrix.
        rows: the first so many.
        frames: that are taken, checks included.
        frame_rate: of the device, frames a second.
        seed: of inputs and starts.
    """

    device: DeviceCell
    rows: int
    frames: int
    frame_rate: float
    seed: int

    kind = "rows"
    # The time of a row is measured: not beside another cell.
    alone = True

    @property
    def name(self) -> str:
        return f"{self.rows} rows of the U of {self.device.name}"

    def described(self) -> dict[str, Any]:
        return {
            "method": _METHOD.name,
            "settings": asdict(_METHOD),
            "device_kind": self.device.device_kind,
            "in_features": self.device.in_features,
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        whole = context.device(inputs[0])
        assert isinstance(whole, SimulatedOPU)
        device = whole.region(range(self.rows))
        # Compiling, or loading what was compiled, is no part of what a row takes.
        retrieve(DeviceAccess(SimulatedOPU.create(64, 64, seed=0)), _METHOD, frames=12 * 64, seed=0)
        found = retrieve(
            DeviceAccess(device, budget=self.frames, frame_rate=self.frame_rate),
            _METHOD,
            frames=self.frames,
            seed=derive_seed(self.seed, "rows", self.frames),
            progress=context.progress,
        )
        errors = row_errors(found.matrix, true_matrix(device)).numpy()
        return Outcome(
            filled(
                RowsResult,
                found,
                rows=len(errors),
                median_error=float(np.median(errors)),
                failed=int((errors > FAILED).sum()),
                row_seconds=found.compute_seconds / len(errors),
                threads=torch.get_num_threads(),
            ),
            {"error": errors.astype(np.float32)},
        )
