"""Taking the frames of a retrieval, and what the held-out ones show: light, noise, and whether the matrix is still the same."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.optics.access import DeviceAccess
from groundglass.optics.retrieval.plan import HELD_OUT, SENTINELS, FramePlan

_CPU = torch.device("cpu")
# Of random inputs 1% saturate at a good exposure: their mean is then the top over this.
_GOOD = math.log(100)
# More saturated readings than this say too little.
_SATURATED = 0.5
# Readings of one input by one matrix, twice: below this correlation they are of two.
_SAME = 0.5


class ExposureError(ValueError):
    """The camera sees next to nothing, or next to nothing but white: no retrieval from that."""


class MatrixChangedError(RuntimeError):
    """The device changed its matrix while it was read: the readings are of two matrices and make neither."""


def check_light(readings: npt.NDArray[Any], top: int | None) -> None:
    """Refuse an exposure with which nothing can be retrieved, by the readings of random half-on inputs; says which would do."""
    if top is None:
        if not readings.any():
            raise ExposureError(
                "every reading of random inputs is 0: the device is dark, look at its light and its shutter"
            )
        return
    count = readings.size
    bright = float((readings >= top).mean())
    if bright > _SATURATED:
        # Intensities are exponential: a share s above the top says that their mean is top / -ln s.
        factor = -math.log(min(bright, 1 - 0.5 / count)) / _GOOD
        least = "at most " if bright == 1 else ""
        raise ExposureError(
            f"{bright:.0%} of the readings of random inputs are at the top ({top}), and say too little: lower the exposure "
            f"to {least}{factor:.2g} of what it is, with which 1% would be"
        )
    dark = float((readings == 0).mean())
    # A camera of few bits reads 0 often at a good exposure, too; it is not dark.
    if dark > _SATURATED and readings.mean() < top / 20:
        # A reading is 0 where the intensity is below 1/2: a share d of that says that the mean is 1 / (-2 ln(1 - d)).
        mean = -0.5 / math.log1p(-min(dark, 1 - 0.5 / count))
        least = "at least " if dark == 1 else ""
        raise ExposureError(
            f"{dark:.0%} of the readings of random inputs are 0, and say too little: raise the exposure {least}"
            f"{top / _GOOD / mean:.2g} times, with which 1% of them would reach the top"
        )


def check_same(readings: npt.NDArray[Any], plan: FramePlan, frames: int) -> None:
    """Compare each round of the sentinels with the first, in readings [rows, frames] of which `frames` are taken."""
    first = readings[:, plan.sentinels[0]].astype(np.float64).ravel()
    before = int(plan.sentinels[0][-1])
    for places in plan.sentinels[1:]:
        if places[-1] >= frames:
            return
        again = readings[:, places].astype(np.float64).ravel()
        spread = first.std() * again.std()
        if first.std() > 0 and not again.std() > 0:
            raise ExposureError(
                f"between frames {before} and {int(places[0])} the light changed: every reading is {again[0]:g} now. Look at "
                "the device, and start again in a new folder"
            )
        # Of n readings a correlation is known to about 1 / sqrt(n): two rows alone have eight.
        least = _SAME - 1 / math.sqrt(first.size)
        if spread > 0 and ((first - first.mean()) * (again - again.mean())).mean() < least * spread:
            raise MatrixChangedError(
                f"the device changed its matrix between frames {before} and {int(places[0])}: the same inputs read "
                "otherwise than before. Nothing is retrieved from readings of two matrices. Start again, in a new folder, with "
                f"no more frames than fit between two redraws (fewer than {int(places[0])}, it seems)"
            )
        before = int(places[-1])


def read_noise(readings: npt.NDArray[Any], plan: FramePlan, top: int | None) -> float:
    """Std of a reading between frames of the same input, in reading steps, from the sentinels; 0 for a steady camera."""
    rounds = readings[:, plan.sentinels.ravel()].astype(np.float64).reshape(len(readings), *plan.sentinels.shape)
    # What is cut at an end shows no noise.
    whole = (rounds > 0).all(1) & ((rounds < top).all(1) if top is not None else True)
    if not whole.any():
        return 0.0
    return float(np.sqrt(rounds.var(axis=1, ddof=1)[whole].mean()))


def take(
    access: DeviceAccess,
    plan: FramePlan,
    into: npt.NDArray[Any],
    begin: int,
    *,
    drifting: bool = False,
    where: torch.device = _CPU,
) -> Iterator[int]:
    """Take the frames from `begin` on, with bits that lie `where`; readings of the first rows go into `into`, [rows, frames].

    Yields the frames so far after every batch, once its readings are in. The held-out frames raise an ExposureError or a
    MatrixChangedError as soon as they show it; of a matrix that is known to be `drifting` no such error.
    """
    rows, top = len(into), access.top
    # An earlier session may have ended at that.
    if not drifting:
        check_same(into, plan, begin)
    for shot in plan.shots(begin):
        readings: Tensor = access.measure(shot.bits.to(where), exposure=shot.exposure)
        into[:, shot.begin : shot.end] = readings[:, :rows].t().cpu().numpy()
        if shot.end == HELD_OUT:
            check_light(into[:, :HELD_OUT], top)
        yield shot.end
        if shot.end - shot.begin == SENTINELS and not drifting:
            check_same(into, plan, shot.end)
