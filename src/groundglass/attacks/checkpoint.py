"""A file in which a long attack by gradients keeps what it has done, so that one that is killed loses half a minute."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundglass.attacks.access import GradientAccess
from groundglass.attacks.balls import Ball
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.model_identity import digest
from groundglass.core import load_state, save_state

SECONDS_BETWEEN_SAVES = 30.0

#: Where an attack stands, beside its board: tensors by name.
State = dict[str, Tensor]


class AttackCheckpoint:
    """Given to an attack, it is written every half minute; the same call with the same file goes on from there.

    What an attack that goes on finds is the same, bit for bit, as if it had never stopped: it goes on with the batch
    that it had. Its access counts only what it was asked itself. The file stays when the attack has ended: delete it
    once the result is kept.

    Args:
        path: of the file, which need not be there yet. It knows the attack, the images and the model, by its weights, devices
            and the name of the rule that it is seen through; of a model that is a mere function nothing.

    Attributes:
        earlier_seconds: that earlier calls put into what was found in the file; 0 if there was none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.earlier_seconds = 0.0

    def resume(
        self, access: GradientAccess, board: Board, *, attack: Any, ball: Ball | None, seed: int, batch_size: int
    ) -> State | None:
        """Called by an attack when it starts. Sets the board as it was; None where there is no file: start afresh.

        Raises:
            ValueError: the file is of another attack, on another model or other images; names the first setting that differs.
            DamagedFileError: truncated or altered.
        """
        self._board = board
        self._identity = {
            "attack": type(attack).__name__,
            "settings": asdict(attack),
            "ball": repr(ball),
            "seed": seed,
            "batch_size": batch_size,
            "images": digest((board.images, board.labels, torch.tensor(board.indices, dtype=torch.int64))),
            **access.model_identity,
        }
        self._started = self._saved = time.monotonic()
        if not self.path.exists():
            return None
        tensors, notes = load_state(self.path, self._identity)
        self.earlier_seconds = float(notes["seconds"])
        where = board.images.device
        board.restore({name[6:]: t.to(where) for name, t in tensors.items() if name.startswith("board/")})
        return {name[6:]: t.to(where) for name, t in tensors.items() if name.startswith("state/")}

    def offer(self, state: Callable[[], State]) -> None:
        """Called by an attack between steps: write the board and the state, if it is time."""
        now = time.monotonic()
        if now - self._saved < SECONDS_BETWEEN_SAVES:
            return
        tensors = {f"board/{name}": tensor for name, tensor in self._board.rows().items()}
        tensors |= {f"state/{name}": tensor for name, tensor in state().items()}
        save_state(self.path, tensors, {"seconds": now - self._started + self.earlier_seconds}, self._identity)
        self._saved = time.monotonic()
