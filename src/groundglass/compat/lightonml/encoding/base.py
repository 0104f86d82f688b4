"""LightOn's encoders and decoders: numbers -> bits, and readings of their planes -> one row. Arrays, or tensors.

For new work `groundglass.features` has encoders whose bits do not depend on the rest of the batch, and whose inverses are there.
"""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt

from groundglass.compat.lightonml.inputs import like
from groundglass.compat.missing import missing
from groundglass.core.settings import Count, In, fit
from groundglass.features import BitPlanes

__all__ = [
    "BaseTransformer",
    "BinaryThresholdEncoder",
    "ConcatenatedBitPlanEncoder",
    "ConcatenatedFloat32Encoder",
    "ConcatenatingBitPlanDecoder",
    "Float32Encoder",
    "MixingBitPlanDecoder",
    "MultiThresholdEncoder",
    "NoDecoding",
    "NoEncoding",
    "SeparatedBitPlanDecoder",
    "SeparatedBitPlanEncoder",
    "SequentialBaseTwoEncoder",
]

Array = npt.NDArray[Any]


def preserve_type(transform: Callable[[Any, Array], Array]) -> Callable[[Any, Any], Any]:
    """Decorator of a `transform` of arrays: of a tensor it is a tensor."""

    @wraps(transform)
    def called(self: Any, X: Any) -> Any:
        return like(X, transform(self, _array(X)))

    return called


def _array(X: Any) -> Array:
    found: Array = X.numpy(force=True) if hasattr(X, "numpy") else np.asarray(X)
    return found


class BaseTransformer:
    """A step of a pipeline that learns nothing, unless its own `fit` says otherwise."""

    def fit(self, X: Any, y: Any = None) -> Self:
        return self

    def transform(self, X: Any) -> Any:
        raise NotImplementedError

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        return self.fit(X, y).transform(X)


class NoEncoding(BaseTransformer):
    """As it is."""

    def transform(self, X: Any) -> Any:
        return X


class NoDecoding(BaseTransformer):
    """As it is."""

    def transform(self, X: Any) -> Any:
        return X


class BinaryThresholdEncoder(BaseTransformer):
    """Above a threshold: "auto" is the median of each feature; or a number. `Threshold`, in `groundglass.features`."""

    def __init__(self, threshold_enc: Any = "auto", greater_is_one: bool = True) -> None:
        number = isinstance(threshold_enc, int | float | np.number)
        if not number and not (isinstance(threshold_enc, str) and threshold_enc == "auto"):
            raise ValueError("Argument threshold_enc should be a number or 'auto'.")
        self.threshold_enc, self.greater_is_one = threshold_enc, greater_is_one

    def fit(self, X: Any, y: Any = None) -> Self:
        seen = _array(X)
        if isinstance(self.threshold_enc, str):
            self.threshold_enc = np.median(seen, axis=0)
        elif np.ndim(self.threshold_enc) == 0 and not seen.min() <= self.threshold_enc <= seen.max():
            warnings.warn("encoder threshold is outside data range", RuntimeWarning, stacklevel=2)
        return self

    @preserve_type
    def transform(self, X: Array) -> Array:
        if isinstance(self.threshold_enc, str):
            raise RuntimeError("If threshold_enc is 'auto', fit must be called before transform.")
        above = self.threshold_enc < X if self.greater_is_one else self.threshold_enc > X
        return above.astype(np.uint8)


