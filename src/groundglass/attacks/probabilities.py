"""Models that give probabilities where logits are needed: seen, and told once."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from groundglass.attacks.tensors import Logits

#: Whether it was told, where `said_once` is.
_TOLD: ContextVar[list[bool] | None] = ContextVar("told", default=None)


def are_probabilities(logits: Logits) -> bool:
    """Not negative, and every row sums to 1: no logits do that by chance."""
    return bool((logits >= 0).all()) and bool(((logits.float().sum(1) - 1).abs() < 1e-3).all())


def warn_of_probabilities(logits: Logits) -> None:
    """Called by an access at a model's first answer.

    Warns:
        RuntimeWarning: the answers seem to be probabilities.
    """
    told = _TOLD.get()
    if told or not are_probabilities(logits):
        return
    if told is not None:
        told.append(True)
    warnings.warn(
        f"the model seems to return probabilities, not logits: none of the {logits.numel()} numbers it gave for "
        f"the first {len(logits)} images is negative, and each image's sum to 1. Losses and gradients would be those of "
        "a second softmax, far too small. Return logits, or the logarithm of the probabilities",
        RuntimeWarning,
        stacklevel=6,
    )


@contextmanager
def said_once() -> Iterator[None]:
    """Many accesses to one model: it is told once."""
    token = _TOLD.set([])
    try:
        yield
    finally:
        _TOLD.reset(token)
