"""Exact products of bits with the secret integers: several ways, one result."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from groundglass.optics.entries import TILE_LANES
from groundglass.optics.matrix import SecretMatrix


class Kernel(ABC):
    """A way to compute |Ux|^2 for the bits of a batch.

    Every kernel gives the same integers, whatever the batch and the number of threads: which one is used can change
    the time it takes and nothing else.
    """

    name: str

    @abstractmethod
    def intensities(self, bits: Tensor, matrix: SecretMatrix) -> Tensor:
        """uint8 bits [batch, N], contiguous, on the CPU -> float64 [batch, M], exact integers."""

    def readings(self, bits: Tensor, matrix: SecretMatrix, *, gain: float, top: int) -> Tensor:
        """uint8 [batch, M]: clamp(floor(intensity * gain + 0.5), 0, top), in float64."""
        return (self.intensities(bits, matrix) * gain + 0.5).floor_().clamp_(0, top).to(torch.uint8)


class _Gemm(Kernel):
    """A matrix product over some tiles at a time, so that the widened copy of the matrix stays small."""

    tiles = 8
    # Inputs whose sum the product can take.
    inputs: int

    def product(self, bits: Tensor, weights: Tensor) -> Tensor:
        """bits [batch, n], int8 weights [n, lanes] -> exact sums [batch, lanes]."""
        raise NotImplementedError

    def intensities(self, bits: Tensor, matrix: SecretMatrix) -> Tensor:
        shape = len(bits), len(matrix.tiles), matrix.tile_outputs
        out = torch.empty(shape, dtype=torch.float64, device="cpu")
        for start in range(0, len(matrix.tiles), self.tiles):
            span = torch.from_numpy(matrix.tiles[start : start + self.tiles]).transpose(0, 1)
            total = torch.zeros(len(bits), span.shape[1] * TILE_LANES, dtype=torch.float64, device="cpu")
            for low in range(0, matrix.in_features, self.inputs):
                high = low + self.inputs
                total += self.product(bits[:, low:high], span[low:high].flatten(1))
            squares = total.square_().view(len(bits), span.shape[1], matrix.parts, matrix.tile_outputs)
            torch.sum(squares, 2, out=out[:, start : start + self.tiles])
        return out.flatten(1)[:, : matrix.out_features]


class FloatGemm(_Gemm):
    """float32 products of integers: every partial sum, in whatever order, is an integer below 2^24, so exact.

    Settings that let a float32 product use TF32 or bfloat16 inputs change nothing: 7 bits and a sign fit both.
    """

    name = "float32 gemm"
    inputs = 2**24 // 127

    def product(self, bits: Tensor, weights: Tensor) -> Tensor:
        # Autocast would round the sums to bfloat16.
        with torch.autocast("cpu", enabled=False):
            return bits.float() @ weights.float()


class Int8Gemm(_Gemm):
    """`torch._int_mm`: int8 products summed in int32. Fast with integer matrix units (AMX, VNNI), slow without."""

    name = "int8 gemm"
    inputs = 2**31 // 127
    tiles = 16

    def product(self, bits: Tensor, weights: Tensor) -> Tensor:
        return torch._int_mm(bits.view(torch.int8), weights)