class MultiThresholdEncoder(BaseTransformer):
    """Above each of several thresholds: [rows, n] -> [rows, n * t], all features at the first one, then all at the second, ...

    `Thermometer`, in `groundglass.features`, which has the bits of a feature side by side.

    Args:
        thresholds: [t], or [n, t] with `columnwise`; "linspace" divides the range, "quantiles" the data, both in `fit`.
        n_bins: with those, one more than there are thresholds.
        columnwise: each feature has its own.
    """

    def __init__(self, thresholds: Any = "linspace", n_bins: int = 8, columnwise: bool = False) -> None:
        if isinstance(thresholds, list | np.ndarray):
            thresholds = np.array(thresholds)
            if columnwise and thresholds.ndim != 2:
                raise ValueError(
                    "columnwise needs thresholds [n_features, t]: pass a 2D array or set columnwise to False"
                )
            n_bins = thresholds.shape[-1] + 1
        elif thresholds not in ("linspace", "quantiles"):
            raise ValueError("Argument thresholds must be a list, a numpy array or be in ['linspace', 'quantiles'].")
        self.thresholds, self.n_bins, self.columnwise = thresholds, n_bins, columnwise

    def fit(self, X: Any, y: Any = None) -> Self:
        if isinstance(self.thresholds, str):
            seen = _array(X)
            axis = 0 if self.columnwise else None
            inner = np.linspace(0, 1, self.n_bins + 1)[1:-1]
            if self.thresholds == "quantiles":
                found = np.quantile(seen, inner, axis=axis, method="midpoint")
            else:
                low, high = np.min(seen, axis=axis), np.max(seen, axis=axis)
                found = low + np.multiply.outer(inner, high - low)
            self.thresholds = found.T
        return self

    @preserve_type
    def transform(self, X: Array) -> Array:
        if isinstance(self.thresholds, str):
            raise RuntimeError("fit must be called before transform, or thresholds given")
        return np.concatenate([at < X for at in self.thresholds.T], axis=-1).astype(np.uint8)


class SequentialBaseTwoEncoder(BaseTransformer):
    """Binary digits, each as often as it is worth: 5 of 8 levels is 1111 00 1. [rows, n] -> [rows, n * (n_gray_levels - 1)]."""

    def __init__(self, n_gray_levels: int = 16) -> None:
        assert type(n_gray_levels) is int, "n_gray_levels must be an integer power of 2"
        assert 0 < n_gray_levels <= 256, "n_gray_levels must be an integer power of 2, at most 256"
        assert n_gray_levels & (n_gray_levels - 1) == 0, "n_gray_levels must be an integer power of 2"
        self.n_gray_levels, self.n_bits = n_gray_levels, n_gray_levels.bit_length() - 1
        self.offset: Any = None
        self.scale: Any = None

    def fit(self, X: Any, y: Any = None) -> Self:
        seen = _array(X)
        self.offset, self.scale = seen.min(), (seen - seen.min()).max()
        return self

    def normalize(self, X: Array) -> Array:
        """Levels, uint8."""
        assert self.offset is not None, "You have to call fit on the training data before calling transform."
        top = self.n_gray_levels - 1
        levels: Array = np.round(top * (X.astype(np.float64) - self.offset) / (self.scale or 1)).clip(0, top)
        return levels.astype(np.uint8)

    @preserve_type
    def transform(self, X: Array) -> Array:
        digits = np.arange(self.n_bits)[::-1]
        bits = (self.normalize(X)[..., None] >> digits) & 1
        return np.repeat(bits, 2**digits, axis=-1).reshape(len(X), -1).astype(np.uint8)


