"""How many images to pass through a model at a time, by what one of them takes of the memory."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch

from groundglass.core.accelerator import free_memory, memory_taken
from groundglass.core.settings import Count, fit

#: A number, or "auto": as many as fit.
BatchSize: TypeAlias = int | Literal["auto"]

#: Images whose memory is measured.
FEW = 8
#: The share of the free memory that a batch may take: what it takes is not quite in proportion.
_SHARE = 0.5
#: A card takes so many times as many as the processor, if they fit: it is quicker with more, and the processor hardly.
_ON_A_CARD = 8


def checked(size: BatchSize) -> BatchSize:
    """Raises: TypeError, ValueError: neither a number from 1 nor "auto"."""
    if isinstance(size, str):
        if size != "auto":
            raise ValueError(f"`batch_size` (={size!r:.40}) must be a number of images, or 'auto': as many as fit")
        return "auto"
    return fit(Count, size, "batch_size")


def fitting(few: Callable[[], object], rows: int, where: torch.device, *, usual: int) -> int:
    """The number of images that fit: a power of two below `usual`, or that, on a card eight times that.

    Args:
        few: passes `rows` images through the model as the work will; how much memory that takes is measured, as long as it runs.
        usual: for the processor, where memory is plenty or cannot be measured.
    """
    most = usual * _ON_A_CARD if where.type == "cuda" else usual
    if not rows:
        return usual
    taken, free = memory_taken(few, where), free_memory(where)
    if taken is None or free is None:
        return usual
    room = int(free * _SHARE * rows / max(taken, 1))
    return most if room >= most else 1 << max(0, room.bit_length() - 1)
