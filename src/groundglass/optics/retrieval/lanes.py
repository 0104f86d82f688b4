"""Rows side by side in the lanes of a vector: each in its own stage of the search; one that is done makes room for the next."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from groundglass.kernels import jit
from groundglass.kernels.cells import LANES, Floats, Rows, per_row
from groundglass.optics.retrieval.hadamard_inputs import HadamardInputs
from groundglass.optics.retrieval.method import Scale
from groundglass.optics.retrieval.settings import SearchSettings

# Steps between two looks at a row.
_LOOK = 5
# No step is shortened: the `trust` of a search.
_FULL = np.float32(3e38)


@dataclass(frozen=True, eq=False)
class Task:
    """The rows of a block: their readings, and what these say beforehand.

    Attributes:
        readings: [rows, frames].
        mean, field: reading and rms field of each row, above 0; float64.
        far: rms distance from the intervals at which a search that came to rest has gone wrong.
        expected: rms distance from the readings at which a polish should end.
    """

    settings: SearchSettings
    design: HadamardInputs
    readings: npt.NDArray[Any]
    scale: Scale
    mean: npt.NDArray[np.float64]
    field: npt.NDArray[np.float64]
    far: npt.NDArray[np.float64]
    expected: npt.NDArray[np.float64]


class Lanes:
    """Eight rows on their way, each in its own stage; one that is done makes room for the next."""

    def __init__(self, task: Task) -> None:
        self._of = task
        blocks, n, size = len(task.design.signs), task.design.in_features, task.design.size
        self.rows = np.zeros((n, 2 * LANES), dtype=np.float32)
        self.previous = self.rows.copy()
        # Where there is no frame, every field is right.
        self.low = np.zeros((blocks, size, LANES), dtype=np.float32)
        self.high = np.full((blocks, size, LANES), np.inf, dtype=np.float32)
        self.trust = np.full(LANES, _FULL)
        self.scratch = np.empty((size, 2 * LANES), dtype=np.float32)
        self.back = np.empty_like(self.rows)
        self.total, self.energy = np.empty(2 * LANES, dtype=np.float32), np.empty(LANES, dtype=np.float32)
        self.steps = np.zeros(LANES, dtype=np.int64)

    def run(self, tasks: Iterator[tuple[int, int, Rows]]) -> Iterator[tuple[int, Rows, float]]:
        """(place, row, start) of each task -> (place, the row found, its misfit), as they are done.

        The misfit is 1 for readings that differ from the row's as much as their noise and rounding explain; more than a
        hundred million for a search that came to rest far away.
        """
        settings, busy, polished = self._of.settings, dict[int, tuple[int, int]](), set[int]()
        free = list(range(LANES))
        while True:
            while free and (task := next(tasks, None)) is not None:
                lane = free.pop()
                place, row, start = task
                busy[lane] = (place, row)
                self._search(lane, row, start)
            if not busy:
                return
            steps, distances = self._advance()
            for lane, (place, row) in list(busy.items()):
                at_rest, distance = bool(steps[lane] < settings.tolerance), float(distances[lane])
                if lane not in polished:
                    resting = at_rest or self.steps[lane] >= settings.search
                    if distance < settings.near * self._of.field[row] or (resting and distance < self._of.far[row]):
                        polished.add(lane)
                        self._polish(lane, row)
                        continue
                    if not resting:
                        continue
                    misfit = 1e8 + distance
                elif at_rest or self.steps[lane] >= settings.polish:
                    misfit = distance / self._of.expected[row]
                else:
                    continue
                yield place, self._take(lane), misfit
                polished.discard(lane)
                del busy[lane]
                free.append(lane)

    def _advance(self) -> tuple[Floats, Floats]:
        """Some steps of all lanes; the last one's size, over the row's, and the fields' rms distance from what is allowed."""
        design, momentum = self._of.design, np.float32(self._of.settings.momentum)
        for _ in range(_LOOK):
            # previous <- rows, rows <- rows + momentum (rows - previous) + the step from there
            ahead = self.rows - self.previous
            ahead *= momentum
            ahead += self.rows
            jit.hadamard.sweep(
                *(ahead, design.signs, self.low, self.high, self.trust),
                *(self.scratch, self.back, self.total, self.energy),
            )
            ahead += design.least_squares(self.back, self.total)
            self.previous, self.rows = self.rows, ahead
            self.steps += 1
        moved = per_row(np.square(self.rows - self.previous).sum(0))
        size = np.maximum(per_row(np.square(self.rows).sum(0)), 1e-30)
        return np.sqrt(moved / size), np.sqrt(self.energy / len(design))

    def _search(self, lane: int, row: int, start: Rows) -> None:
        """Put a row into a lane."""
        self._set(lane, start)
        readings = self._of.readings[row].astype(np.float32)
        half = 0.0 if self._of.scale.top is None else 0.5
        self._allow(lane, readings - half, readings + half, readings)
        self.trust[lane] = _FULL
        self.steps[lane] = 0

    def _polish(self, lane: int, row: int) -> None:
        readings = self._of.readings[row].astype(np.float32)
        self._allow(lane, readings, readings, readings)
        self.trust[lane] = 1 / self._of.mean[row]
        self.previous[:, lane::LANES] = self.rows[:, lane::LANES]
        self.steps[lane] = 0

    def _allow(self, lane: int, low: Floats, high: Floats, readings: Floats) -> None:
        frames, top = len(readings), self._of.scale.top
        self.low.reshape(-1, LANES)[:frames, lane] = np.maximum(low, 0)
        self.high.reshape(-1, LANES)[:frames, lane] = high if top is None else np.where(readings >= top, np.inf, high)

    def _set(self, lane: int, row: Rows) -> None:
        for rows in (self.rows, self.previous):
            rows[:, lane], rows[:, lane + LANES] = row.real, row.imag

    def _take(self, lane: int) -> Rows:
        taken: Rows = (self.rows[:, lane] + 1j * self.rows[:, lane + LANES]).astype(np.complex64)
        return taken
