"""Files that hold the state of unfinished work: tensors, notes, and the identity of the work they belong to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from groundglass.core.files import DamagedFileError, atomic_write


def save_state(path: Path, tensors: Mapping[str, Tensor], notes: Any, identity: Mapping[str, Any]) -> None:
    """Replace `path` by this state, atomically.

    Args:
        tensors: any names, any device.
        notes: plain JSON.
        identity: plain JSON; what work that goes on from here must agree with.
    """
    from safetensors.torch import save

    metadata = {"notes": json.dumps(notes), "identity": json.dumps(identity, sort_keys=True)}
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(whole, metadata))


def read_notes(path: Path) -> tuple[Any, dict[str, Any]] | None:
    """Notes and identity of a file, without its tensors; None where there is no file.

    Raises:
        DamagedFileError: truncated or altered.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return json.loads(metadata["notes"]), json.loads(metadata["identity"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(f"the checkpoint {path} is damaged ({error}): delete it to start afresh") from error


def load_state(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], Any]:
    """The tensors and the notes. What `identity` has as None, then or now, is not known, and differs from nothing.

    Raises:
        DamagedFileError: truncated or altered.
        ValueError: the state of other work; names the first setting that differs.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        notes, stored = json.loads(metadata["notes"]), json.loads(metadata["identity"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(f"the checkpoint {path} is damaged ({error}): delete it to start afresh") from error
    asked = json.loads(json.dumps(identity))
    for field in sorted(stored.keys() | asked.keys()):
        then, now = stored.get(field), asked.get(field)
        known = field not in stored or field not in asked or None not in (then, now)
        if known and then != now:
            raise ValueError(
                f"the checkpoint {path} is of another run: {field} was {then!r}, is {now!r}. "
                "Use the same settings, or delete it to start afresh"
            )
    return tensors, notes
