"""A simulated optical processing unit: the device of equation (1) of the paper, with its matrix kept to itself."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundglass.core import DamagedFileError
from groundglass.core.sealed import Seed
from groundglass.core.settings import Count, fit, settings_of
from groundglass.kernels.tensor import is_card
from groundglass.optics.camera import Camera, Exposure, FrameNoise
from groundglass.optics.device import Array, alike, as_bits
from groundglass.optics.kinds import make_medium
from groundglass.optics.medium import DeviceKind, MatrixKind, Medium
from groundglass.optics.opaque import Opaque, measure
from groundglass.optics.secret_file import Saved, read_secret, write_secret

# float64 intensities at a time, when they are needed before rounding: bounds memory, changes nothing.
_LIGHT = 2**24
# The same on a card, whose noise takes some twenty times as much memory on its way.
_LIGHT_THERE = 2**22
# Entries of U that calibration and fingerprint may ask for: a device of more shows some of its outputs to them.
_CALIBRATED = 2**29
_CHALLENGED = 2**28
# Parts of a reading step, where the mean reading is of no whole numbers.
_LEVEL = 2**20


class SimulatedOPU(Opaque):
    """|Ux|^2 of binary x, seen by a camera. Make one with `create` or `load`; see `OpticalDevice` for its use.

    Reading = clamp(floor(gain * |Ux|^2 + 0.5), 0, 255), with |Ux|^2 an exact integer (structured: float32 sums in a fixed
    order), or another power of |Ux| where the camera has one. It is the same for the same input in any batch, with any
    kernel, on any machine. With a noisy camera, frame k of a device gets noise of its own: a batch that is split in order
    gives the same readings, and counting starts again when the device is loaded.
    """

    __slots__ = ("_camera", "_exposure", "_fingerprint", "_medium", "_noise", "_noise_seed", "_region")

    def __init__(
        self, medium: Medium, camera: Camera, exposure: Exposure, noise_seed: int, *, region_of: str | None = None
    ) -> None:
        self._medium = medium
        self._camera = camera
        self._exposure = exposure
        self._noise_seed = noise_seed
        self._region = region_of is not None
        self._noise = FrameNoise(medium.seed, noise_seed, region_of or "")
        self._fingerprint = region_of or _fingerprint(medium, camera, exposure)
        self._enter()

    @classmethod
    def create(
        cls,
        in_features: int,
        out_features: int,
        *,
        seed: int | Seed | None = None,
        camera: Camera | None = None,
        matrix: MatrixKind = "complex",
        kind: DeviceKind = "dense",
        noise_seed: int = 0,
        read_noise: float | None = None,
        shot_noise: float | None = None,
        saturation: float | None = None,
    ) -> "SimulatedOPU":
        """A new device: draw U, set the exposure once.

        Args:
            in_features: N.
            out_features: M.
            seed: the secret. None draws 128 bits from the operating system. A number is for tests and for studies that must be
                repeatable, and makes the device `public`: who knows or guesses it has U.
            camera: default `Camera()`, 8 bits without noise.
            matrix: "complex", or "real" for (Wx)^2: what the paper's published simulation computes.
            kind: "dense" keeps U in memory. "procedural" is the same device bit for bit, for sizes that memory cannot hold:
                every measurement makes U again. "structured" has fast transforms in its place: a measurement of a
                million by a million takes well under a second, but U is not i.i.d.: see `StructuredMedium`.
            noise_seed: another one gives the same device another stream of noise.
            read_noise, shot_noise: the camera's noise, see `Camera`; None: as `camera` has it.
            saturation: the exposure: it is set so that this share of the readings of random inputs reaches the top, see
                `Camera`; None: as `camera` has it.

        Raises:
            ValueError: a size, seed, noise or exposure out of range; sizes that do not fit in memory, with the kind that does.
        """
        seed = Seed(seed)  # first of all: no traceback shows it
        given: dict[str, Any] = {"read_noise": read_noise, "shot_noise": shot_noise, "saturation": saturation}
        camera = replace(camera or Camera(), **{name: value for name, value in given.items() if value is not None})
        in_features, out_features = fit(Count, in_features, "in_features"), fit(Count, out_features, "out_features")
        noise_seed = fit(int, noise_seed, "noise_seed")
        medium = make_medium(kind, seed.check(), in_features, out_features, matrix)
        return cls(medium, camera, _calibrate(medium, camera), noise_seed)

    @property
    def in_features(self) -> int:
        return self._medium.in_features

    @property
    def out_features(self) -> int:
        return self._medium.out_features

    @property
    def matrix(self) -> MatrixKind:
        """The kind of matrix, not the matrix."""
        return self._medium.matrix

    @property
    def kind(self) -> DeviceKind:
        """How it is simulated."""
        return self._medium.kind

    @property
    def public(self) -> bool:
        """Whether its seed was given, not drawn from the operating system: others may know it, or find it by trying."""
        return self._medium.seed.public

    @property
    def nbytes(self) -> int:
        """Memory that the simulation holds between measurements, in bytes: here, and on the cards that it has measured on."""
        return self._medium.nbytes + self._medium.placed_bytes

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
        """32 hex digits of the SHA-256 of the noise-free readings of fixed, public inputs, the sizes and the camera.

        Up to 16 inputs, and all outputs, or as many as 2^28 entries of U are for. It shows nothing that using the
        device does not show, and is the same for a dense and a procedural device of one secret.
        """
        return self._fingerprint

    @property
    def mean_reading(self) -> float:
        return self._exposure.mean_reading

    def __repr__(self) -> str:
        return (
            f"SimulatedOPU({self.in_features} -> {self.out_features}, {self.kind}, {self.matrix}, {self.camera}, "
            f"fingerprint={self.fingerprint}{', public seed' if self.public else ''})"
        )

    def measure(self, bits: Array) -> Array:
        """Camera frames of `bits`: [batch, N] of 0 and 1 -> uint8 [batch, M] (float32 when camera.bits is None).

        Args:
            bits: booleans or whole numbers in a tensor or a numpy array; the readings come in the same.

        The result lies where `bits` lie. Those on a CUDA card are measured there, with the same readings as on the CPU, where
        all others are. Raises as `OpticalDevice.measure`.
        """
        return self.measure_at(bits, 1.0)

    def measure_at(self, bits: Array, exposure: float) -> Array:
        """As `measure`, with `exposure` times as much light: for those who can set the camera.

        Raises:
            TypeError, ValueError: as `measure`; an exposure that is not above 0.
        """
        if not 0 < exposure < float("inf"):
            raise ValueError(f"`exposure` (={exposure}) must be above 0: times the device's own")
        dtype = torch.float32 if self._camera.bits is None else torch.uint8
        return alike(
            bits, lambda given: measure(self, given, outputs=self.out_features, dtype=dtype, exposure=exposure)
        )

    def _answer(self, bits: Tensor, exposure: float) -> Tensor:
        x = as_bits(bits, self.in_features).detach()
        x = (x if is_card(x.device) else x.cpu()).contiguous()
        gain = self._exposure.gain * exposure ** (self._camera.power / 2)
        noise = self._noise if self._camera.noisy else None
        return _read(self._medium, self._camera, gain, x, noise).to(bits.device)

    def region(self, outputs: Sequence[int] | Tensor) -> "SimulatedOPU":
        """The same device, with a camera that reads these outputs alone, in this order.

        Its exposure is the whole device's, and so are its readings; a dense or procedural one costs as much less as it
        reads less, in tiles of 32 outputs. It counts frames of its own, and a noisy camera's noise is its own.

        Args:
            outputs: a range, a list or an integer tensor; all different.

        Raises:
            ValueError: no outputs, one that there is not, or one twice.
        """
        asked = np.asarray(outputs)
        if asked.size and asked.dtype.kind not in "iu":
            raise ValueError(f"`outputs` must be integers, which outputs, not {asked.dtype}: of a mask, mask.nonzero()")
        chosen = asked.astype(np.int64).ravel()
        if not chosen.size or chosen.min() < 0 or chosen.max() >= self.out_features:
            raise ValueError(f"`outputs` must be some of 0 to {self.out_features - 1}, the outputs of the device")
        if len(np.unique(chosen)) != len(chosen):
            raise ValueError("`outputs` has one of the outputs twice")
        named = hashlib.sha256(self.fingerprint.encode() + chosen.astype("<i8").tobytes()).hexdigest()[:32]
        medium = self._medium.region(chosen)
        return SimulatedOPU(medium, self.camera, self.exposure, self.noise_seed, region_of=named)

    @property
    def is_part(self) -> bool:
        """Whether this is a region of a device, or a drifting one at some time: it has no file of its own."""
        return self._region

    def with_noise(self, *, read_noise: float = 0.0, shot_noise: float = 0.0) -> "SimulatedOPU":
        """The same U at the same exposure, before a camera of this noise. It is another device, with a file of its own.

        Args:
            read_noise, shot_noise: see `Camera`.

        Raises:
            ValueError: a noise out of its range; this is a region of a device.
        """
        if self._region:
            raise ValueError("a region of a device keeps its camera: change the device's, and take the region of that")
        camera = replace(self._camera, read_noise=read_noise, shot_noise=shot_noise)
        return SimulatedOPU(self._medium, camera, self._exposure, self._noise_seed)

    @property
    def frames(self) -> int:
        """Frames with noise that this object has counted, skipped ones included: the next one's number."""
        return self._noise.frames

    def skip_frames(self, count: int) -> None:
        """Count on, as if `count` frames had been measured: a resumed measurement has the noise that it would have had."""
        self._noise.skip(count)

    def redraw(self, seed: int | Seed | None = None) -> "SimulatedOPU":
        """A device with another U and the same sizes and camera, calibrated again: `create` with another seed."""
        seed = Seed(seed)
        return SimulatedOPU.create(
            self.in_features,
            self.out_features,
            seed=seed,
            camera=self.camera,
            matrix=self.matrix,
            kind=self.kind,
            noise_seed=self.noise_seed,
        )

    def save(self, path: Path | str) -> None:
        """Write the device file, readable by its owner alone: the secret and all that makes the device again.

        Raises:
            DiskFullError: no room; what was there is untouched.
            FileExistsError: another device's file, or any other, is there: a secret is never overwritten.
            ValueError: this is a region of a device.
        """
        if self._region:
            raise ValueError(
                "a region of a device, or a drifting one at some time, has no file of its own: save the device, and make "
                "this of it again"
            )
        saved = Saved(self._medium, self._camera, self._exposure, self._noise_seed, self._fingerprint)
        write_secret(Path(path), saved)

    @classmethod
    def load(cls, path: Path | str) -> "SimulatedOPU":
        """Read a device file, make the device, and check that it is the one that was saved.

        Raises:
            FileNotFoundError: no such file.
            PermissionError: others may read it.
            DamagedFileError: truncated, altered, or its device is not the one that was saved.
        """
        saved = read_secret(Path(path))
        device = cls(saved.medium, saved.camera, saved.exposure, saved.noise_seed)
        if device.fingerprint != saved.fingerprint:
            raise DamagedFileError(
                f"the device made from {path} answers as {device.fingerprint}, the file was saved for {saved.fingerprint}: "
                "it was altered, or this groundglass makes devices in another way; restore the file or the version"
            )
        return device


