"""What distinguishes one model from another, for files of unfinished work: weights, devices and backward rules."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of tensors: their values, shapes and types."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def identity_of(model: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Plain JSON, the same for a module that only wraps another. All entries are None for a function: it has no weights."""
    state = model.state_dict() if isinstance(model, nn.Module) else {}
    if not isinstance(model, nn.Module) or not state:
        return {"weights": None, "devices": None, "rules": None}
    # A device's fingerprint identifies its matrix, and is no secret.
    devices = [getattr(getattr(part, "device", None), "fingerprint", None) for part in model.modules()]
    # By name: what a rule drew or fitted depends on a seed that is not the model's.
    rules = [getattr(part, "rule", None) for part in model.modules()]
    return {
        # What is no weight has its own place: a device's fingerprint below.
        "weights": digest(state[name] for name in sorted(state) if not name.endswith("_extra_state")),
        "devices": [fingerprint for fingerprint in devices if isinstance(fingerprint, str)],
        "rules": [name for rule in rules if isinstance(name := getattr(rule, "name", None), str)],
    }
