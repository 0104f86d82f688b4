"""What an attacker who holds the device may do: ask, frame by frame, each frame counted."""

from typing import Annotated, Any

import torch
from torch import Tensor

from groundglass.core import BudgetExceededError
from groundglass.core.settings import In, fit
from groundglass.optics.camera import camera_of, check_intensity
from groundglass.optics.device import Array, OpticalDevice, alike, as_bits, check_device, known_bits, no_readings


class DeviceAccess:
    """A device in an attacker's hands: bits in, readings out, within limits. The matrix is not behind this door.

    For one thread at a time: its count has no lock.

    Args:
        device: any `OpticalDevice`.
        budget: frames that may be taken; None for no limit.
        exposure_control: whether the attacker may set the exposure. The device must be able to: a `SimulatedOPU` is.
        frame_rate: frames a second, to say how long the frames take; the paper's device makes about 2,000.

    Attributes:
        in_features, out_features, fingerprint, mean_reading: the device's.
        frames: taken so far.

    Raises:
        TypeError: no device; exposure control over one whose exposure cannot be set.
        ValueError: a budget or a frame rate that is not above 0.
    """

    def __init__(
        self,
        device: OpticalDevice,
        *,
        budget: int | None = None,
        exposure_control: bool = False,
        frame_rate: float = 2000.0,
    ) -> None:
        frame_rate = fit(
            Annotated[float, In("(0, inf)", "frames a second, 2000 for the paper's device")], frame_rate, "frame_rate"
        )
        check_device(device)
        if exposure_control and not hasattr(device, "measure_at"):
            raise TypeError(
                f"the exposure of a {type(device).__name__} cannot be set from here: it has no `measure_at`"
            )
        self._device = device
        self._budget: int | None = fit(Annotated[int, In("[1, inf)", "frames")] | None, budget, "budget")
        self.in_features, self.out_features = device.in_features, device.out_features
        self.fingerprint, self.mean_reading = device.fingerprint, device.mean_reading
        self.exposure_control = exposure_control
        self.frame_rate = frame_rate
        self.frames = 0

    def __repr__(self) -> str:
        return f"DeviceAccess({self._device!r}, frames={self.frames}, budget={self._budget})"

    @property
    def top(self) -> int | None:
        """The largest reading: what is brighter reads the same. 255 unless the device has another camera; None: no end."""
        camera = camera_of(self._device)
        return None if camera.bits is None else int(camera.top)

    def check_intensity(self, what: str) -> None:
        """Refuse a device whose readings are not intensities. Raises: ValueError."""
        check_intensity(camera_of(self._device), what)

    @property
    def remaining(self) -> int | None:
        """Frames of the budget that are left; None for no limit."""
        return None if self._budget is None else self._budget - self.frames

    @property
    def seconds(self) -> float:
        """How long the frames so far take at the frame rate."""
        return self.frames / self.frame_rate

    def charge(self, frames: int) -> None:
        """Count frames that were taken before this access was made: an interrupted retrieval is resumed."""
        self.frames += frames

    def measure(self, bits: Array, *, exposure: float = 1.0) -> Array:
        """One frame a row: [batch, N] of 0 and 1 -> [batch, M], as the device gives them. What is not bits costs no frame.

        Args:
            bits: the inputs, booleans or whole numbers in a tensor or a numpy array; the readings come in the same.
            exposure: a multiple of the device's own; any other than 1 needs exposure control.

        Raises:
            BudgetExceededError: more frames than are left; none was taken.
            PermissionError: another exposure, without exposure control.
            TypeError, ValueError: see `OpticalDevice.measure`; an exposure that is not above 0.
        """
        if exposure != 1 and not self.exposure_control:
            raise PermissionError(
                "this access has no control of the exposure: use a method that needs none, or pass exposure_control=True "
                "if the threat model gives the attacker that control"
            )
        return alike(bits, lambda given: self._frames(as_bits(given, self.in_features), exposure))

    def _frames(self, bits: Tensor, exposure: float) -> Tensor:
        if self._budget is not None and self.frames + len(bits) > self._budget:
            raise BudgetExceededError(
                f"{len(bits)} more frames would exceed the budget of {self._budget} ({self.frames} are used)"
            )
        if not len(bits):
            return no_readings(self._device, bits.device)
        # Counted before the device answers: frames of one that fails half-way have been taken.
        self.frames += len(bits)
        adjustable: Any = self._device
        with known_bits():
            return self._device.measure(bits) if exposure == 1 else adjustable.measure_at(bits, exposure)


def half_density(count: int, in_features: int, random: torch.Generator) -> Tensor:
    """Random inputs, each bit on with probability 1/2: uint8 [count, in_features]."""
    return torch.randint(0, 2, (count, in_features), dtype=torch.uint8, generator=random, device="cpu")
