"""Which frame is taken when: the inputs of a method, and between them what shows whether the readings can be believed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.core import generator
from groundglass.optics.access import half_density
from groundglass.optics.retrieval.method import Design

#: Held-out inputs: random unless the design has its own, seen by no method, measured first.
HELD_OUT = 64
#: The first so many of them are measured again after each part of the design.
SENTINELS = 4
#: Parts of the design.
PARTS = 8
#: Frames that are not the method's.
OVERHEAD = HELD_OUT + SENTINELS * PARTS
# Frames taken at a time.
_BATCH = 1024


def frames_of(text: str, in_features: int) -> int:
    """Frames from "12N", a multiple of the inputs, or from a number.

    Raises:
        ValueError: neither.
    """
    number, times = (text[:-1], in_features) if text[-1:] in ("N", "n") else (text, 1)
    try:
        frames = round(float(number) * times)
    except (ValueError, OverflowError):
        frames = 0
    if frames < 1:
        raise ValueError(
            f"{text!r} is not a number of frames: give a number, 12288 say, or a multiple of the inputs, 12N"
        )
    return frames


@dataclass(frozen=True)
class Shot:
    """Frames [begin, end) of a plan, taken together: their inputs, and their exposure."""

    begin: int
    end: int
    bits: Tensor
    exposure: float


class FramePlan:
    """All frames of a retrieval, in order: the held-out inputs; then a part of the design, the sentinels, and so on.

    Attributes:
        held_out: the inputs, uint8 [HELD_OUT, N].
        columns: where the frames of the design stand among all, in their order.
        sentinels: where the sentinels stand, int64 [1 + PARTS, SENTINELS]; the first time is among the held-out inputs.
    """

    def __init__(self, design: Design, *, seed: int) -> None:
        self.design = design
        # Who must not be seen holds out inputs of the kind of the others.
        own: Tensor | None = getattr(design, "held_out", None)
        self.held_out = (
            half_density(HELD_OUT, design.in_features, generator(seed, "held-out inputs")) if own is None else own
        )
        checks = -1 - np.arange(HELD_OUT)
        parts = np.array_split(np.arange(len(design)), PARTS)
        # What each frame shows: k >= 0, input k of the design; -1 - j, held-out input j.
        self._shown: npt.NDArray[np.int64] = np.concatenate(
            [checks, *(frames for part in parts for frames in (part, checks[:SENTINELS]))]
        )
        self.columns = np.flatnonzero(self._shown >= 0)
        self.sentinels = np.flatnonzero((self._shown < 0) & (self._shown >= -SENTINELS)).reshape(-1, SENTINELS)

    def __len__(self) -> int:
        return len(self._shown)

    def shots(self, begin: int) -> Iterator[Shot]:
        """The frames from `begin` on, in pieces of one kind and one exposure."""
        exposures = self.design.exposures().numpy()
        light = np.where(self._shown >= 0, exposures[np.maximum(self._shown, 0)], 1.0)
        ours = self._shown < 0
        cuts = np.flatnonzero((light[1:] != light[:-1]) | (ours[1:] != ours[:-1])) + 1
        edges = np.unique(np.concatenate([[begin], cuts[cuts > begin], [len(self)]]))
        for first, last in pairwise(edges):
            for at in range(first, last, _BATCH):
                shown = self._shown[at : min(at + _BATCH, last)]
                bits = (
                    self.held_out[torch.from_numpy(-1 - shown)]
                    if shown[0] < 0
                    else self.design.bits(int(shown[0]), int(shown[-1]) + 1)
                )
                yield Shot(int(at), int(at) + len(shown), bits, float(light[at]))