def _read(medium: Medium, camera: Camera, gain: float, bits: Tensor, noise: FrameNoise | None = None) -> Tensor:
    """Readings of checked bits."""
    if camera.bits is not None and noise is None and camera.power == 2:
        return medium.readings(bits, gain=gain, top=camera.top)
    dtype = torch.float32 if camera.bits is None else torch.uint8
    frames = torch.empty(len(bits), medium.out_features, dtype=dtype, device=bits.device)
    step = max(1, _LIGHT_THERE // medium.out_features)
    if not is_card(bits.device):
        step = min(256, max(1, _LIGHT // medium.out_features))
    for start in range(0, len(bits), step):
        signal = camera.respond(medium.intensities(bits[start : start + step])).mul_(gain)
        frames[start : start + step] = camera.digitise(signal if noise is None else noise.apply(signal, camera))
    return frames


def _public_bits(purpose: str, rows: int, in_features: int, density: float) -> Tensor:
    """Fixed inputs that everybody may know: uint8 [rows, in_features], a share `density` of ones."""
    raw = hashlib.shake_128(f"groundglass/1/{purpose}/{in_features}".encode()).digest(2 * rows * in_features)
    draws = np.frombuffer(raw, dtype="<u2").reshape(rows, in_features)
    bits = np.empty(draws.shape, dtype=np.uint8)
    # Into bytes of their own, without a copy on the way.
    np.less(draws, round(density * 2**16), out=bits.view(np.bool_))
    return torch.from_numpy(bits)


def _some_outputs(medium: Medium, entries: int) -> Medium:
    """The medium, or its first outputs: as many as so many entries of U are for, but 64."""
    count = max(64, entries // medium.in_features)
    return medium if count >= medium.out_features else medium.region(np.arange(count))


def _calibrate(medium: Medium, camera: Camera) -> Exposure:
    """Set the exposure so that a share `camera.saturation` of the readings of public inputs reach the top.

    Integers and one division: the same exposure on every machine.
    """
    seen = _some_outputs(medium, _CALIBRATED)
    # Some two million readings; not fewer than 64 inputs for a wide device, nor more than 1024 for a narrow one.
    frames = min(1024, max(64, min(2**21 // seen.out_features, 2**26 // seen.in_features)))
    bits = _public_bits("calibration", frames, medium.in_features, camera.density)
    light = camera.respond(seen.intensities(bits))
    values = light.numpy().ravel()
    rank = min(round(values.size * (1 - camera.saturation)), values.size - 1)
    brightest = float(np.partition(values, rank)[rank])
    if brightest <= 0:
        raise ValueError(
            f"no light at calibration: too few of the {medium.in_features} inputs are on; "
            f"raise `density` (={camera.density}) or lower `saturation` (={camera.saturation})"
        )
    # Readings round half up: the top begins half a step below it.
    gain = (camera.top - 0.5) / brightest
    if camera.bits is None and camera.power != 2:
        # Not whole numbers: made so, as their sum is then the same in any order.
        return Exposure(gain, int((light * gain * _LEVEL).to(torch.int64).sum()) / _LEVEL / values.size)
    if camera.bits is None:
        return Exposure(gain, int(light.to(torch.int64).sum()) * gain / values.size)
    return Exposure(gain, int(camera.digitise(light * gain).sum(dtype=torch.int64)) / values.size)


def _fingerprint(medium: Medium, camera: Camera, exposure: Exposure) -> str:
    # Devices of the first format were known by all of their outputs, whatever their size.
    count = 16 if medium.draw == 1 else min(16, max(2, 2**21 // medium.out_features))
    seen = medium if medium.draw == 1 else _some_outputs(medium, _CHALLENGED)
    readings = _read(seen, camera, exposure.gain, _public_bits("challenge", count, medium.in_features, 0.5))
    public = json.dumps([medium.in_features, medium.out_features, settings_of(camera)], sort_keys=True)
    digest = hashlib.sha256(public.encode())
    digest.update(readings.numpy().tobytes())
    return digest.hexdigest()[:32]
