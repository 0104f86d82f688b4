"""What an audit's attacks have made, in a file: an audit that is killed goes on after the last attack that ended.

An audit is the same steps in the same order for the same model. So it is simply run again, and each attack that is in
the file gives what it gave. A model that draws lots is audited anew: what was drawn does not come back.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundglass.core import begin_state, load_state, save_state
from groundglass.core.schema import read, written
from groundglass.core.states import restoring


@dataclass(frozen=True)
class Made:
    """What an attack has made of some rows."""

    adversarial: Tensor
    claimed: Tensor | None  # the rows that it says it broke; None where it does not know
    forwards: int
    gradients: int = 0
    zero_gradient_share: float = 0.0
    miscounted: int = 0  # images that passed through the model beside what the access counted
    seconds: float = 0.0
    invalid: str = ""  # why none of it counts


_FIGURES = ("forwards", "gradients", "zero_gradient_share", "miscounted", "seconds")


@dataclass(frozen=True, kw_only=True)
class _Note:
    """What the file says about an attack."""

    name: str
    knows: bool
    forwards: int
    gradients: int
    zero_gradient_share: float
    miscounted: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Notes:
    """`attempts` by the place of the attack."""

    attempts: Mapping[str, _Note]
    seconds: float


class Kept:
    """The attacks of one audit that have ended, in their order. The file need not be there yet.

    Attributes:
        earlier_seconds: that earlier sessions put into what the file has.
    """

    def __init__(self, path: Path | str, identity: dict[str, Any]) -> None:
        self._path, self._identity = begin_state(path, identity)
        self._started = time.perf_counter()
        self._tensors: dict[str, Tensor] = {}
        #: By the place of the attack: one that ended at a NaN, or had nothing to attack, is not among them.
        self._notes: dict[str, _Note] = {}
        self.earlier_seconds = 0.0
        if self._path.exists():
            self._tensors, told = load_state(self._path, self._identity)
            notes = read(_Notes, told, f"the notes of the checkpoint {self._path}")
            self._notes, self.earlier_seconds = dict(notes.attempts), notes.seconds

    def get(self, place: int, name: str, rows: Tensor, images: Tensor) -> Made | None:
        """What the attack at this place made of these rows, if it is in the file; `images` stand where it broke nothing."""
        found = self._notes.get(str(place))
        if found is None or found.name != name:
            return None
        with restoring(self._path):
            if not torch.equal(self._tensors[f"{place}/rows"], rows.cpu()):
                return None
            claimed, kept = self._tensors[f"{place}/claimed"], self._tensors[f"{place}/adversarial"]
            if claimed.dtype != torch.bool or claimed.shape != rows.shape:
                raise ValueError(f"{place}/claimed is {claimed.dtype} {tuple(claimed.shape)}")
            adversarial = images.clone()
            adversarial[claimed.to(images.device)] = kept.to(images)
        figures = {figure: getattr(found, figure) for figure in _FIGURES}
        return Made(adversarial, claimed if found.knows else None, **figures)

    def put(self, place: int, name: str, rows: Tensor, made: Made) -> None:
        """Keep what the attack at this place made. Of images that it says it left alone nothing is kept."""
        kept = torch.ones(len(rows), dtype=torch.bool, device="cpu") if made.claimed is None else made.claimed.cpu()
        self._tensors[f"{place}/rows"] = rows.cpu()
        self._tensors[f"{place}/claimed"] = kept
        self._tensors[f"{place}/adversarial"] = made.adversarial[kept.to(made.adversarial.device)].cpu()
        figures = {figure: getattr(made, figure) for figure in _FIGURES}
        self._notes[str(place)] = _Note(name=name, knows=made.claimed is not None, **figures)
        seconds = time.perf_counter() - self._started + self.earlier_seconds
        notes = written(_Notes(attempts=self._notes, seconds=seconds))
        passed = sum(note.forwards + note.gradients for note in self._notes.values())
        save_state(self._path, self._tensors, {**notes, "passed": passed}, self._identity)
