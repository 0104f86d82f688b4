"""Numbers as bits, for a device that takes nothing else; and back, where that can be.

An encoder is its settings, and does not change: `fit` returns another one, which has learned what it needs from data. All take
and return tensors or numpy arrays, and what becomes of a row does not depend on the other rows.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.core import NonFiniteError
from groundglass.core.settings import In, Positive, fit
from groundglass.optics.device import Array, alike


class Encoder(ABC):
    """Rows of numbers -> rows of bits.

    Attributes:
        vectors: vectors of bits that a row becomes, and so frames that it takes: 1, but for bit planes.
        learned: name of the field that `fit` sets.
    """

    vectors: int = 1
    learned: str

    @abstractmethod
    def fit(self, x: Any) -> Self:
        """The encoder with what it needs from `x`, [rows, n]; itself where nothing is left to learn.

        Raises:
            NonFiniteError: NaN or infinite numbers.
        """

    @abstractmethod
    def width(self, features: int) -> int:
        """Bits of a vector, for rows of so many numbers."""

    @abstractmethod
    def _encode(self, x: Tensor) -> Tensor:
        """Of checked numbers."""

    def _decode(self, bits: Tensor) -> Tensor:
        raise TypeError(
            f"a {type(self).__name__} has no inverse: a bit says on which side of the threshold a number was"
        )

    def encode(self, x: Array) -> Array:
        """Numbers [rows, n] -> bits, uint8 [rows * vectors, width(n)].

        Raises:
            TypeError: no numbers.
            ValueError: another n than the thresholds are for; the encoder has to be fitted first.
            NonFiniteError: NaN or infinite numbers.
        """
        if getattr(self, self.learned) is None:
            raise ValueError(
                f"this {type(self).__name__} has to see data first: encoder = encoder.fit(x), or give `{self.learned}`"
            )
        return alike(x, lambda given: self._encode(_finite(given)), name="x")

    def decode(self, bits: Array) -> Array:
        """The inverse: bits as `encode` gives them -> numbers, float64 [rows, n], each as near as its bits say.

        Raises:
            TypeError: there is none.
            ValueError: bits that are no number's.
        """
        return alike(bits, self._decode)

    def mix(self, readings: Array) -> Array:
        """Readings of a row's vectors -> one row: [rows * vectors, m] -> [rows, m]. As they are if vectors is 1."""
        return readings


def check_encoder(encoder: Any) -> None:
    """Refuse what is no `Encoder`: a class, a name, another library's.

    Raises:
        TypeError: says what one is.
    """
    if not isinstance(encoder, Encoder):
        raise TypeError(
            "`encoder` must be one of groundglass.features, as Threshold(), Thermometer() or BitPlanes() is, not "
            f"{encoder!r:.60}"
        )


def _finite(x: Tensor) -> Tensor:
    if x.is_complex():
        raise TypeError("x must be real numbers: encode real and imaginary parts one by one")
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        raise NonFiniteError("x has NaN or infinite numbers, which are on no side of a threshold: replace them first")
    return x


def _seen(x: Any) -> npt.NDArray[np.float64]:
    """What an encoder is fitted to, [rows, n]."""
    found: npt.NDArray[Any] = alike(np.asarray(x), _finite, name="x") if not isinstance(x, Tensor) else _array(x)
    if found.ndim != 2 or not len(found):
        raise ValueError(f"x must be [rows, n] with a row at least, not {list(found.shape)}: x.reshape(len(x), -1)")
    return found.astype(np.float64)


def _array(x: Tensor) -> npt.NDArray[Any]:
    found = _finite(x)
    return (found.double() if found.is_floating_point() else found).numpy(force=True)  # numpy has no bfloat16


def _thresholds(at: Any) -> Tensor:
    """float64, with a dimension at least: comparing with it is done in float64 whatever the numbers are."""
    values = at.numpy(force=True) if isinstance(at, Tensor) else np.asarray(at)
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise ValueError(f"thresholds must be finite numbers, not {at!r:.60}")
    return torch.from_numpy(np.atleast_1d(values.astype(np.float64)))


