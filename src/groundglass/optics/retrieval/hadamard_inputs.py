"""Designed inputs: rows of a Hadamard matrix with random signs, so that a product with all of them costs N log N."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from groundglass.core import generator, integers


@dataclass(frozen=True, eq=False)
class HadamardInputs:
    """x = (1 + H D_b) / 2: blocks b of P = 2^p inputs, P >= N; D_b are random signs; the last block may be a part.

    Half of the bits are on, as at calibration, so the device's own exposure suits them.

    Attributes:
        signs: the diagonals, float32 [blocks, N] of -1 and 1.
    """

    in_features: int
    frames: int
    signs: npt.NDArray[np.float32]

    @classmethod
    def draw(cls, in_features: int, frames: int, *, seed: int) -> "HadamardInputs":
        """Inputs for N bits; another seed gives other signs."""
        blocks = -(-frames // _padded(in_features))
        draw = integers(2, (blocks, in_features), generator=generator(seed, "hadamard inputs"))
        signs = (2 * draw - 1).numpy().astype(np.float32)
        # Column 0 of H is all 1: that input is on, or off, for a whole block, and must not be the same in all of them.
        signs[:, 0] = 1 - 2 * (np.arange(blocks) % 2)
        return cls(in_features, frames, signs)

    @property
    def size(self) -> int:
        """P, inputs of a whole block."""
        return _padded(self.in_features)

    def __len__(self) -> int:
        return self.frames

    def exposures(self) -> Float[Tensor, "frames"]:
        return torch.ones(self.frames, dtype=torch.float64, device="cpu")

    def bits(self, start: int, stop: int) -> UInt8[Tensor, "frames n"]:
        frame, column = np.arange(start, stop)[:, None], np.arange(self.in_features)[None]
        block, row = np.divmod(frame, self.size)
        # Entry (i, j) of H is -1 to the number of ones that i and j share.
        positive = np.bitwise_count(row & column) % 2 == 0 if hasattr(np, "bitwise_count") else _even(row & column)
        return torch.from_numpy((positive == (self.signs[block[:, 0]] > 0)).astype(np.uint8))

    @cached_property
    def overlap(self) -> npt.NDArray[np.float64]:
        """The inverse of the 2 x 2 matrix of `least_squares`."""
        corner = float(self.signs[:, 0].mean())
        # In the span of 1 and e_0, G = I + 1 1' + corner (1 e_0' + e_0 1') = I + V C V' with V = [1, e_0].
        gram = np.array([[self.in_features, 1.0], [1.0, 1.0]])
        core = np.array([[1.0, corner], [corner, 0.0]])
        return np.asarray(core @ np.linalg.inv(np.eye(2) + gram @ core))

    def least_squares(self, back: npt.NDArray[np.float32], total: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(X'X)^-1 X' r for fields r of all frames, from `back` = sum s_k r_k, [n, lanes], and `total` = sum r_k, [lanes].

        With whole blocks H'H = P I makes X'X = (P blocks / 4) (I + 1 1' + corner (1 e_0' + e_0 1')): inverted by
        Woodbury's formula. A last block that is a part is treated as whole: its missing frames agree with everything.
        """
        scale = np.float32(2 / (self.size * len(self.signs)))
        right = (back + total) * scale
        inner = self.overlap.astype(np.float32) @ np.stack([right.sum(0), right[0]])
        right -= inner[0]
        right[0] -= inner[1]
        return right


def _padded(in_features: int) -> int:
    """The power of 2 that N bits fit into; at least 4, the smallest that is transformed."""
    return max(4, 1 << (in_features - 1).bit_length())


def _even(values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether the number of ones is even; for a numpy without `bitwise_count`."""
    values = values.copy()
    for shift in (32, 16, 8, 4, 2, 1):
        values ^= values >> shift
    return (values & 1) == 0
