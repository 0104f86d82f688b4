"""Tensors in safetensors files: the state of unfinished work with its identity, and files with a checksum."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundglass.core.files import DamagedFileError, atomic_write, check_place
from groundglass.core.settings import plain_identity

_FORMAT = "1"


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(whole, metadata))


def _read(path: Path, *, only_metadata: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Raises: SafetensorError."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = [] if only_metadata else list(file.keys())
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def save_state(path: Path, tensors: Mapping[str, Tensor], notes: Any, identity: Mapping[str, Any]) -> None:
    """Replace `path` by this state, atomically.

    Args:
        tensors: any names, any device.
        notes: plain JSON.
        identity: what work that goes on from here must agree with, see `begin_state`.
    """
    _write(
        path, tensors, {"notes": json.dumps(notes), "identity": json.dumps(plain_identity(identity), sort_keys=True)}
    )


def begin_state(path: Path | str, identity: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The place and the identity of work that `save_state` will save: looked at before the work begins.

    Returns:
        The identity as plain JSON: tuples are lists, numbers of numpy and torch Python's own, paths their text.

    Raises:
        TypeError: an identity that cannot be written; names what in it.
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
    return _opened(path, only_metadata=True)[1:] if path.exists() else None


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


def _opened(path: Path, *, only_metadata: bool = False) -> tuple[dict[str, Tensor], Any, dict[str, Any]]:
    """Tensors, notes and identity."""
    from safetensors import SafetensorError

    try:
        tensors, metadata = _read(path, only_metadata=only_metadata)
        return tensors, json.loads(metadata["notes"]), json.loads(metadata["identity"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(f"the checkpoint {path} is damaged ({error}): delete it to start afresh") from error


@dataclass(frozen=True)
class CheckedFile:
    """A kind of file: tensors, a note in JSON, and a checksum that shows whether they were altered.

    Attributes:
        kind: what to call such a file.
        mark, note: the names in the metadata of the format's number and of the note.
        again: what to do where one is damaged.
        sealed: the checksum covers the note too.
    """

    kind: str
    mark: str
    note: str
    again: str
    sealed: bool

    def save(self, path: Path | str, tensors: Mapping[str, Tensor], note: str) -> None:
        """Write one file, atomically."""
        _write(Path(path), tensors, {self.mark: _FORMAT, self.note: note, "sha256": self._digest(tensors, note)})

    def load(self, path: Path | str) -> tuple[dict[str, Tensor], Any]:
        """The tensors, and the note read as JSON.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedFileError: truncated, altered, or of another kind.
        """
        from safetensors import SafetensorError

        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no {self.kind} {path}")
        try:
            tensors, metadata = _read(path)
        except SafetensorError as error:
            raise DamagedFileError(f"{path} is not a whole safetensors file ({error}): {self.again}") from error
        if metadata.get(self.mark) != _FORMAT:
            raise DamagedFileError(f"{path} is not a groundglass {self.kind} of format {_FORMAT}")
        if metadata.get("sha256") != self._digest(tensors, metadata.get(self.note, "")):
            raise DamagedFileError(f"{path} was altered: its contents do not match their checksum: {self.again}")
        return tensors, json.loads(metadata[self.note])

    def _digest(self, tensors: Mapping[str, Tensor], note: str) -> str:
        digest = hashlib.sha256(note.encode() if self.sealed else b"")
        for name in sorted(tensors):
            tensor = tensors[name].detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()
