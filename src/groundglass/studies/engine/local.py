"""Cells that run side by side, each in a process of its own with its share of the cores.

Networks of this size keep one core busy and hardly a second: two trainings on a core each are done long before the same
two, one after the other, on two. The parent alone writes records. Its workers send it what they found.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from groundglass.core.platform import available_memory, usable_cores
from groundglass.core.sealed import Seed, without_locals
from groundglass.data import Dataset
from groundglass.results import Record, RecordStore
from groundglass.studies.engine.cell import Cell, inputs_of, keep, key_of, perform
from groundglass.studies.engine.context import Context

# A worker with CIFAR, a few networks and what is fitted to them.
_MEMORY_OF_A_WORKER = 3 * 2**30
_MOST_WORKERS = 8
# Not a fork of this process: that copies OpenMP's threads as they are not, and the child waits for them for ever.
_START = multiprocessing.get_context("spawn")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SAFE, _OURS = "PYTHONSAFEPATH", "groundglass"
_GUARD = (
    "Each process imports the program that asked for it. See what it says above; if the call stands at the top level of a "
    'script, put it under `if __name__ == "__main__":`, or ask for jobs=1'
)


class WorkerEndedError(RuntimeError):
    """A worker's process ended without saying why."""


class CellFailedError(RuntimeError):
    """What a worker's cell raised, where the error itself cannot be sent."""


def fitting_jobs(where: torch.device) -> int:
    """How many cells to run side by side on this machine: one a core, as far as memory goes; one on a GPU."""
    if where.type == "cuda":
        return 1
    memory = available_memory()
    fits = _MOST_WORKERS if memory is None else memory // _MEMORY_OF_A_WORKER
    return max(1, min(usable_cores(), fits, _MOST_WORKERS))


def refuse_in_a_starting_worker() -> None:
    """Raises a RuntimeError in a process that is still importing the program that started it: a script without a guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(f"a study may not start while a worker of another one does. {_GUARD}")


def run_side_by_side(cells: Sequence[Cell], store: RecordStore, context: Context, jobs: int) -> int:
    """Run every cell that has no record yet, up to `jobs` at a time; returns how many were run.

    A cell starts when the records that it needs are there; of several, the first of the plan does. Every cell has its own seed,
    so what comes out does not depend on who runs it, or when. Cells with a true attribute `alone`, whose result is a time,
    run last and one by one.

    Args:
        jobs: processes; each has its share of the cores.

    Raises:
        WorkerEndedError: a worker was killed, perhaps because memory ran out; or it imported a script without a main guard.
        Exception: whatever a cell has raised; the others are stopped then, and go on from their checkpoints next time.
    """
    waiting = [cell for cell in cells if key_of(cell) not in store]
    total, fresh = len(cells), len(waiting)
    threads = max(1, usable_cores() // jobs)
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.cell for worker in workers):
            while (ready := _next(waiting, workers, store, jobs)) is not None:
                cell, inputs = ready
                waiting.remove(cell)
                context.announce(f"[{total - len(waiting)}/{total}] {cell.name}")
                free = next((worker for worker in workers if worker.cell is None), None)
                if free is None:
                    free = _Worker(context, threads)
                    workers.append(free)
                free.give(cell, inputs)
            assert any(worker.cell for worker in workers), "no cell can start: one comes before its inputs"
            failed: list[Exception] = []
            for worker in _told(workers):
                what, *rest = worker.receive()
                if what == "begun":
                    worker.begun = True
                elif what == "progress":
                    worker.show(context, *rest)
                elif what == "failed":
                    failed.append(rest[0])
                else:
                    worker.cell = None
                    try:
                        keep(rest[0], rest[1], store, context)
                    except Exception as error:
                        failed.append(error)
            # What others have found by then is kept first, and a second error does not replace the first.
            if failed:
                for other in failed[1:]:
                    failed[0].add_note(f"{type(other).__name__} in another cell: {other}")
                raise failed[0]
    finally:
        for worker in workers:
            worker.end()
    return fresh


def _next(
    waiting: list[Cell], workers: list["_Worker"], store: RecordStore, jobs: int
) -> tuple[Cell, list[Record]] | None:
    """A cell that can start now, with its inputs. One that measures time waits until nothing else is under way."""
    busy = [worker.cell for worker in workers if worker.cell is not None]
    if len(busy) == jobs or any(map(_alone, busy)):
        return None
    for cell in sorted(waiting, key=_alone):
        if _alone(cell) and busy:
            return None
        inputs = inputs_of(cell, store)
        if inputs is not None:
            return cell, inputs
    return None


def _alone(cell: Cell) -> bool:
    return bool(getattr(cell, "alone", False))


def _told(workers: Sequence["_Worker"]) -> list["_Worker"]:
    """Those that have something to say; waits for one."""
    pipes = {worker.pipe: worker for worker in workers if worker.cell is not None}
    return [pipes[pipe] for pipe in wait(list(pipes)) if isinstance(pipe, Connection)] if pipes else []


class _Worker:
    """A process that runs cells, seen from the parent.

    What is sent is pickled here, not by the pipe: torch would put tensors into shared memory, of which containers have little.
    """

    def __init__(self, context: Context, threads: int) -> None:
        self.cell: Cell | None = None
        self.begun = False
        self.pipe, theirs = _START.Pipe()
        # Nothing is ever sent through it. When the parent ends, however it ends, the child sees its end.
        alive, self._alive = _START.Pipe(duplex=False)
        self._process = _START.Process(target=_serve, args=(theirs, alive, threads), daemon=True)
        with _environment(threads):
            self._process.start()
        theirs.close()
        alive.close()
        # Not a part of anything that is pickled.
        with suppress(BrokenPipeError, ConnectionResetError):
            send_seed(self.pipe, context.device_seed)
        self._send((context.folder, context.dataset, context.where))

    def give(self, cell: Cell, inputs: Sequence[Record]) -> None:
        self.cell = cell
        self._send((cell, tuple(inputs)))

    def receive(self) -> tuple[Any, ...]:
        try:
            found: tuple[Any, ...] = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, ConnectionResetError):
            self._process.join(5)
            assert self.cell is not None
            if not self.begun and (self._process.exitcode or 0) > 0:
                raise WorkerEndedError(
                    f"a process that should have run {self.cell.name} ended before it began. {_GUARD}"
                ) from None
            raise WorkerEndedError(
                f"the process that was at work on {self.cell.name} has ended (exit code {self._process.exitcode}; -9 is most "
                "often a lack of memory). What is done is kept: run the same command again, with a smaller --jobs"
            ) from None
        return found

    def show(self, context: Context, what: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Progress, by the cell's name: others are at work too."""
        assert self.cell is not None
        name = what if self.cell.name in what else f"{self.cell.name}, {what}"
        context.progress(name, done, total, **figures)

    def end(self) -> None:
        self.pipe.close()
        self._alive.close()
        self._process.terminate()
        self._process.join()

    def _send(self, value: Any) -> None:
        # One that has ended is noticed where its answer is awaited.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send_bytes(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


