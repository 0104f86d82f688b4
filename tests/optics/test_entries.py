"""The draw: Philox as published, keyed by tile, the same wherever one starts."""

import hashlib

import numpy as np
import pytest

from groundglass.kernels.jit import philox as jit
from groundglass.kernels.products import TILE_LANES
from groundglass.optics.entries import Entries, gaussian_table
from groundglass.optics.sealed import Seed


def reference(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Philox4x32-10 in Python's integers, from its paper."""
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(10):
        p, q = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (q >> 32) ^ c1 ^ k0, q & 0xFFFFFFFF, (p >> 32) ^ c3 ^ k1, p & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


#: Known answers of the authors' own library, Random123.
KNOWN = [
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 2, (2**32 - 1,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN)
def test_philox_is_the_published_one(
    key: tuple[int, int], counter: tuple[int, int, int, int], answer: tuple[int, ...]
) -> None:
    assert reference(key, counter) == answer
    words = [np.full(3, word, dtype=np.uint32) for word in counter]
    jit.philox(np.uint32(key[0]), np.uint32(key[1]), *words)
    assert [tuple(int(word[k]) for word in words) for k in range(3)] == [answer] * 3


def test_a_number_is_sixteen_bits_of_philox_through_the_table() -> None:
    entries = Entries(Seed(3), 50, 70, "complex")
    tile = np.empty((50, TILE_LANES), dtype=np.int8)
    entries.fill(1, tile)
    k0, k1, h0, h1 = (int(word) for word in entries.keys(np.array([1]))[0])
    table = gaussian_table()
    for i in (0, 7, 8, 49):
        words = [word for j in range(8) for word in reference((k0, k1), (i, j, h0, h1))]
        draws = [half for word in words for half in (word & 0xFFFF, word >> 16)]
        assert tile[i].tolist() == table[draws].tolist()


def test_golden_tile() -> None:
    """A change here changes the matrix of every device file of format 2."""
    tile = np.empty((1030, TILE_LANES), dtype=np.int8)
    Entries(Seed(2**127 + 1), 1030, 70, "complex").fill(2, tile)
    assert hashlib.sha256(tile.tobytes()).hexdigest()[:16] == "5a379142d3ad5f90"


def test_any_inputs_in_any_order() -> None:
    entries = Entries(Seed(3), 1000, 32, "real")
    whole = np.empty((1000, TILE_LANES), dtype=np.int8)
    key = entries.keys(np.array([0]))[0]
    jit.fill(gaussian_table(), key, np.arange(1000, dtype=np.int32), whole)
    for inputs in ([999], [3, 2, 1], list(range(17, 400)), [0, 999, 5, 7, 11, 13, 17, 19, 23]):
        some = np.empty((len(inputs), TILE_LANES), dtype=np.int8)
        jit.fill(gaussian_table(), key, np.array(inputs, dtype=np.int32), some)
        assert (some == whole[inputs]).all()


def test_every_tile_and_every_device_has_keys_of_its_own() -> None:
    keys = {
        tuple(key)
        for seed in (1, 2)
        for sizes in ((10, 100), (11, 100), (10, 101))
        for matrix in ("complex", "real")
        for key in Entries(Seed(seed), *sizes, matrix).keys(np.array([0, 1])).tolist()
    }
    assert len(keys) == 2 * 3 * 2 * 2
    assert len({word for key in keys for word in key}) == 4 * len(keys)


def test_a_key_does_not_hang_on_the_others_asked_for() -> None:
    entries = Entries(Seed(1), 10, 1000, "complex")
    assert (entries.keys(np.array([7, 2, 9]))[1] == entries.keys(np.array([2]))[0]).all()
    assert entries.keys(np.array([], dtype=np.int64)).shape == (0, 4)
