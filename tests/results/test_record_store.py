"""The run folder: whole records only, one study a folder, one process at a time."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundglass.core import DamagedFileError, DiskFullError, atomic_write
from groundglass.results.plain import difference
from groundglass.results.records import FolderInUseError, OtherStudyError, Record, RecordStore, cell_key

MANIFEST: dict[str, Any] = {
    "study": "white-box",
    "recipe": "quick",
    "data": "shapes",
    "config": {"attack": {"steps": 50, "eps": [0.0, 0.025]}, "classes": ["a", "b"]},
    "seed": 0,
    "versions": {"groundglass": "0.1.0"},
    "machine": {"cpus": 2},
    "started": "2026-01-01T00:00:00+00:00",
}


def record(name: str = "VGG-OPU <- dfa", **config: Any) -> Record:
    config = {"rule": "dfa", "eps": 0.025, **config}
    return Record(
        key=cell_key("mine", config, ["0123456789ab"]),
        kind="mine",
        name=name,
        config=config,
        inputs=("0123456789ab",),
        result={"robust_accuracy": 0.5, "fit": None},
        seconds=1.5,
        finished="2026-01-01T00:01:00+00:00",
    )


def with_config(**changes: Any) -> dict[str, Any]:
    return {"config": {**MANIFEST["config"], **changes}}


def filled(folder: Path, count: int = 2) -> Path:
    with RecordStore.open(folder, MANIFEST) as store:
        for i in range(count):
            store.add(record(steps=i), {"success": np.array([True, False]), "norm": np.float32([i, 1])})
    return folder


def test_a_record_reads_back_equal_with_its_arrays(tmp_path: Path) -> None:
    with RecordStore.open(tmp_path / "run", MANIFEST) as store:
        plain = store.add(record("no arrays"))
        full = store.add(record(steps=(3, 4)), {"success": np.array([True, False])})
        assert store.get(full.key) == full
    again = RecordStore.read(tmp_path / "run")
    assert again.records == (plain, full)
    assert again.manifest == {**MANIFEST, "format": 2}
    assert full.config["steps"] == [3, 4]
    assert full.key in again
    assert "0" * 12 not in again
    assert again.get("0" * 12) is None
    assert again.arrays(plain) == {}
    arrays = again.arrays(full)
    assert list(arrays) == ["success"]
    assert arrays["success"].dtype == bool
    assert arrays["success"].tolist() == [True, False]


def test_a_study_continues_where_it_was(tmp_path: Path) -> None:
    filled(tmp_path)
    with RecordStore.open(tmp_path, {**MANIFEST, "started": "2027-01-01T00:00:00+00:00"}) as store:
        assert len(store) == 2
        store.add(record(steps=9))
        assert store.manifest == {**MANIFEST, "format": 2}
    assert len(RecordStore.read(tmp_path)) == 3


def test_other_versions_or_machine_are_noted_not_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    changed = {**MANIFEST, "versions": {"groundglass": "0.2.0"}, "started": "2027-01-01T00:00:00+00:00"}
    for _ in range(2):
        RecordStore.open(tmp_path, changed).close()
    stored = RecordStore.read(tmp_path).manifest
    assert stored["versions"] == MANIFEST["versions"]
    assert [note["versions"] for note in stored["continued"]] == [{"groundglass": "0.2.0"}]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"study": "black-box"}, 'study: "white-box" -> "black-box"'),
        ({"seed": 1}, "seed: 0 -> 1"),
        (
            {"config": {**MANIFEST["config"], "attack": {"steps": 20, "eps": [0.0, 0.025]}}},
            "config.attack.steps: 50 -> 20",
        ),
        (with_config(attack={"steps": 50, "eps": [0.0, 0.05]}), "config.attack.eps[1]: 0.025 -> 0.05"),
        ({"config": {"attack": MANIFEST["config"]["attack"]}}, 'config.classes: ["a", "b"] -> (absent)'),
    ],
)
def test_a_changed_study_is_refused_with_the_difference(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    filled(tmp_path)
    before = (tmp_path / "study.json").read_bytes()
    with pytest.raises(OtherStudyError) as caught:
        RecordStore.open(tmp_path, {**MANIFEST, **change})
    text = str(caught.value)
    assert [row.strip() for row in text.splitlines() if row.startswith("  ")] == [line]
    assert "another --out" in text
    assert (tmp_path / "study.json").read_bytes() == before
    RecordStore.open(tmp_path, MANIFEST).close()  # the refusal has left no lock behind


def test_a_setting_that_a_later_version_has_added_goes_on_with_the_folder(tmp_path: Path) -> None:
    filled(tmp_path)
    later = {**MANIFEST, **with_config(width=16)}
    with RecordStore.open(tmp_path, later) as store:
        assert len(store.records) == len(RecordStore.read(tmp_path).records) > 0
    with pytest.raises(OtherStudyError, match="width: 16 -> 32"):  # and from now on it is known
        RecordStore.open(tmp_path, {**MANIFEST, **with_config(width=32)})


def test_tuples_and_whole_floats_are_the_same_setting(tmp_path: Path) -> None:
    RecordStore.open(tmp_path, MANIFEST).close()
    RecordStore.open(tmp_path, {**MANIFEST, **with_config(attack={"steps": 50.0, "eps": (0, 0.025)})}).close()
    with pytest.raises(OtherStudyError, match="steps"):  # but True is not 1
        RecordStore.open(tmp_path, {**MANIFEST, **with_config(attack={"steps": True, "eps": [0, 0.025]})})


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OtherStudyError, match=r"something else .*thesis\.tex"):
        RecordStore.open(tmp_path, MANIFEST)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(NotADirectoryError, match="is a file"):
        RecordStore.open(tmp_path / "thesis.tex", MANIFEST)


def test_a_crash_before_the_manifest_was_whole_leaves_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".study.json.123.part").write_text('{"stu')
    RecordStore.open(tmp_path, MANIFEST).close()


def test_an_incomplete_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks seed"):
        RecordStore.open(tmp_path, {k: v for k, v in MANIFEST.items() if k != "seed"})


def test_reading_where_there_is_no_study_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"groundglass run"):
        RecordStore.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        RecordStore.read(tmp_path / "nowhere")


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "study.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(DamagedFileError, match=r"study\.json"):
        RecordStore.read(tmp_path)
    path.write_text("{}")
    with pytest.raises(DamagedFileError, match="lacks study"):
        RecordStore.read(tmp_path)


@pytest.mark.parametrize("kept", [1, 40, -2])
def test_a_torn_last_line_is_dropped_and_the_file_healed(tmp_path: Path, kept: int) -> None:
    filled(tmp_path)
    path = tmp_path / "records.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:kept])
    torn = path.read_bytes()
    assert len(RecordStore.read(tmp_path)) == 1
    assert path.read_bytes() == torn, "a reader changes nothing: the line may be one that is being written"
    with RecordStore.open(tmp_path, MANIFEST) as store:
        assert len(store) == 1
        assert path.read_bytes() == first
        store.add(record(steps=1))
    assert len(RecordStore.read(tmp_path)) == 2


def test_a_last_line_that_lacks_only_its_end_is_kept(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert len(RecordStore.read(tmp_path)) == 2
    RecordStore.open(tmp_path, MANIFEST).close()
    assert path.read_bytes() == whole


def test_damage_elsewhere_names_the_line(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    path = tmp_path / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for wrong in (lines[1][:30] + b"\n", b"[]\n", b'{"key": "0"}\n', lines[0]):
        path.write_bytes(lines[0] + wrong + lines[2])
        with pytest.raises(DamagedFileError, match="line 2"):
            RecordStore.open(tmp_path, MANIFEST)


def test_a_key_is_never_used_twice(tmp_path: Path) -> None:
    with RecordStore.open(tmp_path, MANIFEST) as store:
        store.add(record(), {"norm": np.zeros(2)})
        before = (tmp_path / "arrays" / f"{record().key}.npz").read_bytes()
        with pytest.raises(ValueError, match="already"):
            store.add(record("another name"), {"norm": np.ones(2)})
        assert (tmp_path / "arrays" / f"{record().key}.npz").read_bytes() == before


def test_a_key_must_be_able_to_name_a_file(tmp_path: Path) -> None:
    with RecordStore.open(tmp_path, MANIFEST) as store, pytest.raises(ValueError, match="12 hex digits"):
        store.add(Record(**{**vars(record()), "key": "../../escape"}))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (float("nan"), ValueError, r"record\.result\.loss\[1\]"),
        (float("inf"), ValueError, "finite"),
        (np.zeros(2), TypeError, r"numpy\.ndarray"),
        (np.float32("nan"), ValueError, "finite"),
        (Path("x"), TypeError, "not plain JSON"),
        ({1: 2}, TypeError, "keys must be str"),
    ],
)
def test_only_plain_finite_values_are_kept(tmp_path: Path, value: Any, error: type[Exception], text: str) -> None:
    with RecordStore.open(tmp_path, MANIFEST) as store:
        with pytest.raises(error, match=text):
            store.add(Record(**{**vars(record()), "result": {"loss": [0.5, value]}}), {"norm": np.zeros(1)})
        with pytest.raises(TypeError, match="Python objects"):
            store.add(record(), {"norm": np.array([object()])})
        assert len(store) == 0
    assert not (tmp_path / "arrays").exists()


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    with RecordStore.open(tmp_path, MANIFEST) as store:
        store.add(Record(**{**vars(record()), "result": {"a": np.float32(0.5), "b": [np.int64(3), np.bool_(True)]}}))
    assert RecordStore.read(tmp_path).records[0].result == {"a": 0.5, "b": [3, True]}


def test_altered_and_missing_arrays_are_found(tmp_path: Path) -> None:
    filled(tmp_path)
    store = RecordStore.read(tmp_path)
    first, second = store.records
    path = tmp_path / str(first.arrays)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    for altered in (bytes(data), (tmp_path / str(second.arrays)).read_bytes()):  # garbled; whole, but another's
        path.write_bytes(altered)
        with pytest.raises(DamagedFileError, match="was altered since it was recorded"):
            store.arrays(first)
    path.unlink()
    with pytest.raises(DamagedFileError, match="missing"):
        store.arrays(first)
    assert store.arrays(second)["norm"].tolist() == [1, 1]


def test_a_full_disk_cuts_back_to_the_last_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    path = tmp_path / "records.jsonl"
    before = path.read_bytes()
    write, calls = os.write, []

    def full(fd: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) == 1:
            return write(fd, data[:50])  # part of it still fits
        raise OSError(errno.ENOSPC, "No space left on device")

    with RecordStore.open(tmp_path, MANIFEST) as store:
        monkeypatch.setattr("groundglass.results.journal.os.write", full)
        with pytest.raises(DiskFullError, match="disk is full"):
            store.add(record(steps=7), {"norm": np.zeros(1)})
        assert calls[1] == calls[0] - 50
        assert path.read_bytes() == before
        assert record(steps=7).key not in store
        monkeypatch.undo()
        store.add(record(steps=7), {"norm": np.zeros(1)})
    assert len(RecordStore.read(tmp_path)) == 3


def test_an_interrupt_in_the_middle_of_an_append_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    before = (tmp_path / "records.jsonl").read_bytes()

    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    with RecordStore.open(tmp_path, MANIFEST) as store:
        monkeypatch.setattr("groundglass.results.journal.os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.add(record(steps=7))
        assert record(steps=7).key not in store
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_arrays_are_on_disk_before_their_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordStore.open(tmp_path, MANIFEST) as store:

        def look(path: Path, line: dict[str, Any]) -> None:
            assert (tmp_path / line["arrays"]).exists()
            raise KeyboardInterrupt

        monkeypatch.setattr("groundglass.results.records.append_line", look)
        with pytest.raises(KeyboardInterrupt):
            store.add(record(), {"norm": np.zeros(1)})


def test_a_reader_and_a_closed_store_add_nothing(tmp_path: Path) -> None:
    store = RecordStore.open(tmp_path, MANIFEST)
    store.close()
    store.close()
    for shut in (store, RecordStore.read(tmp_path)):
        with pytest.raises(RuntimeError, match=r"RecordStore\.open"):
            shut.add(record())


def test_one_process_at_a_time_and_a_crash_unlocks(tmp_path: Path) -> None:
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from groundglass.results.records import RecordStore\n"
        "store = RecordStore.open(Path(sys.argv[1]), json.loads(sys.argv[2]))\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), json.dumps(MANIFEST)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(FolderInUseError, match=rf"pid {other.pid}.*another --out"):
            RecordStore.open(tmp_path, MANIFEST)
        assert len(RecordStore.read(tmp_path)) == 0
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    (tmp_path / "arrays").mkdir()
    # What the killed process had not finished; what a living one is at is left alone.
    (tmp_path / "arrays" / f".0123456789ab.npz.{other.pid}.part").touch()
    with atomic_write(tmp_path / "report.html") as page:
        RecordStore.open(tmp_path, MANIFEST).close()
        page.write(b"whole")
    assert not list((tmp_path / "arrays").iterdir())
    assert (tmp_path / "report.html").read_bytes() == b"whole"
    assert not list(tmp_path.glob(".*.part"))


def test_results_of_an_earlier_plan_stay_and_are_no_part_of_this_one(tmp_path: Path) -> None:
    names = ("c", "a", "b")
    with RecordStore.open(tmp_path, MANIFEST) as store:
        kept = {name: store.add(record(name, steps=i)) for i, name in enumerate(names)}
        assert [one.name for one in store.records] == list(names), "no plan: all, oldest first"
        assert store.unplanned == ()
    later = record("d", steps=9)
    plan = [{"key": one.key, "kind": one.kind, "name": one.name} for one in (kept["b"], later, kept["c"])]
    with RecordStore.open(tmp_path, {**MANIFEST, "cells": plan}) as store:
        assert [one.name for one in store.records] == ["b", "c"]
        assert [one.name for one in store.unplanned] == ["a"]
        store.add(later)
        assert [one.name for one in store.records] == ["b", "d", "c"]
        assert len(store) == 4
        assert store.get(kept["a"].key) is not None, "a plan that asks for it again finds it done"
    assert RecordStore.read(tmp_path).manifest["cells"] == plan, "the plan follows the code, and is no conflict"


def test_keys_depend_on_kind_config_and_inputs_alone() -> None:
    key = cell_key("attack", {"eps": 0.5, "steps": 50}, ["a", "b"])
    assert key == "fed6df733d76", "keys in folders that exist must stay valid: this value may not change"
    assert key == cell_key("attack", {"steps": 50.0, "eps": 0.5}, ("a", "b"))
    others = [
        cell_key("train", {"eps": 0.5, "steps": 50}, ["a", "b"]),
        cell_key("attack", {"eps": 0.25, "steps": 50}, ["a", "b"]),
        cell_key("attack", {"eps": 0.5, "steps": 50}, ["b", "a"]),
        cell_key("attack", {"eps": "0.5", "steps": 50}, ["a", "b"]),
    ]
    assert len({key, *others}) == 5
    with pytest.raises(ValueError, match="finite"):
        cell_key("attack", {"eps": float("nan")}, [])


def test_numbers_that_differ_are_told_as_people_write_them() -> None:
    assert difference({"eps": 2 / 255}, {"eps": 0.1}) == ["eps: 2/255 -> 0.1"]
    assert difference({"radii": [0.1]}, {"radii": [0.1, 8 / 255]}) == ["radii: [0.1] -> [0.1, 8/255]"]
    assert difference({"eps": 0.1}, {"eps": 0.1 + 2**-40}) != ["eps: 0.1 -> 0.1"]
    assert difference({"ladder": {"b": 1, "a": None}}, {}) == ['ladder: {"a": null, "b": 1} -> (absent)']
