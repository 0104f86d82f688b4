"""A run folder as tidy tables: a pandas frame a kind of result, a row a result, units in the names of columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from groundglass.core import DamagedFileError, lookup
from groundglass.core.imported import require
from groundglass.core.statistics import Proportion
from groundglass.results.kinds import (
    ATTACK,
    AUDIT,
    COST,
    DRAWS,
    KINDS,
    QUERY,
    REDRAW,
    RETRIEVE,
    TRAIN,
    TRANSFER,
    Entry,
    Kind,
)
from groundglass.results.outcomes import right_after
from groundglass.results.owners import owners
from groundglass.results.records import Record, RecordStore

require("a run as tables", "pandas")

import pandas as pd  # noqa: E402

C = TypeVar("C")
R = TypeVar("R")

_BY_FRAME = {kind.frame: kind for kind in KINDS.values()}
#: Columns that every frame has, after its own.
COMMON_COLUMNS = {
    "studies": "studies of the run that the result belongs to",
    "seconds": "wall time of the result, all sessions",
    "memory_bytes": "the most that its process held; none where not known",
    "device_memory_bytes": "the most that it took on a graphics card; none without one",
    "device_frames": "that it took of a device which somebody else holds; none: none",
    "finished": "when, ISO 8601",
}


@dataclass(frozen=True)
class Progress:
    """How much of a plan is done."""

    done: int
    planned: int
    missing: tuple[str, ...]


class _Frame:
    """The frame of a kind as an attribute of a run."""

    def __init__(self, kind: Kind[Any, Any]) -> None:
        self._name = kind.frame

    def __get__(self, run: "Run", owner: object = None) -> pd.DataFrame:
        return run.frame(self._name)


class Run:
    """What a run folder holds, or the part of it that belongs to some studies. Reading it needs no torch.

    Frames have the key of the record as index: `run.arrays(key)` has what there is for each image. `run.columns("attacks")`
    says what each column holds.
    """

    networks = _Frame(TRAIN)
    attacks = _Frame(ATTACK)
    draws = _Frame(DRAWS)
    queries = _Frame(QUERY)
    transfers = _Frame(TRANSFER)
    redraws = _Frame(REDRAW)
    retrievals = _Frame(RETRIEVE)
    audits = _Frame(AUDIT)
    costs = _Frame(COST)

    def __init__(self, store: RecordStore, records: Sequence[Record], owned: dict[str, frozenset[str]]) -> None:
        self._store, self.records, self._owned = store, tuple(records), owned
        self._frames: dict[str, pd.DataFrame] = {}

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """Read a run folder or a compact copy, finished or not. Nothing in it is changed.

        Raises:
            FileNotFoundError: no study there.
            DamagedFileError: a file in it was altered.
        """
        store = RecordStore.read(Path(folder))
        return cls(store, store.records, owners(store.manifest, store.records))

    def of(self, study: str, *, maybe: bool = False) -> "Run":
        """The results that belong to one study.

        Args:
            maybe: return nothing, instead of an error, for a study that this run does not have.

        Raises:
            ValueError: this run is not of that study; names those that it is of.
        """
        if not maybe:
            planned = (cell.get("studies", ()) for cell in self.manifest.get("cells") or ())
            here = {name for names in (*self._owned.values(), *planned) for name in names} or {
                str(self.manifest["study"])
            }
            lookup("study of this run", study, dict.fromkeys(here))
        return Run(self._store, [r for r in self.records if study in self._owned[r.key]], self._owned)

    def without(self, ending: str) -> "Run":
        """The same results, of networks whose names have lost this ending: where another study of the run has networks of these
        names with other settings, and this one compares its own by name."""

        def named(record: Record) -> Record:
            model = record.config.get("model")
            if not isinstance(model, str) or not model.endswith(ending):
                return record
            plain = model.removesuffix(ending)
            return replace(record, name=record.name.replace(model, plain), config={**record.config, "model": plain})

        return Run(self._store, [named(record) for record in self.records], self._owned) if ending else self

    @property
    def folder(self) -> Path:
        return self._store.folder

    @property
    def manifest(self) -> dict[str, Any]:
        return self._store.manifest

    @property
    def data(self) -> str:
        """The data set in words."""
        name = str(self.manifest["data"])
        base, cut, rest = name.partition("[")
        return {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}.get(base, base) + cut + rest

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty where the manifest does not say."""
        config = self.manifest["config"]
        return tuple(config.get("classes", ())) if isinstance(config, dict) else ()

    def studies(self, key: str) -> frozenset[str]:
        """The studies that a record belongs to."""
        return self._owned[key]

    @property
    def progress(self) -> Progress | None:
        """How much of the whole plan is done; None where the manifest has no plan."""
        plan = self.manifest.get("cells")
        if not plan:
            return None
        missing = tuple(str(cell["name"]) for cell in plan if cell["key"] not in self._store)
        return Progress(len(plan) - len(missing), len(plan), missing)

    def entries(self, kind: Kind[C, R]) -> list[Entry[C, R]]:
        """The results of a kind, typed, in the order of the plan."""
        return [Entry(record, kind, self._store.arrays) for record in self.records if record.kind == kind.name]

    def record(self, key: str) -> Record:
        """A record by its key, whatever study it is of."""
        found = self._store.get(key)
        if found is None:
            raise KeyError(f"{self.folder} has no record {key}")
        return found

    def arrays(self, key: str) -> dict[str, np.ndarray]:
        """What a result has for each image; an empty dict where it has nothing."""
        return self._store.arrays(self.record(key))

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """Every frame that has a row, by name. A kind of a study of your own has a frame of its name."""
        names = [kind.frame for kind in KINDS.values() if any(r.kind == kind.name for r in self.records)]
        others = dict.fromkeys(r.kind for r in self.records if r.kind not in KINDS)
        return {name: self.frame(name) for name in (*names, *others)}

    def frame(self, name: str) -> pd.DataFrame:
        """A frame by its name."""
        if name not in self._frames:
            self._frames[name] = self._made(name)
        return self._frames[name]

    @staticmethod
    def columns(name: str) -> dict[str, str]:
        """What each column of a frame holds."""
        return {**lookup("frame", name, _BY_FRAME).columns, **COMMON_COLUMNS}

    def _made(self, name: str) -> pd.DataFrame:
        if name not in _BY_FRAME and any(record.kind == name for record in self.records):
            # A kind that is not this package's: its config and result, as they are.
            records = [record for record in self.records if record.kind == name]
            found = pd.json_normalize([{**record.config, **record.result} for record in records])
        else:
            kind = lookup("frame", name, _BY_FRAME)
            entries = self.entries(kind)
            records = [entry.record for entry in entries]
            found = pd.DataFrame([kind.row(entry) for entry in entries], columns=list(kind.columns))
        common: dict[str, list[Any]] = {
            "studies": ["+".join(sorted(self._owned[record.key])) for record in records],
            "seconds": [record.seconds for record in records],
            "memory_bytes": [record.memory for record in records],
            "device_memory_bytes": [record.device_memory for record in records],
            "device_frames": [record.frames for record in records],
            "finished": [record.finished for record in records],
        }
        found = found.assign(**common)
        found.index = pd.Index([record.key for record in records], name="key", dtype=object)
        # An empty column of names would be one of floats, in which no name can be looked for.
        return found if len(found) else found.astype(object)

    def right(self, key: str) -> dict[int, bool]:
        """Which of the attacked images stay right under an attack: number of the image -> right.

        Attacks by queries leave out the images that were wrong at first; an audit is its attacks together.

        Raises:
            DamagedFileError: the record's arrays are missing, altered, or others than it needs.
        """
        return self.per_image(key, partial(right_after, self.record(key)))

    def right_before(self, key: str) -> dict[int, bool]:
        """Which of the attacked images are right before an attack by gradients; none where the record has no arrays."""
        if self.record(key).arrays is None:
            return {}
        return self.per_image(key, lambda a: dict(zip(a["index"].tolist(), a["clean_correct"].tolist(), strict=True)))

    def per_image(self, key: str, read: Callable[[dict[str, np.ndarray]], Any]) -> Any:
        """What `read` makes of a result's arrays.

        Raises:
            DamagedFileError: they are not what it needs; names the record.
        """
        record = self.record(key)
        try:
            return read(self._store.arrays(record))
        except (KeyError, ValueError) as error:
            if isinstance(error, DamagedFileError):
                raise
            raise DamagedFileError(
                f"the arrays of {record.key} ({record.name}) do not say what happened to each image "
                f"({type(error).__name__} {error}): put the folder back from a copy, or run the study again"
            ) from error

    def together(self, keys: Sequence[str]) -> Proportion | None:
        """The images that stay right under every one of some attacks, as a share of those that all have tried."""
        right = self.right_under(keys)
        return Proportion(sum(right.values()), len(right)) if right else None

    def right_under(self, keys: Sequence[str]) -> dict[int, bool]:
        """Which images stay right under every one of some attacks, of those that all have tried; none where one has no arrays."""
        if not keys or any(self.record(key).arrays is None for key in keys):
            return {}
        each = [self.right(key) for key in keys]
        shared = set.intersection(*(set(one) for one in each))
        return {i: all(one[i] for one in each) for i in sorted(shared)}
