"""A part of a medium's outputs."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.optics.medium import Medium


class Picked(Medium):
    """Some outputs of a medium, in an order of their own. The medium computes all that it has: give it few more than these.

    Args:
        medium: whose outputs.
        columns: int64, which.
    """

    __slots__ = ("_columns", "_medium", "kind")

    def __init__(self, medium: Medium, columns: npt.NDArray[np.int64]) -> None:
        super().__init__(medium.seed, medium.in_features, len(columns), medium.matrix)
        self.kind = medium.kind
        self._medium = medium
        self._columns = columns

    def intensities(self, bits: Tensor) -> Tensor:
        return self._medium.intensities(bits)[:, torch.from_numpy(self._columns)]

    def readings(self, bits: Tensor, *, gain: float, top: int) -> Tensor:
        return self._medium.readings(bits, gain=gain, top=top)[:, torch.from_numpy(self._columns)]

    def region(self, outputs: npt.NDArray[np.int64]) -> Medium:
        return self._medium.region(self._columns[outputs])

    def dense(self) -> npt.NDArray[np.complex64]:
        return self._medium.dense()[self._columns]

    @property
    def nbytes(self) -> int:
        return self._medium.nbytes
