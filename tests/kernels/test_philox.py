"""Philox as published, the plain one and the compiled one."""

import numpy as np
import pytest

from groundglass.kernels import jit
from tests.kernels import references

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
    assert references.philox(key, counter) == answer
    words = [np.full(3, word, dtype=np.uint32) for word in counter]
    jit.philox.philox(np.uint32(key[0]), np.uint32(key[1]), *words)
    assert [tuple(int(word[k]) for word in words) for k in range(3)] == [answer] * 3
