"""Where cells run: an executor is given those that can start, and hands back what they have found."""

import pickle
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from groundglass.results import Record
from groundglass.studies.engine.cell import Cell, Prepared, key_of
from groundglass.studies.engine.worker import Setup


class WorkerEndedError(RuntimeError):
    """A worker's process ended without saying why."""


@dataclass(frozen=True)
class Task:
    """A cell that can start, with what it needs. Nothing in it is secret: see `engine.cell.prepare`.

    Attributes:
        memory: bytes that it takes, about, see `Plan.memory`; 0 where nobody knows.
    """

    cell: Cell
    inputs: Sequence[Record]
    prepared: Prepared
    memory: int = 0

    @property
    def name(self) -> str:
        return self.cell.name

    @property
    def key(self) -> str:
        return key_of(self.cell)

    @property
    def alone(self) -> bool:
        """Whether its result is a time: it must have its computer to itself."""
        return is_alone(self.cell)

    @cached_property
    def payload(self) -> bytes:
        """What a worker is given. Pickled here: torch's own pickling would put tensors into shared memory, of which containers
        have little."""
        return pickle.dumps((self.cell, tuple(self.inputs), self.prepared), pickle.HIGHEST_PROTOCOL)


class Executor(Protocol):
    """Runs ready cells somewhere."""

    @property
    def slots(self) -> int | None:
        """How many cells it takes at a time; None: it queues what it is given, and keeps cells that are `alone` by themselves."""
        ...

    def submit(self, task: Task) -> Future[bytes]:
        """Run a cell, some time; the answer is that of `Worker.work`, to be read by `engine.worker.opened`."""
        ...

    def messages(self) -> list[tuple[Any, ...]]:
        """What workers have said since it was last asked: (cell's name, what, done, total, figures)."""
        ...

    def close(self) -> None:
        """End all that is under way."""
        ...


class Place(Protocol):
    """Where a study is to run, as it is asked for."""

    @property
    def elsewhere(self) -> bool:
        """Whether its workers may be on other machines: the card that they compute on need not be here."""
        ...

    def check(self, where: str) -> None:
        """Refuse what cannot run cells on this device, before any work: nothing is started."""
        ...

    def start(self, setup: Setup) -> Executor:
        """Get it ready: workers may start then, or with the first cells."""
        ...


def is_alone(cell: Cell) -> bool:
    return bool(getattr(cell, "alone", False))