def _check_width(x: Tensor, features: int) -> None:
    if x.ndim < 1 or (features > 1 and x.shape[-1] != features):
        raise ValueError(f"x must be [rows, {features}], for which the thresholds are, not {list(x.shape)}")


@dataclass(frozen=True, eq=False)
class Threshold(Encoder):
    """One bit a number: whether it is above a threshold. No inverse.

    Args:
        at: the threshold, or one a feature, [n]; None: `fit` takes the median of each feature.

    Shapes: [..., n] -> [..., n].
    """

    at: Any = None
    learned = "at"

    def __post_init__(self) -> None:
        if self.at is not None:
            object.__setattr__(self, "at", at := _thresholds(self.at))
            if at.ndim > 1:
                raise ValueError(
                    f"`at` must be a number, or one a feature, not {list(at.shape)}: Thermometer takes several"
                )

    def fit(self, x: Any) -> Self:
        return self if self.at is not None else replace(self, at=np.median(_seen(x), axis=0))

    def width(self, features: int) -> int:
        return features

    def _encode(self, x: Tensor) -> Tensor:
        _check_width(x, len(self.at))
        return (x > self.at.to(x.device)).to(torch.uint8)


@dataclass(frozen=True, eq=False)
class Thermometer(Encoder):
    """Several thresholds: t bits a number, as many on as thresholds are below it. Near numbers have near codes.

    The bits of a feature lie side by side, the lowest threshold first. The inverse gives the middle between the thresholds on
    either side; beyond the outermost half a step more. With thresholds at 0.5, 1.5, ..., t - 0.5 it is exact for integers 0 to t.

    Args:
        levels: numbers that can be told apart; `fit` places levels - 1 thresholds.
        spaced: where `fit` places them: "quantiles" puts about as many numbers between any two; "evenly" divides the range.
        shared: the same thresholds for all features, not each its own.
        at: the thresholds, increasing, [t] or [n, t]; None: `fit` places them.

    Shapes: [..., n] -> [..., n * t].

    Raises:
        ValueError: fewer than 2 levels; thresholds that fall.
    """

    levels: int = 8
    spaced: Literal["quantiles", "evenly"] = "quantiles"
    shared: bool = False
    at: Any = None
    learned = "at"

    def __post_init__(self) -> None:
        levels = fit(Annotated[int, In("[2, inf)", "one more than there are thresholds")], self.levels, "levels")
        fit(Literal["quantiles", "evenly"], self.spaced, "spaced")
        if self.at is not None:
            object.__setattr__(self, "at", at := _thresholds(self.at))
            if at.ndim > 2 or bool((at.diff(dim=-1) < 0).any()):
                raise ValueError("`at` must be thresholds that increase, [t], or [n, t] for each feature its own")
            levels = at.shape[-1] + 1
        object.__setattr__(self, "levels", levels)

    def fit(self, x: Any) -> Self:
        if self.at is not None:
            return self
        seen = _seen(x)
        if self.shared:
            seen = seen.reshape(-1, 1)
        inner = np.linspace(0, 1, self.levels + 1)[1:-1]
        if self.spaced == "quantiles":
            at = np.quantile(seen, inner, axis=0).T
        else:
            low, high = seen.min(0)[:, None], seen.max(0)[:, None]
            at = low + (high - low) * inner
        return replace(self, at=at[0] if self.shared else at)

    def width(self, features: int) -> int:
        return features * (self.levels - 1)

    def _encode(self, x: Tensor) -> Tensor:
        _check_width(x, len(self.at) if self.at.ndim == 2 else 1)
        return (x[..., None] > self.at.to(x.device)).to(torch.uint8).flatten(-2)

    def _decode(self, bits: Tensor) -> Tensor:
        if self.at is None or self.levels < 3:
            raise TypeError("only a Thermometer with two thresholds or more, fitted or given, has an inverse")
        if bits.shape[-1] % (self.levels - 1):
            raise ValueError(
                f"bits must be [rows, n * {self.levels - 1}], as encode gives them, not {list(bits.shape)}"
            )
        codes = bits.unflatten(-1, (-1, self.levels - 1)).to(torch.int64)
        _check_width(codes[..., 0], len(self.at) if self.at.ndim == 2 else 1)
        if bool(((codes < 0) | (codes > 1)).any()) or bool((codes.diff(dim=-1) > 0).any()):
            raise ValueError("these bits are no thermometer's: of a number's bits the first ones are 1, and the rest 0")
        at = self.at.to(bits.device)
        step = at.diff(dim=-1)
        ends = (at[..., :1] - step[..., :1] / 2, at[..., :-1] + step / 2, at[..., -1:] + step[..., -1:] / 2)
        values = torch.cat(ends, dim=-1).expand(*codes.shape[:-1], self.levels)
        return values.gather(-1, codes.sum(-1, keepdim=True))[..., 0]


