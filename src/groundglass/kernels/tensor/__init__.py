"""The kernels once more, in torch's own operations: for tensors that lie on a card, where compiled code for processors is no use.

Each gives what its compiled twin gives, bit for bit; the tests run all of it on tensors of the CPU, and whatever can differ
on a card is compared with the CPU's result there before it is used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_everywhere: ContextVar[bool] = ContextVar("tensors of the CPU go the way of a card's", default=False)


def is_card(device: torch.device) -> bool:
    """Whether what lies there is measured there. CUDA's cards (AMD's too); not Apple's, which have no float64."""
    return device.type == "cuda" or (device.type == "cpu" and _everywhere.get())


@contextmanager
def as_on_a_card() -> Iterator[None]:
    """In this block, in this thread, tensors of the CPU go the way of a card's: for tests and benchmarks. It is slower there."""
    token = _everywhere.set(True)
    try:
        yield
    finally:
        _everywhere.reset(token)
