"""Philox on tensors: the counter-based generators of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).

Torch has no arithmetic of unsigned numbers: words are held in int64, whose products and sums wrap as unsigned ones do.
"""

import torch
from torch import Tensor

_ROUNDS = 10
_LOW = 2**32 - 1
_MULTIPLIERS_32 = 0xD2511F53, 0xCD9E8D57
_STEPS_32 = 0x9E3779B9, 0xBB67AE85
_MULTIPLIERS_64 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_STEPS_64 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


def philox32(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Philox4x32-10: int64 tensors of words below 2^32, which broadcast together -> four words a counter."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(_ROUNDS):
        p, q = c0 * _MULTIPLIERS_32[0], c2 * _MULTIPLIERS_32[1]
        c0, c1, c2, c3 = (q >> 32 & _LOW) ^ c1 ^ k0, q & _LOW, (p >> 32 & _LOW) ^ c3 ^ k1, p & _LOW
        k0, k1 = k0 + _STEPS_32[0] & _LOW, k1 + _STEPS_32[1] & _LOW
    return c0, c1, c2, c3


def drawn_lanes(table: Tensor, keys: Tensor, first: int, last: int) -> Tensor:
    """What `jit.philox.fill` draws, for several tiles, an input a column: int8 [64 tiles, last - first].

    Args:
        table: int8 [65536].
        keys: int64 [tiles, 4].
        first, last: the inputs.
    """
    key = keys[:, :, None, None].unbind(1)
    block = torch.arange(8, dtype=torch.int64, device=keys.device)[:, None]
    inputs = torch.arange(first, last, dtype=torch.int64, device=keys.device)
    words = torch.stack(philox32((key[0], key[1]), (inputs, block, key[2], key[3])), 2)  # [tiles, blocks, 4, inputs]
    halves = torch.stack((words & 0xFFFF, words >> 16), 3)
    return table[halves.flatten(0, 3)]


def key64(key: int, device: torch.device) -> Tensor:
    """A key of 128 bits as `words64` takes it. In a tensor: a profiler writes down the numbers that operations are given."""
    halves = [_signed(key & (2**64 - 1)), _signed(key >> 64)]
    return torch.tensor(halves, dtype=torch.int64, device="cpu").to(device, non_blocking=True)


def words64(key: Tensor, frames: Tensor, blocks: int) -> Tensor:
    """The 64-bit words of numpy's `Philox(key=key, counter=frame << 128)`, in its order: int64 [frames, 4 blocks].

    Args:
        key: of `key64`.
        frames: int64.
    """
    k0, k1 = key.unbind()
    # Numpy counts on before it draws.
    c0 = torch.arange(1, blocks + 1, dtype=torch.int64, device=frames.device)[None].expand(len(frames), -1)
    c1 = c3 = torch.zeros_like(c0)
    c2 = frames[:, None].expand_as(c0)
    for _ in range(_ROUNDS):
        (high0, low0), (high1, low1) = _product(_MULTIPLIERS_64[0], c0), _product(_MULTIPLIERS_64[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + _signed(_STEPS_64[0]), k1 + _signed(_STEPS_64[1])
    return torch.stack((c0, c1, c2, c3), 2).flatten(1)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _product(factor: int, words: Tensor) -> tuple[Tensor, Tensor]:
    """Upper and lower 64 bits of a product of 64-bit words, from halves."""
    high, low = factor >> 32, factor & _LOW
    upper, lower = words >> 32 & _LOW, words & _LOW
    middle = lower * high + (lower * low >> 32 & _LOW)
    other = upper * low + (middle & _LOW)
    return upper * high + (middle >> 32 & _LOW) + (other >> 32 & _LOW), words * _signed(factor)
