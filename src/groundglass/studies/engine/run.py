"""Run a study into a folder: new, continued, or already complete."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from groundglass.core import Progress, check_seed, silent
from groundglass.core.platform import machine, versions
from groundglass.core.sealed import Seed
from groundglass.core.settings import Count, fit
from groundglass.data import Dataset, load
from groundglass.optics.medium import DeviceKind
from groundglass.results import RecordStore
from groundglass.results.manifest import STUDY_FILE, load_manifest
from groundglass.studies.cells.network import stem
from groundglass.studies.engine.cell import Cell, key_of, run_cells
from groundglass.studies.engine.context import Context, Listener
from groundglass.studies.engine.local import fitting_jobs, refuse_in_a_starting_worker, run_side_by_side
from groundglass.studies.engine.reuse import reuse_networks
from groundglass.studies.recipe import configure, described
from groundglass.studies.registry import ALL, Study, find_study
from groundglass.training import Precision, fastest_precision, times_slower

# A step that takes so many times as long as in the other precision is worth a word.
_SLOW = 1.5


def _stored_precision(folder: Path) -> Precision | None:
    """The precision that a run in this folder began with: it goes on in it, whatever this machine prefers."""
    if not (folder / STUDY_FILE).exists():
        return None
    found = load_manifest(folder)["config"].get("baseline", {}).get("precision")
    return next((precision for precision in get_args(Precision) if precision == found), None)


def _told_precision(chosen: Precision, *, why: str) -> str:
    """A precision that this processor is slow in makes hours of minutes: said before they are spent."""
    slower = times_slower(chosen)
    other = "float32" if chosen == "bfloat16" else "bfloat16"
    warning = f"; {other} would be {slower:.1f} times as fast here, in a new folder" if slower > _SLOW else ""
    return f"training in {chosen}, {why}{warning}"


def manifest(
    study: str,
    recipe: str,
    data: str,
    config: dict[str, Any],
    cells: list[dict[str, Any]],
    seed: int,
    *,
    public_seed: bool = False,
) -> dict[str, Any]:
    """What a run folder says about itself, see `RecordStore.open`. `public_seed`: a device's seed was given."""
    return {
        "study": study,
        "recipe": recipe,
        "data": data,
        "config": config,
        "cells": cells,
        "seed": seed,
        "public_seed": public_seed,
        "versions": versions(),
        "machine": machine(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def planned(study: Study, config: Any, dataset: Dataset) -> tuple[list[Cell], list[dict[str, Any]]]:
    """The cells of a study, and the plan as the manifest has it: of `all` it says to which studies each cell belongs."""
    cells = study.cells(config, dataset)
    plan: list[dict[str, Any]] = [{"key": key_of(cell), "kind": cell.kind, "name": cell.name} for cell in cells]
    if study == ALL:
        owned = [
            (part.name, {key_of(cell) for cell in part.cells(settings, dataset)})
            for part, settings in study.plan.parts(config).items()
        ]
        plan = [{**cell, "studies": [name for name, keys in owned if cell["key"] in keys]} for cell in plan]
    return cells, plan


def _check_names(cells: Sequence[Cell]) -> None:
    """Two networks of one name would share their files."""
    names = [stem(cell.name) for cell in cells if cell.kind in ("train", "redraw", "randomise", "distil")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"this study has two networks called {', '.join(twice)}: give its parts the same settings")


def run_study(
    study: str | Study,
    recipe: str,
    folder: Path,
    *,
    data: str | None = None,
    seed: int = 0,
    device_seed: int | Seed | None = None,
    device_kind: DeviceKind | None = None,
    data_dir: Path | None = None,
    precision: Precision | None = None,
    reuse: Sequence[Path] = (),
    jobs: int | None = 1,
    progress: Progress = silent,
    listener: Listener | None = None,
) -> int:
    """Run every cell of a study that `folder` has no record of; returns how many were run (0: it was complete).

    Args:
        study: its name, or a study of your own; recipe, data, seed: see `groundglass recipes`.
        folder: the run folder; made, or continued.
        device_seed: the simulated device's secret, to repeat a study exactly. It is never recorded; that it was
            given is, and makes the devices public. None: a fresh secret.
        device_kind: how devices are simulated; None: as the recipe says.
        data_dir: the data folder.
        precision: of training; None measures which is faster here, and keeps to it in this folder.
        reuse: other run folders; what they have trained with the same settings is copied, not trained again.
        jobs: cells that run side by side, each in a process of its own with its share of the cores; 1: all in this process, with
            all cores; None: as many as fit. Processes are spawned: a script that asks for more than 1 needs the usual
            `if __name__ == "__main__":`.

    Raises:
        ValueError: unknown names; `jobs` below 1; a negative seed; a folder that holds another study, or this one with other
            settings.
    """
    device_seed = None if device_seed is None else Seed(device_seed)  # first of all: no traceback shows it
    jobs = fit(Count | None, jobs, "jobs")
    refuse_in_a_starting_worker()
    check_seed(seed)
    if device_seed is not None:
        device_seed.check()
    # Cheap refusals first: names, then the data, then the folder.
    if isinstance(study, str):
        study = find_study(study)
    config = configure(study, recipe, data=data, seed=seed, precision="float32", device_kind=device_kind)
    for other in reuse:
        RecordStore.read(other)
    dataset = load(config.data, data_dir=data_dir)
    stored = next((found for one in (folder, *reuse) if (found := _stored_precision(one))), None)
    chosen = precision or stored or fastest_precision()
    config = configure(study, recipe, data=data, seed=seed, precision=chosen, device_kind=device_kind)
    todo, plan = planned(study, config, dataset)
    _check_names(todo)
    told = {**described(config), "classes": list(dataset.classes)}
    with RecordStore.open(
        folder, manifest(study.name, recipe, config.data, told, plan, seed, public_seed=device_seed is not None)
    ) as store:
        if all(key_of(cell) in store for cell in todo):
            return 0
        for other in reuse:
            reuse_networks(todo, store, other)
        context = Context(
            folder,
            dataset=dataset,
            device_seed=device_seed,
            progress=progress,
            listener=listener,
            arrays=store.arrays,
        )
        context.note(
            _told_precision(chosen, why="as asked" if precision else "as before" if stored else "the faster here")
        )
        side_by_side = fitting_jobs() if jobs is None else jobs
        return (
            run_cells(todo, store, context)
            if side_by_side == 1
            else run_side_by_side(todo, store, context, side_by_side)
        )
