"""A run folder that was altered, or that a stranger made: noticed, refused with its file, and never a write elsewhere."""

import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundglass.cli import main
from groundglass.core import DamagedFileError
from groundglass.report import build
from groundglass.results import RecordStore, Run
from groundglass.results.bundle import BUNDLE
from groundglass.results.compact import compact
from groundglass.results.exports import export
from tests.altered import lines, of_before, remanifest, rewrite
from tests.results.test_record_store import MANIFEST, record
from tests.runs import RunFolder


@pytest.fixture
def attacked(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-16", [True, False, True], clean=[True, True, True])
    folder.store.close()
    return tmp_path / "run"


def refused(folder: Path, *said: str) -> None:
    with pytest.raises(DamagedFileError, match=".*".join(("records.jsonl, line 1", *said))):
        Run.open(folder)


@pytest.mark.parametrize("part", ["result", "config", "seconds", "name", "arrays_sha256"])
def test_what_is_altered_in_a_line_is_noticed(attacked: Path, part: str) -> None:
    def change(line: dict[str, Any]) -> None:
        line[part] = {**line[part], "seed": 5} if isinstance(line[part], dict) else type(line[part])(3)

    rewrite(attacked, change, seal=False)
    refused(attacked, "was altered")


def test_a_checksum_that_is_gone_is_noticed_in_a_new_folder_alone(attacked: Path) -> None:
    rewrite(attacked, lambda line: line.pop("sha256"), seal=False)
    refused(attacked, "was altered")
    of_before(attacked)
    assert len(Run.open(attacked).attacks) == 1
    with RecordStore.open(attacked, RecordStore.read(attacked).manifest) as store:  # and goes on
        store.add(record(), {"success": np.array([True])})
    assert ["sha256" in line for line in lines(attacked)] == [False, True]
    assert "format" not in RecordStore.read(attacked).manifest
    rewrite(attacked, lambda line: "sha256" in line and line.update(seconds=9.0), seal=False)
    with pytest.raises(DamagedFileError, match="line 2 was altered"):
        Run.open(attacked)


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.update(seed=5),
        lambda told: told["config"].update(classes=["dog"]),
        lambda told: told.pop("format"),
        lambda told: told.pop("sha256"),
        lambda told: told.update(format=3),
    ],
)
def test_a_manifest_that_was_altered_is_noticed(attacked: Path, change: Callable[[dict], Any]) -> None:
    remanifest(attacked, change, seal=False)
    with pytest.raises(DamagedFileError, match=r"study\.json"):
        Run.open(attacked)


def test_the_key_is_that_of_config_and_inputs(attacked: Path) -> None:
    rewrite(attacked, lambda line: line["config"].update(eps=0.5))
    refused(attacked, "the key .* is not that of its config")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"correct": 3, "clean_correct": 2, "robust_accuracy": 1.0}, "correct <= clean_correct"),
        ({"clean_correct": 9}, "clean_correct <= n_images"),
        ({"robust_accuracy": 0.9}, "robust_accuracy is correct"),
        ({"success_rate": 1.5}, "success_rate"),
        ({"gradients": -1}, "gradients"),
        ({"n_images": 0, "correct": 0, "clean_correct": 0}, "n_images"),
        ({"median_norm": 1e308}, "median_norm"),
        ({"correct": "2"}, "correct must be int"),
        ({"fit": []}, "fit must be an object"),
    ],
)
def test_a_record_that_is_well_formed_and_cannot_be_is_refused(attacked: Path, change: dict, said: str) -> None:
    rewrite(attacked, lambda line: line["result"].update(change))
    refused(attacked, said, "copy")


def test_counts_are_those_of_the_arrays(attacked: Path) -> None:
    rewrite(attacked, lambda line: line["result"].update(correct=1, robust_accuracy=1 / 3, success_rate=2 / 3))
    run = Run.open(attacked)
    with pytest.raises(DamagedFileError, match=r"holds 2 images right after it, and the record says 1"):
        run.right(run.records[0].key)


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "arrays/../../x.npz", "arrays/000000000000.npz", ""])
def test_the_arrays_of_a_record_are_its_own(attacked: Path, path: str) -> None:
    rewrite(attacked, lambda line: line.update(arrays=path))
    refused(attacked, "arrays")


@pytest.mark.parametrize(
    "value",
    ["[" * 100_000, "[" * 500 + "]" * 500, "1e999", "NaN", "9" * 5000, "9" * 1000, '"\\ud800"', "{" * 3, "\x00"],
)
def test_json_that_no_one_can_use_is_damage(attacked: Path, value: str) -> None:
    text = (attacked / "records.jsonl").read_text()
    (attacked / "records.jsonl").write_text(text.replace('"seconds": 1.0', f'"seconds": {value}'))
    refused(attacked)
    (attacked / "study.json").write_text(f'{{"study": {value}}}')
    with pytest.raises(DamagedFileError, match=r"study\.json"):
        Run.open(attacked)


