"""The search of `search.py` for many rows at once, in torch's own operations: for readings that lie on a card.

Every row goes through the same steps as there. Sums are added in another order, so a row differs in its last digits from the
one that the CPU finds, and not in whether it is right. Each is still the same in any company: whatever is summed is added in
pairs, elementwise, and never in an order that depends on how many rows there are.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from groundglass.kernels.tensor.hadamard import transform
from groundglass.optics.retrieval.hadamard_inputs import HadamardInputs
from groundglass.optics.retrieval.method import Readings, Rows, Scale
from groundglass.optics.retrieval.search import FULL, LOOK, SearchSettings

# Numbers of a transform, and readings, of the rows that are worked on at a time.
_FIELDS, _READINGS = 2**24, 2**26


class BatchedSearch:
    """As `Search`: the best row that was found so far for each row of a block, and what the readings say beforehand.

    Attributes:
        found: complex64 [rows, n], where the readings are.
    """

    def __init__(self, settings: SearchSettings, design: HadamardInputs, readings: Readings, scale: Scale) -> None:
        self.settings, self.design, self.readings, self.scale = settings, design, readings, scale
        self.signs = torch.from_numpy(design.signs).to(readings.device)
        self.overlap = design.overlap.tolist()
        parts = [self._foreseen(rows.to(torch.float64)) for rows in readings.split(self._rows_at_a_time)]
        self.mean, self.expected, noise = (torch.cat(each) for each in zip(*parts, strict=True))
        self.field = self.mean.sqrt()
        self.far = settings.near * self.field + 3 * noise
        rows = len(readings)
        self.found = torch.zeros(rows, design.in_features, dtype=torch.complex64, device=readings.device)
        self._misfit = torch.full((rows,), torch.inf, dtype=torch.float64, device=readings.device)

    @property
    def _rows_at_a_time(self) -> int:
        return max(1, min(_FIELDS // (2 * self.design.size), _READINGS // max(1, len(self.design))))

    def _foreseen(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean reading; rms distance at which a polish should end; and that of read noise. See `search._explained`."""
        top, noise = self.scale.top, self.scale.noise
        mean = (_total(values) / values.shape[1]).clamp_min(1e-6)
        seen = 1 / (4 * values.clamp_min(0.5))
        if top is not None:
            seen = seen * (values < top)
        rounding = 0.0 if top is None else 1 / 12
        trusted = _total(seen * (values / mean[:, None]).clamp_max(1).square()) / values.shape[1]
        counted = (seen > 0).sum(1).clamp_min(1)
        free = (1 - 2 * self.design.in_features / counted).clamp_min(0.1)
        expected = ((noise**2 + rounding) * trusted * free + 1e-6 * mean).sqrt()
        return mean, expected, noise * (_total(seen) / values.shape[1]).sqrt()

    def attempt(self, todo: npt.NDArray[np.int64], *, seed: int) -> npt.NDArray[np.int64]:
        """One start of the rows `todo`; returns those that were not accepted."""
        random, n = np.random.default_rng(seed), self.design.in_features
        first = np.stack((random.standard_normal(n), random.standard_normal(n))).astype(np.float32)
        begin = torch.from_numpy(first).to(self.readings.device)
        again = []
        for rows in torch.from_numpy(todo).to(self.readings.device).split(self._rows_at_a_time):
            found, misfit = _Batch(self, rows).run(begin)
            better = misfit < self._misfit[rows]
            self.found[rows] = torch.where(better[:, None], torch.complex(found[:, 0], found[:, 1]), self.found[rows])
            self._misfit[rows] = torch.minimum(misfit, self._misfit[rows])
            again.append(rows[misfit > self.settings.accepted])
        return torch.cat(again).cpu().numpy()

    def result(self) -> Rows:
        return self.found


