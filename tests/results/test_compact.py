"""The compact copy of a run folder: the same records and arrays in three files, and nothing can be added to it."""

import io
import lzma
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from groundglass.core import DamagedFileError
from groundglass.results.bundle import BUNDLE, CompactCopyError, is_compact
from groundglass.results.compact import compact
from groundglass.results.lock import lock
from groundglass.results.manifest import OtherStudyError
from groundglass.results.records import RecordStore
from tests.altered import lines, of_before
from tests.results.test_record_store import MANIFEST, filled, record


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = filled(tmp_path / "run", count=3)
    with RecordStore.open(folder, MANIFEST) as store:
        store.add(record("no arrays", steps=9))
    for name in ("models/vgg-opu.safetensors", "devices/a.device", "adversarial/x.npy", "report.html"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"secret")
    return folder


def test_a_copy_is_three_files_and_reads_like_the_folder(run: Path, tmp_path: Path) -> None:
    done = compact(run, tmp_path / "copy")
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == ["arrays.tar.xz", "records.jsonl", "study.json"]
    assert (done.files, done.records, done.arrays) == (3, 4, 3)
    assert done.bytes == sum(p.stat().st_size for p in (tmp_path / "copy").iterdir())
    assert (tmp_path / "copy" / "study.json").read_bytes() == (run / "study.json").read_bytes()
    there, here = RecordStore.read(run), RecordStore.read(tmp_path / "copy")
    assert len(here) == len(there)
    for one, copied in zip(there.records, here.records, strict=True):
        assert replace(copied, arrays_sha256=one.arrays_sha256) == one
        theirs, ours = there.arrays(one), here.arrays(copied)
        assert ours.keys() == theirs.keys()
        assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert not any(b"secret" in p.read_bytes() for p in (tmp_path / "copy").iterdir())


def test_a_copy_has_what_the_plan_asks_for(run: Path, tmp_path: Path) -> None:
    first, *_ = RecordStore.read(run).records
    plan = [{"key": first.key, "kind": first.kind, "name": first.name}]
    RecordStore.open(run, {**MANIFEST, "cells": plan}).close()
    done = compact(run, tmp_path / "copy")
    assert (done.records, done.arrays) == (1, 1)
    copy = RecordStore.read(tmp_path / "copy")
    assert (len(copy), copy.unplanned) == (1, ())
    with tarfile.open(tmp_path / "copy" / BUNDLE) as bundle:
        assert bundle.getnames() == [first.arrays]


def test_the_same_records_give_the_same_bytes(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compact(run, tmp_path / "a")
    for path in (run / "arrays").iterdir():
        os.utime(path, (10**9, 10**9))
    monkeypatch.setattr("time.time", lambda: 2e9)
    compact(run, tmp_path / "b")
    compact(tmp_path / "a", tmp_path / "of a copy")
    for name in ("study.json", "records.jsonl", "arrays.tar.xz"):
        assert len({(tmp_path / one / name).read_bytes() for one in ("a", "b", "of a copy")}) == 1


def test_what_many_results_repeat_takes_little_room(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((50, 100), dtype=np.float32)
    with RecordStore.open(tmp_path / "run", MANIFEST) as store:
        for i in range(10):
            store.add(record(f"attack {i}", steps=i), {"original": images, "success": np.zeros(50, bool)})
    compact(tmp_path / "run", tmp_path / "copy")
    assert (tmp_path / "copy" / BUNDLE).stat().st_size < 1.5 * images.nbytes


def test_members_tell_neither_time_nor_user(run: Path, tmp_path: Path) -> None:
    compact(run, tmp_path / "copy")
    with tarfile.open(tmp_path / "copy" / BUNDLE) as bundle:
        assert bundle.getnames() == sorted(f"arrays/{p.name}" for p in (run / "arrays").iterdir())
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in bundle} == {(0, 0, 0, "", "")}


def test_a_study_without_arrays_makes_a_copy_too(tmp_path: Path) -> None:
    filled(tmp_path / "run", count=0)
    compact(tmp_path / "run", tmp_path / "copy")
    assert is_compact(tmp_path / "copy")
    assert RecordStore.read(tmp_path / "copy").records == ()


@pytest.mark.parametrize("there", ["folder", "file", "dangling link"])
def test_nothing_is_replaced(run: Path, tmp_path: Path, there: str) -> None:
    out = tmp_path / "copy"
    if there == "folder":
        out.mkdir()
    elif there == "file":
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="is there already"):
        compact(run, out)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_a_damaged_array_leaves_no_copy(run: Path, tmp_path: Path, damage: str) -> None:
    path = sorted((run / "arrays").iterdir())[1]
    path.write_bytes(path.read_bytes()[:-1] + b"!") if damage == "altered" else path.unlink()
    with pytest.raises(DamagedFileError, match=path.name):
        compact(run, tmp_path / "copy")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_a_failure_while_writing_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: tarfile.TarFile, *_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(tarfile.TarFile, "addfile", fail)
    with pytest.raises(OSError, match="no"):
        compact(run, tmp_path / "copy")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_a_folder_at_work_can_be_copied_but_for_its_torn_line(run: Path, tmp_path: Path) -> None:
    lines = (run / "records.jsonl").read_bytes()
    (run / "records.jsonl").write_bytes(lines + b'{"key": "12')
    with lock(run):
        compact(run, tmp_path / "copy")
    assert len(RecordStore.read(tmp_path / "copy")) == len(lines.splitlines())
    assert (run / "records.jsonl").read_bytes() == lines + b'{"key": "12'


