"""A run folder as tidy frames: the committed runs, and small ones made here."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.results import Record, RecordStore, Run, cell_key
from groundglass.results.kinds import ATTACK, KINDS, QUERY, TRAIN, TRANSFER
from groundglass.studies import find_study
from groundglass.studies.engine.planned import planned
from groundglass.studies.recipe import configure
from tests.altered import rewrite
from tests.golden.test_committed_runs import DATA
from tests.results.examples import made
from tests.results.test_record_store import MANIFEST
from tests.runs import committed as opened

COMMITTED = ("cifar10", "cifar100", "full-width", "white-box/seed-1")
STUDIES = {"white-box", "black-box", "transfer", "redraw", "retrieval", "ablation", "adversarial-training", "scale"}


@pytest.fixture(scope="module", params=COMMITTED)
def committed(request: pytest.FixtureRequest) -> Run:
    return opened(request.param)


def test_every_record_is_a_row_and_every_column_is_explained(committed: Run) -> None:
    counts = Counter(KINDS[record.kind].frame for record in committed.records)
    assert {name: len(frame) for name, frame in committed.frames.items()} == counts
    keys = [key for frame in committed.frames.values() for key in frame.index]
    assert sorted(keys) == sorted(record.key for record in committed.records)
    for name, frame in committed.frames.items():
        assert frame.index.name == "key"
        assert list(frame.columns) == list(Run.columns(name))
        assert all(Run.columns(name).values())
        assert not [c for c in frame if c.endswith(("_s", "_sec", "_mb", "_time"))], "units are whole words"


def test_frames_say_what_records_say(committed: Run) -> None:
    for entry in committed.entries(ATTACK):
        row = committed.attacks.loc[entry.key]
        assert row.correct / row.n_images == row.accuracy_under_attack == entry.result.correct / entry.result.n_images
        assert row.accuracy_under_attack_low <= row.accuracy_under_attack <= row.accuracy_under_attack_high
        assert (row.network, row.rule) == (entry.config.model, entry.config.rule)
        assert row.radius == pytest.approx(entry.config.eps)
    assert (committed.networks.clean_accuracy > 0.1).all()
    assert committed.networks.train_seconds.gt(0).all()


def test_each_part_of_a_run_is_what_belongs_to_its_study(committed: Run) -> None:
    assert all(committed.studies(record.key) for record in committed.records), "every record has an owner"
    owned = set().union(*(committed.studies(record.key) for record in committed.records))
    whole = committed.manifest["study"] == "all"
    assert owned == (STUDIES if whole else {"white-box"})
    for study in owned:
        part = committed.of(study)
        assert {r.key for r in part.records} == {r.key for r in committed.records if study in committed.studies(r.key)}
        assert part.attacks.studies.str.contains(study).all()
        assert len(part.attacks) == sum(study in committed.studies(e.key) for e in committed.entries(ATTACK))
    nothing = committed.of("nobody's", maybe=True)
    assert nothing.records == ()
    assert nothing.attacks.network.str.contains("VGG").sum() == 0, "an empty frame is one to ask too"
    for name, said in (("nobody's", "There are: "), ("white-bx", "did you mean 'white-box'"), ("all", "There are: ")):
        with pytest.raises(ValueError, match=said):
            committed.of(name)
    assert committed.progress is not None
    assert committed.progress.missing == ()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_owners_of_a_folder_that_an_earlier_version_made_are_those_of_todays_plan(name: str) -> None:
    run, study = opened(name), find_study("all")
    told = run.manifest
    asked = {"data": name, "seed": told["seed"], "precision": told["config"]["baseline"]["precision"]}
    _, plan = planned(study, configure(study, told["recipe"], **asked), DATA[name])
    then = {owner for record in run.records for owner in run.studies(record.key)}
    owners = {cell["key"]: frozenset(cell["studies"]) & then for cell in plan}
    assert not any("studies" in cell for cell in told["cells"])
    # Adversarial training is longer now.
    longer = frozenset(("adversarial-training",))
    gone = [record for record in run.records if record.key not in owners and run.studies(record.key) != longer]
    assert {record.kind for record in gone} <= {"query", "choice", "check", "craft", "transfer"}, "plans that changed"
    known = [record for record in run.records if record.key in owners]
    other = [record for record in known if run.studies(record.key) != owners[record.key]]
    # What the white-box study attacks with came to be more: a retrieval of another study.
    assert all(owners[r.key] - run.studies(r.key) == {"white-box"} for r in other if r.kind == "retrieve")
    # An audit belongs to every study of its network; the plan says which of them has asked for it.
    audits = [record for record in other if record.kind != "retrieve"]
    assert {record.kind for record in audits} == {"audit"}
    assert len(audits) == 3
    assert all(run.studies(record.key) > owners[record.key] for record in audits)


def folder(path: Path, *records: tuple[Record, dict[str, np.ndarray]], manifest: dict | None = None) -> Run:
    with RecordStore.open(path, manifest or MANIFEST) as store:
        for record, arrays in records:
            store.add(record, arrays)
    return Run.open(path)


def tried(index: list[int], right: list[bool], fooled: list[bool]) -> dict[str, np.ndarray]:
    return {"index": np.array(index), "clean_correct": np.array(right), "success": np.array(fooled)}


TRAINED = {"training": {"credit": "bp", "epochs": 1}}


def counts(correct: int, clean: int, total: int) -> dict[str, float]:
    """Of an attack."""
    told = {"n_images": total, "clean_correct": clean, "correct": correct}
    return {**told, "robust_accuracy": correct / total, "success_rate": 1 - correct / clean}


ONE, TWO, ASKED, MOVED, BARE = (
    made(ATTACK, result=counts(1, 2, 3)),
    made(ATTACK, {"rule": "fa"}, counts(2, 2, 3)),
    made(QUERY, result={"n_images": 3, "clean_correct": 2, "fooled": 1, "success_rate": 0.5}),
    made(TRANSFER, result={"n_images": 2, "correct": 1}),
    made(TRAIN, TRAINED),
)
ALL = (
    (ONE, tried([0, 1, 2], [True, True, False], [True, False, False])),
    (TWO, tried([1, 2, 3], [True, False, True], [False, False, False])),
    (ASKED, tried([0, 1, 2], [True, True, False], [False, True, False])),
    (MOVED, {"index": np.array([1, 5]), "correct": np.array([True, False])}),
    (BARE, {}),
)


def test_the_outcome_of_each_image(tmp_path: Path) -> None:
    run = folder(tmp_path, *ALL)
    assert run.right(ONE.key) == {0: False, 1: True, 2: False}
    assert run.right(ASKED.key) == {0: True, 1: False}, "an attack by queries leaves out what was wrong at first"
    assert run.right(MOVED.key) == {1: True, 5: False}
    assert run.together([ONE.key]) == Proportion(1, 3)
    assert run.together([ONE.key, TWO.key]) == Proportion(1, 2), "of the two images that both have tried"
    assert run.together([ONE.key, ASKED.key, TWO.key]) == Proportion(0, 1)
    assert run.together([]) is None
    assert run.together([ONE.key, BARE.key]) is None, "one of them does not say"
    assert run.together([ASKED.key, MOVED.key, ONE.key, TWO.key]) == Proportion(0, 1)
    with pytest.raises(KeyError, match="no record 0000"):
        run.right("0000")


def test_arrays_that_say_nothing_name_their_record(tmp_path: Path) -> None:
    short = {**ALL[0][1], "index": np.array([0])}
    for place, arrays in enumerate(({"index": np.array([0])}, short)):
        run = folder(tmp_path / str(place), (replace(ONE, name="the attack"), arrays))
        with pytest.raises(DamagedFileError, match=rf"{ONE.key} \(the attack\).*from a copy"):
            run.right(ONE.key)
    path = tmp_path / "0" / "arrays" / f"{ONE.key}.npz"
    path.write_bytes(b"altered")
    with pytest.raises(DamagedFileError, match=ONE.key):
        Run.open(tmp_path / "0").right(ONE.key)
    path.unlink()
    with pytest.raises(DamagedFileError, match=ONE.key):
        Run.open(tmp_path / "0").arrays(ONE.key)


def test_a_kind_of_ones_own_has_a_plain_frame(tmp_path: Path) -> None:
    mine = [
        replace(
            ONE,
            key=cell_key("speckle", {"camera": {"bits": i}}, ONE.inputs),
            kind="speckle",
            config={"camera": {"bits": i}},
            result={"contrast": i / 2},
        )
        for i in (1, 2)
    ]
    run = folder(tmp_path, *((one, {}) for one in mine), (BARE, {}))
    assert list(run.frames) == ["networks", "speckle"]
    frame = run.frame("speckle")
    assert frame["camera.bits"].tolist() == [1, 2]
    assert frame.contrast.tolist() == [0.5, 1.0]
    assert frame.index.tolist() == [one.key for one in mine]
    assert frame.studies.tolist() == ["white-box"] * 2
    with pytest.raises(ValueError, match="did you mean 'attacks'"):
        run.frame("attack")
    assert run.attacks.empty
    assert list(run.attacks.columns) == list(Run.columns("attacks"))


def test_the_plan_of_all_says_whose_each_record_is(tmp_path: Path) -> None:
    planned = {ONE.key: ["white-box"], TWO.key: ["white-box", "redraw"], BARE.key: []}
    cells = [{"key": key, "kind": "", "name": key, "studies": names} for key, names in planned.items()]
    run = folder(tmp_path, *ALL, manifest={**MANIFEST, "study": "all", "cells": cells})
    assert [record.key for record in run.of("redraw").records] == [TWO.key]
    assert run.of("redraw").attacks.studies.tolist() == ["redraw+white-box"]
    assert run.studies(BARE.key) == frozenset()
    assert run.record(ASKED.key).kind == "query", "of no plan, but there"


def test_a_record_that_lacks_a_field_is_named(tmp_path: Path) -> None:
    folder(tmp_path, (replace(ONE, name="odd"), {}))
    rewrite(tmp_path, lambda line: line["result"].pop("correct"))
    with pytest.raises(DamagedFileError, match=rf"records.jsonl, line 1.* result of {ONE.key} \(odd\) lacks `correct`"):
        Run.open(tmp_path)
