"""Philox4x32-10, and the look-up of Gaussian integers by its bits. The plain one: `references.philox` of the tests."""

import numpy as np
from numba import uint32, uint64

from groundglass.kernels.jit.llvm import compiled

# Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_ROUNDS = 10
# Philox blocks of one input: 8 of 4 words of 2 draws are the 64 lanes of a tile.
_BLOCKS = 8
# Inputs that are drawn at once, so that the rounds are loops over vectors.
_INPUTS = 8


@compiled
def philox(key0, key1, c0, c1, c2, c3):
    """Philox4x32-10 of the counters (c0, c1, c2, c3), uint32 arrays of equal length, in place."""
    for _ in range(_ROUNDS):
        for j in range(len(c0)):
            p = _M0 * uint64(c0[j])
            q = _M1 * uint64(c2[j])
            first = uint32(q >> uint64(32)) ^ c1[j] ^ key0
            third = uint32(p >> uint64(32)) ^ c3[j] ^ key1
            c1[j] = uint32(q)
            c3[j] = uint32(p)
            c0[j] = first
            c2[j] = third
        key0 = uint32(key0 + _W0)
        key1 = uint32(key1 + _W1)


@compiled
def fill(table, key, inputs, out):
    """The rows `inputs` (int32 [n]) of the tile with this key (uint32 [4]) -> int8 out [n, 64].

    Philox block j of input i has the counter (i, j, key[2], key[3]); its words, low half first, are lanes 8j to 8j + 7.
    """
    c0 = np.empty(_INPUTS * _BLOCKS, np.uint32)
    c1, c2, c3 = np.empty_like(c0), np.empty_like(c0), np.empty_like(c0)
    n = len(inputs)
    for first in range(0, n, _INPUTS):
        for a in range(_INPUTS):
            i = uint32(inputs[min(first + a, n - 1)])
            for j in range(_BLOCKS):
                c0[a * _BLOCKS + j] = i
                c1[a * _BLOCKS + j] = uint32(j)
        c2[:] = key[2]
        c3[:] = key[3]
        philox(key[0], key[1], c0, c1, c2, c3)
        for a in range(min(_INPUTS, n - first)):
            row = out[first + a]
            for j in range(_BLOCKS):
                k = a * _BLOCKS + j
                for w, word in enumerate((c0[k], c1[k], c2[k], c3[k])):
                    row[8 * j + 2 * w] = table[word & uint32(0xFFFF)]
                    row[8 * j + 2 * w + 1] = table[word >> uint32(16)]


# Counters that are run through the rounds at once, in the order of memory.
_TOGETHER = 128


@compiled
def words(key0, key1, when, numbers, out):
    """Random words of rows that each have a stream of their own -> uint32 out [rows, 4 blocks].

    Block j of row i has the counter (j, when[i], lower and upper half of numbers[i]); uint64 [rows] both.
    """
    c0 = np.empty(_TOGETHER, np.uint32)
    c1, c2, c3 = np.empty_like(c0), np.empty_like(c0), np.empty_like(c0)
    rows, blocks = out.shape[0], out.shape[1] // 4
    for first in range(0, rows * blocks, _TOGETHER):
        many = min(_TOGETHER, rows * blocks - first)
        for a in range(many):
            row = (first + a) // blocks
            c0[a] = uint32((first + a) - row * blocks)
            c1[a] = uint32(when[row])
            c2[a] = uint32(numbers[row])
            c3[a] = uint32(numbers[row] >> uint64(32))
        philox(key0, key1, c0, c1, c2, c3)
        for a in range(many):
            row = (first + a) // blocks
            block = (first + a) - row * blocks
            out[row, 4 * block] = c0[a]
            out[row, 4 * block + 1] = c1[a]
            out[row, 4 * block + 2] = c2[a]
            out[row, 4 * block + 3] = c3[a]


@compiled
def look_up(table, words, out):
    """The halves of each word, the lower first, as places of a table of 65,536 -> float32 out [rows, count]."""
    for row in range(out.shape[0]):
        for at in range(out.shape[1] // 2):
            word = words[row, at]
            out[row, 2 * at] = table[word & uint32(0xFFFF)]
            out[row, 2 * at + 1] = table[word >> uint32(16)]
        if out.shape[1] % 2:
            out[row, out.shape[1] - 1] = table[words[row, out.shape[1] // 2] & uint32(0xFFFF)]
