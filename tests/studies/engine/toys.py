"""Cells that do little, for tests of what runs them. In a module of their own: workers import them."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from groundglass.core import DamagedFileError
from groundglass.results import Record
from groundglass.studies.engine.cell import Outcome
from groundglass.studies.engine.context import Context


class UnsendableError(ValueError):
    """Cannot be unpickled: it needs two arguments, and hands on one."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}, as {why}")


def end_without_a_guard(setup, queue, cards, alive):
    """What a worker does that imports a script without a main guard: it comes to the study again, and ends."""
    os._exit(1)


def die_at_once(setup, queue, cards, alive):
    """A worker that is killed before it has answered anything."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_when_sending():
    """A worker that is killed when a part of its answer is on the way."""
    while not any(frame.f_code.co_name == "_send" for frame in sys._current_frames().values()):
        time.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)


class Interrupted(multiprocessing.get_context("spawn").Process):  # type: ignore[name-defined]
    """A process that Ctrl-C reaches while it starts."""

    def start(self) -> None:
        super().start()
        os.kill(self.pid, signal.SIGINT)


class Lingering(multiprocessing.get_context("spawn").Process):  # type: ignore[name-defined]
    """A process that has ended, and whose exit code the system has only when it is waited for."""

    _joined = False

    def join(self, timeout=None) -> None:
        super().join(timeout)
        self._joined = True

    @property
    def exitcode(self):
        return super().exitcode if self._joined else None


@dataclass(frozen=True)
class Toy:
    """Adds up the arrays of its inputs, and one.

    Attributes:
        does: "add", or what goes wrong.
        seconds: that it takes.
        alone: as cells that measure time.
    """

    name: str
    inputs: tuple["Toy", ...] = ()
    does: str = "add"
    seconds: float = 0.0
    alone: bool = False

    kind: ClassVar[str] = "toy"

    def config(self) -> dict[str, Any]:
        return {"name": self.name}

    def run(self, inputs: list[Record], context: Context) -> Outcome:
        (context.folder / f"{self.name}.pid").write_text(str(os.getpid()))
        context.progress("adding", 1, 1, threads=torch.get_num_threads())
        time.sleep(self.seconds)
        if self.does == "fail":
            raise DamagedFileError(f"{self.name} is damaged")
        if self.does == "fail oddly":
            raise UnsendableError(self.name, "it is a test")
        if self.does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.does == "die answering":
            threading.Thread(target=die_when_sending, daemon=True).start()
            return Outcome({}, {"large": np.zeros(5_000_000)})
        total = 1 + sum(int(context.arrays(record)["total"][0]) for record in inputs)
        scratch = context.folder / f"{self.name}.scratch"
        scratch.touch()
        found = {"total": total, "images": len(context.dataset.test), "has_seed": context.device_seed is not None}
        return Outcome(found, {"total": np.array([total])}, earlier_seconds=100, scratch=scratch)
