"""A study that is killed inside its attacks goes on from there, to the same records."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from groundglass.attacks import PGD, CarliniWagnerL2, GradientAccess, InputDiversity, TransferPGD
from groundglass.attacks import checkpoint as module
from groundglass.results import RecordStore
from groundglass.studies import WhiteBoxConfig
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.craft import CommonCell, CraftCell
from groundglass.studies.engine.cell import with_inputs
from groundglass.studies.targets import targets
from groundglass.training import TrainingConfig

from .pictures import pictures
from .tiny import enter, records, results, run

DATA = pictures("shapes", n_train=300, n_test=60)
ATTACKS = ("attack", "craft")


class Killed(BaseException):
    """Not an error that anything may catch."""


def tiny_attacks(data, seed, precision):
    training = TrainingConfig(epochs=2, batch_size=20, learning_rate=0.05, precision=precision)
    small = {"width": 0.05, "device_in": 48, "device_out": 96, "n_images": 30}
    return WhiteBoxConfig(data=data, baseline=training, hybrid=training, seed=seed, **small)


def cells(config, dataset):
    """An attack of every kind that has a checkpoint."""
    baseline, defended = targets(config, dataset)
    shared = {"n_images": 30, "fit_images": 60, "gallery": 2, "seed": 0}
    pgd = PGD(steps=6, step_size=None, random_start=True, restarts=2)
    common = CommonCell((baseline, defended), 30)
    made = {"common": common, "eps": 0.1, "seed": 0, "purpose": "transfer"}
    plain, diverse = TransferPGD(momentum=1.0, steps=5), TransferPGD(diversity=InputDiversity(), steps=4)
    return with_inputs(
        [
            AttackCell(target=baseline, rule="bp", attack=pgd, norm="linf", eps=0.02, eps_paper=None, **shared),
            AttackCell(target=defended, rule="bpda-drawn", attack=pgd, norm="l2", eps=1.0, eps_paper=None, **shared),
            AttackCell(
                target=defended,
                rule="exact",
                attack=CarliniWagnerL2(steps=6, searches=3),
                norm="l2",
                eps=10.0,
                eps_paper=None,
                **shared,
            ),
            CraftCell(label="MI", sources=((defended, "dfa"),), attack=plain, **made),
            CraftCell(label="DI", sources=((baseline, "bp"), (defended, "fa")), attack=diverse, **made),
        ]
    )


def patch_world(patch):
    enter(patch, "white-box", tiny_attacks, cells, DATA)


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    patch_world(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch_world(patch)
        run("white-box", folder)
    return folder


@pytest.fixture
def asked(monkeypatch):
    """How many gradients were asked for, and how many may be before the kill."""
    counts = {"calls": 0, "left": 10**9}
    ask = GradientAccess.loss_and_grad

    def mortal(self, *args):
        if not counts["left"]:
            raise Killed
        counts["left"] -= 1
        counts["calls"] += 1
        return ask(self, *args)

    monkeypatch.setattr(GradientAccess, "loss_and_grad", mortal)
    return counts


def trained(finished, folder):
    """The run as it was before its first attack."""
    shutil.copytree(finished, folder)
    lines = (folder / "records.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["kind"] not in ATTACKS]
    assert len(kept) < len(lines)
    (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in kept))
    shutil.rmtree(folder / "adversarial")
    return folder


def scratch(finished, folder):
    """The files of attacks; trained networks have theirs in the same place."""
    keys = {r.key for kind in ATTACKS for r in records(finished, kind)}
    return [path for path in (folder / "checkpoints").iterdir() if path.stem.strip(".") in keys]


def test_killed_inside_its_attacks_it_goes_on_and_leaves_nothing_behind(finished, asked, monkeypatch, tmp_path):
    assert run("white-box", trained(finished, tmp_path / "whole")) > 0
    whole, asked["calls"] = asked["calls"], 0

    folder, kills, resumed = trained(finished, tmp_path / "killed"), 0, 0
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", -1.0)
    while True:
        asked["left"] = 4
        resumed += len(scratch(finished, folder))
        try:
            run("white-box", folder)
        except Killed:
            kills += 1
            continue
        break
    assert kills > 5
    assert resumed > kills / 2
    assert asked["calls"] == whole  # no step was done twice
    assert scratch(finished, folder) == []
    assert results(folder) == results(finished)
    one, two = RecordStore.read(finished), RecordStore.read(folder)
    for kind in ATTACKS:
        assert records(folder, kind)
        for record in records(folder, kind):
            mine, theirs = one.arrays(one.get(record.key)), two.arrays(record)
            assert mine.keys() == theirs.keys()
            assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    for path in (finished / "adversarial").iterdir():
        mine, theirs = load_file(path), load_file(folder / "adversarial" / path.name)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_seconds_of_killed_runs_count(finished, asked, monkeypatch, tmp_path):
    folder = trained(finished, tmp_path / "run")
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", -1.0)
    asked["left"] = 3
    with pytest.raises(Killed):
        run("white-box", folder)
    (path,) = scratch(finished, folder)
    was = module.AttackCheckpoint.resume

    def later(self, *args, **options):
        found = was(self, *args, **options)
        if self.path == path:
            assert self.earlier_seconds > 0
            self.earlier_seconds += 1000
        return found

    monkeypatch.setattr(module.AttackCheckpoint, "resume", later)
    asked["left"] = 10**9
    run("white-box", folder)
    seconds = {r.key: r.seconds for kind in ATTACKS for r in records(folder, kind)}
    assert [key for key, took in seconds.items() if took > 1000] == [path.stem]


def test_the_checkpoint_of_another_attack_is_refused(finished, asked, monkeypatch, tmp_path):
    folder = trained(finished, tmp_path / "run")
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", -1.0)
    asked["left"] = 3
    with pytest.raises(Killed):
        run("white-box", folder)
    (path,) = scratch(finished, folder)
    others = [r.key for kind in ATTACKS for r in records(finished, kind) if r.key != path.stem]
    stored = path.read_bytes()
    for key in others:
        (path.parent / f"{key}.safetensors").write_bytes(stored)
    asked["left"] = 10**9
    with pytest.raises(ValueError, match=r"is of another run: .* delete it"):
        run("white-box", folder)
