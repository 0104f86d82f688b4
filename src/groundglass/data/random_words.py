"""Random words of an image: a function of the key and the image's index alone."""

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def words(key: int, index: NDArray[np.integer], per_image: int) -> NDArray[np.uint64]:
    """`per_image` random 64-bit words of each image, as uint64 [len(index), per_image].

    SplitMix64 (Steele, Lea and Flood, 2014) read as a counter-based generator: word j of image i is output number
    `i * per_image + j` of the sequence that starts at `key`. There is no state to advance, so an image's words
    do not depend on its batch or on how many images there are. It is all integer arithmetic, so they are the same on
    every machine and with every version of numpy.
    """
    first = np.asarray(index).astype(np.uint64) * np.uint64(per_image)
    # From 1: the sequence's first output mixes key + gamma, not the key itself.
    z: NDArray[np.uint64] = np.add.outer(first, np.arange(1, per_image + 1, dtype=np.uint64))
    z *= _GAMMA
    z += np.uint64(key)
    z ^= z >> np.uint64(30)
    z *= _MIX_1
    z ^= z >> np.uint64(27)
    z *= _MIX_2
    z ^= z >> np.uint64(31)
    return z


def unit(words: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Uniform float32 in [0, 1): the upper 24 bits of each word, exact."""
    return (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
