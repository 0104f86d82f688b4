"""Numbers as sums of bits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groundglass.optics.linear.planes import Planes, as_planes

U = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def through(planes: Planes) -> Tensor:
    """The map U of the numbers, by that of their planes."""
    return planes.total(planes.bits.double() @ U)


@given(st.lists(st.lists(st.integers(-(2**20), 2**20), min_size=7, max_size=7), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_whole_numbers_are_exact(rows: list[list[int]]) -> None:
    x = torch.tensor(rows)
    assert torch.allclose(through(as_planes(x, 8)), x.double() @ U, rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize(
    ("row", "planes"),
    [([0] * 7, 0), ([1] * 7, 1), ([0, 1] * 3 + [1], 1), ([4] * 7, 1), ([-1] * 7, 1), ([3, -4] * 3 + [0], 3)],
)
def test_a_row_has_the_planes_that_it_needs(row: list[int], planes: int) -> None:
    mixed = torch.tensor([row, [2**9] * 7, row])
    found = as_planes(mixed, 8)
    assert torch.bincount(found.row, minlength=3).tolist() == [planes, 1, planes]
    assert (found.bits.sum(1) > 0).all()


def test_bits_are_one_plane_whatever_their_type() -> None:
    bits = torch.tensor([[0, 1, 1, 0, 1, 0, 0]])
    for given_bits in (bits.bool(), bits.to(torch.uint8), bits, bits.to(torch.int8)):
        planes = as_planes(given_bits, 8)
        assert torch.equal(planes.bits, bits.to(torch.uint8))
        assert planes.weight.tolist() == [1.0]


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_floats_are_off_by_half_a_step_at_most(bits: int) -> None:
    x = torch.randn(20, 7, generator=torch.Generator().manual_seed(1)) * torch.logspace(-20, 20, 20)[:, None]
    planes = as_planes(x, bits)
    eye = torch.eye(7, dtype=torch.float64)
    back = planes.total(planes.bits.double() @ eye)
    step = x.double().abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((back - x).abs() <= 0.501 * step).all()
    assert torch.bincount(planes.row).max() <= bits
    assert not planes.total(planes.bits.double() @ eye).isnan().any()


def test_rows_of_zeros_cost_nothing_and_give_zeros() -> None:
    planes = as_planes(torch.zeros(4, 7), 8)
    assert len(planes.bits) == 0
    assert not through(planes).any()
    assert through(as_planes(torch.zeros(0, 7), 8)).shape == (0, 3)


def test_refuses_what_is_no_row_of_numbers() -> None:
    with pytest.raises(ValueError, match="x\\[None\\]"):
        as_planes(torch.zeros(7), 8)
    with pytest.raises(TypeError, match="real"):
        as_planes(torch.zeros(1, 7, dtype=torch.complex64), 8)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            as_planes(torch.tensor([[1.0, bad]]), 8)
    with pytest.raises(ValueError, match="floats"):
        as_planes(torch.tensor([[2**31, 0]]), 8)


def test_floats_that_are_whole_are_taken_as_they_are() -> None:
    bits = torch.tensor(
        [[0.0, 1, 1, 0, 1, 0, 0], [-1, 1, 1, -1, 1, 1, 1], [0, 0.5, 1, 0, 0, 0, 0], [127, -3, 0, 0, 0, 0, 0]]
    )
    planes = as_planes(bits, 8)
    assert torch.bincount(planes.row).tolist() == [1, 2, 7, 8], "0 and 1 are no more frames as floats"
    assert planes.scale.tolist() == [1.0, 1.0, 1 / 127, 1.0]
    assert torch.equal(through(planes)[:2], through(as_planes(bits[:2].int(), 8)))


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-31, 1e31, 1.7e308])
def test_floats_whose_results_would_be_0_or_infinite_are_refused(size: float) -> None:
    row = torch.eye(7, dtype=torch.float64)[:2]
    with pytest.raises(ValueError, match="scale"):
        as_planes(row * size, 8)
    assert as_planes(row * 1e30, 8).scale.isfinite().all()


@pytest.mark.parametrize("whole", [np.uint64(2**64 - 1), np.uint64(2**63), np.int64(-(2**63)), np.uint32(2**32 - 1)])
def test_whole_numbers_never_wrap_around(whole: np.generic) -> None:
    x = np.zeros((1, 7), dtype=whole.dtype)
    x[0, 0] = whole
    with pytest.raises(ValueError, match="floats"):
        as_planes(torch.from_numpy(x), 8)
