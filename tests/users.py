"""Other users of the machine, for tests that may switch to them: those that run as root."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

#: Users that nobody is.
SERVICE, CLIENT = 64001, 64002
MAY_SWITCH = sys.platform.startswith("linux") and os.geteuid() == 0

# Another user may not be allowed to read this Python: what is needed is imported before.
_BECOME = """
import ctypes, os, sys
{before}
def become(user):
    if user is not None:
        os.chdir("/")
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable, as a program is that this user has begun
become({user})
"""


def begin(
    text: str,
    *arguments: object,
    user: int | None = None,
    imports: Sequence[str] = ("resource",),
    before: str = "",
    home: Path,
) -> "subprocess.Popen[str]":
    """A Python that runs `text`: as `user`, or as who runs the tests where that is None or they may not switch.

    Args:
        imports, before: what it does while it may still read its modules.
    """
    first = "\n".join([*(f"import {name}" for name in imports), before])
    head = _BECOME.format(user=user if MAY_SWITCH else None, before=first)
    return subprocess.Popen(
        [sys.executable, "-c", head + text, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": str(home)},
    )


def said(
    text: str, *arguments: object, user: int | None = None, imports: Sequence[str] = (), before: str = "", home: Path
) -> str:
    """What such a Python prints; a failure of it is one of the test."""
    with begin(text, *arguments, user=user, imports=imports, before=before, home=home) as process:
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    return out


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A temporary folder that other users reach, and may write in: those of pytest are for their owner alone."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)
