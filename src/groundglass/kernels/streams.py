"""Random numbers for many rows at once, each row from a stream of its own: by counters, so on any device and in any batch.

Philox4x32-10 (Salmon et al. 2011): the numbers of a row depend on the key, the row's own number and on which draw of it this is,
and on nothing that was drawn before. On a CPU they are computed by compiled code, elsewhere in torch's operations, which are
the plain form of the same.
"""

from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from groundglass.core.reading import constant
from groundglass.kernels import jit
from groundglass.kernels.tensor.philox import philox32

#: Of a stream: 64 bits, in two words.
Key = tuple[int, int]

_PLACES = 2**16
# Steps in which normal numbers are counted: no rounding of the machine's own functions is left in them.
_GRAIN = 2.0**-16


def normals(key: Key, when: Tensor, numbers: Tensor, count: int, *, compiled: bool | None = None) -> Tensor:
    """Standard normal numbers, float32 [rows, count]: one of 65,536 values of equal probability, of up to 4.3.

    The values are the quantiles of the normal law at the middles of 65,536 equal intervals, scaled to variance 1.

    Args:
        when: which draw of its row this is, int64 [rows], 0 to 2^32 - 1.
        numbers: of each row, int64 [rows], 0 or more.
        compiled: compute by compiled code; where the numbers are on the CPU and there is such code, unless told otherwise.
    """
    found = words(key, when, numbers, -(-count // 2), compiled=compiled)
    table = _quantiles_on(numbers.device)
    if isinstance(found, np.ndarray):
        out = np.empty((len(found), count), np.float32)
        jit.philox.look_up(table.numpy(), found, out)
        return torch.from_numpy(out)
    halves = torch.stack((found & 0xFFFF, found >> 16), 2).flatten(1)
    return table[halves[:, :count]]


def integers(key: Key, when: Tensor, numbers: Tensor, count: int, *, compiled: bool | None = None) -> Tensor:
    """Integers in [0, 2^62), int64 [rows, count]; as `normals`."""
    found = words(key, when, numbers, 2 * count, compiled=compiled)
    if isinstance(found, np.ndarray):
        found = torch.from_numpy(found.astype(np.int64))
    pairs = found[:, : 2 * count].unflatten(1, (count, 2))
    return (pairs[..., 0] | pairs[..., 1] << 32) & (2**62 - 1)


def words(key: Key, when: Tensor, numbers: Tensor, count: int, *, compiled: bool | None = None) -> Tensor | np.ndarray:
    """At least so many random words for each row: uint32 by compiled code, else int64 below 2^32."""
    blocks = -(-count // 4)
    if compiled or (compiled is None and numbers.device.type == "cpu" and jit.available()):
        out = np.empty((len(numbers), 4 * blocks), np.uint32)
        rows = (one.numpy().view(np.uint64) for one in (when.contiguous(), numbers.contiguous()))
        jit.philox.words(np.uint32(key[0]), np.uint32(key[1]), *rows, out)
        return out
    block = torch.arange(blocks, dtype=torch.int64, device=numbers.device)
    of_row = numbers[:, None]
    counter = block.expand(len(numbers), -1), when[:, None], of_row & (2**32 - 1), of_row >> 32
    first, second = constant(key, torch.int64, torch.device("cpu")).unbind()
    return torch.stack(philox32((first, second), counter), 2).flatten(1)


@cache
def quantiles() -> Tensor:
    """The normal numbers, in rising order, float32 [65536]. Do not change them."""
    middles = (torch.arange(_PLACES // 2, dtype=torch.float64, device="cpu") + 0.5) / _PLACES
    lower = torch.special.ndtri(middles)
    lower = (lower / lower.square().mean().sqrt() / _GRAIN).round() * _GRAIN
    return torch.cat([lower, -lower.flip(0)]).float()


@lru_cache(maxsize=16)
def _quantiles_on(device: torch.device) -> Tensor:
    return quantiles().to(device)
