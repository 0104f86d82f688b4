"""What differs from machine to machine: what a result must say about where it was made, and what the system can do."""

import errno
import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def versions() -> dict[str, str]:
    """Versions of Python and of what the numbers depend on."""
    from importlib import metadata  # a third of what `import groundglass` would take

    found = {"python": platform.python_version()}
    for package in ("groundglass", "torch", "numpy", "numba"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, str | int]:
    """Processor, cores and system. No host name, no user."""
    return {
        "processor": _said("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
    }


def host() -> str:
    """This machine's name, as a part of a file's: a-z, 0-9 and "-", at most 24 of them. It goes into no result."""
    name = _node_name()
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()) or "host"
    if len(plain) <= 24:
        return plain
    import hashlib

    return f"{plain[:15]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _node_name() -> str:
    # By what is loaded: a process that is hardened may find no further module.
    return os.uname().nodename if hasattr(os, "uname") else platform.node()


def flock(file: int | IO[Any], *, wait: bool = False) -> None:
    """Lock an open file until it is closed, or until the process ends.

    Raises:
        BlockingIOError: another process has the lock, and `wait` was not asked for.
        OSError: its file system has no locks, or this system has none, as Windows.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this system has no locks of this kind")
    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def _said(file: str, key: str) -> str | None:
    """What a file of /proc says of `key`, in the first line that begins with it; None where it is not there."""
    with suppress(OSError):
        for line in Path(file).read_text().splitlines():
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return None


def _said_bytes(file: str, key: str) -> int | None:
    said = _said(file, key)  # "123 kB"
    return int(said.split()[0]) * 1024 if said else None


def available_memory() -> int | None:
    """Bytes that a process may take: what is free of the machine, or all of its container if that is less. None: not known."""
    found = [size for size in (_free_of_machine(), _limit_of_container()) if size is not None]
    return min(found, default=None)


def _free_of_machine() -> int | None:
    available = _said_bytes("/proc/meminfo", "MemAvailable:")
    if available is not None:
        return available
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _limit_of_container() -> int | None:
    for place in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return int((Path("/sys/fs/cgroup") / place).read_text())
        except (OSError, ValueError):  # not this version of cgroups, or "max"
            continue
    return None


def watch_memory() -> None:
    """Begin again to measure the peak memory of this process, see `most_memory`. Does nothing where it cannot be measured."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def most_memory() -> int | None:
    """The most bytes that this process has held since `watch_memory`; None where that is not known."""
    return _said_bytes("/proc/self/status", "VmHWM:")


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
