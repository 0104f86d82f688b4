"""A simulated optical processing unit: the device of equation (1) of the paper, with its matrix kept to itself."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from groundglass.optics.camera import Camera
from groundglass.optics.choice import fastest_kernel
from groundglass.optics.device import check_bits
from groundglass.optics.matrix import MatrixKind, SecretMatrix
from groundglass.optics.noise import FrameNoise
from groundglass.optics.sealed import Sealed, Seed

_CHALLENGES = 16
# Rows of float64 intensities at a time, when they are needed before rounding: bounds memory, changes nothing.
_ROWS = 256


@dataclass(frozen=True)
class Exposure:
    """The exposure of a calibrated device; public.

    Args:
        gain: reading steps a unit of intensity.
        mean_reading: the mean of the noise-free readings at calibration.
    """

    gain: float
    mean_reading: float


class SimulatedOPU(Sealed):
    """|Ux|^2 of binary x, seen by a camera. Make one with `create` or `load`; see `OpticalDevice` for its use.

    Reading = clamp(floor(gain * |Ux|^2 + 0.5), 0, 255), with |Ux|^2 an exact integer: the same for the same input in
    any batch, with any kernel, on any machine. With a noisy camera, frame k of a device gets noise of its own: a
    batch that is split in order gives the same readings, and counting starts again when the device is loaded.
    """

    __slots__ = ("_camera", "_exposure", "_fingerprint", "_matrix", "_noise", "_noise_seed")

    def __init__(self, matrix: SecretMatrix, camera: Camera, exposure: Exposure, noise_seed: int) -> None:
        self._matrix = matrix
        self._camera = camera
        self._exposure = exposure
        self._noise_seed = noise_seed
        self._noise = FrameNoise(matrix.seed, noise_seed)
        self._fingerprint = _fingerprint(matrix, camera, exposure)

    @classmethod
    def create(
        cls,
        in_features: int,
        out_features: int,
        *,
        seed: int | None = None,
        camera: Camera | None = None,
        matrix: MatrixKind = "complex",
        noise_seed: int = 0,
    ) -> "SimulatedOPU":
        """A new device: draw U, set the exposure once.

        Args:
            in_features: N.
            out_features: M.
            seed: the secret. None draws 128 bits from the operating system. A small number is for tests and for
                studies that must be repeatable: whoever guesses it has U.
            camera: default `Camera()`, 8 bits without noise.
            matrix: "complex", or "real" for (Wx)^2: what the paper's published simulation computes.
            noise_seed: another one gives the same device another stream of noise.

        Raises:
            ValueError: a size or seed out of range.
        """
        camera = Camera() if camera is None else camera
        secret = SecretMatrix(Seed(seed), in_features, out_features, matrix)
        return cls(secret, camera, _calibrate(secret, camera), noise_seed)

    @property
    def in_features(self) -> int:
        return self._matrix.in_features

    @property
    def out_features(self) -> int:
        return self._matrix.out_features

    @property
    def matrix(self) -> MatrixKind:
        """The kind of matrix, not the matrix."""
        return self._matrix.kind

    @property
    def camera(self) -> Camera:
        return self._camera

    @property
    def exposure(self) -> Exposure:
        return self._exposure

    @property
    def noise_seed(self) -> int:
        return self._noise_seed

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the SHA-256 of the noise-free readings of 16 fixed, public inputs, the sizes and the camera.

        It tells nothing that using the device does not tell.
        """
        return self._fingerprint

    @property
    def mean_reading(self) -> float:
        return self._exposure.mean_reading

    def __repr__(self) -> str:
        return (
            f"SimulatedOPU({self.in_features} -> {self.out_features}, {self.matrix}, {self.camera}, "
            f"fingerprint={self.fingerprint})"
        )

    def measure(self, bits: Tensor) -> Tensor:
        """Camera frames of `bits`: uint8 [batch, N] of 0 and 1 -> uint8 [batch, M] (float32 when camera.bits is None).

        Computed on the CPU; the result lies where `bits` lie.

        Raises:
            TypeError: not a uint8 tensor.
            ValueError: wrong width, or a value above 1.
        """
        return self.measure_at(bits, 1.0)

    def measure_at(self, bits: Tensor, exposure: float) -> Tensor:
        """As `measure`, with `exposure` times as much light: what whoever can set the camera gets.

        Raises:
            TypeError, ValueError: as `measure`; an exposure that is not above 0.
        """
        if not 0 < exposure < float("inf"):
            raise ValueError(f"`exposure` (={exposure}) must be above 0: times the device's own")
        check_bits(bits, self.in_features)
        x = bits.detach().cpu().contiguous()
        gain = self._exposure.gain * exposure
        if not self._camera.noisy:
            return _read(self._matrix, self._camera, gain, x).to(bits.device)
        kernel = fastest_kernel(min(len(x), _ROWS), self._matrix)
        frames = []
        for rows in x.split(_ROWS):
            signal = kernel.intensities(rows, self._matrix).mul_(gain)
            frames.append(self._camera.digitise(self._noise.apply(signal, self._camera)))
        return torch.cat(frames).to(bits.device)

    def redraw(self, seed: int | None = None) -> "SimulatedOPU":
        """A device with another U and the same sizes and camera, calibrated anew: `create` with another seed."""
        return SimulatedOPU.create(
            self.in_features,
            self.out_features,
            seed=seed,
            camera=self.camera,
            matrix=self.matrix,
            noise_seed=self.noise_seed,
        )

    def save(self, path: Path | str) -> None:
        """Write the device file, readable by its owner alone: the secret and all that makes the device again.

        Raises:
            DiskFullError: no room; what was there is untouched.
        """
        from groundglass.optics.store import save_device  # the store knows devices, so it comes after them

        save_device(self, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> "SimulatedOPU":
        """Read a device file, make the device, and check that it is the one that was saved.

        Raises:
            FileNotFoundError: no such file.
            PermissionError: others may read it.
            DamagedFileError: truncated, altered, or its device is not the one that was saved.
        """
        from groundglass.optics.store import load_device  # as in save

        return load_device(Path(path))


def _read(matrix: SecretMatrix, camera: Camera, gain: float, bits: Tensor) -> Tensor:
    """Noise-free readings of checked bits."""
    kernel = fastest_kernel(len(bits), matrix)
    if camera.bits is not None:
        return kernel.readings(bits, matrix, gain=gain, top=camera.top)
    return torch.cat([camera.digitise(kernel.intensities(rows, matrix) * gain) for rows in bits.split(_ROWS)])


def _public_bits(purpose: str, rows: int, in_features: int, density: float) -> Tensor:
    """Fixed inputs that everybody may know: uint8 [rows, in_features], a share `density` of ones."""
    raw = hashlib.shake_128(f"groundglass/1/{purpose}/{in_features}".encode()).digest(2 * rows * in_features)
    draws = np.frombuffer(raw, dtype="<u2").reshape(rows, in_features)
    return torch.from_numpy((draws < round(density * 2**16)).astype(np.uint8))


def _calibrate(matrix: SecretMatrix, camera: Camera) -> Exposure:
    """Set the exposure so that a share `camera.saturation` of the readings of public inputs reach the top.

    Integers and one division: the same exposure on every machine.
    """
    # Some two million readings; not fewer than 64 inputs for a wide device, nor more than 1024 for a narrow one.
    frames = min(1024, max(64, 2**21 // matrix.out_features))
    bits = _public_bits("calibration", frames, matrix.in_features, camera.density)
    light = fastest_kernel(len(bits), matrix).intensities(bits, matrix)
    values = light.numpy().ravel()
    rank = min(round(values.size * (1 - camera.saturation)), values.size - 1)
    brightest = float(np.partition(values, rank)[rank])
    if brightest <= 0:
        raise ValueError(
            f"no light at calibration: too few of the {matrix.in_features} inputs are on; "
            f"raise `density` (={camera.density}) or lower `saturation` (={camera.saturation})"
        )
    # Readings round half up: the top begins half a step below it.
    gain = (camera.top - 0.5) / brightest
    if camera.bits is None:
        return Exposure(gain, int(light.to(torch.int64).sum()) * gain / values.size)
    return Exposure(gain, int(camera.digitise(light * gain).sum(dtype=torch.int64)) / values.size)


def _fingerprint(matrix: SecretMatrix, camera: Camera, exposure: Exposure) -> str:
    challenges = _public_bits("challenge", _CHALLENGES, matrix.in_features, 0.5)
    readings = _read(matrix, camera, exposure.gain, challenges)
    public = json.dumps([matrix.in_features, matrix.out_features, asdict(camera)], sort_keys=True)
    digest = hashlib.sha256(public.encode())
    digest.update(readings.numpy().tobytes())
    return digest.hexdigest()[:32]
