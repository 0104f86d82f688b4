"""The camera, its exposure and its noise: how an exact intensity becomes a reading."""

import threading
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from groundglass.core import forks
from groundglass.core.sealed import Sealed, Seed, without_locals
from groundglass.core.settings import In, NotNegative, Positive, Settings, since
from groundglass.kernels.tensor import is_card, normals
from groundglass.kernels.threads import for_each


@dataclass(frozen=True)
class Camera(Settings):
    """A camera, its calibration target and its noise. All of it is public.

    Args:
        bits: depth of a reading, 1 to 8; readings are 0 to 2**bits - 1. None: no camera in the way, readings are
            float32 intensities on the same scale (a calibrated 8-bit full scale is 255), neither rounded nor clipped.
        saturation: the share of calibration readings that reach the top value, in [0, 1). Exposure is set once, to
            that, and then frozen: other inputs saturate more or less.
        read_noise: std of the Gaussian noise of the electronics, in units of one reading step (LSB); 0 is off.
        shot_noise: photons at full scale, so that light of mean k photons is counted as Poisson(k); 0 is off. Real
            cameras have 1e4 to 1e5; fewer photons, more noise.
        density: share of ones of the random inputs that the exposure is calibrated on, in (0, 1].
        power: a reading grows as |Ux|^power, from 1 to 4 in steps of a half. 2 is the intensity, what a camera sees; 1 the
            amplitude, as with interference; 4 its square, as of two-photon light. Read noise is added behind it.

    Raises:
        ValueError: a value out of its range; shot noise, which is of intensities alone, with another power.
    """

    bits: Annotated[int, In("[1, 8]", "None for float readings")] | None = 8
    saturation: Annotated[float, In("[0, 1)", "a share, so 0.01 for one percent")] = 0.01
    read_noise: Annotated[float, In("[0, inf)", "a std in reading steps")] = 0.0
    shot_noise: Annotated[float, In("[0, inf)", "photons at full scale, 0 is off")] = 0.0
    density: Annotated[float, In("(0, 1]", "the share of ones at calibration")] = 0.5
    power: Annotated[float, In("[1, 4]", "of |Ux|, 2 for intensities")] = since(2.0, before=2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("saturation", "read_noise", "shot_noise", "density", "power"):
            # 2 and 2.0 are the same camera, in a file and in a fingerprint too.
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (2 * self.power).is_integer():
            raise ValueError(
                f"`power` (={self.power:g}) must be a multiple of 0.5: others are not the same on every machine"
            )
        if self.shot_noise and self.power != 2:
            raise ValueError(f"`shot_noise` counts photons of an intensity: it goes with power=2, not {self.power:g}")

    @property
    def top(self) -> int:
        """The largest reading; full scale. For float readings, where an 8-bit camera would be full."""
        return 2 ** (8 if self.bits is None else self.bits) - 1

    @property
    def noisy(self) -> bool:
        """Whether two frames of the same input may differ."""
        return self.read_noise > 0 or self.shot_noise > 0

    def respond(self, light: Tensor) -> Tensor:
        """|Ux|^power of intensities |Ux|^2, float64. By products and square roots alone, which every machine rounds alike."""
        if self.power == 2:
            return light
        amplitude, (whole, half) = light.sqrt(), divmod(self.power, 1)
        found = amplitude.sqrt() if half else torch.ones_like(light)
        for _ in range(int(whole)):
            found *= amplitude
        return found

    def digitise(self, signal: Tensor) -> Tensor:
        """Readings of a float64 signal in reading steps: rounded half up and clipped, or float32 when `bits` is None."""
        if self.bits is None:
            return signal.to(torch.float32)
        return (signal + 0.5).floor_().clamp_(0, self.top).to(torch.uint8)


def check_intensity(camera: Camera, what: str) -> None:
    """Refuse a camera whose readings are not intensities, for `what`, which takes them for that.

    Raises:
        ValueError: another power.
    """
    if camera.power != 2:
        raise ValueError(f"{what} is for readings that grow as |Ux|^2, and this device's grow as |Ux|^{camera.power:g}")


def camera_of(device: object) -> Camera:
    """The camera of a device; of one that does not say, as a real one, eight bits."""
    found = getattr(device, "camera", None)
    return found if isinstance(found, Camera) else Camera()


@dataclass(frozen=True)
class Exposure(Settings):
    """The exposure of a calibrated device; public.

    Args:
        gain: reading steps a unit of intensity.
        mean_reading: the mean of the noise-free readings at calibration.
    """

    gain: Positive
    mean_reading: NotNegative


class FrameNoise(Sealed):
    """Noise of the frames of one device, counted from its creation or loading: a batch can be split and gives the same.

    Frame k draws from a counter-based stream (Philox) of (seed of the device, noise seed, k) alone. The key
    is secret: an attacker who could predict the noise could subtract it. A forked process has another stream.

    Args:
        region: names the part of the device's outputs that is read; empty for all.
    """

    __slots__ = ("_key", "_lock", "frames")

    def __init__(self, seed: Seed, noise_seed: int, region: str = "") -> None:
        self._key = seed.number(f"noise/{noise_seed}/{region}" if region else f"noise/{noise_seed}")
        self.frames = 0  # counted so far
        self._lock = threading.Lock()
        forks.watch(self)

    def forked(self, number: int) -> None:
        """In a forked process the device goes on with noise of its own: see `core.forks`."""
        self._key, self._lock = forks.of_fork(self._key, number), threading.Lock()

    def skip(self, frames: int) -> None:
        """Count on, as if so many frames had been measured."""
        with self._lock:
            self.frames += frames

    @without_locals
    def apply(self, signal: Tensor, camera: Camera) -> Tensor:
        """`signal`, float64 [batch, m] in reading steps, not yet rounded, with the noise of the next `batch` frames.

        Shot noise first: light is counted, photons ~ Poisson(signal * photons at full scale / full scale),
        exact at every level of light. Read noise, Gaussian, is added to what was counted.

        A signal on a card gets its read noise there, out of the same stream. Shot noise is counted on the CPU, there and back:
        how many draws a count takes depends on the light, so a count begins where the one before it ended.
        """
        with self._lock:
            first = self.frames
            self.frames += len(signal)
        if is_card(signal.device) and camera.shot_noise == 0 and normals.are_right(signal.device):
            rows, count = signal.shape
            return signal + camera.read_noise * normals.normals(self._key, first, rows, count, signal.device)
        values = signal.numpy(force=True).copy()

        def expose(row: int) -> None:
            # 2^128 blocks of draws for a frame.
            stream = np.random.Generator(np.random.Philox(key=self._key, counter=(first + row) << 128))
            if camera.shot_noise > 0:
                photons = camera.shot_noise / camera.top
                values[row] = stream.poisson(values[row] * photons) / photons
            if camera.read_noise > 0:
                values[row] += camera.read_noise * stream.standard_normal(values.shape[1])

        for_each(range(len(values)), expose)
        return torch.from_numpy(values).to(signal.device)
