"""Run a study into a folder: new, continued, or already complete."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from groundglass.core import Progress, accelerator, silent
from groundglass.core.accelerator import Device, lacks_card, torch_device
from groundglass.core.platform import machine, usable_cores, versions
from groundglass.core.sealed import Seed
from groundglass.core.settings import Count, fit
from groundglass.optics import OpticalDevice, RemoteOPU
from groundglass.optics.counted import uncounted
from groundglass.optics.medium import DeviceKind
from groundglass.optics.remote.errors import FrameBudgetError
from groundglass.results import Record, RecordStore, Run
from groundglass.results.bundle import is_compact
from groundglass.results.manifest import STUDY_FILE, load_manifest, unasked
from groundglass.studies.asked import Asked
from groundglass.studies.cells.network import stem
from groundglass.studies.engine.cell import Cell, checkpoint_in, key_of, run_cells
from groundglass.studies.engine.context import Context, Listener
from groundglass.studies.engine.executor import Place
from groundglass.studies.engine.frames import check_budget
from groundglass.studies.engine.given import GivenDevice, LeftOut, check_elsewhere
from groundglass.studies.engine.local import Local, fitting_jobs, refuse_in_a_starting_worker
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.planned import StudyPlan
from groundglass.studies.engine.reuse import begin_with, reuse_networks, reuse_results
from groundglass.studies.engine.schedule import run_on
from groundglass.studies.engine.worker import Setup
from groundglass.studies.recipe import described
from groundglass.studies.registry import Study, find_study
from groundglass.training import Precision, times_slower

#: Kinds of cells that make a network, in a file of its name.
_NETWORKS = ("train", "redraw", "randomise", "distil")
# A step that takes so many times as long as in the other precision is worth a word.
_SLOW = 1.5


def _stored_threads(folder: Path) -> int | None:
    """The threads of a cell with which a run in this folder began."""
    if not (folder / STUDY_FILE).exists():
        return None
    found = load_manifest(folder)["machine"].get("threads")
    return found if isinstance(found, int) and found > 0 else None


def _told_precision(chosen: Precision, where: torch.device | None, *, why: str) -> str:
    """A precision that this machine is slow in makes hours of minutes: said before they are spent. Of a device that is not here
    nobody knows."""
    slower = 0.0 if where is None else times_slower(chosen, where)
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
    threads: int = 1,
    public_seed: bool = False,
    seed_derivation: str | None = None,
    changed: Sequence[str] = (),
    where: torch.device,
    given: GivenDevice | None = None,
    left_out: Sequence[LeftOut] = (),
) -> dict[str, Any]:
    """What a run folder says about itself, see `RecordStore.open`. `public_seed`: a device's seed was given;
    `seed_derivation`: how it is used, `Seed.derivation`; `changed`: in what the config differs from the recipe; `where`: what it
    computes on; `given`: the device that somebody else holds, and what is `left_out` for it."""
    return {
        **({"changed": list(changed)} if changed else {}),
        **({"seed_derivation": seed_derivation} if seed_derivation else {}),
        **({} if given is None else {"optical_device": given.told}),
        **({"left_out": [asdict(one) for one in left_out]} if left_out else {}),
        "study": study,
        "recipe": recipe,
        "data": data,
        "config": config,
        "cells": cells,
        "seed": seed,
        "public_seed": public_seed,
        "versions": versions(),
        "machine": {**machine(), "threads": threads, **accelerator.described(where)},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _check_names(cells: Sequence[Cell]) -> None:
    """Two networks of one name would share their files."""
    names = [stem(cell.name) for cell in cells if cell.kind in _NETWORKS]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"this study has two networks called {', '.join(twice)}: give its parts the same settings")


def _networks_stay(cells: Sequence[Cell], folder: Path) -> Callable[[Sequence[Record]], str]:
    """Whether a folder may have these cells in place of those that it was begun with: its networks must be the same.

    Others of the same names would be written over them, trained or half trained.
    """
    planned = {stem(cell.name): key_of(cell) for cell in cells if cell.kind in _NETWORKS}

    def refusal(records: Sequence[Record]) -> str:
        made = [(record.kind, record.name, record.key) for record in records]
        before = [(cell["kind"], cell["name"], cell["key"]) for cell in load_manifest(folder).get("cells") or ()]
        made += [one for one in before if checkpoint_in(folder, stem(one[1])).exists()]
        other = {name for kind, name, key in made if kind in _NETWORKS and planned.get(stem(name), key) != key}
        return f"by which {', '.join(sorted(other))} would be made anew" if other else ""

    return refusal


def _told_growth(manifest: Mapping[str, Any], started: str) -> str | None:
    """What has become of the plan in this session."""
    grown = manifest.get("grown") or [{"when": None}]
    last = grown[-1]
    if last["when"] != started:
        return None
    left = f", and {last['left']} are kept but no longer shown" if last["left"] else ""
    settings = "; ".join(last["settings"]) or "another version's"
    return f"the plan has changed ({settings}): {last['new']} results are new, {last['kept']} stay{left}"


def _told_device(manifest: Mapping[str, Any], started: str) -> str | None:
    """Whether the session before this one has computed on another device."""
    sessions = [manifest, *manifest.get("continued", ())]
    if len(sessions) < 2 or sessions[-1]["started"] != started:
        return None
    before, now = (session["machine"].get("card", session["machine"].get("device")) for session in sessions[-2:])
    if before is None or before == now:  # versions before 0.3 did not say
        return None
    return f"this session is on {now}, the one before was on {before}: results may differ in their last digits"


def _told_seed(manifest: Mapping[str, Any], seed: Seed | None) -> str | None:
    """Whether this session makes other devices of the seed than the one that began the folder."""
    before = manifest.get("seed_derivation", "raw")  # version 0.2
    if seed is None or not manifest.get("public_seed") or before == seed.derivation:
        return None
    return (
        f"this folder's devices were made of their seed otherwise ({before}, now {seed.derivation}): those that are still to be "
        "made will be others than they would have been; --device-seed raw:NUMBER makes devices as version 0.2 did"
    )


def _told_repeatable(machine: Mapping[str, Any]) -> str | None:
    """Why a training that is cut off would not go on to the same bits."""
    found = str(machine.get("repeatable", "yes"))
    return (
        f"on this card nothing is the same bit for bit when it is computed again: {found}"
        if found[:2] == "no"
        else None
    )


def run_study(
    study: str | Study,
    recipe: str | None = None,
    out: Path | str | None = None,
    *,
    config: Any = None,
    changes: Sequence[str] = (),
    data: str | None = None,
    seed: int | None = None,
    device_seed: int | Seed | None = None,
    device_kind: DeviceKind | None = None,
    optical_device: OpticalDevice | None = None,
    data_dir: Path | None = None,
    precision: Precision | None = None,
    reuse: Sequence[Path] = (),
    jobs: int | None = 1,
    device: Device = "auto",
    threads: int | None = None,
    executor: Place | None = None,
    progress: Progress = silent,
    listener: Listener | None = None,
) -> Run:
    """Run every cell of a study that its folder has no record of.

        run = run_study("white-box", "laptop", "runs/one", config={"n_images": 200, "ladder": None})
        run.attacks  # a pandas frame

    A folder goes on with other settings as long as its networks are the same: what it has is kept, and only what is new is
    computed. Results that are no longer in the plan stay in the folder, and no page or frame has them.

    Args:
        study: its name, or a study of your own.
        recipe: its settings, see `groundglass recipes`; None: that of `config`, else "quick".
        out: the run folder; made, or continued.
        config: what is changed in the recipe: a table of settings, or the TOML file of one (`groundglass recipes show`
            prints a complete one; "study" and "recipe" in it are those that it is for). Or the whole configuration, an
            object as the study's `study.py` defines it.
        changes: further ones, as on the command line: "attack.steps=20", "eps_paper+=0.08".
        data: name of the data set, or the path of an .npz or of a folder of pictures, see `groundglass.data.load`: the run is of
            these images, which it knows by a digest. None: as the config says, else the recipe's.
        seed: of all but the device. None: as the config says, else 0.
        device_seed: the simulated device's secret, to repeat a study exactly. It is never recorded; that it was
            given is, and makes the devices public. None: a fresh secret.
        device_kind: how devices are simulated; None: as the config says.
        optical_device: the device of the study's network, which somebody else holds: a `RemoteOPU`, a `LightOnOPU`, or one of
            your own. Its sizes and its camera take the place of the config's. What takes more than its readings is left out
            of the plan, and the folder says so. Workers open a `RemoteOPU` again, by its address and their own token; of any
            other kind there is one, in this process. None: the study makes its devices.
        data_dir: the data folder.
        precision: of training, where the config does not say; None measures which is faster here, and keeps to it in this
            folder.
        reuse: other run folders; what they have trained with the same settings is copied, not trained again. Of a compact copy
            of this study a new folder takes the results, but those of which a network is needed for what is missing.
        jobs: cells that run side by side, each in a process of its own with its share of the cores; 1: all in this process, with
            all cores; None: as many as fit. Processes are spawned: a script that asks for more than 1 needs the usual
            `if __name__ == "__main__":`.
        device: what it computes on: "cpu", "cuda", "cuda:1"; "auto" is a card where there is one. Recorded, and each session may
            have another; what it finds may then differ in the last digits, which is said. "cuda" is the workers' card where the
            `executor` has workers elsewhere: this machine need not have one, but then a new folder needs a `precision`.
        threads: of a cell, where it has a process of its own. What a cell finds may depend on it in the last bit, so it is
            recorded. None: its share of this machine's cores; with an `executor` as this folder began, or one.
        executor: where cells run, in place of `jobs` processes here: `Ray(...)`, say.

    Returns:
        What the folder then holds.

    Raises:
        ValueError: unknown names; a setting that cannot be; `jobs` below 1; a negative seed; a folder that holds another
            study, another data set or seed, or networks that these settings would make anew; a device that nothing of the
            study is done with, or that other processes cannot open.
        FrameBudgetError: the frames that are left of the device's budget are fewer than the study takes, as far as is known.
        TypeError: a setting of another kind.
    """
    device_seed = None if device_seed is None else Seed(device_seed)  # first of all: no traceback shows it
    jobs, threads = fit(Count | None, jobs, "jobs"), fit(Count | None, threads, "threads")
    if executor is not None and not hasattr(executor, "start"):
        raise TypeError(
            f"`executor` must be a place where cells run, as groundglass.studies.Ray(), not {executor!r:.40}"
        )
    elsewhere = executor is not None and executor.elsewhere and lacks_card(device)
    where = torch.device("cuda") if elsewhere else torch_device(device)
    if executor is not None:
        executor.check(str(where))
    refuse_in_a_starting_worker()
    if device_seed is not None:
        device_seed.check()
    if out is None:
        raise ValueError("give `out`, the folder where the results go")
    # Cheap refusals first: names, then the data, then the folder.
    if isinstance(study, str):
        study = find_study(study)
    asked = Asked.of(study, recipe, config, changes, data=data, seed=seed, device_kind=device_kind)
    given = None if optical_device is None else GivenDevice.of(optical_device)
    if given is not None:
        asked = given.asked(asked)
    folder = Path(out)
    for other in reuse:
        RecordStore.read(other)
    here = None if elsewhere else where
    found = StudyPlan.of(
        asked, precision=precision, folders=(folder, *reuse), where=here, data_dir=data_dir, given=given
    )
    settings, dataset, todo = found.settings, found.dataset, found.cells
    side_by_side = fitting_jobs(where) if jobs is None else jobs
    place = executor or (None if side_by_side == 1 else Local(side_by_side))
    if place is None:
        threads = torch.get_num_threads()
    elif threads is None:
        threads = max(1, usable_cores() // side_by_side) if executor is None else _stored_threads(folder) or 1
    if optical_device is not None and place is not None:
        check_elsewhere(optical_device)
    _check_names(todo)
    about = manifest(
        study.name,
        asked.recipe,
        settings.data,
        {**described(settings), "classes": list(dataset.classes)},
        found.plan,
        settings.seed,
        threads=threads,
        public_seed=device_seed is not None,
        seed_derivation=None if device_seed is None else device_seed.derivation,
        changed=asked.told(found.precision),
        where=where,
        given=given,
        left_out=found.left_out,
    )
    for other in filter(is_compact, reuse):
        begin_with(other, folder, about, _networks_stay(todo, other))
    with RecordStore.open(folder, about, refusal=_networks_stay(todo, folder)) as store:
        context = Context(
            folder,
            dataset=dataset,
            device_seed=device_seed,
            progress=progress,
            listener=listener,
            arrays=store.arrays,
            where=here or "cpu",
            optical=optical_device,
        )
        if given is not None:
            missing = [key for cell in todo if (key := key_of(cell)) not in store]
            try:
                plan = Plan.of(todo, train=len(dataset.train), test=len(dataset.test))
                check_budget(plan, missing, given, folder)
            except FrameBudgetError:
                store.give_up()  # nothing was done, and nothing is left
                raise
        if isinstance(remote := None if optical_device is None else uncounted(optical_device), RemoteOPU):
            context.devices.keep(remote)
        told = (_told_growth, _told_device)
        lines = [each(store.manifest, about["started"]) for each in told]
        for line in (*lines, _told_seed(store.manifest, device_seed), _told_repeatable(about["machine"])):
            if line is not None:
                context.note(line)
        if found.left_out:
            context.note(f"not asked of this device: {unasked((one.kind, one.why) for one in found.left_out)}")
        if not all(key_of(cell) in store for cell in todo):
            for other in reuse:
                (reuse_results if is_compact(other) else reuse_networks)(todo, store, other)
            context.note(_told_precision(found.precision, here, why=found.why))
            if place is None:
                run_cells(todo, store, context)
            else:
                run_on(place.start(Setup.of(context, threads, where=where)), todo, store, context)
    return Run.open(folder)
