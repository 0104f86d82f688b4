"""Numpy's normal numbers, drawn on tensors: `Generator(Philox(...)).standard_normal`, all frames and numbers at once.

Numpy takes them from a ziggurat (Marsaglia and Tsang, "The ziggurat method for generating random variables", 2000) of 256
layers: a word gives a layer, a sign and a place. Most are accepted at once; some take another word, or pairs of words for the
tail, and some are thrown away. So where a number begins in the stream depends on all that were before. Here every place of
the stream is looked at as if a number began there; following the way from place to place, in steps of 1, 2, 4, ..., then
finds those that do.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.kernels.tensor.philox import key64, words64

_LAYERS = 256
_BITS = 52
# Where the tail begins.
_TAIL = 3.6541528853610088
# Numbers from which numpy's own layers are read.
_READ = 2**16


@dataclass(frozen=True, eq=False)
class _Layers:
    """For each layer: width over 2^52, the places that are accepted at once, and the density at its edge."""

    width: Tensor
    inside: Tensor
    density: Tensor

    @classmethod
    def of(cls, width: npt.NDArray[np.float64]) -> "_Layers":
        edge = width * 2.0**_BITS
        inner = np.concatenate([[_TAIL, 0.0], edge[1:-1]])
        density = np.exp(-0.5 * edge**2)
        density[0] = 1
        inside = (inner / edge * 2.0**_BITS).astype(np.int64)
        return cls(*(torch.from_numpy(values) for values in (width, inside, density)))

    def on(self, device: torch.device) -> "_Layers":
        return _Layers(*(values.to(device) for values in (self.width, self.inside, self.density)))


def normals(key: int, first: int, rows: int, count: int, device: torch.device) -> Tensor:
    """What `Generator(Philox(key=key, counter=frame << 128)).standard_normal(count)` gives for so many frames from `first` on.

    float64 [rows, count]. Words and decisions are integers and comparisons; only numbers of the tail (one in 4,000) come out of
    a logarithm, and may differ in their last bit from what another library computes. Check with `are_right` first.
    """
    frames = torch.arange(first, first + rows, dtype=torch.int64, device=device)
    found, _ = _walked(words64(key64(key, device), frames, _blocks(count)), count, _layers_on(device))
    return found


@cache
def are_right(device: torch.device) -> bool:
    """Whether `normals` are numpy's there: compared on a public stream, the tail to one unit in the last place."""
    try:
        found = normals(1, 2, 4, 8192, device).cpu().numpy()
    except (RuntimeError, LookupError):
        return False
    right = _of_numpy(1, 2, 4, 8192)
    # A decision that differs moves all that comes after it.
    return bool((np.abs(found - right) <= np.spacing(np.abs(right))).all())


def _of_numpy(key: int, first: int, rows: int, count: int) -> npt.NDArray[np.float64]:
    streams = (np.random.Generator(np.random.Philox(key=key, counter=(first + row) << 128)) for row in range(rows))
    return np.stack([stream.standard_normal(count) for stream in streams])


def _blocks(count: int) -> int:
    """Philox blocks for so many numbers: these take 1.022 words each on average, and hardly more for many of them."""
    return -(-(count + count // 32 + 160) // 4)


def _walked(words: Tensor, count: int, layers: _Layers) -> tuple[Tensor, Tensor]:
    """The first numbers of each row, float64 [rows, count], and the place in the stream at which each begins."""
    rows, size = words.shape
    layer, place = words & 0xFF, words >> 9 & (2**_BITS - 1)
    value = place.to(torch.float64) * layers.width[layer]
    value = torch.where((words >> 8 & 1).bool(), -value, value)
    inside = place < layers.inside[layer]
    # The word after, as a number in [0, 1); nothing begins at the last places.
    after = (words.roll(-1, 1) >> 11 & (2**53 - 1)).to(torch.float64) * 2.0**-53
    outer, density = layers.density[layer - 1 & 0xFF], layers.density[layer]
    wedge = (outer - density) * after + density < torch.exp(-0.5 * value * value)
    # The tail: pairs of words from the one after on, until one is accepted.
    log = torch.log1p(-after)
    beyond = log * (-1 / _TAIL)
    accepted = -(log.roll(-1, 1) * 2) > beyond * beyond
    here = torch.arange(size, dtype=torch.int64, device=words.device).expand(rows, -1)
    pair = here.masked_fill(~accepted, size - 1).unflatten(1, (size // 2, 2))
    pair = pair.flip(1).cummin(1).values.flip(1).flatten(1)
    far = _TAIL + beyond.gather(1, pair)
    far = torch.where((place >> 8 & 1).bool(), -far, far)
    tail = ~inside & (layer == 0)
    value = torch.where(tail, far, value)
    emits = inside | tail | wedge
    following = torch.where(inside, here + 1, torch.where(tail, pair + 3, here + 2)).clamp_max(size - 1)
    # Places at which a number is begun, in order: the first, then from each 2^k known ones the next 2^k.
    begun, tries = words.new_zeros(rows, 1), min(size, count + count // 48 + 100)
    while begun.shape[1] < tries:
        begun = torch.cat((begun, following.gather(1, begun)), 1)
        following = following.gather(1, following)
    counted = emits.gather(1, begun).cumsum(1)
    wanted = torch.arange(1, count + 1, dtype=torch.int64, device=words.device).expand(rows, -1).contiguous()
    at = begun.gather(1, torch.searchsorted(counted, wanted).clamp_max(begun.shape[1] - 1))
    return value.gather(1, at), at


@cache
def _layers_on(device: torch.device) -> _Layers:
    return _layers().on(device)


@cache
def _layers() -> _Layers:
    """Numpy's: computed, and then read to the last bit from numbers that it has drawn.

    Raises:
        LookupError: it draws in another way.
    """
    cpu = torch.device("cpu")
    words = words64(key64(0, cpu), torch.zeros(1, dtype=torch.int64, device=cpu), _blocks(_READ))
    walked, at = _walked(words, _READ, _Layers.of(_computed()))
    word, drawn = words[0, at[0]].numpy(), np.abs(_of_numpy(0, 0, 1, _READ)[0])
    layer, place = word & 0xFF, (word >> 9 & (2**_BITS - 1)).astype(np.float64)
    near = (np.abs(walked[0].abs().numpy() - drawn) < 1e-9) & (drawn <= _TAIL) & (place > 0)
    width = np.empty(_LAYERS)
    for k in range(_LAYERS):
        of = near & (layer == k)
        if of.sum() < 50:
            raise LookupError("numpy's normal numbers come from another ziggurat")
        guess = (drawn[of][:1] / place[of][:1]).view(np.int64) + np.arange(-4, 5)
        right = (guess.view(np.float64)[:, None] * place[of] == drawn[of]).all(1)
        if not right.any():
            raise LookupError("numpy's normal numbers come from another ziggurat")
        width[k] = guess[right.argmax()].view(np.float64)
    return _Layers.of(width)


def _computed() -> npt.NDArray[np.float64]:
    """Widths of layers of equal area over 2^52, to some 1e-13; that of the lowest is its area over its height."""
    area = _TAIL * math.exp(-0.5 * _TAIL**2) + math.sqrt(math.pi / 2) * math.erfc(_TAIL / math.sqrt(2))
    edge = np.empty(_LAYERS)
    edge[0], edge[-1] = area / math.exp(-0.5 * _TAIL**2), _TAIL
    for k in range(_LAYERS - 2, 0, -1):
        edge[k] = math.sqrt(-2 * math.log(area / edge[k + 1] + math.exp(-0.5 * edge[k + 1] ** 2)))
    return edge / 2.0**_BITS
