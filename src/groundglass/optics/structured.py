"""A medium of fast transforms, for a million inputs and a million outputs."""

import math
from itertools import product
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.core.sealed import Seed
from groundglass.core.secret_memory import secret_empty
from groundglass.kernels import jit
from groundglass.kernels.memory import Output, TensorOutput, aligned
from groundglass.kernels.tensor.hadamard import transform
from groundglass.kernels.threads import for_each
from groundglass.optics.medium import MatrixKind, Medium
from groundglass.optics.tiled import ENTRY_STD

# The least size of a transform: in a small one the sums have too few terms to be Gaussian.
_LEAST = 1024
# Numbers that go through a chain between two looks at whether the user wants to stop: about a tenth of a second.
_PIECE = 2**23
_ALL = np.empty(0, dtype=np.int64)
# Transforms of a chain, and the one whose diagonal has the magnitudes, from 0.
_STAGES = 6
_MIDDLE = 3
# Numbers of the fields that a card works on at a time.
_FIELDS = 2**24


class StructuredMedium(Medium):
    """|Ux|^2 with U a product of diagonals and Walsh-Hadamard transforms: O(n log n) a row, 3 bytes an input or output.

    Inputs are padded to n, a power of two of at least 1024; outputs come in ceil(M / n) blocks of n, the last one cut.
    Each block is

        U = H D5 H D4 H G H D3 H D2 H D1 / n^2.5

    with H the unnormalised transform, D1 to D5 random in {1, i, -1, -i} (real: signs), and G such phases times magnitudes
    in random order, which follow the quarter-circle law, as the singular values of a Gaussian matrix do. What is
    approximated is its singular value decomposition: each of the two unitary factors, uniformly random in a Gaussian
    matrix, has three transforms in its place.

    Why so much. Without G the total light would not vary; with Gaussian numbers there, drawn one by one, it would vary
    sqrt(2) too much over redraws, and the third moment of the spectrum of U^H U would be 1 + 3g + 2g^2, g = N / M.
    With one transform on the right, the total of a one-hot input would not vary; with one on the left, the correlation of
    the outputs m and m' would depend on m xor m' alone; with one on both, two inputs make pairs of outputs equal. With two
    on both, the light of entry (m, i) and that of (m xor a, i xor a) have a correlation of 1 / n: little, but over
    n^2 pairs it is seen. With three, nothing was found.

    Where it still differs from an i.i.d. matrix:

    - its secret has 3 n bytes a block, not n N numbers, so its entries cannot be independent. Pairs of outputs, inputs and
      entries look it; larger sets need not.
    - its singular values are the same in every draw of a square device with N = n: the light of all one-hot inputs together
      is a constant, where that of i.i.d. entries varies by 1 / sqrt(N M). The moments of its spectrum are
      Marchenko and Pastur's, 1, 1 + g, 1 + 3g + g^2, to the rounding of the magnitudes, one part in a thousand.
    - nothing here says how many readings give the diagonals away; they may be far fewer than those of N M numbers.

    Sums are float32, in a fixed order: the same bit for bit in any batch, region and number of threads and on every
    machine, and of the mean intensity 3e-7 (root mean square) and a few 1e-6 at most from what exact sums would give.
    """

    __slots__ = ("_levels", "_phases", "_picks", "_places")

    kind = "structured"

    def __init__(self, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind = "complex") -> None:
        super().__init__(seed, in_features, out_features, matrix)
        n = size_of(in_features)
        shape = -(-out_features // n), n
        self._phases = secret_empty(shape, np.uint16)
        self._levels = secret_empty(shape, np.uint8)
        # Outputs in ascending order, and their columns; all, when empty.
        self._picks = self._places = _ALL
        magnitudes = quarter_circle(n, ENTRY_STD * (math.sqrt(2) if matrix == "complex" else 1))
        for block, (phases, levels) in enumerate(zip(self._phases, self._levels, strict=True)):
            purpose = f"structured/{matrix}/{in_features}x{out_features}/{block}"
            # Of the 16 bits, two are a quarter turn for each of six diagonals; real: half turns.
            phases[:] = np.frombuffer(seed.stream(f"{purpose}/phases", 2 * n), dtype="<u2")
            # Sorting random numbers shuffles; their last bits are the places that they had.
            keys = np.frombuffer(seed.stream(f"{purpose}/order", 8 * n), dtype="<u8").astype(np.uint64)
            keys &= np.uint64(2**64 - n)
            keys |= np.arange(n, dtype=np.uint64)
            keys.sort()
            levels[:] = magnitudes[keys & np.uint64(n - 1)]
        if matrix == "real":
            self._phases &= np.uint16(0xAAAA)

    def region(self, outputs: npt.NDArray[np.int64]) -> Self:
        """Costs the blocks that hold the outputs; shares all that is held."""
        if len(self._picks):
            whole = np.empty_like(self._picks)
            whole[self._places] = self._picks
            outputs = whole[outputs]
        part = self._twin(len(outputs))
        part._places = np.argsort(outputs, kind="stable")
        part._picks = outputs[part._places]
        return part

    def dense(self) -> npt.NDArray[np.complex64]:
        """U [M, N], from one-hot inputs."""
        z: Any = self._scratch()
        blocks, n = self._phases.shape
        u = np.empty((self.out_features, self.in_features), dtype=np.complex64)
        columns = np.empty(blocks * n, dtype=np.complex64)
        one_hot = np.zeros(self.in_features, dtype=np.uint8)
        for i in range(self.in_features):
            one_hot[i] = 1
            for block in range(blocks):
                if jit.available():
                    jit.structured.field(one_hot, self._phases[block], self._levels[block], z)
                else:
                    z = self._fields(torch.from_numpy(one_hot)[None], *self._block(block))[:, 0].numpy()
                column = columns[block * n : (block + 1) * n]
                column.real = z[0]
                column.imag = z[1] if self.parts == 2 else 0
            one_hot[i] = 0
            if len(self._picks):
                u[self._places, i] = columns[self._picks]
            else:
                u[:, i] = columns[: self.out_features]
        u *= np.float32(n**-2.5)
        return u

    @property
    def nbytes(self) -> int:
        return self._phases.nbytes + self._levels.nbytes + self._picks.nbytes + self._places.nbytes

    @property
    def _bytes_there(self) -> int:
        return 5 * self._phases.size + 2 * self._picks.nbytes + 40 * max(_FIELDS, self._phases.shape[1])

    def _placed(self, device: torch.device) -> tuple[Tensor, ...]:
        """Phases, in int16; levels; the outputs of a region, and their columns."""
        held = self._phases.view(np.int16), self._levels, self._picks, self._places
        return tuple(torch.from_numpy(values).to(device) for values in held)

    def _put(self, bits: Tensor, held: tuple[Tensor, ...], out: TensorOutput) -> None:
        phases, levels, picks, places = held
        count, n = self._phases.shape
        rows = max(1, _FIELDS // (self.parts * n))
        for block in range(count):
            start = block * n
            low, high = np.searchsorted(self._picks, (start, start + n)).tolist()
            if len(self._picks) and low == high:
                continue
            for first in range(0, len(bits), rows):
                of = slice(first, first + rows)
                z = self._fields(bits[of], phases[block], levels[block]).to(torch.float64)
                light = z.square().sum(0).mul_(1 / n**5)
                part = TensorOutput(out.gain, out.top, out.tensor[of])
                if len(self._picks):
                    part.put(places[low:high], light[:, picks[low:high] - start])
                else:
                    part.put(slice(start, min(start + n, self.out_features)), light[:, : self.out_features - start])

    def _fields(self, bits: Tensor, phases: Tensor, levels: Tensor) -> Tensor:
        """Fields of one block, real and imaginary parts, float32 [parts, batch, n]; as `jit.structured.field`."""
        z = bits.new_zeros(self.parts, len(bits), len(phases), dtype=torch.float32)
        z[0, :, : self.in_features] = bits
        for stage in range(_STAGES):
            turn = phases.to(torch.int32) >> (2 * stage)
            odd, minus = (turn & 1).bool(), (turn >> 1 & 1).to(torch.float32)
            # i (x + iy) = -y + ix; numbers only move, and change their signs.
            if self.parts == 2:
                flip = 1 - 2 * (minus != odd).to(torch.float32)
                z = torch.stack((torch.where(odd, z[1], z[0]) * flip, torch.where(odd, z[0], z[1]) * (1 - 2 * minus)))
            else:
                z = z * (1 - 2 * minus)
            z = transform(z * levels if stage == _MIDDLE else z)
        return z

    def _block(self, block: int) -> tuple[Tensor, Tensor]:
        """Phases and levels of a block, as `_placed` has them."""
        return torch.from_numpy(self._phases[block].view(np.int16)), torch.from_numpy(self._levels[block])

    def _scratch(self) -> npt.NDArray[np.float32]:
        n = self._phases.shape[1]
        return aligned(self.parts * n, np.float32).reshape(self.parts, n)

    def _filled(self, batch: Tensor, out: Output) -> Tensor:
        if not jit.available():
            return self._filled_plainly(batch, out)
        bits = batch.numpy()
        if not len(bits):
            return out.tensor
        count, n = self._phases.shape
        blocks = np.unique(self._picks // n) if len(self._picks) else np.arange(count)
        # Several pieces a thread, so that one that is held up does not hold up all.
        pieces = max(4 * torch.get_num_threads(), len(bits) * len(blocks) * n // _PIECE)
        rows = np.array_split(np.arange(len(bits)), min(pieces, len(bits)))
        some = np.array_split(blocks, min(len(blocks), -(-pieces // len(rows))))

        def fill(piece: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]) -> None:
            of = slice(piece[0][0], piece[0][-1] + 1)
            jit.structured.measure(
                *(bits[of], self._phases, self._levels, piece[1], 1 / n**5, self._picks, self._places),
                *(self._scratch(), *out[of].arguments),
            )

        for_each(product(rows, some), fill)
        return out.tensor


def size_of(in_features: int) -> int:
    """n, the size of the transforms."""
    return max(_LEAST, 2 ** (in_features - 1).bit_length())


def quarter_circle(count: int, scale: float) -> npt.NDArray[np.uint8]:
    """uint8 [count], ascending: magnitudes of the quarter-circle law of mean square scale^2 (so at most 2 scale), rounded.

    Every integer is there as often as the law asks for, to the nearest 1 / count.
    """
    edges = (min((k + 0.5) / scale, 2.0) for k in range(math.ceil(2 * scale)))
    below = [round(count * (s * math.sqrt(4 - s * s) / 2 + 2 * math.asin(s / 2)) / math.pi) for s in edges]
    return np.repeat(np.arange(len(below) + 1, dtype=np.uint8), np.diff([0, *below, count]))
