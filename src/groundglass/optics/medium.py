"""What light goes through between the bits and the camera: the secret, and the ways to simulate it."""

import threading
import warnings
from abc import ABC, abstractmethod
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.core.accelerator import finish, free_memory
from groundglass.core.sealed import Sealed, Seed, without_locals
from groundglass.core.text import size
from groundglass.kernels.memory import Output, TensorOutput
from groundglass.kernels.tensor import is_card
from groundglass.kernels.tensor.products import InexactError

#: Entries of U: complex Gaussian as in equation (1) of the paper, or real as in its published simulation.
MatrixKind = Literal["complex", "real"]

#: How U is simulated. "dense": held in memory, 2 bytes an entry. "procedural": the same matrix bit for bit, made again
#: tile by tile for every measurement. "structured": fast transforms in its place, O(N + M) memory; not an i.i.d. matrix.
DeviceKind = Literal["dense", "procedural", "structured"]


# Rows that go through a card at a time, and the share of its free memory that a medium may take.
_ROWS = 4096
_SHARE = 0.8
_placing = threading.Lock()
# Whether cards have been found to be right.
_RIGHT: dict[tuple[torch.device, DeviceKind, MatrixKind], bool] = {}


class Medium(Sealed, ABC):
    """A scattering medium: bits in, intensities |Ux|^2 out, in units of the integer entries of U.

    An intensity depends on its input and its output alone: not on the batch, the number of threads, the machine, or which
    other outputs are asked for.

    Bits on a card are measured there, by torch's own operations, from what the medium keeps on that card; the bits of
    the result are the same. Where there is no room for it, they come to the CPU and their light goes back.

    An error that comes out of a medium shows no local variables of what is below: those hold pieces of U.

    Attributes:
        kind: how it is simulated.
        draw: the recipe by which the secret becomes numbers; a device file keeps it.
        in_features, out_features: N and M.
        matrix: "complex" or "real".
        parts: of a number: 2, real and imaginary; 1 when real.
        seed: the secret.
    """

    __slots__ = ("_there", "in_features", "matrix", "out_features", "parts", "seed")

    kind: DeviceKind
    draw: int = 2

    def __init__(self, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind) -> None:
        self.seed = seed
        self.in_features = in_features
        self.out_features = out_features
        self.matrix: MatrixKind = matrix
        self.parts = 2 if matrix == "complex" else 1
        self._there: dict[torch.device, tuple[Tensor, ...] | None] = {}

    @without_locals
    def intensities(self, bits: Tensor) -> Tensor:
        """uint8 bits [batch, N], checked, contiguous -> float64 [batch, M], where the bits are."""
        found = self._by_card(bits, 1.0, 0, torch.float64)
        if found is None:
            found = self._filled(bits.cpu(), Output.of_light(len(bits), self.out_features)).to(bits.device)
        return found

    @without_locals
    def readings(self, bits: Tensor, *, gain: float, top: int) -> Tensor:
        """As `intensities`, digitised: uint8 [batch, M], floor(gain * intensity + 0.5), at most `top`."""
        found = self._by_card(bits, gain, top, torch.uint8)
        if found is None:
            found = self._filled(bits.cpu(), Output.of_readings(len(bits), self.out_features, gain, top)).to(
                bits.device
            )
        return found

    @abstractmethod
    def _filled(self, bits: Tensor, out: Output) -> Tensor:
        """Measure on the CPU into `out`; what was asked for."""

    @abstractmethod
    def _put(self, bits: Tensor, held: tuple[Tensor, ...], out: TensorOutput) -> None:
        """The same on a card, from what is held there."""

    @abstractmethod
    def _placed(self, device: torch.device) -> tuple[Tensor, ...]:
        """What a measurement needs on a card, there."""

    @property
    @abstractmethod
    def _bytes_there(self) -> int:
        """About how many bytes `_placed` takes there."""

    @property
    def placed_bytes(self) -> int:
        """Memory held on all cards between measurements, in bytes."""
        return sum(tensor.nbytes for held in self._there.values() if held for tensor in held)

    def _by_card(self, bits: Tensor, gain: float, top: int, dtype: torch.dtype) -> Tensor | None:
        """Measured by the card that the bits are on; None where they are on none, or it is not used."""
        if not is_card(bits.device) or not (held := self._held_on(bits.device)):
            return None
        try:
            return self._on_card(bits, held, gain, top, dtype)
        except InexactError:  # products are chosen anew for each class of sizes
            with _placing:
                if self._there.get(bits.device) is not None:
                    self._there[bits.device] = None
                    self._is_wrong_on(bits.device)
            return None

    def _on_card(self, bits: Tensor, held: tuple[Tensor, ...], gain: float, top: int, dtype: torch.dtype) -> Tensor:
        found = torch.empty(len(bits), self.out_features, dtype=dtype, device=bits.device)
        # Autocast would round the sums.
        with torch.autocast(bits.device.type, enabled=False):
            for start in range(0, len(bits), _ROWS):
                rows = slice(start, start + _ROWS)
                self._put(bits[rows], held, TensorOutput(gain, float(top), found[rows]))
        return found

    def _filled_plainly(self, bits: Tensor, out: Output) -> Tensor:
        """What `_filled` gives, on the CPU without compiled code: the way of a card is the plain form of it."""
        return self._on_card(bits, self._placed(bits.device), out.gain, int(out.top), out.tensor.dtype)

    def _held_on(self, device: torch.device) -> tuple[Tensor, ...] | None:
        """What the medium keeps there, put there when it is first asked for; None where there is no room."""
        with _placing:
            if device not in self._there:
                self._there[device] = None
                free = free_memory(device)
                if free is not None and self._bytes_there > _SHARE * free:
                    self._stays_here(
                        f"needs {size(self._bytes_there)} on {device}, and {size(free)} are free there: it measures on the CPU, "
                        "with the same readings, more slowly; kind='procedural' is the same device and needs next to no memory"
                    )
                elif not self._is_right_on(device):
                    self._is_wrong_on(device)
                else:
                    with torch.inference_mode(False):
                        self._there[device] = self._placed(device)
                    finish(device)  # another stream may use it at once
            return self._there[device]

    def _is_wrong_on(self, device: torch.device) -> None:
        self._stays_here(f"gets other sums on {device} than on the CPU, where it measures therefore")

    def _stays_here(self, why: str) -> None:
        text = f"a {self.kind} device of {self.in_features} x {self.out_features} {why}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _is_right_on(self, device: torch.device) -> bool:
        """Whether the card gives the CPU's light, bit for bit: of some inputs at some outputs, once for each kind of matrix."""
        known = _RIGHT.get((device, self.kind, self.matrix))
        if known is None:
            some = self.region(np.arange(min(64, self.out_features)))
            bits = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (20, self.in_features), dtype=np.uint8))
            right = some._filled(bits, Output.of_light(len(bits), some.out_features))
            try:
                found = some._on_card(bits.to(device), some._placed(device), 1.0, 0, torch.float64)
            except InexactError:
                return False
            known = _RIGHT[device, self.kind, self.matrix] = torch.equal(found.cpu(), right)
        return known

    @abstractmethod
    def region(self, outputs: npt.NDArray[np.int64]) -> Self:
        """The same medium, seen at these outputs alone, in this order: what it costs falls with their number if it can."""

    def _twin(self, out_features: int) -> Self:
        """The same medium with so many outputs, for a region to be made of: it shares all that is held."""
        twin = object.__new__(type(self))
        for name in (name for base in type(self).__mro__ for name in getattr(base, "__slots__", ())):
            if name != "__weakref__":
                setattr(twin, name, getattr(self, name))
        twin.out_features, twin._there = out_features, {}
        return twin

    @abstractmethod
    def dense(self) -> npt.NDArray[np.complex64]:
        """U [M, N] in units of the integer. For `true_matrix` alone."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory held between measurements, in bytes."""
