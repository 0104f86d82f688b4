"""What runs cells in a process of its own, whoever has started it: cells in, what they have found out."""

import pickle
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from groundglass.core.hosts import several_hosts
from groundglass.data import Dataset
from groundglass.results import Record, RecordStore
from groundglass.studies.engine.cell import Outcome, perform
from groundglass.studies.engine.context import Context

# Seconds between two messages of a worker about one cell.
_QUIET = 0.2

#: What says how many threads the libraries of a new process take.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: (cell's name, what, done, total, figures)
Tell = Callable[[tuple[Any, ...]], None]


@dataclass(frozen=True)
class Setup:
    """What every worker is told once. Nothing in it is secret.

    Attributes:
        folder: the run folder, which all workers share.
        dataset: pickled.
        where: the device to compute on, as torch names it; "cuda" is the worker's own card.
        threads: of a cell. What comes out may depend on it in the last bit.
        path: where Python looks for modules, the user's own too.
        several_hosts: whether others write files that are read here, on a drive that shows them late.
        token_file: the file with the token of a device at a service; None: each has it in its environment, if there is one.
    """

    folder: Path
    dataset: bytes
    where: str
    threads: int
    path: tuple[str, ...]
    several_hosts: bool = False
    token_file: Path | None = None

    @classmethod
    def of(cls, context: Context, threads: int, *, where: torch.device | None = None) -> "Setup":
        """Of a study.

        Args:
            where: what workers compute on; None: as the context does.
        """
        dataset = pickle.dumps(context.dataset, pickle.HIGHEST_PROTOCOL)
        found = cls(context.folder.absolute(), dataset, str(where or context.where), threads, tuple(sys.path))
        return replace(found, token_file=context.devices.token_file)


class CellFailedError(RuntimeError):
    """What a worker's cell raised, where the error itself cannot be sent."""


class Worker:
    """Runs one cell after another; what one has loaded, the next finds.

    Args:
        tell: called with how far a cell is, a few times a second at most.
    """

    def __init__(self, setup: Setup, tell: Tell) -> None:
        sys.path += [entry for entry in setup.path if entry not in sys.path]
        torch.set_num_threads(setup.threads)
        self._setup, self._tell, self._cell, self._last = setup, tell, "", 0.0
        dataset: Dataset = pickle.loads(setup.dataset)
        # To read the arrays of records that it is given; whether they are in the store is the driver's business.
        arrays = RecordStore(setup.folder, {}, [], None).arrays
        self._context = Context(
            setup.folder,
            dataset=dataset,
            where=setup.where,
            progress=self._progress,
            arrays=arrays,
            token_file=setup.token_file,
        )

    def work(self, payload: bytes) -> bytes:
        """Run the cell of a `Task.payload`: its record and what it found, or the error; see `opened`."""
        cell, inputs, prepared = pickle.loads(payload)
        self._cell, self._last = cell.name, 0.0
        try:
            with several_hosts() if self._setup.several_hosts else nullcontext():
                answer: tuple[Any, ...] = perform(cell, inputs, self._context, prepared)
        except Exception as error:
            answer = (_sendable(error),)
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)

    def _progress(self, what: str, done: int, total: int, **figures: float) -> None:
        now = time.monotonic()
        if now - self._last >= _QUIET or done >= total:
            self._last = now
            self._tell((self._cell, what, done, total, figures))


def opened(answer: bytes) -> tuple[Record, Outcome]:
    """What a cell has found, of the answer of `Worker.work`; or raises what it has raised, with where that was."""
    found = pickle.loads(answer)
    if isinstance(found[0], Exception):
        raise found[0]
    record, outcome = found
    return record, outcome


def _sendable(error: Exception) -> Exception:
    """The error itself, with where it was raised, if it can be sent."""
    where = traceback.format_exc()
    error.add_note(where)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return CellFailedError(where)
    return error
