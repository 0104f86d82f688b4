"""What distinguishes one model from another, for files of unfinished work: weights, devices and backward rules."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.core import counting, generator, integers
from groundglass.optics.backward import Held


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of tensors: their values, shapes and types."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _outline(rule: Any) -> str:
    """Names what a rule holds, its matrices and numbers, whatever the last bits: a matrix that is computed anew, elsewhere or by
    other threads, is the same one. 16 hexadecimal digits, from which nothing of a matrix can be had back."""
    found = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            found.update(f"{tuple(value.shape)}".encode() + _signs(value))
        elif isinstance(value, Held):
            for matrix in value.on(torch.device("cpu")):
                add(matrix)
        elif isinstance(value, str | int | float | None):
            found.update((f"{value:.4g}" if isinstance(value, float) else repr(value)).encode())
        elif isinstance(value, nn.Module):
            add([*value.parameters(), *value.buffers()])
        elif isinstance(value, Mapping):
            add([*value.items()])
        elif isinstance(value, tuple | list):
            for one in value:
                add(one)
        elif type(value).__module__.startswith(type(rule).__module__.partition(".")[0]) and hasattr(value, "__dict__"):
            add([type(value).__name__, *sorted(vars(value).items())])

    add(rule)
    return found.hexdigest()[:16]


def _signs(values: Tensor) -> bytes:
    """Of 64 sums of the entries, each with a sign that is drawn: rounding moves none across zero."""
    plain = values.detach().cpu()
    flat = (torch.view_as_real(plain) if plain.is_complex() else plain).double().reshape(-1)
    drawn = 2.0 * integers(2, (len(flat),), generator=generator(0, "outline")).double() - 1
    sums = torch.zeros(64, dtype=torch.float64, device="cpu")
    sums.index_add_(0, counting(len(flat)) % 64, flat * drawn)
    return sums.sign().to(torch.int8).numpy().tobytes()


def identity_of(model: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Plain JSON, the same for a module that only wraps another. All entries are None for a function: it has no weights."""
    state = model.state_dict() if isinstance(model, nn.Module) else {}
    if not isinstance(model, nn.Module) or not state:
        return {"weights": None, "devices": None, "rules": None}
    # A device's fingerprint identifies its matrix, and is no secret.
    devices = [getattr(getattr(part, "device", None), "fingerprint", None) for part in model.modules()]
    rules = [rule for part in model.modules() if (rule := getattr(part, "rule", None)) is not None]
    drawn = {"rule_contents": [_outline(rule) for rule in rules]} if rules else {}
    return {
        **drawn,
        # What is no weight has its own place: a device's fingerprint below.
        "weights": digest(state[name] for name in sorted(state) if not name.endswith("_extra_state")),
        "devices": [fingerprint for fingerprint in devices if isinstance(fingerprint, str)],
        "rules": [name for rule in rules if isinstance(name := getattr(rule, "name", None), str)],
    }
