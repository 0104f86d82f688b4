"""A study is a graph of independent cells; a runner executes those that have no record yet."""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from groundglass.core import accelerator, platform
from groundglass.core.locks import HeldError, leased
from groundglass.core.schema import written
from groundglass.core.settings import Settings
from groundglass.core.untrusted import within
from groundglass.results import Record, RecordStore, cell_key
from groundglass.results.kinds import KINDS
from groundglass.results.made import digest_of
from groundglass.studies.engine.context import Context

C = TypeVar("C")


@dataclass(frozen=True)
class Outcome:
    """What a cell found.

    Attributes:
        result: the Result of the cell's kind; for a kind of your own plain JSON will do.
        arrays: one entry an image.
        earlier_seconds: that earlier, interrupted sessions spent on it.
        scratch: a file that nobody needs once the record is written: it is deleted then.
    """

    result: Any
    arrays: dict[str, np.ndarray] | None = None
    earlier_seconds: float = 0.0
    scratch: Path | None = None


class Cell(Protocol):
    """One unit of a study: train this, attack that.

    Attributes:
        kind: a name of `groundglass.results.kinds.KINDS`, or one of your own.
        name: for people.
        inputs: cells whose records it needs.
    """

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> Sequence["Cell"]: ...

    def config(self) -> Any:
        """The Config of the cell's kind, or plain JSON; with the inputs' keys, it is the cell's identity."""
        ...

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        """Do it, in any process. A cell that draws a device does that in a method `prepare`, of the same arguments: the process
        that has the study's secret calls it first, and what it returns is `context.prepared` here."""
        ...


@dataclass(frozen=True)
class Prepared:
    """What the process that has the study's secret did for a cell: a `value` in which nothing is secret, in some seconds."""

    value: Any = None
    seconds: float = 0.0


@dataclass(frozen=True)
class BaseCell(Settings):
    """A cell that says what it is by its fields: those that are cells are its inputs, the others are its config."""

    kind: ClassVar[str]

    @property
    def inputs(self) -> Sequence[Cell]:
        values = [getattr(self, field.name) for field in fields(self)]
        groups = [value if isinstance(value, tuple) else (value,) for value in values]
        return tuple(one for group in groups for one in group if hasattr(one, "run"))

    def config(self) -> Any:
        return filled(KINDS[self.kind].config, self, **self.described())

    def described(self) -> dict[str, Any]:
        """What the Config has that is not an attribute of the cell, or is written in another way."""
        return {}

    def needs(self) -> str:
        """What it takes, beside readings, of a device that somebody else holds, in a few words. Empty: nothing, or none has."""
        return ""


def filled(cls: type[C], source: Any, **others: Any) -> C:
    """A Config or Result with these values, and for its other fields the attributes of `source` that have their names."""
    names = [field.name for field in fields(cls) if field.name not in others]  # type: ignore[arg-type]
    return cls(**{name: getattr(source, name) for name in names if hasattr(source, name)}, **others)


def key_of(cell: Cell) -> str:
    """The cell's key: the same config on the same inputs has the same key, in any study.

    It is worked out once and stays with the cell, which never changes: a check may have hundreds of cells below it.
    """
    known: str | None = getattr(cell, "_key", None)
    if known is None:
        known = cell_key(cell.kind, as_json(cell.config()), [key_of(c) for c in cell.inputs])
        object.__setattr__(cell, "_key", known)
    return known


def scratch_of(cell: Cell, context: Context) -> Path:
    """Where the cell keeps unfinished work: a file whose name is the cell's identity."""
    return checkpoint_in(context.folder, key_of(cell))


def checkpoint_in(folder: Path, name: str) -> Path:
    """The file of unfinished work in a run folder, by the key of its cell, or by the name of a network's own file."""
    return folder / "checkpoints" / f"{name}.safetensors"


