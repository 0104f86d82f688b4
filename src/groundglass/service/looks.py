"""What a guard sees in a row of bits: a few scores, each larger the less natural the row is."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.kernels.kernel_choice import fastest_kernel
from groundglass.kernels.memory import Output
from groundglass.kernels.products import TILE_LANES

#: Weight: bits that are on. Shares: the row's likelihood, were its bits independent. Pairs: how far it leaves the directions
#: in which natural rows vary. Clusters: how little it has of the few directions in which they vary most.
LOOKS = ("weight", "shares", "pairs", "clusters")
# Directions at the most: three tiles of the kernel's lanes, with those of weight and shares.
_DIRECTIONS = 3 * TILE_LANES - 2
# Directions of the clusters: those with more of the variance than this share.
_STRONG, _MOST_STRONG = 0.02, 32
_LIMIT = 8192
# int16 holds the sum of 256 products of a bit with a byte, always.
_NARROW = 256
_BYTE = 127


@dataclass(frozen=True, eq=False)
class Looks:
    """Squares of sums of small integers over a row's bits: exact, and by the kernels that simulate devices.

    Attributes:
        directions: int8 [N, k]: the first for the weight, the second for the shares, the others principal directions of
            natural rows, the strongest first.
        centres: int64 [k], what natural rows have there on average.
        weights: float64 [k], over a direction's variance; 0 for the first two.
        strong: how many of the principal directions are the clusters'.
    """

    directions: npt.NDArray[np.int8] = field(repr=False)
    centres: npt.NDArray[np.int64] = field(repr=False)
    weights: npt.NDArray[np.float64] = field(repr=False)
    strong: int

    @property
    def in_features(self) -> int:
        return len(self.directions)

    @classmethod
    def fit(cls, rows: Tensor) -> "Looks":
        """Fitted to natural rows, uint8 [rows, N].

        Raises:
            ValueError: fewer rows than bits, or more bits than their moments have room for.
        """
        count, n = rows.shape
        if n > _LIMIT:
            raise ValueError(f"a guard looks at rows of at most {_LIMIT:,} bits, not {n:,}")
        if count < max(100, 2 * n):
            raise ValueError(f"{count} natural rows are too few for {n} bits: give at least {max(100, 2 * n)}")
        # Counts of ones are exact in float32 up to 2^24 rows.
        bits = rows.to(torch.float32)
        share = (bits.sum(0).to(torch.float64) / count).numpy()
        moments = torch.zeros(n, n, dtype=torch.float64, device="cpu")
        for some in bits.split(65536):
            moments += (some.T @ some).to(torch.float64)
        values, vectors = np.linalg.eigh(moments.numpy() / count - np.outer(share, share))
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        strong = int((values[:_MOST_STRONG] > _STRONG * values.sum()).sum())
        places = _chosen(n, strong)
        likely = np.clip(share, 0.5 / count, 1 - 0.5 / count)
        # Those two are far from 0 in all rows: small ones need few inputs that take their centres away.
        columns = [_bytes(np.ones(n), 1), _bytes(np.log(likely / (1 - likely)), 15)]
        directions = np.stack([*columns, *(_bytes(column) for column in vectors[:, places].T)], 1)
        sums = directions.astype(np.float64)
        # In units of the directions as they were rounded, with a floor: what never varies would weigh without end.
        spread = np.einsum("nk,nk->k", sums, (moments.numpy() / count - np.outer(share, share)) @ sums)
        floor = 0.01 * (sums**2).sum(0)
        weights = 1 / (spread + floor)
        weights[:2] = 0
        return cls(directions, np.rint(share @ sums).astype(np.int64), weights, strong)

    def scores(self, bits: Tensor) -> npt.NDArray[np.float64]:
        """uint8 [rows, N] -> float64 [rows, len(LOOKS)]: the same for a row in any company."""
        squares = self._squares(bits)
        weighted = squares * self.weights
        ends = 2, 2 + self.strong
        scores = np.empty((len(squares), len(LOOKS)))
        scores[:, 0], scores[:, 1] = squares[:, 0], squares[:, 1]
        scores[:, 2], scores[:, 3] = weighted[:, ends[0] :].sum(1), -weighted[:, ends[0] : ends[1]].sum(1)
        return scores

    def _squares(self, bits: Tensor) -> npt.NDArray[np.float64]:
        """(x . direction - centre)^2, exact, [rows, k]."""
        tiles = self._tiles
        out = Output.of_light(len(bits), tiles.tiles.shape[0] * TILE_LANES)
        if len(bits):
            shown = np.ones((len(bits), tiles.tiles.shape[1]), dtype=np.uint8)
            shown[:, : self.in_features] = bits.numpy()
            fastest_kernel(len(bits), tiles).fill(torch.from_numpy(shown), tiles, out)
        return out.light[:, : len(self.centres)]

    @cached_property
    def _tiles(self) -> "_Tiles":
        """The directions as a matrix of a real device, with inputs that are always on to take the centres away."""
        steps = -self.centres
        more = -(-int(np.abs(steps).max(initial=1)) // _BYTE)
        each, rest = np.divmod(np.abs(steps), more)
        constant = (each + (np.arange(more)[:, None] < rest)) * np.sign(steps)
        whole = np.concatenate((self.directions, constant.astype(np.int8)))
        lanes = -(-whole.shape[1] // TILE_LANES) * TILE_LANES
        padded = np.pad(whole, ((0, 0), (0, lanes - whole.shape[1])))
        return _Tiles(np.ascontiguousarray(padded.reshape(len(whole), -1, TILE_LANES).transpose(1, 0, 2)))

    def tensors(self) -> dict[str, Tensor]:
        """As a file holds it."""
        strong: Any = np.array([self.strong], dtype=np.int64)
        parts = {"directions": self.directions, "centres": self.centres, "weights": self.weights, "strong": strong}
        return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "Looks":
        """From what a file holds.

        Raises:
            ValueError, KeyError: it does not fit together.
        """
        directions, centres, weights, strong = (
            tensors[name].numpy() for name in ("directions", "centres", "weights", "strong")
        )
        kinds = [one.dtype for one in (directions, centres, weights, strong)]
        if kinds != [np.int8, np.int64, np.float64, np.int64] or directions.ndim != 2 or strong.shape != (1,):
            raise ValueError(f"its arrays are {kinds}")
        n, k = directions.shape
        if not 1 <= n <= _LIMIT or not 2 <= k <= _DIRECTIONS + 2 or {centres.shape, weights.shape} != {(k,)}:
            raise ValueError(f"{n} bits and {k} directions")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and 0 <= strong[0] <= k - 2):
            raise ValueError("its weights are not those of a guard")
        if np.abs(centres).max() > _BYTE * n:
            raise ValueError("its centres are further off than rows can be")
        return cls(directions, centres, weights, int(strong[0]))


@dataclass(frozen=True, eq=False)
class _Tiles:
    """See `kernels.products.Tiles`."""

    tiles: npt.NDArray[np.int8]
    parts: int = 1
    narrow: int = _NARROW


def _chosen(n: int, strong: int) -> npt.NDArray[np.int64]:
    """Places of the principal directions: all where there is room; else the strong ones, and the others evenly from all."""
    if n <= _DIRECTIONS:
        return np.arange(n)
    rest = np.linspace(strong, n - 1, _DIRECTIONS - strong).round().astype(np.int64)
    return np.concatenate((np.arange(strong), rest))


def _bytes(column: npt.NDArray[np.float64], largest: int = _BYTE) -> npt.NDArray[np.int8]:
    """A direction in small integers, of which only the direction counts."""
    most = np.abs(column).max()
    return np.rint(column * (largest / most if most > 0 else 0)).astype(np.int8)