class SeparatedBitPlanEncoder(BaseTransformer):
    """Bit planes as vectors of their own.

    As in 1.4, `precision` digits of positive and of negative parts, scaled by the largest of the batch, highest digit first:
    [rows, ...] -> [rows * precision, ...], those of all negative parts below those of all positive ones, if there are any. With
    `n_bits` or `starting_bit` it is the encoder of 1.3, which the tutorial on bit planes has: bits of integers as they are
    stored, lowest first: [rows, n] -> [rows * n_bits, n].

    `BitPlanes`, in `groundglass.features`, whose scale does not change with the batch.
    """

    def __init__(self, precision: int = 6, *, n_bits: int | None = None, starting_bit: int | None = None) -> None:
        self.precision: int = fit(Annotated[int, In("[1, 31]")], precision, "precision")
        self.magnitude: tuple[float, float] = (0.0, 0.0)
        self.n_bits = n_bits if n_bits is not None or starting_bit is None else 8
        self.starting_bit = starting_bit or 0
        if self.n_bits is not None:
            _check_bits(self.n_bits, self.starting_bit)

    @preserve_type
    def transform(self, X: Array) -> Array:
        if self.n_bits is not None:
            _check_width(X, self.n_bits, self.starting_bit)
            places = np.arange(self.starting_bit, self.starting_bit + self.n_bits)
            return _stacked(_bits_at(X, np.flip(_stored(X.dtype))[places]))
        largest = [max(side.max(), 0) for side in (X.astype(np.float64), -X.astype(np.float64))]
        if np.issubdtype(X.dtype, np.integer):  # a power of two is a shift, and loses nothing
            scales = [2.0 ** (np.ceil(np.log2(most + 1)) - self.precision) for most in largest]
        else:
            scales = [most / (2**self.precision - 1) for most in largest]
        self.magnitude = tuple(  # type: ignore[assignment]
            scale * 2 ** (self.precision - 1) if most else 0.0 for most, scale in zip(largest, scales, strict=True)
        )
        sides = [(sign, scale) for sign, scale, most in zip((1, -1), scales, largest, strict=True) if most] or [
            (1, 1.0)
        ]
        parts = [(sign * X.astype(np.float64)).clip(min=0) for sign, _ in sides]
        encoders = [BitPlanes(self.precision, scale=float(scale)) for _, scale in sides]
        return np.concatenate([planes.encode(part) for planes, part in zip(encoders, parts, strict=True)])

    def get_params(self) -> dict[str, Any]:
        """What undoes it: for `SeparatedBitPlanDecoder(...)`, or with `n_bits` for `MixingBitPlanDecoder(...)`."""
        if self.n_bits is not None:
            return {"n_bits": self.n_bits}
        return {"precision": self.precision, "magnitude_p": self.magnitude[0], "magnitude_n": self.magnitude[1]}


