"""Cells that run side by side on this machine, each in a process of its own with its share of the cores.

Networks of this size keep one core busy and hardly a second: two trainings on a core each are done long before the same
two, one after the other, on two.
"""

import math
import mmap
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, reduction, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, ClassVar

import torch

from groundglass.core.platform import available_memory, usable_cores
from groundglass.studies.engine.executor import Task, WorkerEndedError
from groundglass.studies.engine.worker import THREADS, Setup, Worker

# A worker with CIFAR, a few networks and what is fitted to them.
_MEMORY_OF_A_WORKER = 3 * 2**30
_MOST_WORKERS = 8
# Seconds in which a process that has ended has its exit code, and in which the pool knows.
_MOMENT = 10.0
# Not a fork of this process: that copies OpenMP's threads as they are not, and the child waits for them for ever.
_START: Any = multiprocessing.get_context("spawn")
_SAFE, _OURS = "PYTHONSAFEPATH", "groundglass"
_GUARD = (
    "Each process imports the program that asked for it. See what it says above; if the call stands at the top level of a "
    'script, put it under `if __name__ == "__main__":`, or ask for jobs=1'
)


@dataclass(frozen=True)
class Local:
    """Processes of this machine.

    Attributes:
        jobs: how many, each with `Setup.threads` threads.
    """

    jobs: int
    elsewhere: ClassVar[bool] = False

    def check(self, where: str) -> None:
        """Nothing is refused: see `Place`."""

    def start(self, setup: Setup) -> "LocalExecutor":
        return LocalExecutor(setup, self.jobs)


def fitting_jobs(where: torch.device) -> int:
    """How many cells to run side by side on this machine: one a core, as far as memory goes; on GPUs one a card."""
    if where.type == "cuda":
        return torch.cuda.device_count() if where.index is None else 1
    memory = available_memory()
    fits = _MOST_WORKERS if memory is None else memory // _MEMORY_OF_A_WORKER
    return max(1, min(usable_cores(), fits, _MOST_WORKERS))