class _Batch:
    """Rows on their way, float32 [rows, 2, n], real and imaginary parts; those that are done leave.

    `places`: which of the search's rows they are. `polished`: those in their last stage. `steps`: taken in the stage.
    """

    def __init__(self, search: BatchedSearch, places: Tensor) -> None:
        self.of, self.places = search, places
        design = search.design
        short = len(search.signs) * design.size - len(design)
        values = F.pad(search.readings[places].to(torch.float32), (0, short))
        self.readings = values.unflatten(1, (len(search.signs), design.size))
        self.is_frame = torch.arange(short + len(design), device=places.device, dtype=torch.int64) < len(design)
        self.is_frame = self.is_frame.unflatten(0, (len(search.signs), design.size))
        self.polished = torch.zeros(len(places), dtype=torch.bool, device=places.device)
        self.steps = torch.zeros_like(places)

    def run(self, begin: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and misfits, float32 [rows, 2, n] and float64 [rows], from a first guess of the spectral start, [2, n]."""
        rows = self._spectral(begin)
        found, misfits = torch.empty_like(rows), torch.empty_like(self.of.mean[self.places])
        at, previous = torch.arange(len(rows), device=rows.device, dtype=torch.int64), rows
        settings, frames = self.of.settings, len(self.of.design)
        while len(rows):
            for _ in range(LOOK):
                ahead = (rows - previous) * settings.momentum + rows
                moved, energy = self._step(ahead)
                rows, previous = ahead + moved, rows
            self.steps += LOOK
            length = _total(rows.square().sum(1)).clamp_min(1e-30)
            at_rest = (_total((rows - previous).square().sum(1)) / length).sqrt() < settings.tolerance
            distance = (energy.to(torch.float64) / frames).sqrt()
            resting = at_rest | (self.steps >= settings.search)
            near = distance < settings.near * self.of.field[self.places]
            turns = ~self.polished & (near | (resting & (distance < self.of.far[self.places])))
            done = torch.where(self.polished, at_rest | (self.steps >= settings.polish), resting & ~turns)
            misfit = torch.where(self.polished, distance / self.of.expected[self.places], 1e8 + distance)
            self.polished, self.steps = self.polished | turns, self.steps.masked_fill(turns, 0)
            previous = torch.where(turns[:, None, None], rows, previous)
            left = (~done).nonzero()[:, 0]
            if len(left) < len(rows):
                found[at[done]], misfits[at[done]] = rows[done], misfit[done]
                rows, previous, at = rows[left], previous[left], at[left]
                self.places, self.readings = self.places[left], self.readings[left]
                self.polished, self.steps = self.polished[left], self.steps[left]
        return found, misfits

    def _spectral(self, begin: Tensor) -> Tensor:
        """See `Search._spectral`."""
        search, mean = self.of, self.of.mean[self.places]
        weights = (self.readings / mean[:, None, None] - 1).to(torch.float32) * self.is_frame
        rows = begin.expand(len(self.places), -1, -1)
        for _ in range(search.settings.power_iterations):
            back = torch.zeros_like(rows)
            for block, signs in enumerate(search.signs):
                back = back + signs * self._back(weights[:, block, None] * self._out(rows * signs))
            rows = back / _total(back.square().sum(1)).sqrt().clamp_min(1e-30)[:, None, None]
        light = (_total(rows.square().sum(1)) + _total(rows).square().sum(1)) / 4
        return rows * (mean / light.clamp_min(1e-30)).sqrt().to(torch.float32)[:, None, None]

    def _out(self, rows: Tensor) -> Tensor:
        return transform(F.pad(rows, (0, self.of.design.size - rows.shape[-1])))

    def _back(self, fields: Tensor) -> Tensor:
        return transform(fields)[..., : self.of.design.in_features]

    def _step(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The step to the least-squares solution of fields in their intervals, and those fields' squared distance, [rows].

        As `jit.hadamard.sweep` and `HadamardInputs.least_squares`.
        """
        search, top = self.of, self.of.scale.top
        mean = search.mean[self.places].to(torch.float32)
        half = torch.zeros_like(mean).masked_fill_(~self.polished, 0.0 if top is None else 0.5)[:, None]
        trust = (1 / mean).masked_fill_(~self.polished, float(FULL))[:, None]
        constant = _total(rows)[..., None]
        back, total, energy = torch.zeros_like(rows), torch.zeros_like(constant[..., 0]), torch.zeros_like(mean)
        for block, signs in enumerate(search.signs):
            z = (self._out(rows * signs) + constant) * 0.5
            y, is_frame = self.readings[:, block], self.is_frame[block]
            low = (y - half).clamp_min(0) * is_frame
            free = ~is_frame if top is None else ~is_frame | (y >= top)
            high = (y + half).masked_fill(free, torch.inf)
            light = z.square().sum(1) + 1e-12
            moved = (torch.minimum(torch.maximum(light, low), high) / light).sqrt() - 1
            moved = moved * (high * trust).clamp_max(1)
            r = z * moved[:, None]
            fields = transform(r)
            back = back + signs * fields[..., : rows.shape[-1]]
            total = total + fields[..., 0]  # the transform's first number is the sum
            energy = energy + _total(light * moved.square())
        right = (back + total[..., None]) * (2 / (search.design.size * len(search.signs)))
        sums, corner = _total(right), right[..., 0]
        (a, b), (c, d) = search.overlap
        right = right - (a * sums + b * corner)[..., None]
        return torch.cat((right[..., :1] - (c * sums + d * corner)[..., None], right[..., 1:]), -1), energy


def _total(values: Tensor) -> Tensor:
    """Sums over the last axis, by halves: in one order, whatever the other axes are."""
    size = values.shape[-1]
    values = F.pad(values, (0, (1 << (size - 1).bit_length()) - size))
    while values.shape[-1] > 1:
        first, second = values.chunk(2, -1)
        values = first + second
    return values[..., 0]
