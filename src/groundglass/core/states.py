"""Tensors in safetensors files: the state of unfinished work with its identity, and files with a checksum."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundglass.core.files import DamagedFileError, atomic_write, check_place
from groundglass.core.platform import available_memory
from groundglass.core.settings import plain_identity
from groundglass.core.untrusted import check_file, damaged, parse_json

#: Since 2 every file has a checksum of all that is in it. 1 is still read.
_FORMAT = "2"


def _write(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str], text: str, *, new: bool = False
) -> None:
    from safetensors.torch import save

    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    saved = memoryview(save(whole, {**metadata, "sha256": _digest(whole, text)}))
    # The library writes metadata in another order each time; the same state is the same file, byte by byte.
    end = 8 + int.from_bytes(saved[:8], "little")
    header = json.loads(bytes(saved[8:end]))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    ordered += b" " * (-len(ordered) % 8)
    with atomic_write(path, new=new) as file:
        file.write(len(ordered).to_bytes(8, "little") + ordered)
        file.write(saved[end:])


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Raises: DamagedFileError, SafetensorError."""
    from safetensors import safe_open

    size, memory = check_file(path), available_memory()
    if memory is not None and size > memory:
        raise DamagedFileError(f"{path} has {size:,} bytes, and {memory:,} of memory are free: it cannot be read here")
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_state(path: Path, tensors: Mapping[str, Tensor], notes: Any, identity: Mapping[str, Any]) -> None:
    """Replace `path` by this state, atomically.

    Args:
        tensors: any names, any device.
        notes: plain JSON.
        identity: what work that continues from here must agree with, see `begin_state`.
    """
    told = {"notes": json.dumps(notes), "identity": json.dumps(plain_identity(identity), sort_keys=True)}
    _write(path, tensors, {**told, "format": _FORMAT}, _told(told))


def _told(metadata: Mapping[str, str]) -> str:
    return "\n".join(("state", metadata["notes"], metadata["identity"]))


def restoring(path: Path) -> AbstractContextManager[None]:
    """For the lines that restore a state: what does not fit is blamed on the file `path`."""
    return damaged(f"the checkpoint {path}", "delete it to start afresh")


