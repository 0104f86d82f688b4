"""A moving target: a device that measures every input with one of K matrices, drawn at random."""

import hashlib
import json
import threading
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from groundglass.core import forks
from groundglass.core.sealed import Sealed, Seed, without_locals
from groundglass.core.settings import Count, fit
from groundglass.optics.camera import Camera
from groundglass.optics.device import Array, alike, as_bits, known_bits
from groundglass.optics.medium import DeviceKind, MatrixKind
from groundglass.optics.simulated import SimulatedOPU


class MovingDevice(Sealed):
    """K devices behind one interface. Each row is measured by one of them, drawn uniformly at random.

    It is an `OpticalDevice` that answers the same input differently on purpose. A classifier has to be fitted to all K
    matrices at once, on inputs that come K times, so that about every one meets every matrix:
    `fit_classifier(network, bits.repeat(K, 1), labels.repeat(K), ...)`. An attacker who can run the network averages over
    draws (`Averaged`, in attacks).

    The stream of draws is counted in frames: a batch that is split in order is measured by the same matrices. It is
    secret as the matrices are, and it is not in the device's files: a device out of a `DeviceStore` has a new stream. So does
    one in a forked process.

    Args:
        devices: K, in order, of equal sizes, camera and kind of matrix, all different.
        seed: of the draws. None takes 128 bits from the operating system; a number is for tests and for studies that
            must be repeatable.

    Raises:
        TypeError: one of them is not a `SimulatedOPU`.
        ValueError: no devices, devices that differ in what the outside can see, or one that is there twice.
    """

    __slots__ = ("_devices", "_draws", "_fingerprint", "_key", "_lock", "_mean_reading")

    _unpickled = (
        "holds secrets and is not pickled: DeviceStore(folder).put(device) saves it, and its device.fingerprint is what to "
        "keep with the model"
    )

    def __init__(self, devices: Sequence[SimulatedOPU], *, seed: int | Seed | None = None) -> None:
        seed = Seed(seed)
        self._devices = _checked(devices)
        self._begin(seed.check().number("moving/choices"))
        forks.watch(self)
        # One constant for all: readings are normalised without telling which matrix they come from.
        self._mean_reading = sum(device.mean_reading for device in self._devices) / len(self._devices)
        named = json.dumps(["moving device", *(device.fingerprint for device in self._devices)])
        self._fingerprint = hashlib.sha256(named.encode()).hexdigest()[:32]

    def _begin(self, key: int) -> None:
        self._key, self._lock = key, threading.Lock()
        self._draws = np.random.Generator(np.random.Philox(key=key))

    def forked(self, number: int) -> None:
        """In a forked process it goes on with draws of its own: see `core.forks`."""
        self._begin(forks.of_fork(self._key, number))

    @classmethod
    def create(
        cls,
        in_features: int,
        out_features: int,
        *,
        count: int,
        seed: int | Seed | None = None,
        camera: Camera | None = None,
        matrix: MatrixKind = "complex",
        kind: DeviceKind = "dense",
        noise_seed: int = 0,
        read_noise: float | None = None,
        shot_noise: float | None = None,
        saturation: float | None = None,
    ) -> "MovingDevice":
        """A new device of `count` matrices and a stream of draws, all from one secret.

        Args and Raises: as of `SimulatedOPU.create`; all `count` have the same camera.
        """
        seed = Seed(seed)
        count = fit(Count, count, "count")  # the matrices that the device switches among
        secret = seed.check()
        devices = [
            SimulatedOPU.create(
                in_features,
                out_features,
                seed=secret.derived(f"moving/{k}"),
                camera=camera,
                matrix=matrix,
                kind=kind,
                noise_seed=noise_seed,
                read_noise=read_noise,
                shot_noise=shot_noise,
                saturation=saturation,
            )
            for k in range(count)
        ]
        return cls(devices, seed=secret.derived("moving/draws"))

    def with_draws(self, seed: int | Seed | None) -> "MovingDevice":
        """The same K devices under another stream of draws: what a study needs of a device out of a file."""
        seed = Seed(seed)
        return MovingDevice(self._devices, seed=seed)

    def stream_key(self) -> int:
        """What its stream of draws is made from, a secret: for `DeviceStore`, which writes it into a file for its owner alone."""
        return self._key

    @without_locals
    def with_stream(self, key: int) -> "MovingDevice":
        """The same K devices under the stream of another one's `stream_key`, from its beginning.

        Raises:
            ValueError: not a key of 128 bits.
        """
        if not 0 <= key < 2**128:
            raise ValueError("a stream's key has 128 bits")
        device = MovingDevice(self._devices)
        device._begin(key)
        return device

    @property
    def devices(self) -> tuple[SimulatedOPU, ...]:
        """The K devices: for their owner, who saves them and fits to them. Who holds the moving device has `measure`."""
        return self._devices

    @property
    def in_features(self) -> int:
        return self._devices[0].in_features

    @property
    def out_features(self) -> int:
        return self._devices[0].out_features

    @property
    def camera(self) -> Camera:
        return self._devices[0].camera

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the SHA-256 of the K fingerprints, in order. The stream of draws plays no part."""
        return self._fingerprint

    @property
    def public(self) -> bool:
        """Whether the seed of one of the K was given: see `SimulatedOPU.public`."""
        return any(device.public for device in self._devices)

    @property
    def mean_reading(self) -> float:
        """The mean of the K devices' own."""
        return self._mean_reading

    def __len__(self) -> int:
        return len(self._devices)

    def __repr__(self) -> str:
        if not hasattr(self, "_fingerprint"):  # half made: a traceback shows it
            return "<MovingDevice>"
        return (
            f"MovingDevice({self.in_features} -> {self.out_features}, {len(self)} matrices, {self.camera}, "
            f"fingerprint={self.fingerprint}{', public seed' if self.public else ''})"
        )

    def measure(self, bits: Array) -> Array:
        """Camera frames of `bits`, as `SimulatedOPU.measure` gives them, each by a matrix of its own draw."""
        return alike(bits, self._frames)

    def _frames(self, bits: Tensor) -> Tensor:
        bits = as_bits(bits, self.in_features)
        dtype = torch.float32 if self.camera.bits is None else torch.uint8
        readings = torch.empty(len(bits), self.out_features, dtype=dtype, device=bits.device)
        with self._lock:
            # One double a frame, and not `integers`: the stream is the same however a batch is split.
            drawn = (self._draws.random(len(bits)) * len(self)).astype(np.int64)
        with known_bits():
            for k, device in enumerate(self._devices):
                rows = torch.from_numpy(np.flatnonzero(drawn == k)).to(bits.device, non_blocking=True)
                if len(rows):
                    readings[rows] = device.measure(bits[rows])
        return readings


def _checked(devices: Sequence[SimulatedOPU]) -> tuple[SimulatedOPU, ...]:
    devices = tuple(devices)
    if not devices:
        raise ValueError("no devices to switch among: give at least one")
    for k, device in enumerate(devices):
        if not isinstance(device, SimulatedOPU):
            raise TypeError(f"device {k} must be a SimulatedOPU, not a {type(device).__name__}")
        for name in ("in_features", "out_features", "camera", "matrix"):
            found, wanted = getattr(device, name), getattr(devices[0], name)
            if found != wanted:
                raise ValueError(
                    f"device {k} has {name}={found}, device 0 has {wanted}: make the others from it with device.redraw()"
                )
    for (j, one), (k, other) in combinations(enumerate(devices), 2):
        if one.fingerprint == other.fingerprint:
            raise ValueError(f"devices {j} and {k} are the same ({one.fingerprint}): give each matrix another seed")
    return devices
