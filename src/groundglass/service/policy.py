"""The matrices of a served device: the one that measures, and those that were drawn before it."""

import threading
import time
from dataclasses import dataclass
from typing import Any

from groundglass.optics.device import OpticalDevice
from groundglass.optics.remote import wire
from groundglass.optics.remote.errors import DeviceServiceError, MatrixRedrawnError


@dataclass(frozen=True)
class Version:
    """A matrix under the name of a served device."""

    device: Any
    drawn: float
    until: float | None = None


class Versions:
    """Those of one name.

    Args:
        overlap: seconds for which an old one goes on answering.
    """

    def __init__(self, name: str, device: OpticalDevice, *, overlap: float = 0.0) -> None:
        self.name, self.overlap = name, overlap
        self.in_features, self.out_features = device.in_features, device.out_features
        self._lock = threading.Lock()
        self._known = {device.fingerprint: Version(device, time.time())}
        self._current = device.fingerprint
        self._facts = wire.describe(device)

    @property
    def row_bytes(self) -> int:
        """Of readings."""
        return self.out_features * (4 if self._facts["reading"] == "float32" else 1)

    def facts(self, *, roles: tuple[str, ...] = ()) -> dict[str, Any]:
        """What is public of the current one: see `wire.Facts`."""
        one = self.current
        return wire.describe(one.device, age=time.time() - one.drawn, overlap=self.overlap, roles=roles)

    @property
    def current(self) -> Version:
        with self._lock:
            return self._known[self._current]

    def find(self, fingerprint: str) -> Version:
        """
        Raises:
            MatrixRedrawnError: it is not there, or no longer.
        """
        with self._lock:
            found = self._known.get(fingerprint)
            if found is None or (found.until is not None and found.until <= time.time()):
                raise MatrixRedrawnError(
                    "the device has another matrix now: fit the network to it again (device.refresh() accepts it)",
                    old=fingerprint,
                    new=self._current,
                )
            return found

    def redraw(self) -> Version:
        raise DeviceServiceError("this device cannot be drawn again")

    def until_due(self) -> float | None:
        return None
