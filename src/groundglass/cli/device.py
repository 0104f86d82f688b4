"""`groundglass device`: make, look at, measure with and redraw simulated devices. Nothing here prints a secret."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from groundglass.optics import SimulatedOPU


@dataclass(frozen=True)
class New:
    """Make a device: draw its secret matrix, set its exposure, write its file, readable by you alone."""

    out: Path
    """The device file, FILE.device; not an existing one."""
    inputs: str
    """N, the bits of an input: 1000000, 1_000_000 or 1e6."""
    outputs: str
    """M, the pixels that are read."""
    kind: str = "dense"
    """dense: the matrix in memory. procedural: the same device, its matrix made again for every measurement, at any size.
    structured: fast transforms in its place; quick at any size, but the matrix is not i.i.d."""
    matrix: str = "complex"
    """complex, or real for (Wx)^2."""
    bits: str = "8"
    """Of a reading, 1 to 8; float for intensities as they are."""
    saturation: float = 0.01
    """The share of readings of random inputs that the exposure lets reach the top."""
    density: float = 0.5
    """The share of ones in those inputs."""
    read_noise: float = 0.0
    """Std of the noise of the electronics, in steps of a reading; 0 is off."""
    shot_noise: float = 0.0
    """Photons at full scale; fewer are noisier, 0 is off."""
    noise_seed: int = 0
    """Another one is another stream of noise."""
    seed: int | None = None
    """The secret, to make a device again exactly; whoever guesses it has the matrix. Default: a fresh secret from the system."""

    def run(self) -> int:
        """Carry the command out. Returns the exit code."""
        from typing import get_args

        from groundglass.core import lookup
        from groundglass.optics import Camera, SimulatedOPU
        from groundglass.optics.medium import DeviceKind, MatrixKind
        from groundglass.optics.streams.reading_file import refuse_existing

        refuse_existing(self.out)
        kinds: dict[str, DeviceKind] = {name: name for name in get_args(DeviceKind)}
        matrices: dict[str, MatrixKind] = {name: name for name in get_args(MatrixKind)}
        camera = Camera(
            bits=_camera_bits(self.bits),
            saturation=self.saturation,
            density=self.density,
            read_noise=self.read_noise,
            shot_noise=self.shot_noise,
        )
        began = time.perf_counter()
        device = SimulatedOPU.create(
            count_of("--inputs", self.inputs),
            count_of("--outputs", self.outputs),
            seed=self.seed,
            camera=camera,
            matrix=lookup("matrix", self.matrix, matrices),
            kind=lookup("kind", self.kind, kinds),
            noise_seed=self.noise_seed,
        )
        device.save(self.out)
        _describe(device)
        print(f"made in {time.perf_counter() - began:.1f} s")
        print(f"device: {self.out} (holds the secret)")
        return 0


@dataclass(frozen=True)
class Info:
    """What may be known of a device. It is made, and checked to be the one that was saved; the secret is not shown."""

    file: tyro.conf.Positional[Path]

    def run(self) -> int:
        """Carry the command out. Returns the exit code."""
        from groundglass.core import read_json
        from groundglass.optics import SimulatedOPU

        began = time.perf_counter()
        device = SimulatedOPU.load(self.file)
        _describe(device)
        # Nothing else of the content is kept, for it has the secret.
        print(f"file: {self.file}, format version {read_json(self.file)['version']}, its owner's alone; ", end="")
        print(f"made and checked in {time.perf_counter() - began:.1f} s")
        return 0


@dataclass(frozen=True)
class Measure:
    """Measure a file of bit vectors to a file of readings, of any size, in bounded memory. The same command continues it."""

    file: tyro.conf.Positional[Path]
    """The device file."""
    bits: Path
    """A .npy file: uint8 or bool [rows, N] of 0 and 1, or uint8 [rows, ceil(N/8)] of numpy.packbits(bits, axis=1)."""
    out: Path
    """The readings, .npy [rows, M], uint8 or float32; not an existing file."""
    packed: bool | None = None
    """Whether eight bits are in a byte. Default: told by the width."""

    def run(self) -> int:
        """Carry the command out. Returns the exit code."""
        from groundglass.cli.terminal import Terminal
        from groundglass.optics import SimulatedOPU
        from groundglass.optics.streams.measurement import measure_file
        from groundglass.optics.streams.reading_file import refuse_existing

        refuse_existing(self.out)  # before the device is made, which takes longer
        device = SimulatedOPU.load(self.file)
        with Terminal(kept=f"beside {self.out}") as terminal:
            done = measure_file(device, self.bits, self.out, packed=self.packed, progress=terminal.progress)
        print(f"{done.rows:,} rows of {device.in_features:,} bits -> {device.out_features:,} readings each")
        before = f", {done.gone_on_from:.0%} of it in earlier sessions" if done.gone_on_from else ""
        print(f"seconds: {done.seconds:.1f} at the device{before}; {done.rate:,.0f} readings a second")
        if done.saturated is not None:
            print(f"saturated: {done.saturated:.2%} of the readings are {device.camera.top}")
        print(f"readings: {self.out}")
        return 0


@dataclass(frozen=True)
class Redraw:
    """Another device of the same kind, sizes and camera, with another secret; the old one stays."""

    file: tyro.conf.Positional[Path]
    """The device file."""
    out: Path
    """The new device file; not an existing one."""
    seed: int | None = None
    """The new secret, to repeat it exactly. Default: a fresh secret from the system."""

    def run(self) -> int:
        """Carry the command out. Returns the exit code."""
        from groundglass.optics import SimulatedOPU
        from groundglass.optics.streams.reading_file import refuse_existing

        refuse_existing(self.out)
        began = time.perf_counter()
        old = SimulatedOPU.load(self.file)
        device = old.redraw(self.seed)
        if device.fingerprint == old.fingerprint:
            raise ValueError(f"this seed makes the device of {self.file} again: give another, or none")
        device.save(self.out)
        _describe(device)
        print(f"redrawn from {old.fingerprint} in {time.perf_counter() - began:.1f} s")
        print(f"device: {self.out} (holds the secret)")
        return 0


@dataclass(frozen=True)
class Device:
    """Simulated devices: make one, look at it, measure with it, redraw it. No command shows the secret."""

    command: (
        Annotated[New, tyro.conf.subcommand("new")]
        | Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Measure, tyro.conf.subcommand("measure")]
        | Annotated[Redraw, tyro.conf.subcommand("redraw")]
    )

    def run(self) -> int:
        """Carry the command out. Returns the exit code."""
        return self.command.run()


def _describe(device: "SimulatedOPU") -> None:
    """What is public of a device."""
    from groundglass.core.text import size
    from groundglass.optics.streams.packed import batch_bytes

    camera = device.camera
    reading = "float32 intensities" if camera.bits is None else f"{camera.bits} bits"
    print(f"fingerprint: {device.fingerprint}")
    print(
        f"{device.kind} device, {device.matrix} matrix: {device.in_features:,} inputs, {device.out_features:,} outputs"
    )
    print(
        f"camera: {reading}, saturation {camera.saturation:g} at density {camera.density:g}, "
        f"read noise {camera.read_noise:g}, shot noise {camera.shot_noise:g}"
    )
    print(f"exposure: {device.exposure.gain:.6g} steps a unit of intensity, mean reading {device.mean_reading:.2f}")
    batch = batch_bytes(device.in_features, device.out_features)
    print(f"memory: {size(device.nbytes)} held; measuring takes up to {size(batch)} of bits and light besides")


def _camera_bits(text: str) -> int | None:
    if text == "float":
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"`--bits` (={text!r}) must be 1 to 8, or float") from None


def count_of(name: str, text: str) -> int:
    """A whole number that may be written as 1000000, 1_000_000 or 1e6.

    Raises:
        ValueError: it is not a whole number.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
        if value.is_integer():
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"`{name}` (={text!r}) must be a whole number: 1000000, 1_000_000 or 1e6")
