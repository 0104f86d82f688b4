"""Run a study into a folder: new, continued, or already complete."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groundglass.core import Progress, read_json, silent
from groundglass.core.platform import machine, versions
from groundglass.data import load
from groundglass.evaluation import RecordStore
from groundglass.studies.cells import key_of, run_cells
from groundglass.studies.context import Context, Listener
from groundglass.studies.recipes import configure
from groundglass.studies.white_box import cells, manifest_config
from groundglass.training import Precision, fastest_precision


def _stored_precision(folder: Path) -> Precision | None:
    """The precision that a run in this folder began with: it goes on in it, whatever this machine prefers."""
    path = folder / "study.json"
    if not path.is_file():
        return None
    stored = read_json(path)
    precision: Precision | None = stored.get("config", {}).get("baseline", {}).get("precision")
    return precision


def run_study(
    study: str,
    recipe: str,
    folder: Path,
    *,
    data: str | None = None,
    seed: int = 0,
    device_seed: int | None = None,
    data_dir: Path | None = None,
    precision: Precision | None = None,
    progress: Progress = silent,
    listener: Listener | None = None,
) -> int:
    """Run every cell of a study that `folder` has no record of; returns how many were run (0: it was complete).

    Args:
        study, recipe, data, seed: what; see `groundglass recipes`.
        folder: the run folder; made, or continued.
        device_seed: the simulated device's secret, to repeat a study exactly. Never recorded. None: a fresh secret.
        data_dir: the data folder.
        precision: of training; None measures which is faster here, and keeps to it in this folder.

    Raises:
        ValueError: unknown names; a folder that holds another study, or this one with other settings.
    """
    # Cheap refusals first: names, then the data, then the folder.
    config = configure(study, recipe, data=data, seed=seed, precision="float32")
    dataset = load(config.data, data_dir=data_dir)
    chosen = precision or _stored_precision(folder) or fastest_precision()
    config = configure(study, recipe, data=data, seed=seed, precision=chosen)
    todo = cells(config, dataset)
    manifest: dict[str, Any] = {
        "study": study,
        "recipe": recipe,
        "data": config.data,
        "config": {**manifest_config(config), "classes": list(dataset.classes)},
        "cells": [{"key": key_of(cell), "kind": cell.kind, "name": cell.name} for cell in todo],
        "seed": seed,
        "versions": versions(),
        "machine": machine(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with RecordStore.open(folder, manifest) as store:
        if all(key_of(cell) in store for cell in todo):
            return 0
        context = Context(
            folder,
            dataset=dataset,
            device_seed=device_seed,
            progress=progress,
            listener=listener,
        )
        return run_cells(todo, store, context)
