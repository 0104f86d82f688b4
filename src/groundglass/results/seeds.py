"""Several run folders of one study that differ in their seed: each figure's mean and spread over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from groundglass.core.text import markdown_text
from groundglass.results.plain import difference
from groundglass.results.records import Record, RecordStore

# kind -> (what it is called, from a record's result).
_FIGURES: dict[str, tuple[str, Any]] = {
    "train": ("clean accuracy", lambda r: r["clean_accuracy"]),
    "attack": ("accuracy under attack", lambda r: r["robust_accuracy"]),
    "draws": ("accuracy after all draws", lambda r: r["correct"] / r["n_images"]),
    "query": ("images fooled", lambda r: r["success_rate"]),
    "redraw": ("accuracy, redrawn and tuned", lambda r: r["tuned"]),
    "craft": ("images that fool their source", lambda r: r["fooled"] / r["n_images"]),
    "distil": ("test images on which the surrogate agrees", lambda r: r["agreed"] / r["n_test"]),
    "transfer": ("accuracy on transferred images", lambda r: r["correct"] / r["n_images"]),
}


@dataclass(frozen=True)
class Figure:
    """A share over seeds: the name of its cell, what it is, and its value in [0, 1] in each folder, in their order."""

    name: str
    what: str
    values: tuple[float, ...]


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
    # In a folder of all studies others may hold fewer of them: what both have is compared, whatever their recipes are called.
    together = all(store.manifest["study"] == "all" for store in stores)
    for store in stores[1:]:
        for field in ("study", "data") if together else ("study", "recipe", "data"):
            if store.manifest[field] != first[field]:
                raise ValueError(
                    f"{store.folder} is of another {field} ({store.manifest[field]}, not {first[field]}): "
                    "only runs that differ in their seed alone can be averaged"
                )
        settings = [_seedless(one["config"]) for one in (first, store.manifest)]
        if together:
            settings = [
                {k: v for k, v in one.items() if all(o.get(k) is not None for o in settings)} for one in settings
            ]
        if lines := difference(*settings):
            raise ValueError(
                f"{store.folder} was run with other settings than {stores[0].folder} ({lines[0]}): only runs that differ "
                "in their seed alone can be averaged"
            )
    seeds = [store.manifest["seed"] for store in stores]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"the seeds of these folders are {seeds}: give folders of different seeds")
    found = [{_identity(r): r for r in store.records if _is_whole(r)} for store in stores]
    figures = []
    for identity, record in found[0].items():
        if all(identity in records for records in found):
            what, read = _FIGURES[record.kind]
            values = tuple(float(read(records[identity].result)) for records in found)
            figures.append(Figure(record.name, what, values))
    return figures


def _is_whole(record: Record) -> bool:
    """Whether its figure is of all images. Of the access ladder's attacks by queries it is of what a smaller ball left, or of
    the smallest ball alone: the ladder's table has what they come to."""
    return record.kind in _FIGURES and not (record.kind == "query" and record.config.get("purpose") == "ladder")


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
        told = (f"{100 * of(figure.values):.2f}" for of in (mean, stdev, min, max))
        numbers = " | ".join(told)
        lines.append(f"| {markdown_text(figure.name)} | {figure.what} | {numbers} |")
    return "\n".join(lines)
