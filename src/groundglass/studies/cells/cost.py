"""Cells that measure what a device costs, and how that grows."""

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from groundglass.core.settings import Count, Settings
from groundglass.optics.medium import DeviceKind
from groundglass.results import Record
from groundglass.results.kinds.cost import COST, CostResult, FitResult, PowerLaw
from groundglass.results.kinds.retrieve import ROWS
from groundglass.studies.cells.check import entries
from groundglass.studies.engine.cell import BaseCell, Cell, Outcome
from groundglass.studies.engine.context import Context

#: What is varied: N = M, M at one N, or N at one M.
Sweep = Literal["square", "outputs", "inputs"]

# The largest sizes that an exponent is fitted to: below them overhead hides how a cost grows.
_FITTED = 3


@dataclass(frozen=True)
class CostGrid(Settings):
    """Sizes at which a kind of device is measured.

    Attributes:
        kind: of the device.
        square: N = M.
        outputs: M, at the study's fixed N.
        inputs: N, at the study's fixed M.
        whole: the most entries N M of a device that is measured whole; of a larger one a block of outputs is, and the rest
            is projected.
    """

    kind: DeviceKind
    square: tuple[Count, ...]
    outputs: tuple[Count, ...] = ()
    inputs: tuple[Count, ...] = ()
    whole: Count = 2**60


@dataclass(frozen=True, kw_only=True)
class CostCell(BaseCell):
    """Seconds and memory of one device, in a process of its own, with a secret of its own that is not kept.

    Attributes:
        sweep: that it is a point of.
        block: outputs that are measured; fewer than M: the rest is projected.
        batch: inputs of the second measurement.
    """

    device_kind: DeviceKind
    in_features: Count
    out_features: Count
    sweep: Sweep
    block: Count
    batch: Count
    repeats: Count

    kind = "cost"
    # A time is measured: not beside another cell.
    alone = True

    @property
    def name(self) -> str:
        part = "" if self.block == self.out_features else f", {self.block} outputs of them"
        return f"cost of {self.device_kind} {self.in_features} -> {self.out_features}{part}"

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        sizes = {name: getattr(self, name) for name in ("in_features", "out_features", "block", "batch", "repeats")}
        asked = json.dumps({**sizes, "kind": self.device_kind, "threads": torch.get_num_threads()})
        # -P: no file of the current folder stands for a module; what could be imported here can be there.
        command = [sys.executable, "-P", "-m", "groundglass.studies.cells.cost_probe", asked]
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        found_in = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=found_in)
        if done.returncode:
            killed = f"its process was ended by signal {-done.returncode}: too little memory? Take a smaller size"
            last = done.stderr.strip().splitlines() or [killed if done.returncode < 0 else "no word"]
            raise RuntimeError(f"{self.name}: {last[-1]}")
        found: dict[str, Any] = json.loads(done.stdout)
        share = self.out_features / self.block
        peak = found.pop("peak_bytes")
        if peak is not None:
            # What is not measured would add its readings, a byte each.
            peak += self.batch * (self.out_features - self.block)
        return Outcome(
            CostResult(
                **found,
                projected=self.block < self.out_features,
                one_seconds=statistics.median(found["one"]) * share,
                each_seconds=statistics.median(found["batch"]) * share / self.batch,
                peak_bytes=peak,
            )
        )


def cost_cells(
    grids: Iterable[CostGrid], *, fixed_in: int, fixed_out: int, block: int, batch: int, repeats: int
) -> list[CostCell]:
    """A cell for each size of each grid; a size that two sweeps share has one for each."""

    def points(grid: CostGrid) -> Iterator[tuple[Sweep, int, int]]:
        yield from (("square", size, size) for size in grid.square)
        yield from (("outputs", fixed_in, size) for size in grid.outputs)
        yield from (("inputs", size, fixed_out) for size in grid.inputs)

    return [
        CostCell(
            device_kind=grid.kind,
            in_features=n,
            out_features=m,
            sweep=sweep,
            block=m if n * m <= grid.whole else min(m, block),
            batch=batch,
            repeats=repeats,
        )
        for grid in grids
        for sweep, n, m in points(grid)
    ]


@dataclass(frozen=True)
class FitCell(BaseCell):
    """How the measured costs grow: exponents, fitted by least squares to the logarithms.

    Projected points are not fitted: they grow as they were assumed to.
    """

    costs: tuple[Cell, ...]

    kind = "fit"
    name = "exponents of the costs"

    def described(self) -> dict[str, Any]:
        return {"points": _FITTED}

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        return Outcome(FitResult(fits=(*_device_fits(inputs), *_row_fits(inputs))))


def _device_fits(records: Sequence[Record]) -> Iterator[PowerLaw]:
    measured = [one for one in entries(records, COST) if not one.result.projected]
    for kind, sweep in dict.fromkeys((one.config.device_kind, one.config.sweep) for one in measured):
        size = "out_features" if sweep == "outputs" else "in_features"
        own = [one for one in measured if (one.config.device_kind, one.config.sweep) == (kind, sweep)]
        for quantity in ("one_seconds", "each_seconds", "peak_bytes", "held_bytes"):
            found = [(getattr(one.config, size), getattr(one.result, quantity)) for one in own]
            yield from _fit(kind, sweep, quantity, found)


def _row_fits(records: Sequence[Record]) -> Iterator[PowerLaw]:
    found = entries(records, ROWS)
    for kind in dict.fromkeys(one.config.device_kind for one in found):
        own = [one for one in found if one.config.device_kind == kind]
        yield from _fit(kind, "inputs", "row_seconds", [(r.config.in_features, r.result.row_seconds) for r in own])


def _fit(kind: str, sweep: str, quantity: str, points: Iterable[tuple[int, float | None]]) -> Iterator[PowerLaw]:
    """A law of the largest sizes. Nothing, or what was not measured, has no logarithm."""
    largest = sorted((size, value) for size, value in points if value)[-_FITTED:]
    if len(largest) == _FITTED:
        exponent, factor = power_law(largest)
        yield PowerLaw(
            device_kind=kind,
            sweep=sweep,
            quantity=quantity,
            exponent=exponent,
            factor=factor,
            smallest=largest[0][0],
            largest=largest[-1][0],
        )


def power_law(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Exponent b and factor a of y = a x^b, by least squares on the logarithms.

    Args:
        points: (x, y), all above 0; at least two x.
    """
    xs, ys = ([math.log(point[axis]) for point in points] for axis in (0, 1))
    slope, intercept = statistics.linear_regression(xs, ys)
    return slope, math.exp(intercept)
