"""Retrieval at a fixed exposure: spectral start, Gerchberg-Saxton between the camera's roundings, weighted polish."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from groundglass.core import derive_seed
from groundglass.core.settings import Count, In, Positive, Settings, Tally
from groundglass.kernels import jit
from groundglass.kernels.tensor import is_card
from groundglass.optics.retrieval.batched_search import BatchedSearch
from groundglass.optics.retrieval.hadamard_inputs import HadamardInputs
from groundglass.optics.retrieval.method import Design, Readings, Rows, Scale, own_design
from groundglass.optics.retrieval.search import Search

# Of a second try. Half of a bright row's readings are at the top: its search takes a thousand steps and often ends beside it.
_MOMENTUM, _STEPS, _STARTS = 0.98, 10, 2


@dataclass(frozen=True)
class FixedExposure(Settings):
    """Gerchberg-Saxton on designed inputs, x = (1 + H D) / 2, accelerated (docs/theory.md, retrieval).

    A row u gives fields z = Xu. Each step moves every field the shortest way to an intensity that its reading allows, and
    the row to the least-squares solution of the new fields; momentum (Nesterov) makes that several times faster.

    The search allows whatever the camera may have rounded, [y - 1/2, y + 1/2]. The polish then goes to the readings
    themselves, and trusts dark ones less (the error of a field is that of its intensity over twice its size): rounding is
    noise, and averaging it over all readings beats staying between its bounds. A row whose readings differ from those that
    were taken by more than noise and rounding explain has gone wrong, and starts again elsewhere.

    Args:
        momentum: share of the last step that is added to the next.
        power_iterations: of the spectral start.
        search, polish: most steps of each; without a polish a row is as the search left it.
        tolerance: a row is at rest when a step is that small, relative to the row.
        near: rms distance of the fields from their intervals, over the rms field, at which the polish begins.
        accepted: rms distance from the readings, over what noise and rounding explain, up to which a row is right.
        starts: most starts of a row.

    Raises:
        ValueError: a setting out of its range.
    """

    momentum: Annotated[float, In("[0, 1)")] = 0.9
    power_iterations: Count = 10
    search: Count = 200
    polish: Tally = 60
    tolerance: Positive = 3e-4
    near: Positive = 0.01
    accepted: Annotated[float, In("(1, inf)")] = 1.15
    starts: Count = 8

    name = "fixed-exposure"
    exposure_control = False

    def least(self, in_features: int) -> int:
        """4 N: a row has 2 N real unknowns. About half of the rows are found with twice as many readings; with 8 N all are."""
        return 4 * in_features

    def design(self, in_features: int, frames: int, scale: Scale, *, seed: int) -> HadamardInputs:
        if frames < self.least(in_features):
            raise ValueError(
                f"{frames} frames are too few for {in_features} inputs: give at least 4 N = {self.least(in_features)}; "
                f"with 12 N = {12 * in_features} every row is found"
            )
        return HadamardInputs.draw(in_features, frames, seed=seed)

    def solve(self, design: Design, readings: Readings, scale: Scale, *, seed: int) -> Rows:
        """See `RetrievalMethod`. Each row by itself, eight at a time in the lanes of a vector, on all of torch's threads.

        On a card, and without compiled code, thousands at a time: the same steps, whose sums are added in another order.
        """
        own = own_design(self, design, HadamardInputs)
        search: Search | BatchedSearch = (
            BatchedSearch(self, own, readings, scale)
            if is_card(readings.device) or not jit.available()
            else Search(self, own, readings.numpy(), scale)
        )
        todo = np.arange(len(readings))
        for start in range(self.starts):
            if not len(todo):
                break
            todo = search.attempt(todo, seed=derive_seed(seed, "spectral start", start))
        return search.result()

    def solve_again(self, design: Design, readings: Readings, scale: Scale, *, seed: int) -> Rows:
        """Other starts, twice as many, of ten times as many steps, with more momentum: see `SolvesAgain`."""
        patient = replace(
            self,
            momentum=max(self.momentum, _MOMENTUM),
            search=_STEPS * self.search,
            polish=_STEPS * self.polish,
            tolerance=self.tolerance / 3,
            starts=_STARTS * self.starts,
        )
        return patient.solve(design, readings, scale, seed=seed)
