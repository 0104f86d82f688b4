"""The search of `FixedExposure`: starts, and rows on their way through the lanes of the threads."""

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from groundglass.kernels import jit
from groundglass.kernels.cells import LANES, Rows, from_lanes, per_row, to_lanes
from groundglass.kernels.threads import for_each
from groundglass.optics.retrieval.hadamard_inputs import HadamardInputs
from groundglass.optics.retrieval.lanes import Lanes, Task
from groundglass.optics.retrieval.method import Scale
from groundglass.optics.retrieval.settings import SearchSettings

Index = npt.NDArray[np.int64]


class Search:
    """The best row that was found so far for each row of a block.

    Attributes:
        found: complex64 [rows, n].
    """

    def __init__(
        self, settings: SearchSettings, design: HadamardInputs, readings: npt.NDArray[Any], scale: Scale
    ) -> None:
        self._of = _task(settings, design, readings, scale)
        self.found = np.zeros((len(readings), design.in_features), dtype=np.complex64)
        self._misfit = np.full(len(readings), np.inf)

    def attempt(self, todo: Index, *, seed: int) -> Index:
        """One start of the rows `todo`; returns those that were not accepted."""
        random = np.random.default_rng(seed)
        n = self._of.design.in_features
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
            lanes = Lanes(self._of)
            for place, row, misfit in lanes.run((k, int(todo[k]), starts[k]) for k in take()):
                again[place] = misfit > self._of.settings.accepted
                if misfit < self._misfit[todo[place]]:
                    self.found[todo[place]], self._misfit[todo[place]] = row, misfit

        # Ctrl-C does not wait for rows that were not begun.
        for_each(range(min(torch.get_num_threads(), len(groups))), work, leaving=queue.clear)
        return todo[again]

    def _spectral(self, rows: Index, first: Rows) -> Rows:
        """Leading eigenvectors of S' diag(y / mean - 1) S, S signs of the inputs, by power iteration, with their rows' light."""
        design = self._of.design
        weights = np.zeros((len(design.signs) * design.size, LANES), dtype=np.float32)
        weights[: len(design), : len(rows)] = (self._of.readings[rows] / self._of.mean[rows, None] - 1).T
        blocks = weights.reshape(len(design.signs), design.size, LANES)
        work = np.empty((design.size, 2 * LANES), dtype=np.float32)
        here = to_lanes(np.tile(first, (LANES, 1)))
        back = np.empty_like(here)
        for _ in range(self._of.settings.power_iterations):
            jit.hadamard.weighted(here, design.signs, blocks, work, back)
            length = np.sqrt(per_row(np.square(back).sum(0)))
            here = back / np.tile(np.maximum(length, 1e-30), 2)
        # Sums of all lanes, also of idle ones: numpy adds a single row in another order than several.
        found = from_lanes(here)
        # X'X of whole blocks is close to (frames / 4) (I + 1 1'): the light of a row, to be that of its readings.
        light = ((np.square(np.abs(found)).sum(1) + np.square(np.abs(found.sum(1)))) / 4)[: len(rows)]
        brighter = np.sqrt(self._of.mean[rows] / np.maximum(light, 1e-30))[:, None].astype(np.float32)
        scaled: Rows = found[: len(rows)] * brighter
        return scaled


def _task(settings: SearchSettings, design: HadamardInputs, readings: npt.NDArray[Any], scale: Scale) -> Task:
    # Dark rows divide by something, too.
    mean = np.maximum(readings.mean(axis=1, dtype=np.float64), 1e-6)
    field, expected, noise = np.sqrt(mean), np.empty(len(readings)), np.empty(len(readings))
    for row, values in enumerate(readings):
        expected[row], noise[row] = _explained(values.astype(np.float64), mean[row], scale, design.in_features)
    return Task(settings, design, readings, scale, mean, field, settings.near * field + 3 * noise, expected)


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
