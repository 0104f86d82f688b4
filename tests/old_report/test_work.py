"""Where the time went: every second in one part and one kind of work."""

from pathlib import Path
from typing import Any

from groundglass.old_report.drawing import Folder
from groundglass.old_report.evidence import ProvenanceSection
from groundglass.old_report.page import _environment
from groundglass.old_report.study import Study
from groundglass.old_report.work import SHARED, Share, parts, shares, total
from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_study


def made(name: str, kind: str, seconds: float, *inputs: Record, memory: int | None = None, **config: Any) -> Record:
    return Record(
        key=f"{sum(map(ord, name + kind)) * 7919 + len(name):012x}",
        kind=kind,
        name=name,
        config=config,
        result={},
        inputs=tuple(one.key for one in inputs),
        seconds=seconds,
        finished="2026-03-01T09:30:00+00:00",
        memory=memory,
    )


def study(folder: Path, records: list[Record], name: str = "all") -> Study:
    with RecordStore.open(folder, synthetic_study.manifest(study=name)) as store:
        for one in records:
            store.add(one)
    return Study(RecordStore.read(folder), Folder(folder))


def everything() -> list[Record]:
    both, own, hardened = made("VGG-16", "train", 100), made("lower", "train", 40), made("VGG-16 AT", "train", 7)
    device = made("device", "device", 3)
    white = made("a", "attack", 1, both, memory=5, purpose="figure")
    common = made("common images", "common", 0.5, both, own)
    craft = made("c", "craft", 2, common, own, purpose="transfer")
    return [
        device,
        both,
        own,
        hardened,
        white,
        made("noise", "attack", 1.5, both, purpose="control"),
        made("reference", "attack", 4, both, purpose="reference"),
        made("q", "query", 8, both, memory=9, purpose="figure"),
        made("qa", "query", 16, both, purpose="ablation"),
        common,
        craft,
        made("t", "transfer", 32, craft, own, purpose="transfer"),
        made("redraw 1", "redraw", 64, both),
        made("r", "retrieve", 128, device),
        made("x", "cost", 256),
        made("audit of both", "audit", 512, both),
        made("audit of own", "audit", 1024, own),
        made("audit of AT", "audit", 2048, hardened),
        made("check of white", "check", 0.25, white),
    ]


def test_each_result_is_of_its_part_and_kind(tmp_path: Path) -> None:
    found = {one.part: one for one in shares(study(tmp_path, everything()))}
    assert found == {
        "white-box": Share("white-box", (0, 2.5, 0, 0.25), 5),
        "black-box": Share("black-box", (0, 12, 0, 0), 9),
        "transfer": Share("transfer", (40, 34, 1024, 0.5), None),
        "redraw": Share("redraw", (64, 0, 0, 0), None),
        "retrieval": Share("retrieval", (0, 128, 0, 3), None),
        "ablation": Share("ablation", (0, 16, 0, 0), None),
        "adversarial-training": Share("adversarial-training", (7, 0, 2048, 0), None),
        "scale": Share("scale", (0, 0, 0, 256), None),
        SHARED: Share(SHARED, (100, 0, 512, 0), None),
    }
    assert list(found)[-1] == SHARED


def test_every_second_counts_once(tmp_path: Path) -> None:
    records = everything()
    there = study(tmp_path, records)
    whole = total(there)
    assert whole.total == sum(one.seconds for one in records) == sum(one.total for one in shares(there))
    assert whole.memory == 9
    assert parts(there).keys() == {one.key for one in records}


def test_a_folder_of_one_study_is_of_one_part(tmp_path: Path) -> None:
    (share,) = shares(study(tmp_path, everything(), "white-box"))
    assert share.part == "white-box"
    assert share.total == sum(one.seconds for one in everything())
    assert shares(study(tmp_path / "empty", [], "white-box")) == []


def test_the_page_tells_it_with_memory_where_known(tmp_path: Path) -> None:
    def text(folder: Path, memory: int | None) -> str:
        work = [made("VGG-16", "gone", 90, memory=memory), made("x", "audit of old", 30)]
        rendered = ProvenanceSection().render(study(folder, work))
        assert rendered is not None
        return str(_environment().get_template(rendered.template).render(c=rendered.context))

    there = text(tmp_path / "with", 3_000_000_000)
    assert "<h3>Where the time went</h3>" in there
    assert f"<th>{SHARED}</th><td>–</td><td>–</td><td>–</td><td>2 min 0 s</td><td>2 min 0 s</td><td>3 GB</td>" in there
    without = text(tmp_path / "without", None)
    assert "2 min 0 s" in without
    assert "peak memory" not in without
