"""What would make the host wait for a card, seen on the CPU; and attacks that run as they do on a card."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from groundglass.attacks.gradient_attack import Job
from groundglass.attacks.unread import Pace
from groundglass.core import reading

# Operations whose result, or its shape, the host must know; and numbers that the host sends.
_WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2", "unique_consecutive",
            "unique_dim", "bincount", "lift_fresh")  # fmt: skip
# Methods that read without an operation of their own where the tensor is on the CPU.
_READING = {"tolist", "numpy", "item", "cpu", "__bool__", "__int__", "__float__", "__index__"}


_untold: list[None] = []


@contextmanager
def untold() -> Iterator[None]:
    """What waits in this block is not told."""
    _untold.append(None)
    try:
        yield
    finally:
        _untold.pop()


class Waits(TorchDispatchMode):
    """Tells of each operation, in forward and backward passes, for which the host would wait."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_flags = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if not _untold and (by_flags or name in _WAITING):
            self._tell(name)
        return func(*args, **(kwargs or {}))


class Reads(TorchFunctionMode):
    """Tells of each method that reads a tensor."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _READING and args and isinstance(args[0], Tensor):
            self._tell(func.__name__)
        return func(*args, **(kwargs or {}))


def as_on_a_card(monkeypatch: pytest.MonkeyPatch, every: int | None = None) -> None:
    """From here on attacks run as on a card: nothing is free to read. `every`: steps between two reads; None: as foreseen."""
    monkeypatch.setattr(reading, "FREE", frozenset())
    if every is not None:
        monkeypatch.setattr(Job, "pace", lambda self, steps: Pace(steps, every=every))
