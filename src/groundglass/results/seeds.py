"""Several run folders of one study that differ in their seed: each figure's mean and spread over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from groundglass.results.plain import difference
from groundglass.results.records import Record, RecordStore

# kind -> (what it is called, from a record's result).
_FIGURES: dict[str, tuple[str, Any]] = {
    "train": ("clean accuracy", lambda r: r["clean_accuracy"]),
    "attack": ("accuracy under attack", lambda r: r["robust_accuracy"]),
    "query": ("images fooled", lambda r: r["success_rate"]),
    "redraw": ("accuracy, redrawn and tuned", lambda r: r["tuned"]),
    "craft": ("images that fool their source", lambda r: r["fooled"] / r["n_images"]),
    "transfer": ("accuracy on transferred images", lambda r: r["correct"] / r["n_images"]),
}


@dataclass(frozen=True)
class Figure:
    """One figure over seeds.

    Attributes:
        name: of the cell.
        what: the figure, a share.
        values: one a seed, in [0, 1], in the order of the folders.
    """

    name: str
    what: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return mean(self.values)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds (n - 1)."""
        return stdev(self.values)


def over_seeds(folders: Sequence[Path]) -> list[Figure]:
    """Every figure that all the folders have, in the order of the first.

    Raises:
        ValueError: fewer than two folders; another study, recipe, data set or setting in one of them; a seed twice.
        FileNotFoundError: no study in a folder.
        DamagedFileError: a record was altered.
    """
    if len(folders) < 2:
        raise ValueError("give at least two run folders of one study, with different seeds")
    stores = [RecordStore.read(folder) for folder in folders]
    first = stores[0].manifest
    for store in stores[1:]:
        for field in ("study", "recipe", "data"):
            if store.manifest[field] != first[field]:
                raise ValueError(
                    f"{store.folder} is of another {field} ({store.manifest[field]}, not {first[field]}): "
                    "only runs that differ in their seed alone can be averaged"
                )
        if lines := difference(_seedless(first["config"]), _seedless(store.manifest["config"])):
            raise ValueError(
                f"{store.folder} was run with other settings than {stores[0].folder} ({lines[0]}): only runs that differ "
                "in their seed alone can be averaged"
            )
    seeds = [store.manifest["seed"] for store in stores]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"the seeds of these folders are {seeds}: the same seed twice is no second sample")
    found = [{_identity(r): r for r in store.records if r.kind in _FIGURES} for store in stores]
    figures = []
    for identity, record in found[0].items():
        records = [records.get(identity) for records in found]
        if any(r is None for r in records):
            continue
        what, read = _FIGURES[record.kind]
        figures.append(Figure(record.name, what, tuple(float(read(r.result)) for r in records if r is not None)))
    return figures


def _identity(record: Record) -> str:
    """What a record is, whatever its seed."""
    return repr((record.kind, record.name, _seedless(record.config)))


def _seedless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _seedless(v) for k, v in sorted(value.items()) if k != "seed"}
    return [_seedless(v) for v in value] if isinstance(value, list) else value


def table(figures: Sequence[Figure], seeds: int) -> str:
    """The figures as a Markdown table, in percent."""
    lines = [
        f"| cell | figure | mean of {seeds} seeds (%) | standard deviation | smallest | largest |",
        "|---|---|---|---|---|---|",
    ]
    for figure in figures:
        low, high = min(figure.values), max(figure.values)
        numbers = " | ".join(f"{100 * v:.2f}" for v in (figure.mean, figure.spread, low, high))
        lines.append(f"| {figure.name} | {figure.what} | {numbers} |")
    return "\n".join(lines)
