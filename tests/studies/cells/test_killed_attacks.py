"""A study that is killed inside its attacks goes on from there, to the same records."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from groundglass.attacks import PGD, CarliniWagnerL2, GradientAccess, InputDiversity, TransferPGD
from groundglass.attacks import checkpoint as module
from groundglass.results import Run
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.craft import CommonCell, CraftCell
from groundglass.studies.engine.cell import with_inputs
from groundglass.studies.kit import targets
from tests.studies.tiny import enter, forget, results, run, white_box

pytestmark = pytest.mark.slow

ATTACKS = ("attack", "craft")


class Killed(BaseException):
    """Not an error that anything may catch."""


def cells(config, dataset):
    """An attack of every kind that has a checkpoint."""
    baseline, defended = targets(config, dataset)
    shared = {"n_images": 30, "fit_images": 60, "gallery": 2, "seed": 0}
    pgd = PGD(steps=6, step_size=None, random_start=True, restarts=2)
    distances = CarliniWagnerL2(steps=6, searches=3)
    common = CommonCell((baseline, defended), 30)
    made = {"common": common, "eps": 0.1, "seed": 0, "purpose": "transfer"}
    plain, diverse = TransferPGD(momentum=1.0, steps=5), TransferPGD(diversity=InputDiversity(), steps=4)
    return with_inputs(
        [
            AttackCell(target=baseline, rule="bp", attack=pgd, eps=0.02, **shared),
            AttackCell(target=defended, rule="bpda-drawn", attack=pgd, norm="l2", eps=1.0, **shared),
            AttackCell(target=defended, rule="exact", attack=distances, norm="l2", eps=10.0, **shared),
            CraftCell(label="MI", sources=((defended, "dfa"),), attack=plain, **made),
            CraftCell(label="DI", sources=((baseline, "bp"), (defended, "fa")), attack=diverse, **made),
        ]
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "white-box", white_box, cells=cells)
        run("white-box", folder)
        yield folder


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


@pytest.fixture
def trained(finished, tmp_path, monkeypatch):
    """A copy of the run as it was before its first attack. From now on every step of an attack is saved."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    forget(folder, lambda record: record.kind not in ATTACKS)
    shutil.rmtree(folder / "adversarial")
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", -1.0)
    return folder


def keys(folder):
    return [record.key for record in Run.open(folder).records if record.kind in ATTACKS]


def scratch(finished, folder):
    """The files of attacks; trained networks have theirs in the same place."""
    return [path for path in (folder / "checkpoints").iterdir() if path.stem.strip(".") in keys(finished)]


@pytest.fixture
def killed(finished, asked, trained):
    """The folder, and the file of the attack that was killed at its fourth gradient."""
    asked["left"] = 3
    with pytest.raises(Killed):
        run("white-box", trained)
    asked["left"] = 10**9
    (path,) = scratch(finished, trained)
    return trained, path


def test_killed_inside_its_attacks_it_goes_on_and_leaves_nothing_behind(finished, asked, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "whole")
    assert run("white-box", tmp_path / "whole") > 0
    whole, asked["calls"] = asked["calls"], 0
    kills = resumed = 0
    while True:
        asked["left"] = 4
        resumed += len(scratch(finished, trained))
        try:
            run("white-box", trained)
        except Killed:
            kills += 1
            continue
        break
    assert kills > 5
    assert resumed > kills / 2
    assert asked["calls"] == whole  # no step was done twice
    assert scratch(finished, trained) == []
    assert results(trained) == results(finished)
    for path in (finished / "adversarial").iterdir():
        mine, theirs = load_file(path), load_file(trained / "adversarial" / path.name)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_seconds_of_killed_runs_count(killed, monkeypatch):
    folder, path = killed
    was = module.AttackCheckpoint.resume

    def later(self, *args, **options):
        found = was(self, *args, **options)
        if self.path == path:
            assert self.earlier_seconds > 0
            self.earlier_seconds += 1000
        return found

    monkeypatch.setattr(module.AttackCheckpoint, "resume", later)
    run("white-box", folder)
    assert [record.key for record in Run.open(folder).records if record.seconds > 1000] == [path.stem]


def test_the_checkpoint_of_another_attack_is_refused(finished, killed):
    folder, path = killed
    for key in keys(finished):
        if key != path.stem:
            shutil.copy(path, path.with_stem(key))
    with pytest.raises(ValueError, match=r"is of another run: .* delete it"):
        run("white-box", folder)
