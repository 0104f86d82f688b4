"""What users hand in: a vector or a batch, of one or two dimensions; of one- or two-dimensional features; packed or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Traits:
    """What an input looks like.

    Attributes:
        n_features: one number, or the two of two-dimensional features.
        packed: whether vectors are at eight bits a byte.
    """

    n_features: tuple[int, ...]
    packed: bool

    @property
    def size(self) -> int:
        """Bits of a vector."""
        return prod(self.n_features)

    @classmethod
    def of(cls, x: Any, *, packed: bool, two_d: bool, n_features: Any) -> "Traits":
        """Of an input.

        Raises:
            AssertionError, ValueError: as LightOn's.
        """
        shape = np.shape(x)
        assert n_features is None or packed, "n_2d_features can only be specified with packed input"
        if packed and two_d:
            if n_features is None:
                raise ValueError("When packed and 2D features, number of features must be provided.")
            return cls.given(n_features, packed=True)
        assert len(shape) >= 1 + two_d, "1D input can't be 2D features"
        return cls(tuple(shape[-2:]) if two_d else (shape[-1] * (8 if packed else 1),), packed)

    @classmethod
    def given(cls, n_features: Any, *, packed: bool) -> "Traits":
        """By numbers."""
        given = n_features if isinstance(n_features, Sequence | np.ndarray) else (n_features,)
        return cls(tuple(int(each) for each in given), packed)

    def rows(self, x: Any) -> tuple[npt.NDArray[np.uint8], tuple[int, ...]]:
        """The vectors of an input, uint8 [rows, size], and the shape of its batch: (), (n,) or (n, m).

        Raises:
            ValueError: another number of features, more than two dimensions of batch, or something else than 0 and 1.
        """
        values = x.numpy(force=True) if isinstance(x, Tensor) else np.asarray(x)
        if values.dtype.kind not in "biuf":
            raise ValueError(
                f"input must be an array of numbers or a tensor, not {type(x).__name__}: x.toarray() of a sparse one"
            )
        own = (-(-self.size // 8),) if self.packed else self.n_features
        kept = values.ndim - len(own)
        if not 0 <= kept <= 2 or values.shape[kept:] != own:
            raise ValueError(
                f"input of shape {values.shape}, and the OPU was fitted for vectors of shape {own}, alone or in a batch "
                "of one or two dimensions: fit1d or fit2d it again"
            )
        batch, flat = values.shape[:kept], values.reshape(prod(values.shape[:kept]), prod(own))
        if self.packed:
            if flat.dtype != np.uint8:
                raise ValueError("Bit-packed array type must be uint8")
            return np.unpackbits(flat, axis=1, count=self.size), batch
        if flat.dtype != np.bool_ and not bool(((flat == 0) | (flat == 1)).all()):
            raise ValueError(
                "The input array should be binary - contain only 0s and 1s. An encoder makes bits of other numbers: "
                "BinaryThresholdEncoder, or SeparatedBitPlanEncoder and its decoder"
            )
        return flat.astype(np.uint8), batch


def like(x: Any, found: npt.NDArray[Any]) -> Any:
    """A tensor if the input was one."""
    return torch.from_numpy(np.asarray(found)) if isinstance(x, Tensor) else found
