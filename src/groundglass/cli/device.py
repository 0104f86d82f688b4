"""`groundglass device`: make, look at, measure with and redraw simulated devices. Nothing here prints a secret."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from groundglass.cli.guard import Guard
from groundglass.cli.options import Command, ComputeOn, SeedFile, SeedOption, count_of, given_seed
from groundglass.cli.remote import CaFile, TokenFile, device_at, is_address, opened
from groundglass.cli.serve import Serve
from groundglass.cli.terminal import Terminal, say
from groundglass.cli.tokens import Token
from groundglass.cli.top import Top

if TYPE_CHECKING:
    from groundglass.optics import RemoteOPU, SimulatedOPU


@dataclass(frozen=True)
class New(Command):
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
    power: float = 2.0
    """Readings grow as |Ux| to this power: 1 to 4, by halves. 2 is the intensity."""
    noise_seed: int = 0
    """Another one is another stream of noise."""
    seed: SeedOption = None
    """The secret, to make a device again exactly. Whoever knows or guesses it has the matrix: the device is marked as public.
    Default: a fresh secret from the system."""
    seed_file: SeedFile = None

    def run(self) -> None:
        from groundglass.core import check_writable, refuse_existing
        from groundglass.optics import Camera, SimulatedOPU

        refuse_existing(self.out)
        camera = Camera(
            bits=_camera_bits(self.bits),
            saturation=self.saturation,
            density=self.density,
            read_noise=self.read_noise,
            shot_noise=self.shot_noise,
            power=self.power,
        )
        sizes = count_of("--inputs", self.inputs), count_of("--outputs", self.outputs)
        seed = given_seed("--seed", self.seed, self.seed_file)
        check_writable(self.out.parent)  # before the device is made, which takes longer
        began = time.perf_counter()
        device = SimulatedOPU.create(
            *sizes,
            seed=seed,
            camera=camera,
            matrix=self.matrix,  # type: ignore[arg-type]
            kind=self.kind,  # type: ignore[arg-type]
            noise_seed=self.noise_seed,
        )
        _keep(device, self.out, f"made in {time.perf_counter() - began:.1f} s")


@dataclass(frozen=True)
class Info(Command):
    """What may be known of a device. It is made, and checked to be the one that was saved; the secret is not shown."""

    file: tyro.conf.Positional[str]
    """The device file; or of one at a service its address, https://HOST:PORT/devices/NAME or unix:///PATH/TO/SOCKET#NAME."""
    token_file: TokenFile = None
    ca_file: CaFile = None

    def run(self) -> None:
        from groundglass.optics import SimulatedOPU
        from groundglass.optics.secret_file import format_version

        if is_address(self.file):
            _describe_remote(opened(self.file, self.token_file, self.ca_file))
            return
        began = time.perf_counter()
        device = SimulatedOPU.load(Path(self.file))
        _describe(device)
        say(f"file: {self.file}, format version {format_version(Path(self.file))}, its owner's alone; ", end="")
        say(f"made and checked in {time.perf_counter() - began:.1f} s")


@dataclass(frozen=True)
class Measure(Command):
    """Measure a file of bit vectors to a file of readings, of any size, in bounded memory. The same command continues it."""

    file: tyro.conf.Positional[str]
    """The device file; or the address of one at a service."""
    bits: Path
    """A .npy file: uint8 or bool [rows, N] of 0 and 1, or uint8 [rows, ceil(N/8)] of numpy.packbits(bits, axis=1)."""
    out: Path
    """The readings, .npy [rows, M], uint8 or float32; not an existing file."""
    packed: bool | None = None
    """Whether eight bits are in a byte. Default: told by the width."""
    device: ComputeOn = "auto"
    token_file: TokenFile = None
    ca_file: CaFile = None

    def run(self) -> None:
        from groundglass.core import refuse_existing
        from groundglass.core.accelerator import torch_device
        from groundglass.optics.camera import camera_of
        from groundglass.optics.streams.measurement import measure_file

        refuse_existing(self.out)  # before the device is made, which takes longer
        where = torch_device(self.device)
        device = device_at(self.file, self.token_file, self.ca_file)
        with Terminal(kept=f"beside {self.out}") as terminal:
            done = measure_file(
                device, self.bits, self.out, packed=self.packed, where=where, progress=terminal.progress
            )
        say(f"{done.rows:,} rows of {device.in_features:,} bits -> {device.out_features:,} readings each")
        before = f", {done.gone_on_from:.0%} of it in earlier sessions" if done.gone_on_from else ""
        say(f"seconds: {done.seconds:.1f} at the device{before}; {done.rate:,.0f} readings a second")
        if done.saturated is not None:
            say(f"saturated: {done.saturated:.2%} of the readings are {camera_of(device).top}")
        say(f"readings: {self.out}")


