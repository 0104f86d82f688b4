"""Cells on Ray: all cores and cards of one machine, or of a cluster.

Ray does resources, placement and retries. This file says what a cell asks for, tells workers of the study, and shuts Ray off
from others: authentication on, no dashboard, and one that a study starts listens on this machine alone.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from groundglass.core.files import atomic_write, make_folder
from groundglass.core.imported import require
from groundglass.core.locks import check_shared
from groundglass.core.platform import usable_cores, versions
from groundglass.core.settings import Count, In, Settings, Tally
from groundglass.studies.engine.executor import Task, WorkerEndedError
from groundglass.studies.engine.worker import THREADS, Setup, Worker

# Of a cell, at least, where a node has so much: CIFAR, a few networks and what is fitted to them.
_MEMORY = 3 * 2**30
# Seconds for a head to answer.
_PATIENCE = 10.0
# Messages that wait to be read. More are dropped: each says all that is to be known of its cell.
_MESSAGES = 1000
_MODULE = "move its classes into a module of their own, in a file that all nodes find, and import them from there"

_MODE = "RAY_AUTH_MODE"
_OPEN = (
    "Ray runs here without authentication, so whoever reaches it over the network runs programs as you, and reads the secret of "
    "your devices. Make a token, `ray get-auth-token --generate`, give it to all nodes, and start Ray with RAY_AUTH_MODE=token"
)


class ClusterError(RuntimeError):
    """A cluster that a study cannot run on; says why, and what to do."""


@dataclass(frozen=True)
class Ray(Settings):
    """Cells as tasks of Ray: each asks for its threads in cores, for memory, and for a card where the study computes on "cuda".

        run_study("white-box", "laptop", "runs/one", executor=Ray("auto"))

    The run folder must be one that all nodes see under the same path. A cell whose node or process dies is begun again
    elsewhere, and goes on from its checkpoint there.

    Args:
        address: "local" starts Ray here for the study, with this machine's cores and cards; "auto" finds the cluster that this
            machine is a node of, or that RAY_ADDRESS names; or HOST:PORT of a cluster's head. This machine is a node of it.
        jobs: cells at a time. None: as many as find room.
        cards: of a cell on "cuda". At 0.5 two cells share a card.
        retries: how often a cell is begun again.

    Raises:
        TypeError, ValueError: a setting that cannot be; Ray is not installed.
    """

    address: str = "local"
    jobs: Count | None = None
    cards: Annotated[float, In("(0, 1]", "a cell uses one card or a part of it")] = 1.0
    retries: Tally = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.address not in ("local", "auto") and not re.fullmatch(r"[^\s/]+:[0-9]+", self.address):
            raise ValueError(f"`address` (={self.address!r}) must be 'local', 'auto' or HOST:PORT of a cluster's head")
        require("a study on Ray", "ray")

    @property
    def elsewhere(self) -> bool:
        """See `Place`."""
        return self.address != "local"

    def check(self, where: str) -> None:
        """See `Place`.

        Raises:
            ClusterError: nothing answers at the address.
            ValueError: a card by its number; a part of one for cells that use none.
        """
        if where.startswith("cuda:"):
            raise ValueError(f"Ray chooses the card of a cell: give the device as 'cuda', not {where!r}")
        if self.cards != 1 and where != "cuda":
            raise ValueError(
                f"`cards` (={self.cards}) is for cells on 'cuda', and these are on {where!r}: leave it out"
            )
        if ":" in self.address:  # Ray itself waits for minutes
            host, _, port = self.address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
            except OSError as error:
                raise _unreachable(self.address, error) from error

    def start(self, setup: Setup) -> "RayExecutor":
        """Start Ray, or join its cluster.

        Raises:
            ClusterError: there is no cluster; it has no authentication; none of its nodes has room for a cell.
            NoLocksError: the run folder is on a drive whose locks hold on one host alone, and Ray may have several.
            ValueError: as `check`.
        """
        self.check(setup.where)
        if self.elsewhere:
            check_shared(setup.folder)
            setup = replace(setup, several_hosts=True)
        return RayExecutor(self, setup)


def _unreachable(address: str, error: Exception) -> ClusterError:
    what, why = "be started" if address == "local" else f"be joined at {address}", str(error).rstrip(".")
    if address != "local" and not _authenticated():
        why += ". RAY_AUTH_MODE=token is not set here, and a cluster that has a token answers to nothing else"
    return ClusterError(f"Ray cannot {what}: {why}. See docs/how-to/cluster.md")


class RayExecutor:
    """See `Executor`."""

    def __init__(self, asked: Ray, setup: Setup) -> None:
        import ray
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if ray.is_initialized():
            raise ClusterError("this process uses Ray already: call ray.shutdown() before the study")
        self.slots, self._ray = asked.jobs, ray
        # What Ray writes is open to all, so it goes into a folder that is not. Sockets are there, and their paths must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="gg", dir=os.environ.get("RAY_TMPDIR")))
        try:
            make_folder(self._folder / "empty")
            self._connect(asked, setup)
            if asked.address != "local":  # the cluster has what it needs of it
                shutil.rmtree(self._folder)
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._needs, self._retries = Needs.of(asked, setup, nodes), asked.retries
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            self._queue = Queue(_MESSAGES, actor_options={"num_cpus": 0, "scheduling_strategy": here})
            self._unread = self._queue.actor.qsize.remote()
            # Once a node: its workers read the images where they lie.
            images = np.frombuffer(setup.dataset, np.uint8)
            self._told = ray.put(_Told(replace(setup, dataset=b""), images, os.getcwd(), versions()))
        except BaseException:
            self.close()
            raise

    def _connect(self, asked: Ray, setup: Setup) -> None:
        from ray import _raylet

        ours = asked.address == "local"
        options: dict[str, Any] = {
            # Ray's workers would look for modules in the current folder first. A folder of the job's own takes its place.
            "runtime_env": {
                "working_dir": str(self._folder / "empty"),
                "env_vars": dict.fromkeys(THREADS, str(setup.threads)),
            },
            "log_to_driver": False,
            "logging_level": "ERROR",
        }
        if ours:
            options |= {
                "num_cpus": usable_cores(),
                "include_dashboard": False,
                "object_store_memory": 2**28 + 2 * len(setup.dataset),
                "_temp_dir": str(self._folder / "ray"),
                # What a machine has no memory for would be begun again for ever.
                "_system_config": {"task_oom_retries": asked.retries},
            }
        with _kept_sigterm(), _to_itself(self._folder) if ours else nullcontext():
            _raylet.AuthenticationTokenLoader.instance().reset_cache()  # the token of another Ray, if there was one
            try:
                self._ray.init(asked.address, **options)
            except Exception as error:
                raise _unreachable(asked.address, error) from error
        if not ours and not _authenticated():
            raise ClusterError(_OPEN)

    def submit(self, task: Task) -> Future[bytes]:
        if b"__main__" in task.payload:  # the name of a module, or no worker knows what it is
            raise ClusterError(
                f"{task.name} is of a class of the script that was started, which Ray's workers cannot import: move what a cell "
                "is made of into a module of its own, in a file that all nodes find, and import it from there"
            )
        answer: Future[bytes] = Future()

        def ended(found: Future[bytes]) -> None:
            error = found.exception()
            if error is None:
                answer.set_result(found.result())
            else:
                answer.set_exception(self._why(task, error))

        run = self._ray.remote(_work).options(name=task.name, max_retries=self._retries, **self._needs.of_task(task))
        run.remote(self._told, self._queue, task.payload).future().add_done_callback(ended)
        return answer

    def messages(self) -> list[tuple[Any, ...]]:
        said: list[tuple[Any, ...]] = []
        with suppress(self._ray.exceptions.RayError):  # a study goes on without them
            if self._ray.wait([self._unread], timeout=0)[0]:
                if count := self._ray.get(self._unread):
                    said = self._queue.get_nowait_batch(count)
                self._unread = self._queue.actor.qsize.remote()
        return said

    def close(self) -> None:
        # Ends the job's workers, and what was started here.
        self._ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _why(self, task: Task, error: BaseException) -> BaseException:
        if isinstance(error, self._ray.exceptions.RayTaskError):  # raised where the cell should have begun
            return error.cause if isinstance(error.cause, ClusterError) else ClusterError(str(error))
        return WorkerEndedError(
            f"the process or the node that was at work on {task.name} has ended, {self._retries + 1} times "
            f"({type(error).__name__}: {error}). A process ends most often for lack of memory: give fewer `jobs`. What is "
            "done is kept: the same command goes on"
        )


@dataclass(frozen=True)
class Needs:
    """What Ray is asked for.

    Attributes:
        usual: for a cell.
        alone: for one that measures time: the largest node, as a whole.
        most: memory of the node that has most, bytes.
    """

    usual: Mapping[str, float]
    alone: Mapping[str, float]
    most: float

    @classmethod
    def of(cls, asked: Ray, setup: Setup, nodes: Sequence[Mapping[str, float]]) -> "Needs":
        """Of a study, on nodes with these resources.

        Raises:
            ClusterError: no node has them.
        """
        cards = asked.cards if setup.where == "cuda" else 0
        fit = [node for node in nodes if node.get("CPU", 0) >= setup.threads and node.get("GPU", 0) >= cards]
        if not fit:
            found = "; ".join(f"{node.get('CPU', 0):g} cores, {node.get('GPU', 0):g} cards" for node in nodes)
            raise ClusterError(
                f"a cell needs {setup.threads} cores{' and a card' if cards else ''}, and no node of Ray's has them ({found}): "
                "give fewer `threads`, or another `device`"
            )
        most = max(node["memory"] for node in fit)
        memory = min(_MEMORY, most)
        largest = max((node for node in fit if node["memory"] >= memory), key=lambda node: node["CPU"])
        usual = {"num_cpus": setup.threads, "num_gpus": cards, "memory": memory}
        alone = {**usual, "num_cpus": largest["CPU"], "num_gpus": largest["GPU"] if cards else 0}
        return cls(usual, alone, most)

    def of_task(self, task: Task) -> Mapping[str, float]:
        """Of one that shares its node also the memory that it is estimated to take, if a node has so much."""
        if task.alone:
            return self.alone
        return {**self.usual, "memory": max(self.usual["memory"], min(task.memory, self.most))}


@dataclass(frozen=True)
class _Told:
    """What a worker is told with each cell, of which it needs the first; Ray keeps it once a node."""

    setup: Setup
    images: np.ndarray
    folder: str
    versions: dict[str, str]


_worker: Worker | None = None


def _work(told: _Told, queue: Any, payload: bytes) -> bytes:
    """A cell, in one of Ray's workers. Those of a job are its own, and have its setup from the first cell on."""
    global _worker
    if _worker is None:
        if not _authenticated():
            raise ClusterError(_OPEN)
        here = versions()
        if differ := [f"{name} {here[name]} and not {one}" for name, one in told.versions.items() if here[name] != one]:
            raise ClusterError(
                f"a node has {', '.join(differ)}: install the same on all, or a cell finds something else there"
            )
        with suppress(OSError):  # a file of the user's own may be named from there; a node may have no such folder
            os.chdir(told.folder)
        # Not waited for: a task that waits gives its cores to another.
        tell = queue.actor.put_nowait.remote
        _worker = Worker(replace(told.setup, dataset=told.images.tobytes()), tell)
    return _worker.work(payload)


def _authenticated() -> bool:
    return os.environ.get(_MODE, "").lower() == "token"


@contextmanager
def _to_itself(folder: Path) -> Iterator[None]:
    """What is started meanwhile listens on this machine's own address, to those who have a token that its user alone can read."""
    from ray._private import ray_constants

    token = folder / "token"
    with atomic_write(token, "w", private=True) as file:
        file.write(secrets.token_hex(32))
    # Ray takes the address of the network, but for systems on which that brings up a question of the firewall.
    cluster, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    before = {name: os.environ.pop(name, None) for name in (_MODE, "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")}
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)  # and with no mode said, a new Ray is authenticated
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = cluster
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Ray puts a handler of its own in place of the program's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
