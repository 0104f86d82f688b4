"""Networks behind devices of many sizes, and what retrieving such a device costs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from groundglass.core import derive_seed
from groundglass.data import Dataset
from groundglass.optics import DeviceAccess, SimulatedOPU, true_matrix
from groundglass.optics.medium import DeviceKind
from groundglass.optics.retrieval import FixedExposure, retrieve, row_errors
from groundglass.results import Record
from groundglass.results.kinds.retrieve import RowsConfig, RowsResult
from groundglass.studies.cells.network import DeviceCell, TrainCell
from groundglass.studies.cells.place import PlaceCell
from groundglass.studies.engine.cell import Cell, Outcome
from groundglass.studies.engine.context import Context
from groundglass.studies.targets import TargetsConfig, baseline_spec, device_cell
from groundglass.training.classifier import FINE_TUNING

_METHOD = FixedExposure()
# A row that is further off counts as failed.
_FAILED = 0.1


@dataclass(frozen=True, kw_only=True)
class RowsCell:
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

    @property
    def inputs(self) -> Sequence[Cell]:
        return (self.device,)

    def config(self) -> RowsConfig:
        return RowsConfig(
            method=_METHOD.name,
            settings=asdict(_METHOD),
            device_kind=self.device.device_kind,
            in_features=self.device.in_features,
            rows=self.rows,
            frames=self.frames,
            frame_rate=self.frame_rate,
            seed=self.seed,
        )

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        whole = context.device(inputs[0])
        assert isinstance(whole, SimulatedOPU)
        device = whole.region(range(self.rows))
        _warm_up()
        found = retrieve(
            DeviceAccess(device, budget=self.frames, frame_rate=self.frame_rate),
            _METHOD,
            frames=self.frames,
            seed=derive_seed(self.seed, "rows", self.frames),
            progress=context.progress,
        )
        errors = row_errors(found.matrix, true_matrix(device)).numpy()
        return Outcome(
            RowsResult(
                frames=found.frames,
                rows=len(errors),
                median_error=float(np.median(errors)),
                failed=int((errors > _FAILED).sum()),
                device_seconds=found.device_seconds,
                compute_seconds=found.compute_seconds,
                row_seconds=found.compute_seconds / len(errors),
                threads=torch.get_num_threads(),
            ),
            {"error": errors.astype(np.float32)},
        )


def _warm_up() -> None:
    """A retrieval that is not timed: compiling, or loading what was compiled, is no part of what a row takes."""
    access = DeviceAccess(SimulatedOPU.create(64, 64, seed=0))
    retrieve(access, _METHOD, frames=12 * 64, seed=0)


def features_of(config: TargetsConfig, dataset: Dataset, n: int, *, name: str = "") -> TrainCell:
    """The cell that trains features of N bits under a linear head: they serve a device of any kind and any M.

    Args:
        name: of another study's network with the same settings, which is then trained once for both.
    """
    return TrainCell(
        name=name or f"VGG-DFA N={n}",
        spec=replace(baseline_spec(config, dataset), dropout=config.hybrid_dropout, linear_hidden=n),
        training=config.hybrid,
        credit="hybrid-dfa",
        device=None,
        data=config.data,
        seed=config.seed,
    )


def defended(
    config: TargetsConfig, dataset: Dataset, n: int, m: int, kind: DeviceKind, *, features: str = ""
) -> PlaceCell:
    """The cell that puts a device of this kind and size behind them and fits the classifier; `features` names them."""
    device = device_cell(replace(config, device_in=n, device_out=m, device_kind=kind))
    return PlaceCell(
        name=f"VGG-OPU {n}x{m}" + ("" if kind == "dense" else f" {kind}"),
        features=features_of(config, dataset, n, name=features),
        device=device,
        training=config.classifier or FINE_TUNING,
        data=config.data,
        seed=config.seed,
    )
