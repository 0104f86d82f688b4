"""Streams of draws in forked processes: a child must not repeat what its parent, or another child, draws."""

import hashlib
import os
import threading
from typing import Protocol
from weakref import WeakSet


class _Stream(Protocol):
    def forked(self, number: int) -> None:
        """Become another stream, that of the `number`-th fork of this process: called in the child, before its threads."""


_streams: WeakSet[_Stream] = WeakSet()
_forks = 0


def watch(stream: _Stream) -> None:
    """Tell it of every fork from now on."""
    _streams.add(stream)


def of_fork(key: int, number: int) -> int:
    """128 bits for the `number`-th child of the process with `key`: the same each time, so the same forks in order repeat."""
    return int.from_bytes(hashlib.shake_128(f"groundglass/fork/{key:x}/{number}".encode()).digest(16), "big")


# More than one thread may fork.
_lock = threading.Lock()


def _before() -> None:
    global _forks
    _lock.acquire()
    _forks += 1


def _in_child() -> None:
    global _forks, _lock
    number, _forks, _lock = _forks, 0, threading.Lock()
    for stream in list(_streams):
        stream.forked(number)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=lambda: _lock.release(), after_in_child=_in_child)
