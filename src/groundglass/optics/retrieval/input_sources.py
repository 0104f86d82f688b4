"""Where an attacker takes inputs from who must not be seen: natural rows, or draws that look like them."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from groundglass.core import generator, normal, permutation, uniform

# Below this an eigenvalue of a correlation is rounding.
_LEAST = 1e-3
# Normal quantiles of shares nearer to 0 and 1 than that say nothing.
_EDGE = 1e-4


@dataclass(frozen=True, eq=False, repr=False)
class InputSource(ABC):
    """Inputs that are made from bits which natural images give.

    Args:
        natural: uint8 [rows, N] of 0 and 1, at least two rows.

    Raises:
        ValueError: not such bits.
    """

    natural: UInt8[Tensor, "rows n"]

    #: In records and reports.
    name = ""

    def __post_init__(self) -> None:
        bits = self.natural
        if bits.ndim != 2 or bits.dtype != torch.uint8 or len(bits) < 2 or not bits.shape[1] or int(bits.max()) > 1:
            raise ValueError(f"`natural` must be uint8 [rows, N] of 0 and 1, not {bits.dtype} {list(bits.shape)}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.natural)} rows of {self.in_features} bits, {self._digest})"

    @property
    def in_features(self) -> int:
        return int(self.natural.shape[1])

    @abstractmethod
    def draw(self, count: int, *, seed: int) -> UInt8[Tensor, "frames n"]:
        """At most `count` inputs; the same for the same seed."""

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self.natural.contiguous().numpy().tobytes()).hexdigest()[:12]

    @cached_property
    def _shares(self) -> Float64[Tensor, "n"]:
        """Of each bit, how often it is on."""
        return self.natural.to(torch.float64).mean(0)


class NaturalRows(InputSource):
    """Rows as natural images give them, each once, in an order of the seed: no look at bits tells them from honest traffic."""

    name = "natural"

    def draw(self, count: int, *, seed: int) -> UInt8[Tensor, "frames n"]:
        order = permutation(len(self.natural), generator=generator(seed, "natural rows"))
        return self.natural[order[:count]]


class SameShares(InputSource):
    """Independent bits, each on as often as in natural rows."""

    name = "shares"

    def draw(self, count: int, *, seed: int) -> UInt8[Tensor, "frames n"]:
        draws = uniform(count, self.in_features, generator=generator(seed, "shares"))
        return (draws < self._shares).to(torch.uint8)


class SamePairs(InputSource):
    """Bits that are on as often as natural ones, and correlate in pairs as they do: thresholds of correlated Gaussians.

    Source: the dichotomised Gaussian of Macke et al., "Generating spike trains with specified correlation coefficients", Neural
    Computation 2009. Difference: the Gaussian's correlation is sin(pi/2 rho), exact for bits that are on half of the time,
    not solved for each pair.
    """

    name = "pairs"

    def draw(self, count: int, *, seed: int) -> UInt8[Tensor, "frames n"]:
        root = self._root
        draws = normal(count, self.in_features, generator=generator(seed, "pairs")).to(torch.float64)
        below = torch.special.ndtri(self._shares.clamp(_EDGE, 1 - _EDGE))
        return (draws @ root < below).to(torch.uint8)

    @cached_property
    def _root(self) -> Float64[Tensor, "n n"]:
        """A matrix R with unit diagonal of R'R, the correlation of the Gaussians."""
        centred = self.natural.to(torch.float64) - self._shares
        spread = centred.square().mean(0).sqrt().clamp_min(1e-12)
        correlation = (centred.T @ centred) / len(centred) / spread / spread[:, None]
        values, vectors = torch.linalg.eigh(torch.sin(correlation.fill_diagonal_(1) * (torch.pi / 2)))
        root = values.clamp_min(_LEAST).sqrt()[:, None] * vectors.T
        return root / root.square().sum(0).sqrt()


#: By name.
INPUT_SOURCES: dict[str, type[InputSource]] = {one.name: one for one in (NaturalRows, SameShares, SamePairs)}
