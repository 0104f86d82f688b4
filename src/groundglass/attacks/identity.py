"""What tells one model from another, for files of unfinished work: its weights, its devices and the rule it is seen through."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of what is in them, with their shapes and types."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def identity_of(model: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Plain JSON, the same for a module that only wraps another. Of a function there is nothing to tell."""
    if not isinstance(model, nn.Module):
        return {"weights": None}
    state = model.state_dict()
    # A device is in no state_dict. Its fingerprint says whose matrix it is, and is no secret.
    devices = [getattr(getattr(part, "device", None), "fingerprint", None) for part in model.modules()]
    return {
        "weights": digest(state[name] for name in sorted(state)),
        "devices": [fingerprint for fingerprint in devices if isinstance(fingerprint, str)],
        "rule": getattr(getattr(model, "rule", None), "name", None),
    }
