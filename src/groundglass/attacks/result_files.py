"""Results of attacks on disk: one safetensors file with a checksum, for one result or for a sweep."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundglass.attacks.balls import Ball, Each, ball_of
from groundglass.attacks.norms import NORMS
from groundglass.core import lookup
from groundglass.core.schema import read, written
from groundglass.core.states import CheckedFile
from groundglass.core.untrusted import damaged

_FILE = CheckedFile("attack result", "groundglass_result", "made", "run the attack again", sealed=True)
_FLOATS, _FLAGS = ("adversarial", "norm", "loss"), ("success", "clean_correct")


@dataclass(frozen=True, kw_only=True)
class _Ball:
    """A ball of a sweep: its kind, and one radius, one a channel or one an image."""

    kind: str
    eps: tuple[float, ...]
    per: str


@dataclass(frozen=True, kw_only=True)
class _Made:
    """How the results were made, each as `Setup` is written; of a sweep, with its balls."""

    setups: tuple[Any, ...]
    balls: tuple[_Ball, ...]


#: Of one result: its columns, and how it was made, as plain JSON.
Part = tuple[dict[str, Tensor], Any]


def save_parts(path: Path | str, parts: Sequence[Part], balls: Sequence[Ball] = ()) -> None:
    """Write results, atomically.

    Raises:
        DiskFullError, OSError: nothing was written.
    """
    tensors = {f"{number}/{name}": column for number, (own, _) in enumerate(parts) for name, column in own.items()}
    made = _Made(setups=tuple(setup for _, setup in parts), balls=tuple(map(_written, balls)))
    _FILE.save(path, tensors, json.dumps(written(made), sort_keys=True))


def load_parts(path: Path | str, names: Sequence[str]) -> tuple[list[Part], list[Ball]]:
    """What `save_parts` wrote, if each result has just the columns of these names.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: truncated, altered, or not such a file.
    """
    tensors, plain = _FILE.load(path)
    made = read(_Made, plain, f"{path}: how it was made")
    with damaged(str(path), _FILE.again):
        wanted = {f"{number}/{name}" for number in range(len(made.setups)) for name in names}
        if not wanted or wanted != tensors.keys() or len(made.balls) not in (0, len(made.setups)):
            raise ValueError(f"it has {len(made.setups)} results, {len(made.balls)} balls and {len(tensors)} columns")
        parts = [({name: tensors[f"{n}/{name}"] for name in names}, setup) for n, setup in enumerate(made.setups)]
        for columns, _ in parts:
            _check(columns)
        return parts, [_ball(one) for one in made.balls]


def _check(columns: dict[str, Tensor]) -> None:
    for name, column in columns.items():
        kind = torch.float32 if name in _FLOATS else torch.bool if name in _FLAGS else torch.int64
        if column.dtype != kind or column.ndim != (4 if name == "adversarial" else 1):
            raise ValueError(f"`{name}` is {column.dtype} {tuple(column.shape)}")
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("its columns are not of the same images")
    if bool((columns["success"] & ~columns["clean_correct"]).any()):
        raise ValueError("it has a success on an image that was fooled before")


def _written(ball: Ball) -> _Ball:
    eps = getattr(ball, "eps")  # noqa: B009  every kind has it
    per = "image" if isinstance(ball, Each) else "channel" if isinstance(eps, tuple) else "ball"
    return _Ball(kind=ball.kind.__name__, eps=eps if isinstance(eps, tuple) else (eps,), per=per)


def _ball(told: _Ball) -> Ball:
    kind = lookup("norm", told.kind.lower(), NORMS)
    if told.per == "image":
        return kind.each(told.eps)
    found: Ball = kind(told.eps) if told.per == "channel" else ball_of(kind, told.eps[0])  # type: ignore[call-arg]
    return found
