"""Arrays that compiled code works in and writes to."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_NO_READINGS = np.empty((0, 0), dtype=np.uint8)
_NO_LIGHT = np.empty((0, 0), dtype=np.float64)


def aligned(count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An uninitialised array [count], aligned to 64 bytes, as the vectors of the compiled code are."""
    size = count * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype)


def digits(light: Tensor, gain: float, top: float) -> Tensor:
    """Readings of light, float64: each of the operations rounds for itself, on every machine."""
    return (light * gain + 0.5).floor_().clamp_(0, top)


@dataclass(frozen=True, eq=False)
class Output:
    """What a kernel fills: readings of some rows, or their light. The array that was not asked for is empty.

    Attributes:
        gain, top: reading = floor(min(light * gain + 0.5, top)).
        readings: uint8 [batch, M].
        light: float64 [batch, M], not digitised.
    """

    gain: float
    top: float
    readings: npt.NDArray[np.uint8]
    light: npt.NDArray[np.float64]

    @classmethod
    def of_light(cls, rows: int, outputs: int) -> "Output":
        return cls(1.0, 0.0, _NO_READINGS, np.empty((rows, outputs), dtype=np.float64))

    @classmethod
    def of_readings(cls, rows: int, outputs: int, gain: float, top: int) -> "Output":
        return cls(gain, float(top), np.empty((rows, outputs), dtype=np.uint8), _NO_LIGHT)

    def of_width(self, outputs: int) -> "Output":
        """One for the same rows and so many outputs."""
        if self.readings.shape[1]:
            return Output.of_readings(len(self.readings), outputs, self.gain, int(self.top))
        return Output.of_light(len(self.light), outputs)

    def __getitem__(self, rows: slice) -> "Output":
        """The same for some of the rows."""
        return Output(self.gain, self.top, self.readings[rows], self.light[rows])

    def put(self, first: int, light: Tensor) -> None:
        """Write the light of the outputs from `first` on, float64 [batch, outputs]; what is past M is left out."""
        out = self.tensor[:, first : first + light.shape[1]]
        light = light[:, : out.shape[1]]
        out.copy_(light if out.dtype == light.dtype else digits(light, self.gain, self.top))

    @property
    def arguments(self) -> tuple[Any, ...]:
        """As the compiled code takes them, last of all."""
        return self.gain, self.top, self.readings, self.light

    @property
    def tensor(self) -> Tensor:
        """What was asked for."""
        return torch.from_numpy(self.readings if self.readings.shape[1] else self.light)


@dataclass(frozen=True, eq=False)
class TensorOutput:
    """As `Output`, in a tensor that may lie on a card: uint8 readings, or float64 light."""

    gain: float
    top: float
    tensor: Tensor

    def of_width(self, outputs: int) -> "TensorOutput":
        """One for the same rows and so many outputs."""
        return TensorOutput(self.gain, self.top, self.tensor.new_empty(len(self.tensor), outputs))

    def put(self, outputs: slice | Tensor, light: Tensor) -> None:
        """Write the light of these outputs, float64 [batch, outputs]."""
        self.tensor[:, outputs] = (
            light if light.dtype == self.tensor.dtype else digits(light, self.gain, self.top).to(torch.uint8)
        )
