"""`groundglass device`: make, look at, measure with and redraw simulated devices. Nothing here prints a secret."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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


@dataclass(frozen=True)
class Info:
    """What may be known of a device. It is made, and checked to be the one that was saved; the secret is not shown."""

    file: tyro.conf.Positional[Path]


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


@dataclass(frozen=True)
class Redraw:
    """Another device of the same kind, sizes and camera, with another secret; the old one stays."""

    file: tyro.conf.Positional[Path]
    """The device file."""
    out: Path
    """The new device file; not an existing one."""
    seed: int | None = None
    """The new secret, to repeat it exactly. Default: a fresh secret from the system."""


@dataclass(frozen=True)
class Device:
    """Simulated devices: make one, look at it, measure with it, redraw it. No command shows the secret."""

    command: (
        Annotated[New, tyro.conf.subcommand("new")]
        | Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Measure, tyro.conf.subcommand("measure")]
        | Annotated[Redraw, tyro.conf.subcommand("redraw")]
    )


def run_device(device: Device) -> int:
    """Carry the command out. Returns the exit code."""
    handlers: dict[type, Any] = {New: _new, Info: _info, Measure: _measure, Redraw: _redraw}
    code: int = handlers[type(device.command)](device.command)
    return code


def _new(command: New) -> int:
    from typing import get_args

    from groundglass.core import lookup
    from groundglass.optics import Camera, SimulatedOPU
    from groundglass.optics.medium import DeviceKind, MatrixKind
    from groundglass.optics.streams.reading_file import refuse_existing

    refuse_existing(command.out)
    kinds: dict[str, DeviceKind] = {name: name for name in get_args(DeviceKind)}
    matrices: dict[str, MatrixKind] = {name: name for name in get_args(MatrixKind)}
    camera = Camera(
        bits=_camera_bits(command.bits),
        saturation=command.saturation,
        density=command.density,
        read_noise=command.read_noise,
        shot_noise=command.shot_noise,
    )
    began = time.perf_counter()
    device = SimulatedOPU.create(
        count_of("--inputs", command.inputs),
        count_of("--outputs", command.outputs),
        seed=command.seed,
        camera=camera,
        matrix=lookup("matrix", command.matrix, matrices),
        kind=lookup("kind", command.kind, kinds),
        noise_seed=command.noise_seed,
    )
    device.save(command.out)
    _describe(device)
    print(f"made in {time.perf_counter() - began:.1f} s")
    print(f"device: {command.out} (holds the secret)")
    return 0


def _info(command: Info) -> int:
    from groundglass.core import read_json
    from groundglass.optics import SimulatedOPU

    began = time.perf_counter()
    device = SimulatedOPU.load(command.file)
    _describe(device)
    # Nothing else of the content is kept, for it has the secret.
    print(f"file: {command.file}, format version {read_json(command.file)['version']}, its owner's alone; ", end="")
    print(f"made and checked in {time.perf_counter() - began:.1f} s")
    return 0


def _measure(command: Measure) -> int:
    from groundglass.optics import SimulatedOPU
    from groundglass.optics.streams.measurement import measure_file
    from groundglass.optics.streams.reading_file import refuse_existing
    from groundglass.terminal import Terminal

    refuse_existing(command.out)  # before the device is made, which takes longer
    device = SimulatedOPU.load(command.file)
    with Terminal(kept=f"beside {command.out}") as terminal:
        done = measure_file(device, command.bits, command.out, packed=command.packed, progress=terminal.progress)
    print(f"{done.rows:,} rows of {device.in_features:,} bits -> {device.out_features:,} readings each")
    before = f", {done.gone_on_from:.0%} of it in earlier sessions" if done.gone_on_from else ""
    print(f"seconds: {done.seconds:.1f} at the device{before}; {done.rate:,.0f} readings a second")
    if done.saturated is not None:
        print(f"saturated: {done.saturated:.2%} of the readings are {device.camera.top}")
    print(f"readings: {command.out}")
    return 0


def _redraw(command: Redraw) -> int:
    from groundglass.optics import SimulatedOPU
    from groundglass.optics.streams.reading_file import refuse_existing

    refuse_existing(command.out)
    began = time.perf_counter()
    old = SimulatedOPU.load(command.file)
    device = old.redraw(command.seed)
    if device.fingerprint == old.fingerprint:
        raise ValueError(f"this seed makes the device of {command.file} again: give another, or none")
    device.save(command.out)
    _describe(device)
    print(f"redrawn from {old.fingerprint} in {time.perf_counter() - began:.1f} s")
    print(f"device: {command.out} (holds the secret)")
    return 0


def _describe(device: "SimulatedOPU") -> None:
    """What is public of a device."""
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
    print(f"memory: {size_of(device.nbytes)} held; measuring takes up to {size_of(batch)} of bits and light besides")


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


def size_of(count: int) -> str:
    """Bytes, for people.

    >>> size_of(3 * 2**29)
    '1.5 GiB'
    """
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