@dataclass(frozen=True)
class Redraw(Command):
    """Another device of the same kind, sizes and camera, with another secret; the old one stays."""

    file: tyro.conf.Positional[Path]
    """The device file."""
    out: Path
    """The new device file; not an existing one."""
    seed: SeedOption = None
    """The new secret, to repeat it exactly; it makes the device public. Default: a fresh secret from the system."""
    seed_file: SeedFile = None

    def run(self) -> None:
        from groundglass.core import check_writable, refuse_existing
        from groundglass.optics import SimulatedOPU

        refuse_existing(self.out)
        seed = given_seed("--seed", self.seed, self.seed_file)
        check_writable(self.out.parent)
        began = time.perf_counter()
        old = SimulatedOPU.load(self.file)
        device = old.redraw(seed)
        if device.fingerprint == old.fingerprint:
            raise ValueError(f"this seed makes the device of {self.file} again: give another, or none")
        _keep(device, self.out, f"redrawn from {old.fingerprint} in {time.perf_counter() - began:.1f} s")


@dataclass(frozen=True)
class Device(Command):
    """Simulated devices: make one, look at it, measure with it, redraw it, and say who may use those of a service. No command
    shows the secret."""

    command: (
        Annotated[New, tyro.conf.subcommand("new")]
        | Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Measure, tyro.conf.subcommand("measure")]
        | Annotated[Redraw, tyro.conf.subcommand("redraw")]
        | Annotated[Serve, tyro.conf.subcommand("serve")]
        | Annotated[Top, tyro.conf.subcommand("top")]
        | Annotated[Token, tyro.conf.subcommand("token")]
        | Annotated[Guard, tyro.conf.subcommand("guard")]
    )

    def run(self) -> None:
        return self.command.run()


def _keep(device: "SimulatedOPU", out: Path, how: str) -> None:
    device.save(out)
    _describe(device)
    say(f"{how}\ndevice: {out} ({'public seed: no secret' if device.public else 'holds the secret'})")


def _describe(device: "SimulatedOPU") -> None:
    """What is public of a device."""
    from groundglass.core.text import size
    from groundglass.optics.streams.packed import batch_bytes

    camera, batch = device.camera, batch_bytes(device.in_features, device.out_features)
    say(
        f"fingerprint: {device.fingerprint}\n"
        f"{device.kind} device, {device.matrix} matrix: {device.in_features:,} inputs, {device.out_features:,} outputs\n"
        f"camera: {'float32 intensities' if camera.bits is None else f'{camera.bits} bits'}, "
        f"saturation {camera.saturation:g} at density {camera.density:g}, "
        f"read noise {camera.read_noise:g}, shot noise {camera.shot_noise:g}, noise seed {device.noise_seed}"
        f"{'' if camera.power == 2 else f', power {camera.power:g}'}\n"
        f"exposure: {device.exposure.gain:.6g} steps a unit of intensity, mean reading {device.mean_reading:.2f}\n"
        f"seed: {_PUBLIC if device.public else 'drawn from the operating system, in the device file alone'}\n"
        f"memory: {size(device.nbytes)} held; measuring takes up to {size(batch)} of bits and light besides"
    )


def _describe_remote(device: "RemoteOPU") -> None:
    """What the service says of a device."""
    from groundglass.core.text import duration

    facts = device.facts()
    camera, limits = device.camera, [f"{count:,} {name.replace('_', ' ')}" for name, count in facts.budget.items()]
    seen = "not known" if camera is None else "float32 intensities" if camera.bits is None else f"{camera.bits} bits"
    after = (
        f"the old one answers for {duration(facts.overlap)} more" if facts.overlap else "the old one is gone at once"
    )
    say(
        f"fingerprint: {facts.fingerprint}\n"
        f"{facts.kind} at a service: {facts.in_features:,} inputs, {facts.out_features:,} outputs\n"
        f"camera: {seen}, mean reading {facts.mean_reading:.2f}\n"
        f"matrix: {duration(facts.age)} old; after a redraw {after}\n"
        f"seed: {_PUBLIC if facts.public else 'not in this process: the service has it'}\n"
        f"your token: {', '.join(facts.roles)}; left of its budget: {', '.join(limits) or 'no limit'}"
    )


_PUBLIC = "public, as it was given: who knows or guesses it has the matrix"


def _camera_bits(text: str) -> int | None:
    if text == "float":
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"`--bits` (={text!r}) must be 1 to 8, or float") from None
