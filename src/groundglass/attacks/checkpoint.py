"""A file in which a long attack by gradients keeps what it has done: if it is killed, half a minute is lost."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from groundglass.attacks.access import UNIT, Access, GradientAccess
from groundglass.attacks.balls import Ball
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.criteria import UNTARGETED, Criterion
from groundglass.attacks.model_identity import digest
from groundglass.core import begin_state, load_state, save_state, whole
from groundglass.core.states import restoring

SECONDS_BETWEEN_SAVES = 30.0

#: What an unfinished attack remembers, besides its board: tensors by name.
State = dict[str, Tensor]


def seconds_in(notes: Any) -> float:
    """The seconds of work that a file records; 0 for files of an earlier version, which have none.

    Raises:
        TypeError: it is not a number.
    """
    seconds = notes.get("seconds", 0.0) if isinstance(notes, dict) else 0.0
    if not isinstance(seconds, int | float):
        raise TypeError(f"its seconds are {seconds!r:.40}")
    return float(seconds)


def what_for(criterion: Criterion, access: Access) -> dict[str, Any]:
    """What an attack is for, as part of a file's identity; nothing where it is what it always was."""
    found: dict[str, Any] = {} if criterion == UNTARGETED else {"criterion": repr(criterion)}
    return found if access.bounds == UNIT else {**found, "bounds": access.bounds}


@contextmanager
def going_on(path: Path) -> Iterator[None]:
    """A save in the middle of an attack: a disk that is full, or gone, does not end it. The next save may succeed."""
    try:
        yield
    except OSError as error:
        warnings.warn(f"the attack goes on, but {path} was not written: {error}", RuntimeWarning, stacklevel=4)


class AttackCheckpoint:
    """Given to an attack, it is written every half minute; the same call with the same file goes on from there.

    A resumed attack finds the same, bit for bit, as one that never stopped. Its access counts only what it was asked
    itself. The file stays when the attack has ended: delete it once the result is saved.

    Args:
        path: of the file, which need not exist yet. It identifies the attack, the images and the model: by weights,
            devices and backward rules. A model that is a plain function is not identified.

    Attributes:
        earlier_seconds: the time that earlier calls put into the file; 0 if there was none.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.earlier_seconds = 0.0

    def resume(
        self, access: GradientAccess, board: Board, *, attack: Any, ball: Ball | None, seed: int, batch_size: int
    ) -> State | None:
        """Called by an attack when it starts. Restores the board; None if there is no file.

        Raises:
            ValueError: the file belongs to another attack, model or images; names the first setting that differs.
            DamagedFileError: truncated or altered.
            TypeError, OSError: a setting that cannot be written, or a place where nothing can be.
        """
        self._board = board
        identity = {
            "attack": type(attack).__name__,
            "settings": asdict(attack),
            "ball": repr(ball),
            "seed": seed,
            "batch_size": batch_size,
            "images": digest((board.images, board.labels, whole(board.indices))),
            **what_for(board.criterion, access),
            **access.model_identity,
        }
        self.path, self._identity = begin_state(self.path, identity)
        self._started = self._saved = time.monotonic()
        if not self.path.exists():
            return None
        tensors, notes = load_state(self.path, self._identity)
        where = board.images.device
        with restoring(self.path):
            self.earlier_seconds = seconds_in(notes)
            board.restore({name[6:]: t.to(where) for name, t in tensors.items() if name.startswith("board/")})
        return {name[6:]: t.to(where) for name, t in tensors.items() if name.startswith("state/")}

    def offer(self, state: Callable[[], State]) -> None:
        """Called by an attack between steps: write the board and the state, if it is time."""
        now = time.monotonic()
        if now - self._saved < SECONDS_BETWEEN_SAVES:
            return
        tensors = {f"board/{name}": tensor for name, tensor in self._board.rows().items()}
        tensors |= {f"state/{name}": tensor for name, tensor in state().items()}
        notes = {"seconds": now - self._started + self.earlier_seconds, "passed": self._board.passed}
        with going_on(self.path):
            save_state(self.path, tensors, notes, self._identity)
        self._saved = time.monotonic()
