"""What an audit's attacks have made, in a file: an audit that is killed goes on after the last attack that ended.

An audit is the same steps in the same order for the same model. So it is simply run again, and each attack that is in
the file gives what it gave. A model that draws lots is audited anew: what was drawn does not come back.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundglass.core import begin_state, load_state, save_state


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


_FIGURES = ("forwards", "gradients", "zero_gradient_share", "miscounted", "seconds")


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
        self._notes: dict[str, dict[str, Any]] = {}
        self.earlier_seconds = 0.0
        if self._path.exists():
            self._tensors, notes = load_state(self._path, self._identity)
            self._notes, self.earlier_seconds = notes["attempts"], notes["seconds"]

    def get(self, place: int, name: str, rows: Tensor, images: Tensor) -> Made | None:
        """What the attack at this place made of these rows, if it is in the file; `images` stand where it broke nothing."""
        found = self._notes.get(str(place))
        if found is None or found["name"] != name:
            return None
        if not torch.equal(self._tensors[f"{place}/rows"], rows.cpu()):
            return None
        figures = {name: found[name] for name in _FIGURES}
        claimed = self._tensors[f"{place}/claimed"]
        adversarial = images.clone()
        adversarial[claimed.to(images.device)] = self._tensors[f"{place}/adversarial"].to(images)
        return Made(adversarial, claimed if found["knows"] else None, **figures)

    def put(self, place: int, name: str, rows: Tensor, made: Made) -> None:
        """Keep what the attack at this place made. Of images that it says it left alone nothing is kept."""
        kept = torch.ones(len(rows), dtype=torch.bool, device="cpu") if made.claimed is None else made.claimed.cpu()
        self._tensors[f"{place}/rows"] = rows.cpu()
        self._tensors[f"{place}/claimed"] = kept
        self._tensors[f"{place}/adversarial"] = made.adversarial[kept.to(made.adversarial.device)].cpu()
        self._notes[str(place)] = {
            "name": name,
            "knows": made.claimed is not None,
            **{figure: getattr(made, figure) for figure in _FIGURES},
        }
        seconds = time.perf_counter() - self._started + self.earlier_seconds
        save_state(self._path, self._tensors, {"attempts": self._notes, "seconds": seconds}, self._identity)
