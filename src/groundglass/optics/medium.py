"""What light goes through between the bits and the camera: the secret, and the ways to simulate it."""

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.kernels.memory import Output
from groundglass.optics.sealed import Sealed, Seed

#: Entries of U: complex Gaussian as in equation (1) of the paper, or real as in its published simulation.
MatrixKind = Literal["complex", "real"]

#: How U is simulated. "dense": held in memory, 2 bytes an entry. "procedural": the same matrix bit for bit, made again
#: tile by tile for every measurement. "structured": fast transforms in its place, O(N + M) memory; not an i.i.d. matrix.
DeviceKind = Literal["dense", "procedural", "structured"]


class Medium(Sealed, ABC):
    """A scattering medium: bits in, intensities |Ux|^2 out, in units of the integer entries of U.

    An intensity depends on its input and its output alone: not on the batch, the number of threads, the machine, or which
    other outputs are asked for.

    Attributes:
        kind: how it is simulated.
        draw: the recipe by which the secret becomes numbers; a device file keeps it.
        in_features, out_features: N and M.
        matrix: "complex" or "real".
        seed: the secret.
    """

    __slots__ = ("in_features", "matrix", "out_features", "seed")

    kind: DeviceKind
    draw: int = 2

    def __init__(self, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind) -> None:
        self.seed = seed
        self.in_features = in_features
        self.out_features = out_features
        self.matrix: MatrixKind = matrix

    @abstractmethod
    def intensities(self, bits: Tensor) -> Tensor:
        """uint8 bits [batch, N], checked, contiguous, on the CPU -> float64 [batch, M]."""

    @abstractmethod
    def readings(self, bits: Tensor, *, gain: float, top: int) -> Tensor:
        """As `intensities`, digitised: uint8 [batch, M], floor(gain * intensity + 0.5), at most `top`."""

    @abstractmethod
    def region(self, outputs: npt.NDArray[np.int64]) -> "Medium":
        """The same medium, seen at these outputs alone, in this order: what it costs falls with their number if it can."""

    @abstractmethod
    def dense(self) -> npt.NDArray[np.complex64]:
        """U [M, N] in units of the integer. For `true_matrix` alone."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory held between measurements, in bytes."""


class CompiledMedium(Medium):
    """A medium with a compiled kernel that writes light and readings alike."""

    __slots__ = ()

    def intensities(self, bits: Tensor) -> Tensor:
        return self._filled(bits, Output.of_light(len(bits), self.out_features))

    def readings(self, bits: Tensor, *, gain: float, top: int) -> Tensor:
        return self._filled(bits, Output.of_readings(len(bits), self.out_features, gain, top))

    def _filled(self, bits: Tensor, out: Output) -> Tensor:
        self._fill(bits.numpy(), out)
        return out.tensor

    @abstractmethod
    def _fill(self, bits: npt.NDArray[np.uint8], out: Output) -> None:
        """Measure the bits [batch, N] into `out`."""


class Picked(Medium):
    """Some outputs of a medium, in an order of their own. The medium computes all that it has, so give one with few others.

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