class SeparatedBitPlanDecoder(BaseTransformer):
    """Planes of `SeparatedBitPlanEncoder` mixed: [rows * planes, m] -> [rows, m]. Made with its `get_params`."""

    def __init__(
        self, precision: int, magnitude_p: float = 1, magnitude_n: float = 0, decoding_decay: float = 0.5
    ) -> None:
        self.precision, self.decoding_decay = precision, decoding_decay
        self.magnitude_p, self.magnitude_n = magnitude_p, magnitude_n

    @preserve_type
    def transform(self, X: Array) -> Array:
        signed = [magnitude for magnitude in (self.magnitude_p, -self.magnitude_n) if magnitude] or [0.0]
        if len(X) % len(signed):
            raise ValueError("Check that you used the same precision in encoder and decoder.")
        sides = X.reshape(len(signed), len(X) // len(signed), *X.shape[1:])
        mixed = [
            size * _mixed(side, self.precision, self.decoding_decay) for size, side in zip(signed, sides, strict=True)
        ]
        found: Array = np.sum(mixed, axis=0)
        return found


class MixingBitPlanDecoder(BaseTransformer):
    """Planes of `n_bits` mixed, plane i weighted by decoding_decay**i: [rows * n_bits, m] -> [rows, m], float32. Of 1.3."""

    def __init__(self, n_bits: int = 8, decoding_decay: float = 0.5) -> None:
        self.n_bits, self.decoding_decay = n_bits, decoding_decay

    @preserve_type
    def transform(self, X: Array) -> Array:
        return _mixed(X, self.n_bits, self.decoding_decay).astype(np.float32)


class ConcatenatedBitPlanEncoder(BaseTransformer):
    """Bits of integers side by side, as they are stored, the highest of a byte first: [rows, n] -> [rows, n * n_bits]."""

    def __init__(self, n_bits: int = 8, starting_bit: int = 0) -> None:
        _check_bits(n_bits, starting_bit)
        self.n_bits, self.starting_bit = n_bits, starting_bit

    @preserve_type
    def transform(self, X: Array) -> Array:
        _check_width(X, self.n_bits, self.starting_bit)
        return _joined(_bits_at(X, _stored(X.dtype)[self.starting_bit : self.starting_bit + self.n_bits]))


class ConcatenatingBitPlanDecoder(BaseTransformer):
    """Planes side by side, plane i weighted by decoding_decay**i: [rows * n_bits, m] -> [rows, n_bits * m], float32."""

    def __init__(self, n_bits: int = 8, decoding_decay: float = 0.5) -> None:
        self.n_bits, self.decoding_decay = n_bits, decoding_decay

    @preserve_type
    def transform(self, X: Array) -> Array:
        planes = _planes(X, self.n_bits) * _weights(self.n_bits, self.decoding_decay)[:, None]
        return planes.reshape(len(planes), -1).astype(np.float32)


class Float32Encoder(BaseTransformer):
    """Bits of float32: sign, then the first of the exponent, then the first of the mantissa: [rows, n] -> [rows * n_bits, n]."""

    def __init__(self, sign_bit: bool = True, exp_bits: int = 8, mantissa_bits: int = 23) -> None:
        if not 0 <= exp_bits <= 8:
            raise ValueError("exp_bits must be in the range [0, 8]")
        if not 0 <= mantissa_bits <= 23:
            raise ValueError("mantissa_bits must be in the range [0, 23]")
        self.sign_bit, self.exp_bits, self.mantissa_bits = sign_bit, exp_bits, mantissa_bits
        self.indices = [0] * bool(sign_bit) + [*range(1, 1 + exp_bits), *range(9, 9 + mantissa_bits)]
        self.n_bits = len(self.indices)

    def _bits(self, X: Array) -> Array:
        if X.dtype != np.float32:
            raise ValueError(f"the input must be float32, not {X.dtype}: X.astype('float32')")
        return _bits_at(X.view(np.uint32), 31 - np.array(self.indices, dtype=int))

    @preserve_type
    def transform(self, X: Array) -> Array:
        return _stacked(self._bits(X))


class ConcatenatedFloat32Encoder(Float32Encoder):
    """As `Float32Encoder`, side by side: [rows, n] -> [rows, n * n_bits]."""

    @preserve_type
    def transform(self, X: Array) -> Array:
        return _joined(self._bits(X))


def _check_bits(n_bits: int, starting_bit: int) -> None:
    if fit(int, n_bits, "n_bits") <= 0:
        raise ValueError("n_bits must be a positive integer.")
    if fit(int, starting_bit, "starting_bit") < 0:
        raise ValueError("starting_bit must be 0 or a positive integer.")


def _check_width(X: Array, n_bits: int, starting_bit: int) -> None:
    width = 8 * X.dtype.itemsize
    if X.dtype.kind not in "iu" or n_bits + starting_bit > width:
        raise ValueError(
            f"n_bits + starting_bit is greater than bitwidth of input data: {n_bits}+{starting_bit} > {width}, or the input "
            f"is no integers but {X.dtype}"
        )


def _stored(dtype: np.dtype[Any]) -> npt.NDArray[np.int64]:
    """Which binary digit each bit of an integer is in the memory of a little-endian machine, the highest of each byte first."""
    places = np.arange(8 * dtype.itemsize)
    return places // 8 * 8 + 7 - places % 8


def _bits_at(X: Array, digits: npt.NDArray[np.int64]) -> Array:
    """Binary digits of integers [rows, n] -> uint8 [rows, n, digits]."""
    whole = X.view(f"u{X.dtype.itemsize}")
    found: Array = (whole[..., None] >> digits.astype(whole.dtype)) & 1
    return found.astype(np.uint8)


def _joined(bits: Array) -> Array:
    return bits.reshape(len(bits), -1)


def _stacked(bits: Array) -> Array:
    return bits.swapaxes(1, 2).reshape(-1, bits.shape[1])


def _weights(n_bits: int, decay: float) -> Array:
    found: Array = float(decay) ** np.arange(fit(Count, n_bits, "n_bits"))
    return found


def _planes(X: Array, n_bits: int) -> Array:
    if X.ndim != 2 or len(X) % n_bits:
        raise ValueError("Check that you used the same number of bits in encoder and decoder.")
    return np.asarray(X).reshape(-1, n_bits, X.shape[1])


def _mixed(X: Array, n_bits: int, decay: float) -> Array:
    found: Array = np.einsum("ijk,j->ik", _planes(X, n_bits).astype(np.float64), _weights(n_bits, decay))
    return found


__getattr__ = missing(
    __name__, "lightonml.encoding.base", __all__, others="groundglass.features has encoders for new work"
)
