"""Camera noise: a random stream a frame, so that a batch can be split and gives the same readings."""

import threading

import numpy as np
import torch
from torch import Tensor

from groundglass.kernels.threads import for_each
from groundglass.optics.camera import Camera
from groundglass.optics.sealed import Sealed, Seed


class FrameNoise(Sealed):
    """Noise of the frames of one device, counted from its creation or loading.

    Frame k draws from a counter-based stream (Philox) of (seed of the device, noise seed, k) alone. The key
    is secret: an attacker who could predict the noise could subtract it.

    Args:
        seed: of the device.
        noise_seed: another one is another stream.
        region: names the part of the device's outputs that is read; empty for all.
    """

    __slots__ = ("_frame", "_key", "_lock")

    def __init__(self, seed: Seed, noise_seed: int, region: str = "") -> None:
        purpose = f"noise/{noise_seed}/{region}" if region else f"noise/{noise_seed}"
        self._key = int.from_bytes(seed.stream(purpose, 16), "big")
        self._frame = 0
        self._lock = threading.Lock()

    @property
    def frames(self) -> int:
        """Counted so far."""
        return self._frame

    def skip(self, frames: int) -> None:
        """Count on, as if so many frames had been measured."""
        with self._lock:
            self._frame += frames

    def apply(self, signal: Tensor, camera: Camera) -> Tensor:
        """`signal` with the noise of the next `batch` frames.

        Shot noise first: light is counted, photons ~ Poisson(signal * photons at full scale / full scale),
        exact at every level of light. Read noise, Gaussian, is added to what was counted.

        Args:
            signal: float64 [batch, m] on the CPU, in reading steps, not yet rounded.
            camera: which noise, and how much.
        """
        with self._lock:
            first = self._frame
            self._frame += len(signal)
        values = signal.numpy().copy()

        def expose(row: int) -> None:
            # 2^128 blocks of draws for a frame.
            stream = np.random.Generator(np.random.Philox(key=self._key, counter=(first + row) << 128))
            if camera.shot_noise > 0:
                photons = camera.shot_noise / camera.top
                values[row] = stream.poisson(values[row] * photons) / photons
            if camera.read_noise > 0:
                values[row] += camera.read_noise * stream.standard_normal(values.shape[1])

        for_each(range(len(values)), expose)
        return torch.from_numpy(values)
