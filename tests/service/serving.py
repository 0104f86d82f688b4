"""A device service in a thread, on a Unix socket, with its ledger in memory."""

import itertools
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from groundglass.optics import OpticalDevice
from groundglass.optics.remote.device import RemoteOPU
from groundglass.service.app import Service
from groundglass.service.frames import Frames
from groundglass.service.ledger import Ledger
from groundglass.service.policy import Redraw, Versions
from groundglass.service.serve import listen_at, running
from groundglass.service.tokens import ROLES, Budgets
from groundglass.service.watch import Watch

_MEMORY = "/dev/shm"


class Bench:
    """A service that runs, and clients of it.

    Attributes:
        folder: the state.
        service: what is served.
    """

    def __init__(self, folder: Path, devices: dict[str, OpticalDevice] | None = None, **options: Any) -> None:
        self.folder, self._numbers = folder, itertools.count()
        self.ledger = Ledger(folder / "state")
        self.service = Service(self.ledger, **options)
        self.socket = folder / "s"
        for name, device in (devices or {}).items():
            self.serve(name, device)
        self._opened = ExitStack()
        self._opened.enter_context(running(self.service, listen_at(self.socket)))

    def serve(
        self,
        name: str,
        device: OpticalDevice,
        *,
        rate: float | None = None,
        policy: Redraw | None = None,
        watch: Watch | None = None,
    ) -> Frames:
        versions = Versions(name, device, self.folder / "state" / name, policy=policy, now=self.ledger.clock.now)
        self.service.devices[name] = frames = Frames(versions, self.ledger, rate=rate, watch=watch)
        return frames

    def token(self, name: str | None = None, *, roles: Any = ROLES, devices: Any = ("*",), **budgets: int) -> str:
        name = name or f"client-{next(self._numbers)}"
        return self.ledger.tokens.new(name, roles=roles, devices=devices, budgets=Budgets(**budgets))[1]

    def client(self, device: str, token: str | None = None, **options: Any) -> RemoteOPU:
        return RemoteOPU(self.address(device), token=token or self.token(), **{"timeout": 20, **options})

    def address(self, device: str) -> str:
        return f"unix://{self.socket}#{device}"

    def http(self) -> httpx.Client:
        """Plain requests to it."""
        return httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://localhost", timeout=20
        )

    def frames(self, client: str) -> int:
        """That were counted for a client by name."""
        return sum(one.frames for one in self.ledger.usage() if one.client.name == client)

    def close(self) -> None:
        self._opened.close()
        self.ledger.close()


@contextmanager
def bench(**options: Any) -> Iterator[Bench]:
    """In a folder in memory, where a flush takes no time, with a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as folder:
        one = Bench(Path(folder), **options)
        try:
            yield one
        finally:
            one.close()


@cache
def _shared() -> tuple[Bench, str, ExitStack]:
    """One for all devices of a test process."""
    stack = ExitStack()
    one = stack.enter_context(bench())
    return one, one.token("everybody"), stack


_numbers = itertools.count()


def token() -> str:
    """Of `remote`."""
    return _shared()[1]


def remote(device: OpticalDevice) -> RemoteOPU:
    """This device through a service, for as long as what is returned lives."""
    shared, token, _ = _shared()
    name = f"device-{next(_numbers)}"
    frames = shared.serve(name, device)
    found = shared.client(name, token)

    def forget() -> None:
        del shared.service.devices[name]
        frames.stop()

    weakref.finalize(found, forget)
    return found
