"""What `opu.device` is: the state of an apparatus, and the optical device that measures for it."""

from abc import ABC, abstractmethod
from math import prod
from typing import Any, ClassVar, NoReturn, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from groundglass.core.sealed import Seed
from groundglass.core.settings import Count, fit
from groundglass.optics import Camera, OpticalDevice, SimulatedOPU, true_matrix

# Entries of U that are kept in memory; a device of more draws them at every measurement, with the same readings.
_KEPT = 2**28


class Apparatus(ABC):
    """Open or closed, its nominal times, and `optics`, what it measures with. A copy is the apparatus itself.

    Attributes:
        active: whether it is open.
        online: whether it waits for single vectors.
        frametime_us, exposure_us: nominal; `exposure_us` is the exposure that the device was calibrated at.
        input_shape, output_shape_max: pixels of display and camera, of LightOn's hardware.
    """

    input_shape: ClassVar[tuple[int, int]] = (1140, 912)
    output_shape_max: ClassVar[tuple[int, int]] = (2040, 1088)
    gain_dB: ClassVar[float] = 0.0

    def __init__(self, frametime_us: int = 500, exposure_us: int = 400) -> None:
        self.frametime_us, self.exposure_us = int(frametime_us), int(exposure_us)
        self.output_roi = (0, 0), self.output_shape_max
        self.active = self.online = False

    @abstractmethod
    def optics(self, n_features: int, n_components: int) -> OpticalDevice:
        """The device for inputs of so many bits, of which the first `n_components` outputs are read.

        It may have more inputs: those are dark then.

        Raises:
            ValueError: more features or components than it has.
        """

    @property
    @abstractmethod
    def max_features(self) -> int:
        """The largest `n_features`."""

    @property
    def max_components(self) -> int:
        """The largest `n_components`."""
        return prod(self.output_shape_max)

    @property
    def output_dtype(self) -> Any:
        return np.uint8

    def open(self) -> None:
        self.active = True

    def close(self) -> None:
        self.active = self.online = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class OpuDevice(Apparatus):
    """In the place of the hardware: an 8-bit device whose matrix is a fresh secret, the same one while this object lives.

    A matrix for each number of features and of components: as there, where features are zoomed to fill the display.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seed = Seed()
        self._made: SimulatedOPU | None = None

    def optics(self, n_features: int, n_components: int) -> OpticalDevice:
        made = self._made
        if made is None or (made.in_features, made.out_features) != (n_features, n_components):
            self._made = _made(n_features, n_components, self._seed.derived(f"lightonml/{n_features}/{n_components}"))
        assert self._made is not None
        return self._made

    @property
    def max_features(self) -> int:
        return prod(self.input_shape)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "this OPU's matrix is a secret, which must not be in a pickle: use OPU(opu_device=SimulatedOPU.load(path)) and keep "
            "the path, or OPU(simulated=True), whose matrix is public"
        )


class SimulatedOpuDevice(Apparatus):
    """LightOn's simulation: float32 readings, no camera in the way, and a matrix of `seed`, 0 as there, which everybody may know.

    The matrix has as many rows as `OPU(max_n_features=)` says; vectors of fewer features meet the first ones. It is another
    one than LightOn's of this seed.

    Args:
        frametime_us, exposure_us: nominal.
        verbose, linear: of no use here, as there.
    """

    def __init__(
        self, frametime_us: int = 500, exposure_us: int = 400, verbose: bool = False, linear: bool = False
    ) -> None:
        super().__init__(frametime_us, exposure_us)
        self._seed = 0
        self._device: SimulatedOPU | None = None

    def build_random_matrix(self, n_features: int, n_components: int, seed: int = 0) -> None:
        """Draw a matrix of this size, for inputs of at most so many features."""
        rows, columns = fit(Count, n_features, "n_features"), fit(Count, n_components, "n_components")
        self._seed = fit(int, seed, "seed")
        self._device = _made(rows, columns, Seed(self._seed), camera=Camera(bits=None))

    def optics(self, n_features: int, n_components: int) -> OpticalDevice:
        self.resize(self._drawn.in_features, n_components)
        return self._drawn

    def resize(self, n_features: int, n_components: int) -> None:
        """Draw the matrix anew, of the same seed, if it has another size."""
        device = self._device
        if device is None or (device.in_features, device.out_features) != (n_features, n_components):
            self.build_random_matrix(n_features, n_components, self._seed)

    @property
    def _drawn(self) -> SimulatedOPU:
        if self._device is None:
            raise ValueError("there is no matrix yet: device.build_random_matrix(n_features, n_components)")
        return self._device

    @property
    def max_features(self) -> int:
        return self._drawn.in_features

    @property
    def nb_features(self) -> int | None:
        return None if self._device is None else self._device.in_features

    @property
    def output_dtype(self) -> Any:
        return np.float32

    @property
    def random_matrix(self) -> npt.NDArray[np.complex64] | None:
        """R, complex64 [n_features, n_components]: `transform(X)` is |X R|^2. Both parts have variance 1 / n_features."""
        if self._device is None:
            return None
        drawn: npt.NDArray[np.complex64] = (true_matrix(self._device).T / self._device.mean_reading**0.5).numpy()
        return drawn

    def __getstate__(self) -> dict[str, Any]:
        device = self._device
        shape = None if device is None else (device.in_features, device.out_features)
        return vars(self) | {"_device": None, "shape": shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        shape = state.pop("shape")
        vars(self).update(state)
        if shape is not None:
            n_features, n_components = shape
            self.build_random_matrix(n_features, n_components, self._seed)


class GivenDevice(Apparatus):
    """Any `OpticalDevice`. Vectors of fewer features than it has inputs meet the first ones; the others are dark."""

    def __init__(self, device: OpticalDevice) -> None:
        super().__init__()
        self.optical = device

    def optics(self, n_features: int, n_components: int) -> OpticalDevice:
        return self.optical

    @property
    def max_features(self) -> int:
        return self.optical.in_features

    @property
    def max_components(self) -> int:
        return self.optical.out_features


def _made(n_features: int, n_components: int, seed: Seed, camera: Camera | None = None) -> SimulatedOPU:
    kind: Any = "dense" if n_features * n_components <= _KEPT else "procedural"
    return SimulatedOPU.create(n_features, n_components, seed=seed, kind=kind, camera=camera)
