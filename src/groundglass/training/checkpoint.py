"""Checkpoints of a run in progress: weights, momentum and history in one safetensors file, replaced atomically."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.core import DamagedFileError, load_state, save_state
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
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
    save_state(path, tensors, [asdict(h) for h in history], identity)


def load_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, identity: dict[str, Any]
) -> list[EpochResult]:
    """Put the checkpoint's state into `model` and `optimiser`; returns its history.

    Raises:
        DamagedFileError: truncated or altered.
        ValueError: the checkpoint is of a run with other settings; names the first that differs.
    """
    tensors, notes = load_state(path, identity)
    try:
        history = [EpochResult(**h) for h in notes]
    except TypeError as error:
        raise DamagedFileError(f"the checkpoint {path} is damaged ({error}): delete it to start afresh") from error
    load_weights(model, {k[6:]: v for k, v in tensors.items() if k.startswith("model/")}, what=str(path))
    state = optimiser.state_dict()
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser/"):
            _, index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = tensor
    optimiser.load_state_dict({**state, "state": slots})
    return history
