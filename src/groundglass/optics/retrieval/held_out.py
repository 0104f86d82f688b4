"""What held-out readings, which no method has seen, say about retrieved rows. No row of U is needed for it."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from groundglass.kernels.cells import Rows
from groundglass.optics.retrieval.method import Scale
from groundglass.optics.retrieval.plan import HELD_OUT, FramePlan

# A row with a relative error of a tenth is off by about this share of what chance is.
_WRONG = 0.1
# Times what noise and rounding explain, and times what they do of the other rows, up to which a misfit is no cause for doubt.
_FEW = 3.0
# Robust standard deviations of the logarithm of the misfits, beyond the median.
_FAR = 6.0
# With fewer readings below the top than this, nothing is said about a row.
_TOO_BRIGHT = 8
# Rows that are worked on at a time.
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class HeldOutReadings:
    """The held-out inputs, and what was read of them.

    Attributes:
        inputs: complex64 [n, held-out].
        read: float32 [rows, held-out].
    """

    inputs: npt.NDArray[np.complex64]
    read: npt.NDArray[np.float32]
    scale: Scale

    @classmethod
    def of(cls, readings: npt.NDArray[np.generic], plan: FramePlan, scale: Scale) -> "HeldOutReadings":
        """From readings of all frames of the plan, [rows, frames]."""
        return cls(plan.held_out.numpy().astype(np.complex64).T, readings[:, :HELD_OUT].astype(np.float32), scale)

    def part(self, rows: npt.NDArray[np.int64]) -> "HeldOutReadings":
        """The same of some rows."""
        return replace(self, read=self.read[rows])

    @property
    def chance(self) -> float:
        """Median over rows of the mean distance of a reading from that of another input."""
        return float(np.median(np.abs(self.read - np.roll(self.read, 1, axis=1)).mean(1)))

    def away(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Mean distance of each row's predicted readings from those that were read, in reading steps."""
        top = self.scale.top
        found = np.empty(len(rows), dtype=np.float32)
        for part in self._parts():
            light = self._light(rows[part])
            seen = light if top is None else np.floor(np.minimum(light, top) + 0.5)
            found[part] = np.abs(seen - self.read[part]).mean(1)
        return found

    def misfits(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Rms distance of predicted from read light over what noise and rounding explain; where both are at the top the reading
        says nothing. Infinity for a row of which too few readings say anything."""
        top, rounding = self.scale.top, 0.0 if self.scale.top is None else 1 / 12
        found = np.empty(len(rows), dtype=np.float64)
        for part in self._parts():
            light, read = self._light(rows[part]).astype(np.float64), self.read[part].astype(np.float64)
            off = light - read
            says = np.ones_like(off, dtype=bool)
            if top is not None:
                at_top = read >= top
                off[at_top] = np.minimum(light[at_top] - (top - 0.5), 0)
                says = ~at_top | (off < 0)
            # float32 does not resolve less than a thousandth of the field.
            explained = self.scale.noise**2 + rounding + 4e-6 * read * read.mean(1, keepdims=True) + 1e-12
            count = says.sum(1)
            with np.errstate(divide="ignore", invalid="ignore"):
                rms = np.sqrt((off**2 / explained * says).sum(1) / count)
            found[part] = np.where(count < _TOO_BRIGHT, np.inf, rms)
        return found

    def doubtful(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Rows that these readings speak against: far from them by noise and rounding, and beside the other rows or, as most of
        those may be wrong, beside chance. bool [rows]."""
        misfits = self.misfits(rows)
        known = misfits[np.isfinite(misfits)]
        usual = np.log(np.maximum(known, 1e-6)) if len(known) else np.zeros(1)
        middle = float(np.median(usual))
        spread = 1.4826 * float(np.median(np.abs(usual - middle)))
        usually = float(np.exp(middle)) * max(_FEW, float(np.exp(_FAR * spread)))
        wrong = self.away(rows) > wrong_beyond(self.chance, self.scale.noise)
        return (misfits > _FEW) & ((misfits > usually) | wrong)

    def _light(self, rows: Rows) -> npt.NDArray[np.float32]:
        return np.square(np.abs(rows @ self.inputs))

    def _parts(self) -> list[slice]:
        return [slice(begin, begin + _ROWS) for begin in range(0, len(self.read), _ROWS)]


def wrong_beyond(chance: float, noise: float) -> float:
    """Mean distance from the held-out readings beyond which a row is wrong by more than read noise explains."""
    return _WRONG * chance + noise
