"""The search of `FixedExposure`: starts, and rows side by side in the lanes of a vector, each in its own stage."""

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from groundglass.kernels import jit
from groundglass.kernels.cells import LANES, Floats, Rows, from_lanes, per_row, to_lanes
from groundglass.kernels.threads import for_each
from groundglass.optics.retrieval.hadamard_inputs import HadamardInputs
from groundglass.optics.retrieval.method import Scale

#: Steps between two looks at a row.
LOOK = 5
#: No step is shortened: the `trust` of a search.
FULL = np.float32(3e38)

Index = npt.NDArray[np.int64]


class SearchSettings(Protocol):
    """What a search needs of `FixedExposure`, which says what each is."""

    @property
    def momentum(self) -> float: ...
    @property
    def power_iterations(self) -> int: ...
    @property
    def search(self) -> int: ...
    @property
    def polish(self) -> int: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def near(self) -> float: ...
    @property
    def accepted(self) -> float: ...
    @property
    def starts(self) -> int: ...


class Search:
    """The best row that was found so far for each row of a block, and what the readings say beforehand.

    Attributes:
        found: complex64 [rows, n].
        readings: [rows, frames].
        mean, field: reading and rms field of each row, above 0; float64.
        far: rms distance from the intervals at which a search that came to rest has gone wrong.
        expected: rms distance from the readings at which a polish should end.
    """

    def __init__(
        self, settings: SearchSettings, design: HadamardInputs, readings: npt.NDArray[Any], scale: Scale
    ) -> None:
        self.settings, self.design, self.readings, self.scale = settings, design, readings, scale
        # Dark rows divide by something, too.
        self.mean = np.maximum(readings.mean(axis=1, dtype=np.float64), 1e-6)
        self.field = np.sqrt(self.mean)
        self.expected, noise = np.empty(len(readings)), np.empty(len(readings))
        for row, values in enumerate(readings):
            self.expected[row], noise[row] = _explained(
                values.astype(np.float64), self.mean[row], scale, design.in_features
            )
        self.far = settings.near * self.field + 3 * noise
        self.found = np.zeros((len(readings), design.in_features), dtype=np.complex64)
        self._misfit = np.full(len(readings), np.inf)

    def attempt(self, todo: Index, *, seed: int) -> Index:
        """One start of the rows `todo`; returns those that were not accepted."""
        random = np.random.default_rng(seed)
        n = self.design.in_features
        # The same for each row, so that no row's result depends on its neighbours.
        first = (random.standard_normal(n) + 1j * random.standard_normal(n)).astype(np.complex64)
        starts = np.empty((len(todo), n), dtype=np.complex64)
        groups = [np.arange(i, min(i + LANES, len(todo))) for i in range(0, len(todo), LANES)]

        def start(group: Index) -> None:
            starts[group] = self._spectral(todo[group], first)

        for_each(groups, start)
        queue, again = deque(range(len(todo))), np.ones(len(todo), dtype=bool)

        def take() -> Iterator[int]:
            while queue:
                try:
                    yield queue.popleft()
                except IndexError:  # the other threads were quicker
                    return

        def work(_: int) -> None:
            lanes = Lanes(self)
            for place, row, misfit in lanes.run((k, int(todo[k]), starts[k]) for k in take()):
                again[place] = misfit > self.settings.accepted
                if misfit < self._misfit[todo[place]]:
                    self.found[todo[place]], self._misfit[todo[place]] = row, misfit

        # Ctrl-C does not wait for rows that were not begun.
        for_each(range(min(torch.get_num_threads(), len(groups))), work, leaving=queue.clear)
        return todo[again]

    def result(self) -> torch.Tensor:
        return torch.from_numpy(self.found)

    def _spectral(self, rows: Index, first: Rows) -> Rows:
        """Leading eigenvectors of S' diag(y / mean - 1) S, S signs of the inputs, by power iteration, with their rows' light."""
        design = self.design
        weights = np.zeros((len(design.signs) * design.size, LANES), dtype=np.float32)
        weights[: len(design), : len(rows)] = (self.readings[rows] / self.mean[rows, None] - 1).T
        blocks = weights.reshape(len(design.signs), design.size, LANES)
        work = np.empty((design.size, 2 * LANES), dtype=np.float32)
        here = to_lanes(np.tile(first, (LANES, 1)))
        back = np.empty_like(here)
        for _ in range(self.settings.power_iterations):
            jit.hadamard.weighted(here, design.signs, blocks, work, back)
            length = np.sqrt(per_row(np.square(back).sum(0)))
            here = back / np.tile(np.maximum(length, 1e-30), 2)
        # Sums of all lanes, also of idle ones: numpy adds a single row in another order than several.
        found = from_lanes(here)
        # X'X of whole blocks is close to (frames / 4) (I + 1 1'): the light of a row, to be that of its readings.
        light = ((np.square(np.abs(found)).sum(1) + np.square(np.abs(found.sum(1)))) / 4)[: len(rows)]
        brighter = np.sqrt(self.mean[rows] / np.maximum(light, 1e-30))[:, None].astype(np.float32)
        scaled: Rows = found[: len(rows)] * brighter
        return scaled


class Lanes:
    """Eight rows on their way, each in its own stage; one that is done makes room for the next."""

    def __init__(self, search: Search) -> None:
        self._of = search
        blocks, n, size = len(search.design.signs), search.design.in_features, search.design.size
        self.rows = np.zeros((n, 2 * LANES), dtype=np.float32)
        self.previous = self.rows.copy()
        # Where there is no frame, every field is right.
        self.low = np.zeros((blocks, size, LANES), dtype=np.float32)
        self.high = np.full((blocks, size, LANES), np.inf, dtype=np.float32)
        self.trust = np.full(LANES, FULL)
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
                yield place, (self.rows[:, lane] + 1j * self.rows[:, lane + LANES]).astype(np.complex64), misfit
                polished.discard(lane)
                del busy[lane]
                free.append(lane)

    def _advance(self) -> tuple[Floats, Floats]:
        """Some steps of all lanes; the last one's size, over the row's, and the fields' rms distance from what is allowed."""
        design, momentum = self._of.design, np.float32(self._of.settings.momentum)
        for _ in range(LOOK):
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
        for rows in (self.rows, self.previous):
            rows[:, lane], rows[:, lane + LANES] = start.real, start.imag
        readings = self._of.readings[row].astype(np.float32)
        half = 0.0 if self._of.scale.top is None else 0.5
        self._allow(lane, readings - half, readings + half, readings)
        self.trust[lane] = FULL
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


def _explained(values: npt.NDArray[np.float64], mean: float, scale: Scale, in_features: int) -> tuple[float, float]:
    """Rms distance of a right row's fields from the readings, as the polish weighs it; and, unweighted, that of read noise.

    The error of a field is that of its intensity over twice its size; the fit takes 2 N of the readings' freedom.
    """
    top, noise = scale.top, scale.noise
    rounding = 0.0 if top is None else 1 / 12
    seen = 1 / (4 * np.maximum(values, 0.5)) * (1 if top is None else values < top)
    weighted_error = (noise**2 + rounding) * (seen * np.minimum(1, values / mean) ** 2).mean()
    free = max(1 - 2 * in_features / max(1, int(np.count_nonzero(seen))), 0.1)
    # float32 does not resolve less than a thousandth of the field.
    return math.sqrt(weighted_error * free + 1e-6 * mean), noise * math.sqrt(seen.mean())
