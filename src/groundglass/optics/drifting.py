"""A device whose matrix drifts: a scattering medium that warms, dries or creeps loses its speckle little by little."""

import hashlib
import json
import math
import threading

import numpy as np
import torch
from torch import Tensor

from groundglass.core import forks
from groundglass.core.sealed import without_locals
from groundglass.core.secret_memory import secret_copy
from groundglass.core.settings import Count, Positive, Tally, fit
from groundglass.kernels.threads import for_each
from groundglass.optics.camera import Camera
from groundglass.optics.dense import DenseMedium
from groundglass.optics.device import Array, alike, as_bits, known_bits
from groundglass.optics.opaque import Opaque, measure
from groundglass.optics.simulated import SimulatedOPU
from groundglass.optics.tiled import ENTRY_STD

# Steps in a correlation time: between two of them a field loses 0.4% of its correlation.
_STEPS = 256


class DriftingDevice(Opaque):
    """A `SimulatedOPU` whose U decorrelates as time, counted in frames, goes by.

    Every entry of U is a complex Ornstein-Uhlenbeck process: U(t + s) = r U(t) + sqrt(1 - r^2) G with r = exp(-s / correlation)
    and G a fresh matrix with the law of U. So U(t) has the law of U at all times, and exposure and mean reading stay right.
    The correlation of two fields s frames apart is exp(-s / correlation), that of their intensities its square (Siegert).
    Drawing M N numbers for every frame would be slow: U stands still for `hold` frames, and then takes the step of all of them at
    once. The law is exact at frames that are multiples of `hold` apart, and off by less than a step otherwise.

    A frame takes one unit of time: a batch of k rows advances k frames, and a batch that is split in order gives the same
    readings. Time in which nothing is measured goes by with `wait`. Made or loaded anew it is at time 0 again, with the U of its
    `SimulatedOPU`, and takes the same path: the same questions in the same order get the same answers. A forked process
    goes on along another path.

    Args:
        device: at time 0; dense. Its file is what is saved; it stays as it is.
        correlation: correlation time of the fields, frames. A device of 2,000 frames a second that keeps its speckle for an
            hour has 7.2 million.
        hold: frames for which U stands still; None: a 256th of the correlation time.

    Raises:
        TypeError: not a `SimulatedOPU`.
        ValueError: a device that is not dense, or is a region; a time that is not above 0; a `hold` above the correlation time.

    Source: the decorrelation of speckle and the Siegert relation: J. W. Goodman, "Speckle Phenomena in Optics", 2007, chapter 3.
    An exponential autocorrelation is the simplest that a stationary Gaussian process can have (Doob's theorem: with
    the Markov property the only one); real media lose their first percent more slowly, or keep a part for ever.
    """

    __slots__ = ("_correlation", "_device", "_fingerprint", "_hold", "_lock", "_medium", "_now", "_time")

    _unpickled = (
        "holds secrets and is not pickled: DeviceStore(folder).put(device) saves it, and its device.fingerprint is what to "
        "keep with the model"
    )

    def __init__(self, device: SimulatedOPU, *, correlation: float, hold: int | None = None) -> None:
        if not isinstance(device, SimulatedOPU):
            raise TypeError(f"only a SimulatedOPU can be made to drift, not a {type(device).__name__}")
        start = device._medium
        if not isinstance(start, DenseMedium) or device.is_part:
            what = "a part of a device, or one at some time" if device.is_part else f"a {device.kind} device"
            raise ValueError(f"{what} cannot drift: its matrix must lie in memory whole; make a dense device")
        self._correlation: float = fit(Positive, correlation, "correlation")
        self._hold: int = max(1, int(self._correlation / _STEPS)) if hold is None else fit(Count, hold, "hold")
        if self._hold > self._correlation:
            raise ValueError(
                f"`hold` (={self._hold}) must be at most the correlation time ({self._correlation:g} frames): the smaller the "
                "steps, the smoother the drift"
            )
        named = json.dumps(["drifting device", device.fingerprint, self._correlation, self._hold])
        self._fingerprint = hashlib.sha256(named.encode()).hexdigest()[:32]
        self._device, self._time, self._lock = device, 0, threading.Lock()
        self._medium = _Drifting(start, start.seed.number(f"drift/{self._fingerprint}"))
        self._now = self._seen(self._medium, self._fingerprint)
        forks.watch(self)
        self._enter()

    def _seen(self, medium: DenseMedium, name: str) -> SimulatedOPU:
        whole = self._device
        return SimulatedOPU(medium, whole.camera, whole.exposure, whole.noise_seed, region_of=name)

    def forked(self, number: int) -> None:
        """In a forked process it goes on along a path of its own: see `core.forks`."""
        self._lock = threading.Lock()
        self._medium.key = forks.of_fork(self._medium.key, number)

    @property
    def device(self) -> SimulatedOPU:
        """The device at time 0: for its owner, who saves it. Who holds the drifting device has `measure`."""
        return self._device

    @property
    def correlation(self) -> float:
        """Correlation time of the fields, frames."""
        return self._correlation

    @property
    def hold(self) -> int:
        """Frames for which U stands still."""
        return self._hold

    @property
    def time(self) -> int:
        """Frames that have gone by."""
        return self._time

    @property
    def in_features(self) -> int:
        return self._device.in_features

    @property
    def out_features(self) -> int:
        return self._device.out_features

    @property
    def camera(self) -> Camera:
        return self._device.camera

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the SHA-256 of the fingerprint at time 0 and the two times."""
        return self._fingerprint

    @property
    def public(self) -> bool:
        """Whether its seed was given: see `SimulatedOPU.public`."""
        return self._device.public

    @property
    def mean_reading(self) -> float:
        return self._device.mean_reading

    def __repr__(self) -> str:
        if not hasattr(self, "_time"):  # half made: a traceback shows it
            return "<DriftingDevice>"
        return (
            f"DriftingDevice({self.in_features} -> {self.out_features}, correlation time {self._correlation:g} frames, "
            f"{self.camera}, fingerprint={self.fingerprint}{', public seed' if self.public else ''})"
        )

    def measure(self, bits: Array) -> Array:
        """Camera frames of `bits`, as `SimulatedOPU.measure` gives them, one after the other while U drifts."""
        return self.measure_at(bits, 1.0)

    def measure_at(self, bits: Array, exposure: float) -> Array:
        """As `measure`, with `exposure` times as much light: see `SimulatedOPU.measure_at`."""
        if not 0 < exposure < math.inf:
            raise ValueError(f"`exposure` (={exposure}) must be above 0: times the device's own")
        dtype = torch.float32 if self.camera.bits is None else torch.uint8
        return alike(
            bits, lambda given: measure(self, given, outputs=self.out_features, dtype=dtype, exposure=exposure)
        )

    def _answer(self, bits: Tensor, exposure: float) -> Tensor:
        bits = as_bits(bits, self.in_features)
        with self._lock, known_bits():
            parts, start = [self._now.measure_at(bits[:0], exposure)], 0
            while start < len(bits):
                taken = min(len(bits) - start, self._hold - self._time % self._hold)
                parts.append(self._now.measure_at(bits[start : start + taken], exposure))
                start += taken
                self._pass(taken)
        return torch.cat(parts)

    def wait(self, frames: int) -> None:
        """Let so many frames of time go by in which nothing is measured."""
        frames = fit(Tally, frames, "frames")
        with self._lock:
            self._pass(frames)

    def _pass(self, frames: int) -> None:
        steps = (self._time + frames) // self._hold - self._time // self._hold
        self._time += frames
        if steps:
            self._medium.step(math.exp(-steps * self._hold / self._correlation))

    def now(self) -> SimulatedOPU:
        """The device with U as it is, standing still: to judge by, and for `true_matrix`. It has no file of its own."""
        with self._lock:
            named = hashlib.sha256(f"{self._fingerprint}/{self._medium.steps}".encode()).hexdigest()[:32]
            return self._seen(self._medium.still(), named)


class _Drifting(DenseMedium):
    """A dense medium whose entries move on, in place.

    Attributes:
        key: of the fresh matrices; a secret.
        steps: taken so far.
        values: the entries before rounding, float32, as `tiles`.
    """

    __slots__ = ("key", "steps", "values")

    @without_locals
    def __init__(self, start: DenseMedium, key: int) -> None:
        _take_over(self, start)
        self.key, self.steps = key, 0
        self.values = secret_copy(start.tiles, np.float32)
        # What fits whatever the entries become.
        self.narrow = 256

    @without_locals
    def step(self, kept: float) -> None:
        """U <- kept U + sqrt(1 - kept^2) G."""
        self.steps += 1
        fresh = np.float32(ENTRY_STD * math.sqrt(1 - kept**2))

        def move(place: int) -> None:
            number, values = int(self.numbers[place]), self.values[place]
            # 2^64 blocks of draws for a tile.
            random = np.random.Generator(np.random.Philox(key=self.key, counter=(self.steps << 128) | (number << 64)))
            drawn = random.standard_normal(values.shape, dtype=np.float32)
            # No light at outputs past M.
            drawn.reshape(len(drawn), self.parts, -1)[:, :, max(0, self._whole - number * self.tile_outputs) :] = 0
            values *= np.float32(kept)
            values += fresh * drawn
            self.tiles[place] = np.clip(np.rint(values), -127, 127)

        for_each(range(len(self.tiles)), move)
        self._there = {}

    def still(self) -> DenseMedium:
        """The medium as it is now, which moves no more."""
        still = object.__new__(DenseMedium)
        _take_over(still, self)
        return still


def _take_over(medium: DenseMedium, start: DenseMedium) -> None:
    """All that a dense medium holds; a copy of its entries."""
    for name in (name for base in DenseMedium.__mro__ for name in getattr(base, "__slots__", ())):
        if name != "__weakref__":
            setattr(medium, name, getattr(start, name))
    medium.tiles, medium._there = secret_copy(start.tiles), {}
