"""A device service in a thread, on a Unix socket, with a ledger in memory."""

import itertools
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from groundglass.optics import OpticalDevice
from groundglass.optics.remote.device import RemoteOPU
from groundglass.optics.remote.errors import FrameBudgetError, TokenRefusedError
from groundglass.service.app import Service
from groundglass.service.frames import Frames
from groundglass.service.policy import Versions
from groundglass.service.serve import listen_at, running

ROLES = frozenset({"measure", "calibrate", "redraw", "administer"})


@dataclass(frozen=True)
class Client:
    name: str
    roles: frozenset[str] = ROLES
    devices: tuple[str, ...] = ("*",)
    budget: int | None = None


@dataclass(eq=False)
class Batch:
    client: Client
    device: str
    reserved: int


@dataclass
class MemoryLedger:
    """Counts frames as the real one does, and forgets them with the process. Every token `gg_NAME` is known, with all roles;
    others are added to `clients`."""

    clients: dict[str, Client] = field(default_factory=dict)
    taken: dict[tuple[str, str], int] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def authenticate(self, token: str) -> Client:
        if token in self.clients:
            return self.clients[token]
        if not token.startswith("gg_"):
            raise TokenRefusedError("this token is not known here")
        return Client(token.removeprefix("gg_"))

    def frames(self, client: str) -> int:
        return sum(count for (name, _), count in self.taken.items() if name == client)

    def begin(self, client: Client, device: str, rows: int) -> Batch:
        with self._lock:
            used = self.frames(client.name) + self.reserved.get(client.name, 0)
            if client.budget is not None and used + rows > client.budget:
                raise FrameBudgetError(f"{rows} frames are more than are left, {client.budget - used}")
            self.reserved[client.name] = self.reserved.get(client.name, 0) + rows
        return Batch(client, device, rows)

    def take(self, taken: Sequence[tuple[Batch, int]]) -> None:
        with self._lock:
            for batch, count in taken:
                assert count <= batch.reserved, "more frames than were reserved"
                batch.reserved -= count
                self.reserved[batch.client.name] -= count
                key = batch.client.name, batch.device
                self.taken[key] = self.taken.get(key, 0) + count

    def end(self, batch: Batch) -> None:
        with self._lock:
            self.reserved[batch.client.name] -= batch.reserved
            batch.reserved = 0

    def left(self, client: Client) -> Any:
        return None if client.budget is None else client.budget - self.frames(client.name)


@contextmanager
def served(service: Service, folder: Path | None = None, **options: Any) -> Iterator[Path]:
    """The socket of a service that runs; its path is short enough for every system."""
    with ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "s"
        stack.enter_context(running(service, listen_at(path), **options))
        yield path


def frames_of(name: str, device: OpticalDevice, ledger: Any, *, rate: float | None = None, **options: Any) -> Frames:
    return Frames(Versions(name, device), ledger, rate=rate, **options)


_numbers = itertools.count()


@cache
def _shared() -> tuple[Service, Path, ExitStack]:
    """One for all devices of a test process."""
    stack, service = ExitStack(), Service(MemoryLedger())
    return service, stack.enter_context(served(service)), stack


def remote(device: OpticalDevice) -> RemoteOPU:
    """This device through a service, for as long as what is returned lives."""
    service, path, _ = _shared()
    name = f"device-{next(_numbers)}"
    service.devices[name] = frames = frames_of(name, device, service.ledger)
    found = RemoteOPU(f"unix://{path}#{name}", token="gg_test", timeout=20)

    def forget() -> None:
        del service.devices[name]
        frames.close()

    weakref.finalize(found, forget)
    return found
