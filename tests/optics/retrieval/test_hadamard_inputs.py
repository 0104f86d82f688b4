"""The designed inputs, against scipy's matrix. Their compiled products are tested with the kernels."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from groundglass.optics.retrieval.hadamard_inputs import HadamardInputs, _even

Array = npt.NDArray[np.float64]


def fields_of(design: HadamardInputs) -> Array:
    """S = H D of all blocks, whole ones: float64 [blocks * size, n] of -1 and 1."""
    size = design.size
    assert size == max(4, 2 ** int(np.ceil(np.log2(design.in_features))))
    columns = hadamard(size)[:, : design.in_features]
    return np.concatenate([columns * signs for signs in design.signs]).astype(np.float64)


# N a power of 2 or not; whole blocks, a part of one, and less than one.
SIZES = [(64, 192), (64, 150), (64, 40), (50, 300), (33, 64), (5, 23), (3, 9), (1, 7)]


@pytest.mark.parametrize(("n", "frames"), SIZES)
def test_inputs_are_half_of_one_plus_hadamard_with_signs(n: int, frames: int) -> None:
    design = HadamardInputs.draw(n, frames, seed=3)
    bits = design.bits(0, frames)
    assert (bits.dtype, tuple(bits.shape), len(design)) == (torch.uint8, (frames, n), frames)
    assert len(design.signs) == -(-frames // design.size)
    assert set(np.unique(design.signs)) <= {-1.0, 1.0}
    assert np.array_equal(bits.numpy(), (1 + fields_of(design)[:frames]) / 2)
    assert (design.exposures() == 1).all()
    assert design.exposures().shape == (frames,)


@given(n=st.integers(1, 70), frames=st.integers(1, 400), at=st.floats(0, 1), to=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_pieces_are_those_of_the_whole(n: int, frames: int, at: float, to: float) -> None:
    design = HadamardInputs.draw(n, frames, seed=0)
    first, last = sorted((int(at * frames), int(to * frames)))
    assert torch.equal(design.bits(first, last), design.bits(0, frames)[first:last])


def test_parity_without_bitwise_count() -> None:
    values = np.array([0, 1, 3, 7, 2**40, 2**40 + 1, 2**62 - 1, 2**63 - 1])
    assert _even(values).tolist() == [bin(int(v)).count("1") % 2 == 0 for v in values]
    assert values[3] == 7


def test_half_of_the_bits_are_on_and_column_0_is_balanced() -> None:
    design = HadamardInputs.draw(64, 12 * 64, seed=1)
    bits = design.bits(0, len(design)).double()
    # Within a block all columns but the first are balanced by H; the first by its alternating signs.
    assert (bits.mean(0) == 0.5).all()
    assert design.signs[:, 0].tolist() == [1, -1] * 6
    assert bits.mean(1)[1:].sub(0.5).abs().max() < 0.3


def test_the_seed_makes_the_signs() -> None:
    first, again, other = (HadamardInputs.draw(60, 640, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.signs, again.signs)
    same = (first.signs == other.signs)[:, 1:].mean()
    assert 0.35 < same < 0.65
    # More frames of the same seed are more blocks, and the blocks are not copies of one.
    assert len(np.unique(first.signs, axis=0)) == len(first.signs)


@pytest.mark.parametrize(("n", "blocks"), [(64, 4), (64, 3), (64, 1), (50, 3), (33, 5), (3, 2), (1, 3)])
def test_least_squares_is_numpys_for_whole_blocks(n: int, blocks: int) -> None:
    size = HadamardInputs.draw(n, 1, seed=0).size
    design = HadamardInputs.draw(n, blocks * size, seed=2)
    signs = fields_of(design)
    right = np.random.default_rng(0).standard_normal((len(signs), 16))
    found = design.least_squares((signs.T @ right).astype(np.float32), right.sum(0).astype(np.float32))
    expected = np.linalg.lstsq((1 + signs) / 2, right, rcond=None)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
