"""Packed bits: numpy's layout, refused when wrong, and measured in pieces as if they were not packed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groundglass.optics import Camera, SimulatedOPU
from groundglass.optics.streams import packed as packed_module
from groundglass.optics.streams.packed import batch_bytes, measure_packed, pack_bits, rows_at_a_time, unpack_bits
from tests.optics.draws import draw


@settings(deadline=None, max_examples=50)
@given(rows=st.integers(0, 5), n=st.integers(1, 70), seed=st.integers(0, 99))
def test_the_bytes_are_numpys_and_unpack_to_the_bits(rows: int, n: int, seed: int) -> None:
    bits = draw(rows, n, seed=seed)
    packed = pack_bits(bits)
    assert packed.shape == (rows, (n + 7) // 8)
    assert packed.numpy().tobytes() == np.packbits(bits.numpy(), axis=1).tobytes()
    assert torch.equal(unpack_bits(packed, n), bits)


def test_the_first_bit_is_the_highest() -> None:
    assert pack_bits(torch.tensor([[1, 0, 0, 0, 0, 0, 0, 0, 1]], dtype=torch.uint8)).tolist() == [[128, 128]]


@pytest.mark.parametrize(
    ("packed", "n", "error", "says"),
    [
        ([[0, 0]], 9, TypeError, "as_tensor"),
        (np.zeros((2, 2)), 9, TypeError, "packbits"),
        (np.full((2, 2), 255, dtype=np.uint8), 9, ValueError, "last 7 bits"),
        (torch.zeros(2, 2), 9, TypeError, "packbits"),
        (torch.zeros(2, 3, dtype=torch.uint8), 9, ValueError, "2 columns"),
        (torch.zeros(2, 9, dtype=torch.uint8), 9, ValueError, "unpacked"),
        (torch.zeros(2, dtype=torch.uint8), 9, ValueError, r"packed\[None\]"),
        (torch.tensor([[0, 128], [0, 64]], dtype=torch.uint8), 9, ValueError, "last 7 bits"),
        (torch.tensor([[0, 1]], dtype=torch.uint8), 15, ValueError, "bitorder"),
    ],
)
def test_what_is_not_packed_bits_is_refused_with_what_to_do(
    packed: Tensor, n: int, error: type[Exception], says: str
) -> None:
    device = SimulatedOPU.create(n, 4, seed=1)
    with pytest.raises(error, match=says):
        unpack_bits(packed, n)
    with pytest.raises(error, match=says):
        measure_packed(device, packed)


def test_only_bits_are_packed() -> None:
    with pytest.raises(ValueError, match="not up to 2"):
        pack_bits(torch.full((2, 9), 2, dtype=torch.uint8))
    with pytest.raises(TypeError, match="binarise"):
        pack_bits(torch.zeros(2, 9))


@pytest.mark.parametrize(
    "camera", [Camera(), Camera(bits=None), Camera(read_noise=2.0, shot_noise=500)], ids=["8 bits", "float", "noisy"]
)
@pytest.mark.parametrize("rows", [0, 1, 12, 13])
def test_packed_reads_as_unpacked_in_pieces_of_few_rows(
    camera: Camera, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, m = 45, 33
    # The frames of a noisy device are counted from its making.
    one, other = (SimulatedOPU.create(n, m, seed=5, camera=camera) for _ in range(2))
    bits = draw(rows, n)
    seen = []
    measure = SimulatedOPU.measure
    monkeypatch.setattr(SimulatedOPU, "measure", lambda self, x: seen.append(len(x)) or measure(self, x))
    monkeypatch.setattr(packed_module, "_MEMORY", 4 * (n + 8 * m))
    found = measure_packed(one, pack_bits(bits))
    assert max(seen, default=0) <= 4
    assert len(seen) == -(-rows // 4)
    expected = other.measure(bits)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def test_any_device_will_do() -> None:
    class Counter:
        in_features, out_features, fingerprint, mean_reading = 9, 1, "counter", 1.0

        def measure(self, bits: Tensor) -> Tensor:
            return bits.sum(1, keepdim=True, dtype=torch.uint8)

    bits = draw(20, 9)
    assert torch.equal(measure_packed(Counter(), pack_bits(bits)), bits.sum(1, keepdim=True, dtype=torch.uint8))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (512, 8000), (10**6, 10**6), (2**22, 8), (8, 2**22)])
def test_a_batch_is_within_memory(n: int, m: int) -> None:
    assert 1 <= rows_at_a_time(n, m) <= 1024
    assert batch_bytes(n, m) <= 2**28
    # and no smaller than it must be
    assert rows_at_a_time(n, m) == 1024 or batch_bytes(n, m) > 2**28 - n - 8 * m
