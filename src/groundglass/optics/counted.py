"""A device with a count of its frames: what a study, an audit or a refit takes of a device that somebody else holds."""

from collections.abc import Callable
from threading import Lock
from typing import Any

from torch import Tensor

from groundglass.core.sealed import Single
from groundglass.optics.device import OpticalDevice


class CountedDevice(Single):
    """Any `OpticalDevice`, with a count of the frames that were asked of it through this object. For any number of threads.

    All else that the device has, such as its `camera`, is found here too.

    Attributes:
        device: the one that is counted.
    """

    _unpickled = "is a device of this process and is not pickled: open the device again where it is needed"

    def __init__(self, device: OpticalDevice) -> None:
        self.device = device
        self._lock, self._frames = Lock(), 0

    @property
    def frames(self) -> int:
        """Taken so far: those of a measurement that failed half-way are not among them."""
        return self._frames

    @property
    def in_features(self) -> int:
        return self.device.in_features

    @property
    def out_features(self) -> int:
        return self.device.out_features

    @property
    def fingerprint(self) -> str:
        return self.device.fingerprint

    @property
    def mean_reading(self) -> float:
        return self.device.mean_reading

    def measure(self, bits: Tensor) -> Tensor:
        """See `OpticalDevice.measure`."""
        return self._counted(self.device.measure, bits)

    def __getattr__(self, name: str) -> Any:
        if name in ("device", "_unpickled"):  # not there yet
            raise AttributeError(name)
        found = getattr(self.device, name)
        if name == "measure_at":
            return lambda bits, exposure: self._counted(found, bits, exposure)
        return found

    def __repr__(self) -> str:
        return f"CountedDevice({self.device!r}, frames={self.frames})"

    def _counted(self, measure: Callable[..., Tensor], bits: Tensor, *rest: float) -> Tensor:
        readings = measure(bits, *rest)
        with self._lock:
            self._frames += len(bits)
        return readings


def counted(device: OpticalDevice) -> CountedDevice:
    """The device with a count; one that has a count keeps it."""
    return device if isinstance(device, CountedDevice) else CountedDevice(device)


def uncounted(device: OpticalDevice) -> OpticalDevice:
    """The device itself."""
    return device.device if isinstance(device, CountedDevice) else device
