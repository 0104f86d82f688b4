"""The draw: Philox keyed by tile, the same wherever one starts."""

import hashlib

import numpy as np

from groundglass.core.sealed import Seed
from groundglass.kernels import jit
from groundglass.kernels.products import TILE_LANES
from groundglass.optics.procedural import ProceduralMedium
from groundglass.optics.tiled import gaussian_table
from tests.kernels.references import philox


def test_a_number_is_sixteen_bits_of_philox_through_the_table() -> None:
    medium = ProceduralMedium(Seed(3), 50, 70, "complex")
    tile = np.empty((50, TILE_LANES), dtype=np.int8)
    medium.fill(1, tile)
    k0, k1, h0, h1 = (int(word) for word in medium.keys(np.array([1]))[0])
    table = gaussian_table()
    for i in (0, 7, 8, 49):
        words = [word for j in range(8) for word in philox((k0, k1), (i, j, h0, h1))]
        draws = [half for word in words for half in (word & 0xFFFF, word >> 16)]
        assert tile[i].tolist() == table[draws].tolist()


def test_golden_tile() -> None:
    """A change here changes the matrix of every device file of format 2."""
    tile = np.empty((1030, TILE_LANES), dtype=np.int8)
    ProceduralMedium(Seed(2**127 + 1), 1030, 70, "complex").fill(2, tile)
    assert hashlib.sha256(tile.tobytes()).hexdigest()[:16] == "5a379142d3ad5f90"


def test_any_inputs_in_any_order() -> None:
    medium = ProceduralMedium(Seed(3), 1000, 32, "real")
    whole = np.empty((1000, TILE_LANES), dtype=np.int8)
    key = medium.keys(np.array([0]))[0]
    jit.philox.fill(gaussian_table(), key, np.arange(1000, dtype=np.int32), whole)
    for inputs in ([999], [3, 2, 1], list(range(17, 400)), [0, 999, 5, 7, 11, 13, 17, 19, 23]):
        some = np.empty((len(inputs), TILE_LANES), dtype=np.int8)
        jit.philox.fill(gaussian_table(), key, np.array(inputs, dtype=np.int32), some)
        assert (some == whole[inputs]).all()


def test_every_tile_and_every_device_has_keys_of_its_own() -> None:
    keys = {
        tuple(key)
        for seed in (1, 2)
        for sizes in ((10, 100), (11, 100), (10, 101))
        for matrix in ("complex", "real")
        for key in ProceduralMedium(Seed(seed), *sizes, matrix).keys(np.array([0, 1])).tolist()
    }
    assert len(keys) == 2 * 3 * 2 * 2
    assert len({word for key in keys for word in key}) == 4 * len(keys)


def test_a_key_does_not_depend_on_the_others_asked_for() -> None:
    medium = ProceduralMedium(Seed(1), 10, 1000, "complex")
    assert (medium.keys(np.array([7, 2, 9]))[1] == medium.keys(np.array([2]))[0]).all()
    assert medium.keys(np.array([], dtype=np.int64)).shape == (0, 4)