def begin_state(path: Path | str, identity: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The place and the identity of work that `save_state` will save: checked before the work begins.

    Returns:
        The identity as plain JSON: tuples become lists, numpy's and torch's numbers become Python's, paths become text.

    Raises:
        TypeError: an identity that cannot be written; names the part that cannot.
        OSError: nothing can be written there.
    """
    path, plain = Path(path), plain_identity(identity)
    check_place(path)
    return path, plain


def read_notes(path: Path) -> tuple[Any, dict[str, Any]] | None:
    """Notes and identity of a file, without its tensors; None where there is no file.

    Raises:
        DamagedFileError: truncated or altered.
    """
    return _opened(path)[1:] if path.exists() else None


def passed(path: Path) -> int:
    """Images that have passed through a model for the work in this file, and need not again; 0 without a file.

    Raises:
        DamagedFileError: truncated or altered.
    """
    found = read_notes(path)
    with restoring(path):
        return 0 if found is None else passed_in(found[0])


def passed_in(notes: Any) -> int:
    """The same, of notes; 0 for those of a version that did not say.

    Raises:
        TypeError: it is no count.
    """
    count = notes.get("passed", 0) if isinstance(notes, dict) else 0
    if type(count) is not int or count < 0:
        raise TypeError(f"its images that have passed are {count!r:.40}")
    return count


def load_state(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], Any]:
    """The tensors and the notes. What `identity` has as None, then or now, is not known, and differs from nothing.

    Raises:
        DamagedFileError: truncated or altered.
        ValueError: the state of other work; names the first setting that differs.
    """
    tensors, notes, stored = _opened(path)
    asked = plain_identity(identity)
    for field in sorted(stored.keys() | asked.keys()):
        then, now = stored.get(field), asked.get(field)
        known = field not in stored or field not in asked or None not in (then, now)
        if known and then != now:
            raise ValueError(
                f"the checkpoint {path} is of another run: {field} was {then!r}, is {now!r}. "
                "Use the same settings, or delete it to start afresh"
            )
    return tensors, notes


def _opened(path: Path) -> tuple[dict[str, Tensor], Any, dict[str, Any]]:
    """Tensors, notes and identity."""
    from safetensors import SafetensorError

    with damaged(f"the checkpoint {path}", "delete it to start afresh", SafetensorError):
        tensors, metadata = _read(path)
        if metadata.get("format", "1") not in ("1", _FORMAT):
            raise ValueError(f"it is of format {metadata['format']!r:.20}, and this version reads 1 to {_FORMAT}")
        # Those of earlier versions have no checksum.
        if {"format", "sha256"} & metadata.keys() and metadata["sha256"] != _digest(tensors, _told(metadata)):
            raise ValueError("its contents do not match their checksum")
        notes, identity = (
            parse_json(
                metadata[part], f"the checkpoint {path} is damaged, delete it to start afresh: its {part}", finite=False
            )
            for part in ("notes", "identity")
        )
        return tensors, notes, dict(identity)


@dataclass(frozen=True)
class CheckedFile:
    """A kind of file: tensors, a note in JSON, and a checksum that shows whether they were altered.

    Attributes:
        kind: what to call such a file.
        mark, note: the names, in the metadata, of the format's number and of the note.
        again: what to do where one is damaged.
        sealed: in files of format 1 the checksum covers the note too.
    """

    kind: str
    mark: str
    note: str
    again: str
    sealed: bool

    def save(self, path: Path | str, tensors: Mapping[str, Tensor], note: str, *, new: bool = False) -> None:
        """Write one file, atomically.

        Raises:
            FileExistsError: there is something at `path`, and `new` was asked for.
        """
        _write(Path(path), tensors, {self.mark: _FORMAT, self.note: note}, f"{self.mark}\n{note}", new=new)

    def is_one(self, path: Path) -> bool:
        """Whether a file says that it is of this kind; whether it is whole is another question."""
        from safetensors import SafetensorError, safe_open

        try:
            check_file(path)
            with safe_open(path, framework="pt") as file:
                return self.mark in (file.metadata() or {})
        except (SafetensorError, OSError, ValueError):
            return False

    def load(self, path: Path | str) -> tuple[dict[str, Tensor], Any]:
        """The tensors, and the note read as JSON.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedFileError: truncated, altered, or of another kind.
        """
        tensors, metadata = self._load(Path(path))
        return tensors, parse_json(metadata.get(self.note, ""), f"the {self.note} of {path}")

    def checksum(self, path: Path | str) -> str:
        """SHA-256 of all that is in a file, in hex: that of the file itself differs with the order of its metadata.

        Raises:
            FileNotFoundError, DamagedFileError: as of `load`.
        """
        return self._load(Path(path))[1]["sha256"]

    def _load(self, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
        from safetensors import SafetensorError

        if not path.exists():
            raise FileNotFoundError(f"there is no {self.kind} {path}")
        try:
            tensors, metadata = _read(path)
        except (SafetensorError, OSError, ValueError) as error:
            if isinstance(error, DamagedFileError):
                raise
            raise DamagedFileError(f"{path} is not a whole safetensors file ({error}): {self.again}") from error
        mark, note = metadata.get(self.mark), metadata.get(self.note, "")
        if mark not in ("1", _FORMAT):
            raise DamagedFileError(f"{path} is not a groundglass {self.kind} of format 1 or {_FORMAT}")
        covered = f"{self.mark}\n{note}" if mark == _FORMAT else note if self.sealed else ""
        if metadata.get("sha256") != _digest(tensors, covered):
            raise DamagedFileError(f"{path} was altered: its contents do not match their checksum: {self.again}")
        return tensors, metadata
