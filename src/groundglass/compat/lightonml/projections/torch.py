"""`from groundglass.compat.lightonml.projections.torch import OPUMap`. `groundglass.features.OpticalFeatures` is for new work."""

from typing import Any

import torch
from torch import Tensor, nn

from groundglass.compat.lightonml.opu import OPU
from groundglass.compat.lightonml.projections.base import Mapped


class OPUMap(Mapped, nn.Module):
    """`OPU.transform`, or `linear_transform`, as a module: bits in, readings out, no gradient. Arguments are LightOn's."""

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
        nn.Module.__init__(self)
        self._set(n_components, opu, ndims, simulated, max_n_features)
        self.n_2d_features, self.packed = n_2d_features, packed
        self.linear, self.fitted, self.online = linear, False, False

    def fit(
        self, X: Any = None, y: Any = None, n_features: Any = None, packed: bool = False, online: bool = False
    ) -> None:
        """By vectors, or by their number of features. `online` stays on."""
        self.online = self.online or online
        self._fit(X, n_features or self.n_2d_features, packed or self.packed, self.online)
        self.fitted = True

    def forward(self, input: Tensor) -> Tensor:
        """Fitted to the first batch if that was not done."""
        if not self.fitted:
            self.fit(input)
        transform = self.opu.linear_transform if self.linear else self.opu.transform
        found: Tensor = torch.stack([transform(one) for one in input]) if self.online else transform(input)
        return found

    def extra_repr(self) -> str:
        return f"out_features={self.n_components}, ndims={self.ndims}, packed={self.packed}, simulated={self.simulated}"