@without_locals
def send_seed(pipe: Connection, seed: Seed | None) -> None:
    """What a worker's devices are made from."""
    pipe.send_bytes(b"" if seed is None else seed.reveal().encode())


@without_locals
def receive_seed(pipe: Connection) -> Seed | None:
    """The other end of `send_seed`. It was given, so it is public."""
    return Seed.of_hex(pipe.recv_bytes(), public=True)


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """What a child finds when it loads numpy and torch."""
    before = {name: os.environ.get(name) for name in (*_THREADS, _SAFE)}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    # Python would look for its own modules in the current folder first. The child gets this process's `sys.path` instead, so what
    # was importable here, the user's own modules too, is there.
    os.environ.setdefault(_SAFE, _OURS)
    # Ctrl-C reaches all processes of a terminal, and one that is still importing would print a traceback of that. The child
    # lets the signal in once it has a handler for it. Python's own helper process unblocks it when it starts, so it starts first.
    resource_tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _serve(pipe: Connection, alive: Connection, threads: int) -> None:
    """The child: cells in, records out, until the parent ends it."""
    # Ctrl-C reaches all processes of a terminal; the parent decides what becomes of it. A handler, and not SIG_IGN: that is
    # handed down to programs that a cell starts, which should end.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    if os.environ.get(_SAFE) == _OURS:  # for this start only: what a cell starts is as it would be without workers
        del os.environ[_SAFE]
    torch.set_num_threads(threads)
    with suppress(EOFError, BrokenPipeError):
        pipe.send_bytes(pickle.dumps(("begun",)))
        seed = receive_seed(pipe)
        folder, dataset, where = pickle.loads(pipe.recv_bytes())
        context = _context(pipe, folder, dataset, seed, where)
        while True:
            cell, inputs = pickle.loads(pipe.recv_bytes())
            try:
                answer: tuple[Any, ...] = ("found", *perform(cell, inputs, context))
            except Exception as error:
                answer = ("failed", _sendable(error))
            pipe.send_bytes(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))


def _context(
    pipe: Connection, folder: Path, dataset: Dataset, device_seed: Seed | None, where: torch.device
) -> Context:
    last = 0.0

    def progress(what: str, done: int, total: int, **figures: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 0.2 or done >= total:
            last = now
            pipe.send_bytes(pickle.dumps(("progress", what, done, total, figures)))

    # To read the arrays of records that it is given; whether they are in the store is the parent's business.
    arrays = RecordStore(folder, {}, [], None).arrays
    return Context(folder, dataset=dataset, device_seed=device_seed, progress=progress, arrays=arrays, where=where)


def _sendable(error: Exception) -> Exception:
    """The error itself, with where it was raised, if it can be sent."""
    where = traceback.format_exc()
    error.add_note(where)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return CellFailedError(where)
    return error


def _end_with_parent(alive: Connection) -> None:
    with suppress(EOFError, OSError):
        alive.recv_bytes()
    os._exit(1)
