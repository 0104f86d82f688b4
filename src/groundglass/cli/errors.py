"""What an error says: which file or option, what was expected, what to do. One place, at the edge of every command."""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

# What to do about errors that the system describes in two words.
_ADVICE = {
    errno.EIO: "the disk, or the connection to it, has failed: what was written is kept; check it, then run the command again",
    errno.ENOLCK: "this file system has no locks, like some network drives: give a folder on a local disk",
    errno.EROFS: "nothing can be written there: give another place",
    errno.EACCES: "you may not do that there: give another place, or change its permissions",
    errno.EPERM: "you may not do that there: give another place, or change its permissions",
    errno.EMFILE: "this process may open no more files: raise the limit by `ulimit -n`",
    errno.ENFILE: "the system may open no more files: close other programs",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOTDIR: "a file stands where a folder should be: give another place",
    errno.EISDIR: "this is a folder: name a file",
    errno.ELOOP: "its links lead in a circle: name the file itself",
    errno.ESTALE: "the network drive has lost it: check the drive, then run the command again",
    errno.ENOMEM: "there is too little memory: take less at a time, or use another machine",
    errno.ENOSPC: "the disk is full: free some space, then run the command again",
    errno.EDQUOT: "your share of the disk is full: free some space, then run the command again",
}
# Users know an unfinished file by the name that it will have.
_PART = re.compile(r"\.([^/]+?)(\.@[a-z0-9-]+)?\.[0-9a-f]{16}\.part$")
_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")


def said(error: Exception, name: str, command: Any) -> str | None:
    """An error in words, for the person who typed the command; None for an error that is a bug.

    Args:
        name: of the command.
        command: its options; where the system does not name a file, the message lists the files and folders among them.
    """
    doing = f"`groundglass {name}`"
    if places := ", ".join(map(str, _paths(command))):
        doing += f", with {places}"
    if isinstance(error, MemoryError) or (type(error) is RuntimeError and any(w in str(error) for w in _NO_MEMORY)):
        what = f" ({str(error).splitlines()[0]})" if str(error) else ""
        return f"{doing}: there is too little memory{what}: ask for less, or use another machine"
    if isinstance(error, UnicodeDecodeError):
        return (
            f"{doing}: a file that should be text is not ({error.reason} at byte {error.start}): is it the right one?"
        )
    if isinstance(error, OSError) and error.strerror is not None:
        if error.errno is None or error.strerror != os.strerror(error.errno):
            return error.strerror  # one of ours: it says everything
        names = " and ".join(_PART.sub(r"\1", str(one)) for one in (error.filename, error.filename2) if one is not None)
        advice = _ADVICE.get(error.errno)
        return f"{names or doing}: {error.strerror}" + (f": {advice}" if advice else "")
    if isinstance(error, ValueError | OSError):
        return str(error)
    # A RuntimeError of ours is a result (training diverged), another one is a bug.
    ours = isinstance(error, RuntimeError) and type(error).__module__.startswith("groundglass.")
    return str(error) if ours else None


def _paths(options: Any) -> Iterator[Path]:
    """Those that were given, in the order of the options."""
    for field in fields(options) if is_dataclass(options) else ():
        value = getattr(options, field.name)
        if is_dataclass(value):
            yield from _paths(value)
        else:
            yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Path))
