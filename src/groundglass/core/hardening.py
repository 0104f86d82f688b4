"""A process that keeps its memory to itself: from other processes of its user, from core dumps, and from swap."""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from groundglass.core.secret_memory import lock_secrets
from groundglass.core.text import size

# <sys/prctl.h>, <sys/mman.h> and <linux/capability.h>.
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14


@dataclass(frozen=True)
class Step:
    """One thing that was tried.

    Attributes:
        what: it is for: "tracing", "core dumps", "swap", "new files".
        done: wholly.
        said: what was got, or why not, and what to do.
    """

    what: str
    done: bool
    said: str


@dataclass(frozen=True)
class Hardening:
    """What `harden_process` achieved."""

    steps: tuple[Step, ...]

    @property
    def complete(self) -> bool:
        return all(step.done for step in self.steps)

    def lines(self) -> list[str]:
        """For a log: a line for each step. Nothing in them is secret."""
        return [f"{step.what}: {'' if step.done else 'NOT DONE, '}{step.said}" for step in self.steps]


def harden_process() -> Hardening:
    """Make the memory of this process its own, as far as the system lets. For good: there is no way back.

    - No process of the same user may trace it or read its memory, environment, maps and open files
      (PR_SET_DUMPABLE 0; so no debugger either), and it leaves no core dump (also RLIMIT_CORE 0). root still may.
    - Its memory stays out of swap: all of it where the system lets (no RLIMIT_MEMLOCK, or CAP_IPC_LOCK), else the
      matrices (`core.secret_memory`), as much as RLIMIT_MEMLOCK holds. A matrix that is made later is locked too.
    - The files that it makes from now on are for its owner alone (umask 077).

    A forked process inherits all but the locks; one that is begun with another program inherits the limits and the mask.
    Nothing is raised: where a step cannot be done, its entry says so. It is all Linux; elsewhere the mask and the limit
    of core dumps are what can be set.

    Source: prctl(2), mlock(2), core(5), ptrace(2) of Linux.
    """
    steps = ((_no_tracing, "tracing"), (_no_core, "core dumps"), (_no_swap, "swap"), (_private_files, "new files"))
    return Hardening(tuple(_tried(what, step) for step, what in steps))


def swap_step() -> Step:
    """How it stands with swap now: of a hardened process that has made or loaded devices since."""
    return _tried("swap", _no_swap)


class _NotDone(Exception):
    """Says why."""


def _tried(what: str, step: Callable[[], str]) -> Step:
    try:
        return Step(what, True, step())
    except _NotDone as error:
        return Step(what, False, str(error))
    except (OSError, AttributeError, ImportError, ValueError) as error:
        return Step(what, False, f"this system ({sys.platform}) refuses it: {error}")


def _no_tracing() -> str:
    _only_linux("other processes of this user, and debuggers, may read its memory")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) or libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0):
        raise _NotDone(f"the kernel refuses it: {os.strerror(ctypes.get_errno())}")
    return "other processes of this user cannot read its memory, environment or open files, and no debugger can attach"


def _no_core() -> str:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return "it leaves none"


def _no_swap() -> str:
    _only_linux("the matrices may be written to swap: use encrypted swap, or none")
    if _may_lock_all():
        libc = ctypes.CDLL(None, use_errno=True)
        # On fault: what is reserved and never used takes no memory.
        if not libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
            return "all of its memory stays out of it"
    held = lock_secrets()
    if held.locked < held.held:
        raise _NotDone(
            f"of {size(held.held)} of matrices {size(held.locked)} are locked in memory, all that RLIMIT_MEMLOCK lets: raise "
            "it (systemd: LimitMEMLOCK=infinity), use encrypted swap, or none"
        )
    return f"{size(held.held)} of matrices are locked in memory"


def _may_lock_all() -> bool:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (most, most))
    return most == resource.RLIM_INFINITY or _has_capability(_CAP_IPC_LOCK)


def _has_capability(number: int) -> bool:
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _private_files() -> str:
    os.umask(0o077)
    return "for their owner alone"


def _only_linux(otherwise: str) -> None:
    if not sys.platform.startswith("linux"):
        raise _NotDone(f"there is no way on {sys.platform}: {otherwise}")
