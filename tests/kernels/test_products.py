"""Kernels: the integers that int64 arithmetic gives, from all of them."""

import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from groundglass.kernels.memory import Output
from groundglass.kernels.products import FloatGemm, Int8Gemm, Kernel, LookupTables, MaskedSum
from groundglass.optics.dense import DenseMedium
from tests.optics.draws import draw, drawn
from tests.threads import torch_threads

KERNELS = [FloatGemm(), LookupTables(), MaskedSum(), Int8Gemm()]
# Around the edges of tiles (32 or 64 outputs), of groups of bits, of passes, of int16 chunks.
SIZES = [(1, 1), (6, 32), (25, 33), (97, 70), (1030, 64), (2050, 40), (4500, 33)]


@pytest.fixture(params=KERNELS, ids=lambda kernel: kernel.name)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return request.param


def light_of(kernel: Kernel, bits: Tensor, matrix: DenseMedium) -> Tensor:
    out = Output.of_light(len(bits), matrix.out_features)
    kernel.fill(bits, matrix, out)
    assert out.tensor.dtype == torch.float64
    return out.tensor.long()


def readings_of(kernel: Kernel, bits: Tensor, matrix: DenseMedium, gain: float = 1e-4, top: int = 255) -> Tensor:
    out = Output.of_readings(len(bits), matrix.out_features, gain, top)
    kernel.fill(bits, matrix, out)
    return out.tensor


def exact(bits: Tensor, matrix: DenseMedium) -> Tensor:
    """|Ux|^2 in int64."""
    dense = torch.from_numpy(matrix.dense())
    x = bits.to(torch.int64).t()
    return ((dense.real.long() @ x) ** 2 + (dense.imag.long() @ x) ** 2).t()


@pytest.mark.parametrize("kind", ["complex", "real"])
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_intensities_are_the_exact_integers(kernel: Kernel, inputs: int, outputs: int, kind: str) -> None:
    matrix = drawn(7, inputs, outputs, kind)
    for rows in (0, 1, 17, 70):
        assert torch.equal(light_of(kernel, draw(rows, inputs), matrix), exact(draw(rows, inputs), matrix))


def test_large_batches(kernel: Kernel) -> None:
    """Past the rows that a block holds, and in every size of group."""
    matrix = drawn(7, 90, 33)
    for rows in (400, 1025):
        bits = draw(rows, 90)
        assert torch.equal(light_of(kernel, bits, matrix), exact(bits, matrix))


def test_the_largest_sums_that_there_can_be(kernel: Kernel) -> None:
    """All entries at the limit and all inputs on: 24 bits of float32 and 16 of int16 would overflow unwatched."""
    matrix = drawn(0, 140_000, 3)
    matrix.tiles[:] = 127
    matrix.tiles[:, :, ::2] = -127
    matrix.tiles[:, ::7, 1] = 126
    matrix.narrow = 256
    bits = torch.ones(2, 140_000, dtype=torch.uint8)
    bits[1, ::3] = 0
    assert torch.equal(light_of(kernel, bits, matrix), exact(bits, matrix))


def test_readings_round_half_up_and_clip(kernel: Kernel) -> None:
    matrix = drawn(7, 300, 50)
    bits = draw(400, 300)
    light = exact(bits, matrix)
    for gain, top in ((2.0**-11, 255), (1e-4, 255), (1e-5, 15), (1.0, 255), (1e-12, 255)):
        expected = np.minimum(np.floor(light.numpy() * gain + 0.5), top).astype(np.uint8)
        readings = readings_of(kernel, bits, matrix, gain, top)
        assert readings.dtype == torch.uint8
        assert (readings.numpy() == expected).all()
    # The powers of two above do meet the half exactly; if they never did, rounding would not be tested.
    assert (light.numpy() * 2.0**-11 % 1 == 0.5).any()


def test_threads_and_autocast_change_nothing(kernel: Kernel) -> None:
    matrix = drawn(7, 200, 330)
    bits = draw(70, 200)
    one = readings_of(kernel, bits, matrix)
    with torch_threads(3):
        assert torch.equal(readings_of(kernel, bits, matrix), one)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(readings_of(kernel, bits, matrix), one)


def test_two_threads_may_measure_at_once() -> None:
    matrix = drawn(7, 200, 330)
    batches = [draw(rows, 200) for rows in (64, 65)]
    expected = [exact(bits, matrix) for bits in batches]
    wrong: list[int] = []

    def work(which: int) -> None:
        for _ in range(20):
            if not torch.equal(light_of(LookupTables(), batches[which], matrix), expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
