"""The integers of U: Gaussian, independent, the same on every machine, and as large as they are said to be."""

import hashlib
import statistics

import numpy as np
import pytest

from groundglass.kernels.products import TILE_LANES
from groundglass.optics.dense import _narrow
from groundglass.optics.tiled import ENTRY_STD, gaussian_table
from tests.optics.draws import drawn


def test_golden_values() -> None:
    """The recipe of device files of format 1: a change here changes the matrix of every one that exists."""
    assert hashlib.sha256(gaussian_table().tobytes()).hexdigest()[:16] == "81503143e301da35"
    assert drawn(3, 4, 2, by_shake=True).dense().tolist() == [
        [(1 + 45j), (-37 + 12j), (-21 + 51j), (15 - 45j)],
        [(46 + 21j), (-1 - 36j), (-57 + 42j), (13 + 5j)],
    ]
    assert drawn(3, 4, 2, "real", by_shake=True).dense().real.tolist() == [
        [-27.0, -13.0, 5.0, -23.0],
        [40.0, 18.0, -9.0, -13.0],
    ]
    many = drawn(2**127 + 1, 1030, 70, by_shake=True).tiles
    assert hashlib.sha256(many.tobytes()).hexdigest()[:16] == "33ce961a075f62dc"


def test_entries_are_gaussian_to_within_one_percent_of_their_deviation() -> None:
    """Against the exact quantiles: the error that integers bring has a root mean square below 1% of the deviation."""
    table = np.sort(gaussian_table()).astype(float)
    normal = statistics.NormalDist(0, ENTRY_STD)
    quantiles = np.array([normal.inv_cdf((i + 0.5) / 2**16) for i in range(2**16)])

    def error(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean((values - quantiles) ** 2)) / ENTRY_STD)

    assert error(table) < 0.01
    assert table.mean() == 0
    assert table.std() == pytest.approx(ENTRY_STD, rel=1e-3)
    assert np.mean(np.abs(table) == 127) < 1e-4
    # Controls: half the levels, or a uniform distribution of the same deviation, would be seen.
    assert error(2 * np.round(table / 2)) > 0.01
    assert error(np.linspace(-1, 1, 2**16) * ENTRY_STD * np.sqrt(3)) > 0.1


@pytest.mark.parametrize("kind", ["complex", "real"])
def test_moments_of_a_drawn_matrix(kind: str) -> None:
    dense = drawn(0, 1500, 400, kind).dense() / ENTRY_STD
    parts = [dense.real, dense.imag] if kind == "complex" else [dense.real]
    for part in parts:
        count = part.size
        assert abs(part.mean()) < 5 / count**0.5
        assert part.std() == pytest.approx(1, abs=5 / (2 * count) ** 0.5)
        assert np.mean(part**4) == pytest.approx(3, abs=0.05)
        # Rows and columns: their means are as small as independent entries make them.
        for axis, length in ((0, part.shape[0]), (1, part.shape[1])):
            assert part.mean(axis).std() * length**0.5 == pytest.approx(1, abs=0.15)
    if kind == "real":
        assert not dense.imag.any()


def independence(a: np.ndarray, b: np.ndarray) -> float:
    """The largest of some correlations that independent parts do not have, in standard errors."""
    a, b = a.ravel(), b.ravel()
    pairs = ((a, b), (a**2, b**2), (np.abs(a), b), (a, np.abs(b)))
    return max(abs(np.corrcoef(x, y)[0, 1]) for x, y in pairs) * a.size**0.5


def test_real_and_imaginary_parts_are_independent() -> None:
    dense = drawn(1, 500, 400).dense()
    assert independence(dense.real, dense.imag) < 4.5
    # Controls: a part used twice, or with its signs drawn anew.
    assert independence(dense.real, dense.real) > 100
    signs = np.random.default_rng(0).choice([-1, 1], dense.shape)
    assert independence(dense.real, dense.real * signs) > 100


def test_outputs_and_blocks_are_independent() -> None:
    """Neighbouring outputs, outputs one tile apart, and inputs one block apart share nothing."""
    dense = drawn(1, 2100, 100).dense()
    tile = TILE_LANES // 2
    assert independence(dense.real[:-1], dense.real[1:]) < 4.5
    assert independence(dense.real[:-tile], dense.real[tile:]) < 4.5
    assert independence(dense.real[:, :1024], dense.real[:, 1024:2048]) < 4.5
    assert independence(dense.real[:, :-1], dense.imag[:, 1:]) < 4.5


def test_seed_and_sizes_name_the_matrix() -> None:
    def tiles(seed: int, *sizes: int) -> np.ndarray:
        return drawn(seed, *sizes).tiles

    first = tiles(1, 64, 32)
    assert (tiles(1, 64, 32) == first).all()
    assert (tiles(2, 64, 32) == first).mean() < 0.05
    # A device of another size from the same seed shares no entries: breaking a small one breaks no large one.
    assert (tiles(1, 64, 64)[0] == first[0]).mean() < 0.05
    assert (tiles(1, 128, 32)[0, :64] == first[0]).mean() < 0.05


def test_memory_is_two_bytes_a_complex_entry() -> None:
    assert drawn(0, 256, 640).nbytes == 2 * 256 * 640
    assert drawn(0, 256, 640, "real").nbytes == 256 * 640


def test_outputs_past_the_last_are_dark() -> None:
    matrix = drawn(0, 10, 33)
    assert matrix.tiles.shape == (2, 10, TILE_LANES)
    padding = matrix.tiles[1].reshape(10, 2, 32)[:, :, 1:]
    assert not padding.any()
    assert matrix.dense().shape == (33, 10)
    assert np.count_nonzero(matrix.dense()) > 300


def test_int16_sums_are_checked_not_believed() -> None:
    assert drawn(0, 3000, 64).narrow == 2048
    heavy = np.zeros((1, 3000, TILE_LANES), dtype=np.int8)
    heavy[0, 2048:2400, 5] = 127
    assert _narrow(heavy) == 256
    heavy[0, 2048:2400, 5] = -127
    assert _narrow(heavy) == 256
    heavy[0, 2300:2400, 5] = 0
    assert _narrow(heavy) == 2048