def refuse_in_a_starting_worker() -> None:
    """Raises a RuntimeError in a process that is still importing the program that started it: a script without a guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(f"a study may not start while a worker of another one does. {_GUARD}")


class LocalExecutor:
    """See `Executor`. A process starts when there is a cell for it."""

    def __init__(self, setup: Setup, jobs: int) -> None:
        self.slots, self._threads, self._said = jobs, setup.threads, list[tuple[Any, ...]]()
        self._processes: list[Any] = []
        self._at_work: dict[int, str] = {}
        self._reading, self._broken = threading.Lock(), math.inf
        with _environment(setup.threads):  # queues start Python's own helper process
            self._queue, self._cards = _START.SimpleQueue(), _START.SimpleQueue()
            # Nothing is ever sent through it. When this process ends, however it ends, its workers see its end.
            theirs, self._alive = _START.Pipe(duplex=False)
            told: Any = _Handed(pickle.dumps(setup, pickle.HIGHEST_PROTOCOL))
            given = (told, self._queue, self._cards, theirs)
            starts: Any = _Starts(self)
            self._pool = ProcessPoolExecutor(jobs, starts, initializer=_begin, initargs=given)
        if setup.where == "cuda":
            for job in range(jobs):
                self._cards.put(job % torch.cuda.device_count())

    def submit(self, task: Task) -> Future[bytes]:
        answer: Future[bytes] = Future()

        def ended(found: Future[bytes]) -> None:
            error = found.exception()
            if error is None:
                answer.set_result(found.result())
            else:
                answer.set_exception(self._why(task) if isinstance(error, BrokenProcessPool) else error)

        with _environment(self._threads):
            self._pool.submit(_work, task.name, task.payload).add_done_callback(ended)
        return answer

    def messages(self) -> list[tuple[Any, ...]]:
        self._end_if_stuck()
        return self._unread()

    def _unread(self) -> list[tuple[Any, ...]]:
        with self._reading:
            while not self._queue.empty():
                pid, *message = self._queue.get()
                self._at_work[pid] = message[0]
                if len(message) > 1:
                    self._said.append(tuple(message))
            said, self._said = self._said, []
        return said

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._alive.close()

    def _ended(self) -> list[Any]:
        """Processes that have ended, which they do not do by themselves."""

        def has(process: Any) -> bool:
            with suppress(ValueError):  # not started yet
                return bool(connection.wait([process.sentinel], timeout=0))
            return False

        return [process for process in self._processes if has(process)]

    def _end_if_stuck(self) -> None:
        """One that is killed while it sends its answer leaves the pool waiting for the rest of it, until nobody could send it."""
        now = time.monotonic()
        self._broken = min(self._broken, now) if self._ended() else math.inf
        if now - self._broken > _MOMENT:
            for process in self._processes:
                process.terminate()
                process.join()
            pool: Any = self._pool
            pool._result_queue._writer.close()

    def _why(self, task: Task) -> WorkerEndedError:
        """Why the pool is broken: one of its processes has ended, and it ends the others then."""
        said = self._unread()
        self._said = said + self._said
        for process in self._ended():  # its files are closed; the system may still be giving back its memory
            process.join(_MOMENT)
        codes = {process.pid: process.exitcode for process in self._processes}
        pid, code = next(((pid, code) for pid, code in codes.items() if code not in (None, -signal.SIGTERM)), (0, None))
        if pid not in self._at_work and (code or 0) > 0:
            return WorkerEndedError(f"a process that should have run {task.name} ended before it began. {_GUARD}")
        return WorkerEndedError(
            f"the process that was at work on {self._at_work.get(pid) or task.name} has ended (exit code {code}; -9 is most "
            "often a lack of memory). What is done is kept: run the same command again, with a smaller --jobs"
        )


class _Starts:
    """The way in which processes start, of which an executor knows those that it has started."""

    def __init__(self, executor: LocalExecutor) -> None:
        self._executor = executor

    def __getattr__(self, name: str) -> Any:
        return getattr(_START, name)

    def Process(self, **given: Any) -> Any:
        process = _START.Process(**given)
        self._executor._processes.append(process)
        return process


class _Handed:
    """Bytes for processes that start, in an open file without a name.

    Else they would go through a pipe, which holds little: this process would wait until the other has loaded what it needs and
    reads, and for ever if it is killed before that.
    """

    def __init__(self, content: bytes) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._file.write(content)
        self._file.flush()

    def __reduce__(self) -> tuple[Any, ...]:
        return _read, (reduction.DupFd(self._file.fileno()),)


def _read(descriptor: Any) -> bytes:
    # Mapped: all who have the file share its place.
    with open(descriptor.detach(), "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content[:]


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """What a process finds that starts meanwhile: before it loads numpy and torch."""
    before = {name: os.environ.get(name) for name in (*THREADS, _SAFE)}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
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


_worker: Worker
_tell: Any


def _begin(setup: bytes, queue: Any, cards: Any, alive: Connection) -> None:
    """The first thing that a worker does."""
    global _worker, _tell
    # Ctrl-C reaches all processes of a terminal; the parent decides what becomes of it. A handler, and not SIG_IGN: that is
    # handed down to programs that a cell starts, which should end.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    if os.environ.get(_SAFE) == _OURS:  # for this start only: what a cell starts is as it would be without workers
        del os.environ[_SAFE]
    told: Setup = pickle.loads(setup)
    if told.where == "cuda":
        told = replace(told, where=f"cuda:{cards.get()}")
    _tell = lambda message: queue.put((os.getpid(), *message))  # noqa: E731
    _worker = Worker(told, _tell)


def _work(name: str, payload: bytes) -> bytes:
    _tell((name,))
    return _worker.work(payload)


def _end_with_parent(alive: Connection) -> None:
    with suppress(EOFError, OSError):
        alive.recv_bytes()
    os._exit(1)
