"""`groundglass retrieve`: what an attacker who holds a device gets of its matrix."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from groundglass.cli.options import Command, ComputeOn
from groundglass.cli.remote import CaFile, TokenFile, device_at
from groundglass.cli.terminal import Terminal, say

if TYPE_CHECKING:
    from groundglass.optics import SimulatedOPU


@dataclass(frozen=True)
class Retrieve(Command):
    """Retrieve a device's matrix from its readings alone, as an attacker who holds it would. The same command continues it."""

    file: tyro.conf.Positional[str]
    """The file of a simulated device, as a study leaves it in devices/. Its secret is used to simulate, and to say in the end
    how far the retrieved matrix is from it; the retrieval sees readings. Or the address of a device at a service,
    https://HOST:PORT/devices/NAME or unix:///PATH/TO/SOCKET#NAME: how far from it the matrix is, nobody here can say."""
    out: Path
    """Folder for readings.npy, matrix.npy (as good as the secret) and retrieval.json; a new one, or one to go on in."""
    queries: str = "12N"
    """Frames to take, checks included: a number, or a multiple of the inputs as in 12N."""
    method: str = "fixed-exposure"
    """fixed-exposure, multilateration or closed-form."""
    exposure_control: bool = False
    """The attacker may set the exposure; closed-form needs it."""
    rows: int | None = None
    """Retrieve the first so many outputs only."""
    seed: int = 0
    """Of inputs and starts."""
    frame_rate: float = 2000.0
    """Frames a second of the device, to say how long they take."""
    device: ComputeOn = "auto"
    token_file: TokenFile = None
    ca_file: CaFile = None

    def run(self) -> None:
        from groundglass.core import lookup
        from groundglass.core.accelerator import torch_device
        from groundglass.optics import DeviceAccess, SimulatedOPU, true_matrix
        from groundglass.optics.remote.errors import check_frames
        from groundglass.optics.retrieval import METHODS, frames_of, retrieve, row_errors
        from groundglass.optics.retrieval.folder import RetrievalFolder

        method, where = lookup("method", self.method, METHODS)(), torch_device(self.device)
        device = device_at(self.file, self.token_file, self.ca_file)
        if isinstance(device, SimulatedOPU) and self.rows is not None and 1 <= self.rows < device.out_features:
            # A camera that reads no more than is wanted: of a device of a million outputs the rest would cost too much.
            device = device if _of(device, self.out) else device.region(range(self.rows))
        frames = frames_of(self.queries, device.in_features)
        left = frames - RetrievalFolder.taken_in(self.out)
        check_frames(left, getattr(device, "frames_left", None), "what is left of the retrieval")
        access = DeviceAccess(device, exposure_control=self.exposure_control, frame_rate=self.frame_rate)
        with Terminal(kept=f"in {self.out}") as terminal:
            found = retrieve(
                access,
                method,
                frames=frames,
                seed=self.seed,
                rows=self.rows,
                folder=self.out,
                device=where,
                progress=terminal.progress,
            )
        rows, n = found.matrix.shape
        wrong = float(found.told_wrong.float().mean())
        took = "simulating the frames" if isinstance(device, SimulatedOPU) else "waiting for the frames"
        say(
            f"{rows} rows of {n} from {found.frames} frames ({found.frames / n:.1f} N), method {method.name}\n"
            f"seconds: {found.device_seconds:.1f} at the device ({self.frame_rate:g} frames a second), "
            f"{found.compute_seconds:.1f} of computing, {found.measure_seconds:.1f} of {took}\n"
            "what the attacker can tell, from held-out readings in grey levels: "
            f"median {float(found.held_out.median()):.2f} (chance {found.chance:.1f}, read noise {found.noise:.2f}), "
            f"{wrong:.1%} of the rows wrong; rows solved again {int(found.retried.sum())}, doubtful {int(found.doubtful.sum())}"
        )
        if isinstance(device, SimulatedOPU):
            errors = row_errors(found.matrix, true_matrix(device)[:rows])
            say(
                "true relative error, up to phase and conjugation: "
                f"median {float(errors.median()):.2%}, worst {float(errors.max()):.2%}, "
                f"above 10% in {float((errors > 0.1).float().mean()):.1%} of the rows"
            )
        else:
            say("true relative error: not known, as nobody here has the matrix")
        say(f"matrix: {self.out / 'matrix.npy'} (as good as the secret)")


def _of(device: "SimulatedOPU", folder: Path) -> bool:
    """Whether a retrieval was begun there with a camera that reads all of the device's outputs: it goes on with that."""
    from groundglass.core.untrusted import MOST_JSON, read_bytes

    begun = folder / "retrieval.json"
    return begun.exists() and f'"{device.fingerprint}"' in read_bytes(begun, most=MOST_JSON).decode(errors="replace")
