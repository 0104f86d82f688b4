"""Compiled products with designed inputs, against plain numpy."""

import numpy as np
import numpy.typing as npt
import pytest

from groundglass.kernels import jit
from groundglass.kernels.cells import LANES, from_lanes, per_row, to_lanes
from groundglass.optics.retrieval.hadamard_inputs import HadamardInputs
from tests.kernels import references
from tests.optics.retrieval.test_hadamard_inputs import Array, fields_of


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
    bounds = (np.ascontiguousarray(bound, dtype=np.float32).reshape(shape) for bound in (low, high))
    jit.hadamard.sweep(cells, design.signs, *bounds, trust.astype(np.float32), work, back, total, energy)
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
    found = run_sweep(design, rows, low, high, trust)
    signs, exact = fields_of(design), rows.astype(np.complex128)
    # Whatever the signs of the frames that were not taken, nothing of them comes back.
    for taken in (slice(None), slice(frames)):
        expected = references.sweep(exact, signs[taken], low[taken], high[taken], trust)
        for one, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, wanted, rtol=1e-4, atol=2e-5 * np.abs(wanted).max())
    if not trusting:
        # Control: trust matters here.
        full = references.sweep(exact, signs, low, high, np.full(LANES, 1e30))
        assert np.abs(full[0] - expected[0]).max() > 1e-2 * np.abs(expected[0]).max()


def test_fields_within_their_intervals_stay() -> None:
    design, rows, low, high = draw_problem(50, 300)
    back, total, energy = run_sweep(design, rows, 0 * low, np.full_like(high, np.inf), np.full(LANES, 3e38))
    assert not energy.any()
    assert not back.any()
    assert not total.any()


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
    jit.hadamard.weighted(to_lanes(rows), design.signs, blocks, work, back)
    signs = fields_of(design)[:frames].astype(np.float32)
    expected = references.weighted(rows, signs, weights[:frames])
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
        jit.hadamard.weighted(to_lanes(rows), design.signs, weights, work, back)
        signs = 2.0 * design.bits(frame, frame + 1).numpy()[0] - 1
        np.testing.assert_array_equal(from_lanes(back), (rows @ signs)[:, None] * signs)


def test_lanes_there_and_back() -> None:
    _, rows, _, _ = draw_problem(50, 300)
    cells = to_lanes(rows)
    assert (cells.shape, cells.dtype) == ((50, 2 * LANES), np.float32)
    assert np.array_equal(from_lanes(cells), rows)
    np.testing.assert_allclose(per_row(np.square(cells).sum(0)), np.square(np.abs(rows)).sum(1), rtol=1e-5)
