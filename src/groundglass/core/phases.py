"""What the epochs of a training are about: images of which size, and whether early layers still learn. Plain arithmetic."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Images have so many sizes at most.
_SIZES = 8
#: A step with early layers still takes such a share of the time of one in which they learn: of VGG-16 with its first four.
_STILL = 0.7


def image_share(epoch: int, epochs: int, *, start: float, until: float) -> float:
    """The share of its side that an image has in an epoch of so many: from `start` up to 1 at the share `until` of them, in
    eighths."""
    grown = min(1.0, start + (1 - start) * epoch / (until * epochs))
    return max(1, math.floor(_SIZES * grown + 1e-9)) / _SIZES


def still_at(epoch: int, epochs: int, *, after: float) -> bool:
    """Whether early layers learn no more, in an epoch of so many: from the share `after` of them on."""
    return epoch >= math.ceil(after * epochs - 1e-9)


def phases(training: Mapping[str, Any]) -> list[tuple[float, bool]]:
    """For each epoch of a training, the share of an image's side, and whether early layers are still: epochs of equal phases do
    equal work.

    Args:
        training: its settings, as a record has them.
    """
    epochs, growing, freezing = training["epochs"], training.get("growing"), training.get("freezing")
    return [
        (
            image_share(epoch, epochs, **growing) if growing else 1.0,
            still_at(epoch, epochs, after=freezing["after"]) if freezing else False,
        )
        for epoch in range(epochs)
    ]


def effort(training: Mapping[str, Any]) -> float:
    """Work of the steps of a training, about, as a share of that of as many epochs on whole images with all layers learning."""
    told = phases(training)
    return sum(share**2 * (_STILL if still else 1) for share, still in told) / len(told)


def undisturbed(training: Mapping[str, Any], seconds: Sequence[float]) -> float:
    """Seconds of a training if every epoch had been as quick as the quickest of its phase: the one that other work on the machine
    delayed least.

    Args:
        seconds: of each epoch.
    """
    told = phases(training)[: len(seconds)]
    quickest: dict[tuple[float, bool], float] = {}
    for phase, each in zip(told, seconds, strict=False):
        quickest[phase] = min(each, quickest.get(phase, each))
    return sum(quickest[phase] for phase in told)
