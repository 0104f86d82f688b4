"""`from groundglass.compat.lightonml.projections.sklearn import OPUMap`. For new work: `groundglass.features.OPUMap`."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from groundglass.compat.lightonml.opu import OPU
from groundglass.compat.lightonml.projections.base import Mapped
from groundglass.core.imported import require

require("OPUMap", "sklearn")

from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402


class OPUMap(Mapped, TransformerMixin, BaseEstimator):
    """`OPU.transform`, or `linear_transform`, as a step of a pipeline. Arguments are LightOn's.

    A clone uses the same apparatus, with the same matrix.
    """

    def __init__(
        self,
        n_components: int,
        opu: OPU | None = None,
        ndims: int = 1,
        n_2d_features: Any = None,
        packed: bool = False,
        simulated: bool = False,
        max_n_features: int | None = None,
        verbose_level: int = -1,
        linear: bool = False,
    ) -> None:
        self._set(n_components, opu, ndims, simulated, max_n_features)
        self.n_2d_features, self.packed = n_2d_features, packed
        self.verbose_level, self.linear, self.fitted = verbose_level, linear, False

    def fit(
        self, X: Any = None, y: Any = None, n_features: Any = None, packed: bool = False, online: bool = False
    ) -> Self:
        """By vectors, or by their number of features."""
        self._fit(X, n_features or self.n_2d_features, packed or self.packed, online)
        self.fitted = True
        return self

    def transform(self, X: Any, y: Any = None) -> npt.NDArray[Any]:
        """An array without its context. Fitted to X if that was not done."""
        if not self.fitted:
            self.fit(X)
        found = self.opu.linear_transform(X) if self.linear else self.opu.transform(X)
        return found.numpy() if isinstance(found, Tensor) else np.array(found)

    def __sklearn_is_fitted__(self) -> bool:
        return self.fitted