def with_inputs(cells: Iterable[Cell]) -> list[Cell]:
    """The cells and all that they need, each once, inputs first; else in the order given."""
    found: dict[str, Cell] = {}

    def visit(cell: Cell) -> None:
        key = key_of(cell)
        if key not in found:
            for needed in cell.inputs:
                visit(needed)
            found[key] = cell

    for cell in cells:
        visit(cell)
    return list(found.values())


def prepare(cell: Cell, inputs: Sequence[Record], context: Context) -> Prepared:
    """Draw the devices of a cell, which takes the study's secret, and save them in the run folder: whoever runs the cell opens
    them by their fingerprints. So the secret never leaves this process."""
    if not hasattr(cell, "prepare"):
        return Prepared()
    started = time.perf_counter()
    value = cell.prepare(inputs, context)
    return Prepared(value, time.perf_counter() - started)


def perform(
    cell: Cell, inputs: Sequence[Record], context: Context, prepared: Prepared | None = None
) -> tuple[Record, Outcome]:
    """Run one cell: its record, not yet stored, and what it found.

    A worker that a killed run has left behind, and whoever goes on with that run, do not both run a cell: it is leased.

    Args:
        prepared: for it; None: here and now.
    """

    def waiting(held: HeldError) -> None:
        context.progress(f"waiting, as {held.strerror}", 0, 1)

    accelerator.watch_memory(context.where)
    with leased(context.folder / "checkpoints", key_of(cell), waiting=waiting), accelerator.repeatable(context.where):
        prepared = prepared or prepare(cell, inputs, context)
        context.prepared = prepared.value
        taken = context.devices.frames
        started = time.perf_counter()
        outcome = cell.run(inputs, context)
        seconds = prepared.seconds + time.perf_counter() - started + outcome.earlier_seconds
    named = KINDS[cell.kind].files if cell.kind in KINDS else ()
    files = [name for field in named if (name := getattr(outcome.result, field, None)) is not None]
    record = Record(
        key=key_of(cell),
        kind=cell.kind,
        name=cell.name,
        config=as_json(cell.config()),
        inputs=tuple(r.key for r in inputs),
        result=as_json(outcome.result),
        seconds=round(seconds, 3),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        frames=context.devices.frames - taken or None,
        memory=platform.most_memory(),
        device_memory=accelerator.most_memory(context.where),
        files={name: digest_of(within(context.folder, name)) for name in files},
    )
    return record, outcome


def keep(record: Record, outcome: Outcome, store: RecordStore, context: Context) -> None:
    """Store what a cell found, and tell of it. The scratch file goes when the record stands."""
    store.add(record, outcome.arrays)
    if outcome.scratch is not None:
        with suppress(OSError):  # leaving it does no harm
            outcome.scratch.unlink()
    context.report_cell(record)


def inputs_of(cell: Cell, store: RecordStore) -> list[Record] | None:
    """The records that a cell needs; None while one of them is missing."""
    found = [store.get(key_of(needed)) for needed in cell.inputs]
    return None if any(record is None for record in found) else [record for record in found if record is not None]


def run_cells(cells: Iterable[Cell], store: RecordStore, context: Context) -> int:
    """Run every cell that has no record yet, in order; returns how many were run.

    Each record is on disk before the next cell starts: an interruption loses the current cell at most, and a cell
    that takes long goes on from its own checkpoint.
    """
    todo = [(cell, key_of(cell)) for cell in cells]
    fresh = [cell for cell, key in todo if key not in store]
    for position, cell in enumerate(fresh):
        context.announce(f"[{len(todo) - len(fresh) + position + 1}/{len(todo)}] {cell.name}")
        inputs = inputs_of(cell, store)
        assert inputs is not None, f"{cell.name} comes before one of its inputs"
        keep(*perform(cell, inputs, context), store, context)
    return len(fresh)


def as_json(value: Any) -> dict[str, Any]:
    """A Config or Result as plain JSON; what is plain JSON already stays as it is."""
    return written(value) if is_dataclass(value) else value
