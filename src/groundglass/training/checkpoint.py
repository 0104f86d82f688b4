"""Checkpoints of a run in progress: weights, momentum and history in one safetensors file, replaced atomically."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.core import DamagedFileError, atomic_write
from groundglass.models.files import load_weights


@dataclass(frozen=True)
class EpochResult:
    """One epoch: mean training loss and accuracy as it ran, seconds, images a second."""

    epoch: int
    loss: float
    train_accuracy: float
    seconds: float
    images_per_second: float


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    history: list[EpochResult],
    identity: dict[str, Any],
) -> None:
    """Write all that the next epoch depends on. `identity` is what a resumed run must agree with."""
    from safetensors.torch import save

    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
    metadata = {
        "history": json.dumps([asdict(h) for h in history]),
        "identity": json.dumps(identity, sort_keys=True),
    }
    whole = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(whole, metadata))


def load_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, identity: dict[str, Any]
) -> list[EpochResult]:
    """Put the checkpoint's state into `model` and `optimiser`; returns its history.

    Raises:
        DamagedFileError: truncated or altered.
        ValueError: the checkpoint is of a run with other settings; names the first that differs.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        history = [EpochResult(**h) for h in json.loads(metadata["history"])]
        stored = json.loads(metadata["identity"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(
            f"the checkpoint {path} is damaged ({error}): delete it to train from the start"
        ) from error
    asked = json.loads(json.dumps(identity))
    for field in sorted(stored.keys() | asked.keys()):
        if stored.get(field) != asked.get(field):
            raise ValueError(
                f"the checkpoint {path} is of another run: {field} was {stored.get(field)!r}, is {asked.get(field)!r}. "
                "Use the same settings, or delete it to train from the start"
            )
    load_weights(model, {k[6:]: v for k, v in tensors.items() if k.startswith("model/")}, what=str(path))
    state = optimiser.state_dict()
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser/"):
            _, index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = tensor
    optimiser.load_state_dict({**state, "state": slots})
    return history