@dataclass(frozen=True, eq=False)
class BitPlanes(Encoder):
    """Numbers in binary, a vector of bits for each binary digit: the planes of a row are measured one by one, then mixed.

    A number is rounded to a multiple of `scale`, halves away from 0; one beyond the range becomes its end. For signed numbers,
    positive parts have planes of their own, and negative ones theirs. A row's planes lie one below the other, positive part
    first, the highest digit first.

    `mix` weights what comes of the planes by their digits and adds up. Through anything linear A it is exact:
    mix(A encode(x)) = A x for x on the grid, as |Ux|^2 of a device is not, and `linear_transform` of LightOn's is. Of no
    operator at all it is the inverse.

    Args:
        n_bits: binary digits, 1 to 31.
        signed: whether there are numbers below 0: twice as many planes.
        scale: of the last digit; None: `fit` takes 1 for integers that fit in, else what the largest number needs.

    Shapes: [rows, ...] -> [rows * vectors, ...].
    """

    n_bits: int = 8
    signed: bool = False
    scale: float | None = None
    learned = "scale"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_bits", fit(Annotated[int, In("[1, 31]")], self.n_bits, "n_bits"))
        object.__setattr__(self, "scale", fit(Positive | None, self.scale, "scale"))

    @property
    def vectors(self) -> int:  # type: ignore[override]
        return self.n_bits * (2 if self.signed else 1)

    @property
    def top(self) -> int:
        """The largest number, in steps of `scale`."""
        return int(2**self.n_bits - 1)

    def fit(self, x: Any) -> Self:
        if self.scale is not None:
            return self
        seen = _seen(x)
        if seen.min() < 0 and not self.signed:
            raise ValueError(f"x goes down to {seen.min():g}: give signed=True, or take the least number off")
        largest = float(abs(seen).max())
        whole = largest <= self.top and np.array_equal(seen, np.rint(seen))
        return replace(self, scale=1.0 if whole else largest / self.top)

    def width(self, features: int) -> int:
        return features

    def _encode(self, x: Tensor) -> Tensor:
        assert self.scale is not None
        if x.ndim < 2:
            raise ValueError(f"x must be [rows, n], not {list(x.shape)}: use x[None] for one row")
        given = x.double() / self.scale
        sides = torch.stack([given, -given] if self.signed else [given], dim=1)
        steps = (sides + 0.5).floor().clamp(0, self.top).to(torch.int64)
        digits = [(steps >> digit) & 1 for digit in reversed(range(self.n_bits))]
        return torch.stack(digits, dim=2).to(torch.uint8).flatten(0, 2)

    def mix(self, readings: Array) -> Array:
        return alike(readings, self._mix, name="readings")

    def _mix(self, readings: Tensor) -> Tensor:
        if self.scale is None or readings.ndim < 2 or len(readings) % self.vectors:
            raise ValueError(
                f"readings must be [rows * {self.vectors}, m], those of all planes of each row, and the encoder fitted, not "
                f"{list(readings.shape)}"
            )
        planes = readings.unflatten(0, (-1, self.vectors))
        mixed = torch.zeros_like(planes[:, 0], dtype=torch.float64)
        for plane in range(self.vectors):
            side, digit = divmod(plane, self.n_bits)
            mixed.add_(planes[:, plane], alpha=(1 - 2 * side) * self.scale * 2.0 ** (self.n_bits - 1 - digit))
        return mixed

    def _decode(self, bits: Tensor) -> Tensor:
        if bits.numel() and not bool(((bits == 0) | (bits == 1)).all()):
            raise ValueError("bits must be 0 or 1: mix(readings) takes other numbers")
        return self._mix(bits)
