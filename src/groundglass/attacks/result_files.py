"""Results of attacks on disk: one safetensors file with a checksum, for one result or for a sweep."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from groundglass.attacks.balls import NORMS, Ball, Each
from groundglass.attacks.result import COLUMNS, AttackResult, Setup
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
    """How the results were made; of a sweep, with its balls."""

    setups: tuple[Setup | None, ...]
    balls: tuple[_Ball, ...]


def save_results(path: Path | str, results: Sequence[AttackResult], balls: Sequence[Ball] = ()) -> None:
    """Write results, atomically.

    Raises:
        DiskFullError, OSError: nothing was written.
    """
    tensors = {f"{number}/{name}": getattr(one, name) for number, one in enumerate(results) for name in COLUMNS}
    made = _Made(setups=tuple(one.setup for one in results), balls=tuple(map(_written, balls)))
    _FILE.save(path, tensors, json.dumps(written(made), sort_keys=True))


def load_results(path: Path | str) -> tuple[list[AttackResult], list[Ball]]:
    """What `save_results` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: truncated, altered, or not such a file.
    """
    tensors, plain = _FILE.load(path)
    made = read(_Made, plain, f"{path}: how it was made")
    with damaged(str(path), _FILE.again):
        wanted = {f"{number}/{name}" for number in range(len(made.setups)) for name in COLUMNS}
        if not wanted or wanted != tensors.keys() or len(made.balls) not in (0, len(made.setups)):
            raise ValueError(f"it has {len(made.setups)} results, {len(made.balls)} balls and {len(tensors)} columns")
        results = []
        for number, setup in enumerate(made.setups):
            columns = {name: tensors[f"{number}/{name}"] for name in COLUMNS}
            _check(columns)
            results.append(AttackResult(**columns, setup=setup))
        return results, [_ball(one) for one in made.balls]


def _check(columns: dict[str, Tensor]) -> None:
    for name, column in columns.items():
        kind = torch.float32 if name in _FLOATS else torch.bool if name in _FLAGS else torch.int64
        if column.dtype != kind or column.ndim != (4 if name == "adversarial" else 1):
            raise ValueError(f"`{name}` is {column.dtype} {tuple(column.shape)}")


def _written(ball: Ball) -> _Ball:
    eps = getattr(ball, "eps")  # noqa: B009  every kind has it
    per = "image" if isinstance(ball, Each) else "channel" if isinstance(eps, tuple) else "ball"
    return _Ball(kind=ball.kind.__name__, eps=eps if isinstance(eps, tuple) else (eps,), per=per)


def _ball(told: _Ball) -> Ball:
    kind = lookup("norm", told.kind.lower(), NORMS)
    if told.per == "image":
        return kind.each(told.eps)
    found: Ball = kind(told.eps if told.per == "channel" else told.eps[0])  # type: ignore[call-arg]
    return found
