"""Between the host and a device: what may be read at once, and what is sent without waiting.

A card works through a queue. Who reads a number from it, or copies to it from ordinary memory, waits until the queue is
empty, and the card then waits for more work. A CPU's tensors are read at no cost.
"""

from functools import lru_cache

import torch
from torch import Tensor

#: Kinds of devices whose tensors the host reads without waiting. Tests empty it to run a card's code on the CPU.
FREE: frozenset[str] = frozenset({"cpu", "meta"})


def free_to_read(tensor: Tensor) -> bool:
    """Whether the host may read this tensor in every step: it is in the host's own memory."""
    return tensor.device.type in FREE


def sent(tensor: Tensor, to: torch.device) -> Tensor:
    """A CPU tensor on another device; the host does not wait for the copy."""
    if to.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(to)
    return tensor.pin_memory().to(to, non_blocking=True)


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...] | tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """These numbers on a device, sent once. Do not write to it."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
