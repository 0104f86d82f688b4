"""The designed inputs and their compiled products, against scipy's matrix and plain numpy."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from groundglass.kernels.cells import from_lanes, per_row, to_lanes
from groundglass.kernels.jit.hadamard import LANES, sweep, weighted
from groundglass.optics.retrieval.hadamard import HadamardInputs, _even

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


def reference(
    rows: npt.NDArray[np.complex128], signs: Array, low: Array, high: Array, trust: Array
) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128], Array]:
    """(sum of s_k r_k [lanes, n], sum of r_k [lanes], sum of |r_k|^2 [lanes]) of `sweep`; low and high: [frames, lanes]."""
    z = (rows.sum(1)[None] + signs @ rows.T) / 2
    size = np.sqrt(np.square(np.abs(z)) + 1e-12)
    with np.errstate(invalid="ignore", over="ignore"):
        target = np.sqrt(np.clip(size**2, low, high))
        share = np.minimum(1.0, np.where(np.isinf(high), 1.0, high * trust))
    step = (target / size - 1) * share
    r = z * step
    return r.T @ signs, r.sum(0), np.square(size * step).sum(0)


def draw_problem(n: int, frames: int) -> tuple[HadamardInputs, npt.NDArray[np.complex64], Array, Array]:
    """A design, eight rows, and intervals of which some are wide, narrow, dark, without an end, or of no frame."""
    random = np.random.default_rng(n)
    design = HadamardInputs.draw(n, frames, seed=4)
    rows = (random.standard_normal((LANES, n)) + 1j * random.standard_normal((LANES, n))).astype(np.complex64)
    whole = (len(design.signs) * design.size, LANES)
    low = random.exponential(n / 2, whole)
    high = low + random.exponential(n / 8, whole)
    low[random.random(whole) < 0.1] = 0
    dark = random.random(whole) < 0.05
    low[dark] = high[dark] = 0
    high[random.random(whole) < 0.1] = np.inf
    low[frames:], high[frames:] = 0, np.inf
    # An input of no bits reads 0: its field, next to 0 by rounding, has no direction in which to go.
    low[(fields_of(design) == -1).all(1)] = 0
    return design, rows, low.astype(np.float32).astype(np.float64), high.astype(np.float32).astype(np.float64)


def run_sweep(
    design: HadamardInputs, rows: npt.NDArray[np.complex64], low: Array, high: Array, trust: Array
) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.complex64], npt.NDArray[np.float32]]:
    shape = (len(design.signs), design.size, LANES)
    # Rubbish in all outputs: they are filled, not added to.
    back = np.full((design.in_features, 2 * LANES), 7, dtype=np.float32)
    total, energy = np.full(2 * LANES, 7, dtype=np.float32), np.full(LANES, 7, dtype=np.float32)
    work = np.full((design.size, 2 * LANES), 7, dtype=np.float32)
    cells = to_lanes(rows)
    sweep(
        cells,
        design.signs,
        np.ascontiguousarray(low, dtype=np.float32).reshape(shape),
        np.ascontiguousarray(high, dtype=np.float32).reshape(shape),
        trust.astype(np.float32),
        work,
        back,
        total,
        energy,
    )
    assert np.array_equal(from_lanes(cells), rows, equal_nan=True)
    return from_lanes(back), from_lanes(total[None])[:, 0], energy


@pytest.mark.parametrize(("n", "frames"), [(64, 192), (64, 150), (50, 300), (33, 64), (5, 23), (2, 6), (130, 1000)])
@pytest.mark.parametrize("trusting", [True, False])
def test_a_sweep_is_that_of_plain_numpy(n: int, frames: int, trusting: bool) -> None:
    design, rows, low, high = draw_problem(n, frames)
    trust = np.full(LANES, 3e38) if trusting else np.linspace(0.2, 3, LANES) / n
    # At full trust a dark field is moved the whole way to no light or not at all: 0 times the largest number.
    if trusting:
        high = np.where(high == 0, 1e-9, high)
    back, total, energy = run_sweep(design, rows, low, high, trust)
    expected = reference(rows.astype(np.complex128), fields_of(design), low, high, trust)
    for found, wanted in zip((back, total, energy), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5 * np.abs(wanted).max())
    if not trusting:
        # Control: trust matters here.
        full = reference(rows.astype(np.complex128), fields_of(design), low, high, np.full(LANES, 1e30))
        assert np.abs(full[0] - expected[0]).max() > 1e-2 * np.abs(expected[0]).max()


def test_fields_within_their_intervals_stay() -> None:
    design, rows, low, high = draw_problem(50, 300)
    back, total, energy = run_sweep(design, rows, 0 * low, np.full_like(high, np.inf), np.full(LANES, 3e38))
    assert not energy.any()
    assert not back.any()
    assert not total.any()


def test_missing_frames_pull_at_nothing() -> None:
    """Whatever the signs of the frames that were not taken, nothing of them comes back."""
    design, rows, low, high = draw_problem(50, 300)
    trust = np.full(LANES, 3e38)
    high = np.where(high == 0, 1e-9, high)
    signs, full = fields_of(design)[:300], rows.astype(np.complex128)
    expected = reference(full, signs, low[:300], high[:300], trust)
    for found, wanted in zip(run_sweep(design, rows, low, high, trust), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5 * np.abs(wanted).max())


def test_lanes_do_not_see_each_other() -> None:
    """Bit by bit, also beside rows of not-a-number."""
    design, rows, low, high = draw_problem(50, 300)
    trust = np.linspace(0.2, 3, LANES) / 50
    alone = run_sweep(design, rows, low, high, trust)
    order = np.array([5, 0, 7, 2, 1, 6, 3, 4])
    turned = run_sweep(design, rows[order], low[:, order], high[:, order], trust[order])
    for first, second in zip(alone, turned, strict=True):
        assert np.array_equal(first[order], second)
    rows = rows.copy()
    rows[3] = np.nan
    for first, second in zip(alone, run_sweep(design, rows, low, high, trust), strict=True):
        assert np.array_equal(np.delete(first, 3, 0), np.delete(second, 3, 0))


def test_a_dark_row_divides_by_something() -> None:
    design, rows, low, high = draw_problem(50, 300)
    for found in run_sweep(design, 0 * rows, low + 1, high + 1, np.full(LANES, 3e38)):
        assert np.isfinite(found).all()


@pytest.mark.parametrize(("n", "frames"), [(64, 150), (50, 300), (5, 23), (2, 6), (1100, 5000)])
def test_weighted_is_that_of_plain_numpy(n: int, frames: int) -> None:
    random = np.random.default_rng(1)
    design = HadamardInputs.draw(n, frames, seed=4)
    rows = (random.standard_normal((LANES, n)) + 1j * random.standard_normal((LANES, n))).astype(np.complex64)
    weights = random.standard_normal((len(design.signs) * design.size, LANES)).astype(np.float32)
    weights[frames:] = 0
    back = np.full((n, 2 * LANES), 7, dtype=np.float32)
    work = np.full((design.size, 2 * LANES), 7, dtype=np.float32)
    blocks = weights.reshape(len(design.signs), design.size, LANES)
    weighted(to_lanes(rows), design.signs, blocks, work, back)
    signs = fields_of(design)[:frames].astype(np.float32)
    expected = ((signs @ rows.T) * weights[:frames]).T @ signs
    np.testing.assert_allclose(from_lanes(back), expected, atol=1e-4 * np.abs(expected).max())


def test_a_transform_larger_than_the_cache_is_the_same() -> None:
    """4096 cells, twice what is transformed at once: a row of one bit has a column of H for its fields."""
    n = 3000
    design = HadamardInputs.draw(n, 4096, seed=1)
    rows = np.zeros((LANES, n), dtype=np.complex64)
    for lane, column in enumerate((0, 1, 2, 700, 1024, 2047, 2048, 2999)):
        rows[lane, column] = 1 + lane * 1j
    back, work = np.empty((n, 2 * LANES), dtype=np.float32), np.empty((4096, 2 * LANES), dtype=np.float32)
    # A weight of one at one frame alone brings back that frame's signs.
    for frame in (0, 1, 2049, 4095):
        weights = np.zeros((1, 4096, LANES), dtype=np.float32)
        weights[0, frame] = 1
        weighted(to_lanes(rows), design.signs, weights, work, back)
        signs = 2.0 * design.bits(frame, frame + 1).numpy()[0] - 1
        np.testing.assert_array_equal(from_lanes(back), (rows @ signs)[:, None] * signs)


def test_lanes_there_and_back() -> None:
    _, rows, _, _ = draw_problem(50, 300)
    cells = to_lanes(rows)
    assert (cells.shape, cells.dtype) == ((50, 2 * LANES), np.float32)
    assert np.array_equal(from_lanes(cells), rows)
    np.testing.assert_allclose(per_row(np.square(cells).sum(0)), np.square(np.abs(rows)).sum(1), rtol=1e-5)