@pytest.mark.parametrize("name", ["records.jsonl", "study.json", "arrays"])
def test_a_folder_with_links_is_refused(attacked: Path, tmp_path: Path, name: str) -> None:
    (attacked / name).rename(tmp_path / "elsewhere")
    (attacked / name).symlink_to(tmp_path / "elsewhere")

    def look() -> None:
        run = Run.open(attacked)
        run.arrays(run.records[0].key)

    with pytest.raises(DamagedFileError, match=f"{name} is a link"):
        look()


@pytest.mark.parametrize("name", ["models", "checkpoints", "devices", "figures"])
def test_nothing_is_written_through_a_link(attacked: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (attacked / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedFileError, match=f"{name} is a link"):
        RecordStore.open(attacked, RecordStore.read(attacked).manifest)
    if name == "figures":
        with pytest.raises(DamagedFileError, match="figures is a link"):
            build(attacked)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("kind", ["../../x", "/x", "a/b", "\x1b[31m", "..", "", "x\n", "a" * 200])
def test_a_kind_of_result_is_a_name(attacked: Path, tmp_path: Path, kind: str) -> None:
    def change(line: dict[str, Any]) -> None:
        line.update(kind=kind, arrays=None, arrays_sha256=None)

    rewrite(attacked, change, key=True)
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(DamagedFileError, match="no name of a kind"):
        export(attacked, attacked / "tables")
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize("training", [{}, {"credit": "bp", "epochs": "many"}, {"credit": "bp", "epochs": None}])
def test_settings_that_a_column_is_worked_out_from_are_checked(tmp_path: Path, training: dict) -> None:
    folder = RunFolder(tmp_path)
    folder.network()
    folder.store.close()
    rewrite(tmp_path, lambda line: line["config"].update(training=training), key=True)
    refused(tmp_path)


def test_an_export_goes_through_no_link(attacked: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (attacked / "tables").symlink_to(tmp_path / "elsewhere")
    assert main(["export", str(attacked)]) == 1
    assert not list((tmp_path / "elsewhere").iterdir())
    assert main(["export", str(attacked), "--out", str(attacked / "tables")]) == 0  # as was asked for
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["attacks.csv"]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("target", ["x/../../../../mine", '"><script>x</script>', "\\g<9>", "$x^2$", "a" * 300])
def test_a_figure_named_after_a_network_is_a_file_in_its_folder(tmp_path: Path, target: str) -> None:
    folder = RunFolder(tmp_path / "a" / "b" / "run", "transfer")
    folder.network()
    folder.transfer(target, [True, False, True])
    folder.store.close()
    page = build(tmp_path / "a" / "b" / "run").read_text()
    assert "<script" not in page
    made = {path.parent for path in tmp_path.rglob("*.svg")}
    assert made == {tmp_path / "a" / "b" / "run" / "figures"}


def test_a_linked_lock_empties_nobodys_file(attacked: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (attacked / ".lock").unlink()
    (attacked / ".lock").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(DamagedFileError, match=r"\.lock is a link"):
        RecordStore.open(attacked, MANIFEST)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def bundled(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(folder / BUNDLE, "w:xz") as bundle:
        for member, data in members:
            member.size = len(data)
            bundle.addfile(member, io.BytesIO(data))


def test_an_archive_holds_files_of_arrays_and_nothing_else(attacked: Path, tmp_path: Path) -> None:
    compact(attacked, tmp_path / "copy")
    run = Run.open(tmp_path / "copy")
    key = run.records[0].key
    data = run._store._bundle[f"arrays/{key}.npz"]
    for name, kind in (
        ("../../escaped", tarfile.REGTYPE),
        ("arrays/x.npz", tarfile.REGTYPE),
        (f"arrays/{key}.npz", tarfile.SYMTYPE),
        (f"arrays/{key}.npz", tarfile.LNKTYPE),
        (f"arrays/{key}.npz", tarfile.CHRTYPE),
        ("arrays", tarfile.DIRTYPE),
    ):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        bundled(tmp_path / "copy", (member, data if kind == tarfile.REGTYPE else b""))
        with pytest.raises(DamagedFileError, match=rf"{BUNDLE} is damaged"):
            Run.open(tmp_path / "copy").arrays(key)
    assert not (tmp_path / "escaped").exists()


def test_what_unpacks_to_more_than_the_memory_is_not_unpacked(attacked: Path, tmp_path: Path) -> None:
    compact(attacked, tmp_path / "copy")
    zeros = bytes(2**20)
    packer = lzma.LZMACompressor(preset=0)
    packed = b"".join([*(packer.compress(zeros) for _ in range(70)), packer.flush()])
    assert len(packed) < 2**17
    (tmp_path / "copy" / BUNDLE).write_bytes(packed)
    run = Run.open(tmp_path / "copy")
    with pytest.raises(DamagedFileError, match="made to fill the memory"):
        run.arrays(run.records[0].key)


def test_the_lines_are_those_of_json(attacked: Path) -> None:
    (line,) = lines(attacked)
    assert len(line["sha256"]) == 64
    assert json.loads((attacked / "study.json").read_text())["format"] == 2
