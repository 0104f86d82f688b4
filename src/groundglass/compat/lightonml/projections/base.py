"""What both maps share."""

from typing import Any, Self

from groundglass.compat.lightonml.opu import OPU


class Mapped:
    """An OPU, and how its inputs look."""

    opu: OPU
    ndims: int

    def _set(self, n_components: int, opu: OPU | None, ndims: int, simulated: bool, max_n_features: int | None) -> None:
        """The OPU that was given, or one that is made."""
        if ndims not in (1, 2):
            raise ValueError("Number of input dimensions must be 1 or 2")
        if opu is None and simulated and max_n_features is None:
            raise ValueError("When using simulated=True, you need to provide max_n_features.")
        self.opu = opu or OPU(n_components, simulated=simulated, max_n_features=max_n_features or 1000)
        self.opu.n_components = n_components
        self.ndims, self.simulated, self.max_n_features = ndims, simulated, max_n_features

    @property
    def n_components(self) -> int:
        return self.opu.n_components

    @n_components.setter
    def n_components(self, value: int) -> None:
        self.opu.n_components = value

    def _fit(self, X: Any, n_features: Any, packed: bool, online: bool) -> None:
        fit = self.opu.fit1d if self.ndims == 1 else self.opu.fit2d
        fit(X, n_features=n_features, packed=packed, online=online)

    def open(self) -> None:
        self.opu.open()

    def close(self) -> None:
        self.opu.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