def test_records_of_before_stay_as_they_were_written(run: Path, tmp_path: Path) -> None:
    of_before(run)
    compact(run, tmp_path / "copy")
    before, copied = lines(run), lines(tmp_path / "copy")
    assert [{**line, "arrays_sha256": None} for line in copied] == [{**line, "arrays_sha256": None} for line in before]
    assert len(RecordStore.read(tmp_path / "copy")) == len(before)


def test_an_altered_bundle_is_found(run: Path, tmp_path: Path) -> None:
    compact(run, tmp_path / "copy")
    bundle = tmp_path / "copy" / BUNDLE
    whole = bundle.read_bytes()
    first = RecordStore.read(run).records[0]
    with tarfile.open(bundle, "w:xz") as changed:
        member = tarfile.TarInfo(str(first.arrays))
        member.size = 5
        changed.addfile(member, io.BytesIO(b"other"))
    store = RecordStore.read(tmp_path / "copy")
    with pytest.raises(DamagedFileError, match=r"was altered .* make the compact copy again"):
        store.arrays(store.records[0])
    with pytest.raises(DamagedFileError, match="is missing"):
        store.arrays(store.records[1])
    middle = len(whole) // 2
    for data in (
        whole[:middle],
        b"none",
        b"",
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        lzma.compress(b"x" * 999),
    ):
        bundle.write_bytes(data)
        store = RecordStore.read(tmp_path / "copy")
        with pytest.raises(DamagedFileError, match=r"arrays\.tar\.xz is damaged .* make the compact copy again"):
            store.arrays(store.records[0])


def test_a_complete_copy_opens_and_takes_nothing(run: Path, tmp_path: Path) -> None:
    compact(run, tmp_path / "copy")
    plan = [{"key": one.key, "kind": one.kind, "name": one.name} for one in RecordStore.read(run).records]
    with RecordStore.open(tmp_path / "copy", {**MANIFEST, "cells": plan}) as store:
        assert len(store) == 4
        with pytest.raises(CompactCopyError, match="is a compact copy"):
            store.add(record(steps=77), {"success": np.array([True])})


def test_a_copy_that_lacks_a_result_is_not_continued_and_not_touched(run: Path, tmp_path: Path) -> None:
    compact(run, tmp_path / "copy")
    before = {p.name: p.read_bytes() for p in (tmp_path / "copy").iterdir()}
    plan = [{"key": "0" * 12, "kind": "train", "name": "VGG-16"}]
    with pytest.raises(CompactCopyError, match=r"1 of the 1 results asked for are not in it \(first: VGG-16\)"):
        RecordStore.open(tmp_path / "copy", {**MANIFEST, "cells": plan})
    with pytest.raises(OtherStudyError, match="seed: 0 -> 99"):
        RecordStore.open(tmp_path / "copy", {**MANIFEST, "seed": 99})
    assert {p.name: p.read_bytes() for p in (tmp_path / "copy").iterdir()} == before
