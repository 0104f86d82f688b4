"""What another run folder has, taken over instead of being made again: networks and devices; of a compact copy results."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundglass.core import atomic_write
from groundglass.core.untrusted import within
from groundglass.optics import DeviceStore
from groundglass.results import Record, RecordStore
from groundglass.results.bundle import CompactCopyError
from groundglass.results.kinds import CHECK, CHOICE, DEVICE, TRAIN
from groundglass.results.made import digest_of, made_file
from groundglass.results.manifest import STUDY_FILE, Refusal, enter_study, load_manifest
from groundglass.studies.cells.network import stem
from groundglass.studies.engine.cell import Cell, key_of


def reuse_networks(cells: Iterable[Cell], store: RecordStore, other: Path) -> int:
    """Copy what `other` has of these cells' devices and trained networks, with their files; returns how many records.

    A network comes with its device or not at all: its weights are for that secret.

    Raises:
        FileNotFoundError: no study in `other`, or a file of it is missing.
        DamagedFileError: a file of it was altered.
    """
    there, copied = RecordStore.read(other), 0
    for cell in cells:
        key = key_of(cell)
        record = there.get(key)
        if record is None or key in store or cell.kind not in ("device", "train"):
            continue
        arrays = there.arrays(record)
        if cell.kind == "device":
            # One that was given is not in that folder: somebody else holds it.
            if not DEVICE.config_of(record).given:
                device = DeviceStore(other / "devices").find(DEVICE.result_of(record).fingerprint)
                DeviceStore(store.folder / "devices").put(device)
        elif not _same_inputs(record, there, store):
            continue
        else:
            # Under the name that this study gives it: a name from the other folder does not decide where it goes.
            name = f"models/{stem(cell.name)}.safetensors"
            path = made_file(other, record, TRAIN.result_of(record).checkpoint)
            with path.open("rb") as source, atomic_write(within(store.folder, name)) as target:
                shutil.copyfileobj(source, target)
            files = {name: digest_of(store.folder / name)}
            record = replace(record, name=cell.name, result={**record.result, "checkpoint": name}, files=files)
        store.add(record, arrays)
        copied += 1
    return copied


def _same_inputs(record: Record, there: RecordStore, here: RecordStore) -> bool:
    """Whether its device has the same secret here, and its features are those that were copied."""
    for key in record.inputs:
        mine, theirs = here.get(key), there.get(key)
        if mine is None or theirs is None:
            return False
        # Its file may have another name here.
        ours, others = ({**one.result, "checkpoint": None} for one in (mine, theirs))
        if ours != others:
            return False
    return True


def begin_with(copy: Path, folder: Path, about: Mapping[str, Any], refusal: Refusal) -> None:
    """Begin a run folder as the one that a compact copy was made of: its machine and versions are said first, and this session's
    after them. A folder that began so already is left as it is.

    Args:
        about: the manifest of this session.
        refusal: whether the copy's study may have these settings.

    Raises:
        CompactCopyError: `folder` was begun without the copy.
        OtherStudyError: the copy holds another study.
    """
    there = RecordStore.read(copy)
    if (folder / STUDY_FILE).exists():
        if load_manifest(folder)["started"] != there.manifest["started"]:
            raise CompactCopyError(
                f"{copy} is a compact copy: a new folder can begin with its results, and {folder} was begun without them. "
                "Give another --out, or a run folder with networks to reuse"
            )
        return
    enter_study(copy, about, write=False, records=there.records, refusal=refusal)
    RecordStore.open(folder, there.manifest).close()


def reuse_results(cells: Sequence[Cell], store: RecordStore, copy: Path) -> int:
    """Take over the results of a compact copy; returns how many. Those stay out for which something must be made again, as
    networks are no part of a copy: what a missing cell needs, and all that was made of that."""
    there = RecordStore.read(copy)
    again = _again(cells, there, store)
    taken = [r for cell in cells if (r := there.get(key_of(cell))) and r.key not in again and r.key not in store]
    for record in taken:
        store.add(record, there.arrays(record))
    return len(taken)


def _again(cells: Sequence[Cell], there: RecordStore, store: RecordStore) -> set[str]:
    """Keys of the cells that have to run, where the results `there` came without networks and devices."""
    again: set[str] = set()
    new = {key for cell in cells if (key := key_of(cell)) not in there and key not in store}
    while new - again:
        again |= new
        for cell in cells:
            key, inputs = key_of(cell), {key_of(one) for one in cell.inputs}
            if key in again and cell.kind not in _OF_RECORDS:
                new |= {one for one in inputs if one not in store}
            if inputs & again and key not in store:
                new.add(key)
    return again


# They read the records of their inputs, and none of the files.
_OF_RECORDS = (CHECK.name, CHOICE.name)
