"""What light goes through between the bits and the camera: the secret, and the ways to simulate it."""

from abc import ABC, abstractmethod
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from groundglass.core.sealed import Sealed, Seed, without_locals
from groundglass.kernels.memory import Output

#: Entries of U: complex Gaussian as in equation (1) of the paper, or real as in its published simulation.
MatrixKind = Literal["complex", "real"]

#: How U is simulated. "dense": held in memory, 2 bytes an entry. "procedural": the same matrix bit for bit, made again
#: tile by tile for every measurement. "structured": fast transforms in its place, O(N + M) memory; not an i.i.d. matrix.
DeviceKind = Literal["dense", "procedural", "structured"]


class Medium(Sealed, ABC):
    """A scattering medium: bits in, intensities |Ux|^2 out, in units of the integer entries of U.

    An intensity depends on its input and its output alone: not on the batch, the number of threads, the machine, or which
    other outputs are asked for.

    An error that comes out of a medium shows no local variables of what is below: those hold pieces of U.

    Attributes:
        kind: how it is simulated.
        draw: the recipe by which the secret becomes numbers; a device file keeps it.
        in_features, out_features: N and M.
        matrix: "complex" or "real".
        parts: of a number: 2, real and imaginary; 1 when real.
        seed: the secret.
    """

    __slots__ = ("in_features", "matrix", "out_features", "parts", "seed")

    kind: DeviceKind
    draw: int = 2

    def __init__(self, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind) -> None:
        self.seed = seed
        self.in_features = in_features
        self.out_features = out_features
        self.matrix: MatrixKind = matrix
        self.parts = 2 if matrix == "complex" else 1

    @without_locals
    def intensities(self, bits: Tensor) -> Tensor:
        """uint8 bits [batch, N], checked, contiguous, on the CPU -> float64 [batch, M]."""
        return self._filled(bits, Output.of_light(len(bits), self.out_features))

    @without_locals
    def readings(self, bits: Tensor, *, gain: float, top: int) -> Tensor:
        """As `intensities`, digitised: uint8 [batch, M], floor(gain * intensity + 0.5), at most `top`."""
        return self._filled(bits, Output.of_readings(len(bits), self.out_features, gain, top))

    @abstractmethod
    def _filled(self, bits: Tensor, out: Output) -> Tensor:
        """Measure into `out`; what was asked for."""

    @abstractmethod
    def region(self, outputs: npt.NDArray[np.int64]) -> Self:
        """The same medium, seen at these outputs alone, in this order: what it costs falls with their number if it can."""

    def _twin(self, out_features: int) -> Self:
        """The same medium with so many outputs, for a region to be made of: it shares all that is held."""
        twin = object.__new__(type(self))
        for name in (name for base in type(self).__mro__ for name in getattr(base, "__slots__", ())):
            if name != "__weakref__":
                setattr(twin, name, getattr(self, name))
        twin.out_features = out_features
        return twin

    @abstractmethod
    def dense(self) -> npt.NDArray[np.complex64]:
        """U [M, N] in units of the integer. For `true_matrix` alone."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory held between measurements, in bytes."""
