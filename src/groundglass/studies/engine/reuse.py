"""Networks and devices of another run folder, taken over instead of being made again."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from groundglass.core import atomic_write
from groundglass.core.untrusted import within
from groundglass.optics import DeviceStore
from groundglass.results import Record, RecordStore
from groundglass.results.bundle import refuse_without_networks
from groundglass.results.kinds import DEVICE, TRAIN
from groundglass.results.made import digest_of, made_file
from groundglass.studies.cells.network import stem
from groundglass.studies.engine.cell import Cell, key_of


def reuse_networks(cells: Iterable[Cell], store: RecordStore, other: Path) -> int:
    """Copy what `other` has of these cells' devices and trained networks, with their files; returns how many records.

    A network comes with its device or not at all: its weights are for that secret.

    Raises:
        FileNotFoundError: no study in `other`, or a file of it is missing.
        CompactCopyError: `other` is a compact copy.
        DamagedFileError: a file of it was altered.
    """
    refuse_without_networks(other)
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
