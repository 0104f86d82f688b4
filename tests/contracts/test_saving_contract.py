"""What is saved on the way: settings and places are looked at before the work, and no error of saving replaces another one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import PGD, GradientAccess, Linf, NonFiniteError, Square
from groundglass.attacks import scheduler as scheduler_module
from groundglass.attacks.adversarial_files import AdversarialSet, Origin, load_adversarial, save_adversarial
from groundglass.audit import AuditConfig, audit
from groundglass.core import DamagedFileError, load_state, save_state
from groundglass.core.files import check_place
from groundglass.models import defend
from groundglass.optics import SimulatedOPU
from groundglass.optics.access import DeviceAccess
from groundglass.optics.retrieval import FixedExposure, retrieve
from groundglass.training import BackProp, TrainingConfig, train
from groundglass.training.classifier import fit_classifier
from tests.attacks.query_problem import BALL, IMAGES, LABELS, access_for, every_attack, network, run
from tests.attacks.toy import Counting, Failing, assert_same
from tests.contracts.test_nothing import N, image_set

pytestmark = pytest.mark.usefixtures("no_litter")
SEEDS = [np.int64(5), np.array(5), torch.tensor(5), np.uint8(5), 5.0]
NO_SEEDS = ["5", 5.5, None, True, float("nan"), torch.zeros(2)]


@every_attack
@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_a_failing_service_says_its_own_error_and_the_attack_goes_on(attack, seed, tmp_path):
    whole, path = run(attack), tmp_path / "x.safetensors"
    given: dict[str, Any] = {"checkpoint": path, "seed": seed, "batch_size": np.int64(6), "indices": np.arange(10)}
    with pytest.raises(ConnectionError, match="gone") as raised:
        run(attack, access_for(attack, Failing(network(), 40), budget=np.int64(24)), **given)
    assert [str(path) in note for note in raised.value.__notes__] == [True]
    # The same work, said otherwise.
    assert_same(run(attack, checkpoint=str(path), seed=5), whole)


@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_an_attack_by_gradients_keeps_its_work_whatever_number_its_seed_is(seed, tmp_path, monkeypatch):
    monkeypatch.setattr("groundglass.attacks.checkpoint.SECONDS_BETWEEN_SAVES", -1.0)
    attack, path = PGD(steps=np.int64(4), step_size=None, random_start=np.bool_(True)), tmp_path / "x.safetensors"  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        attack(GradientAccess(Failing(network(), 18)), IMAGES, LABELS, BALL, seed=seed, checkpoint=path, batch_size=4)
    left = Counting(network())
    found = attack(GradientAccess(left), IMAGES, LABELS, BALL, seed=5, checkpoint=str(path), batch_size=4)
    whole = attack(GradientAccess(network()), IMAGES, LABELS, BALL, seed=5, batch_size=4)
    assert_same(found, whole)
    assert left.rows < int((whole.gradients + whole.queries).sum())


@dataclass(frozen=True, kw_only=True)
class Odd(Square):
    """With a setting of which no file can tell, and one that is a place."""

    what: Any = field(default_factory=object)
    where: Path = Path("here")


@dataclass(frozen=True, kw_only=True)
class OddPGD(PGD):
    what: Any = field(default_factory=object)


@pytest.mark.parametrize("seed", NO_SEEDS, ids=repr)
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_seed_that_is_none_is_refused_before_the_first_query(seed, checkpoint, tmp_path):
    model = Counting(network())
    path = tmp_path / "x" if checkpoint else None
    with pytest.raises((TypeError, ValueError), match="seed"):
        run(Square(), access_for(Square(), model), seed=seed, checkpoint=path)
    with pytest.raises((TypeError, ValueError), match="seed"):
        PGD()(GradientAccess(model), IMAGES, LABELS, BALL, seed=seed, checkpoint=path)
    assert model.calls == 0


def test_settings_that_cannot_be_kept_are_refused_before_the_first_query(tmp_path):
    model = Counting(network())
    with pytest.raises(TypeError, match="object cannot be saved"):
        run(Odd(), access_for(Odd(), model), checkpoint=tmp_path / "x")
    with pytest.raises(TypeError, match="object cannot be saved"):
        OddPGD()(GradientAccess(model), IMAGES, LABELS, BALL, seed=0, checkpoint=tmp_path / "y")
    assert model.calls == 0
    # Where nobody asked for a file there is none, and the service's own error is the one that is told.
    with pytest.raises(ConnectionError) as raised:
        run(Odd(), access_for(Odd(), Failing(network(), 40)))
    assert "could not be kept: a setting that is a object" in raised.value.__notes__[0]
    told = Odd(what={"a": np.float32(0.5), "b": (np.bool_(True), Path("x"))})
    with pytest.raises(ConnectionError):
        run(told, access_for(told, Failing(network(), 40)), checkpoint=tmp_path / "z")
    assert_same(run(told, checkpoint=tmp_path / "z"), run(told))


@pytest.mark.parametrize("error", [OSError(28, "no room"), TypeError("not JSON"), RuntimeError("odd")])
def test_no_error_of_saving_takes_the_place_of_the_models(error, tmp_path, monkeypatch):
    def broken(*given):
        raise error

    monkeypatch.setattr(scheduler_module, "save_state", broken)
    for checkpoint in (None, tmp_path / "x"):
        with pytest.raises(ConnectionError) as raised:
            run(Square(), access_for(Square(), Failing(network(), 40)), checkpoint=checkpoint)
        assert raised.value.__notes__ == [f"What the attack had done could not be kept: {error}"]

    class Bad(nn.Module):
        def forward(self, x):
            return network()(x) * (float("nan") if len(x) < 6 else 1)

    with pytest.raises(NonFiniteError):
        run(Square(), access_for(Square(), Bad()))


def test_without_a_folder_for_temporary_files_the_models_error_is_told(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(ConnectionError) as raised:
        run(Square(), access_for(Square(), Failing(network(), 40)))
    assert "could not be kept" in raised.value.__notes__[0]


def test_an_attack_that_is_done_is_not_lost_for_want_of_room(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "no room")

    monkeypatch.setattr(scheduler_module, "save_state", full)
    with pytest.warns(RuntimeWarning, match="the attack is done, but .* no room"):
        found = run(Square(), checkpoint=tmp_path / "x")
    assert_same(found, run(Square()))


@pytest.mark.parametrize("attack", [Square(), PGD(steps=3, step_size=None)], ids=["queries", "gradients"])
def test_a_full_disk_in_the_middle_does_not_end_the_attack_and_the_next_save_succeeds(attack, tmp_path, monkeypatch):
    for name in ("scheduler._SECONDS_BETWEEN_SAVES", "checkpoint.SECONDS_BETWEEN_SAVES"):
        monkeypatch.setattr(f"groundglass.attacks.{name}", -1.0)
    saves = []

    def full(*given):
        saves.append(given)
        if len(saves) == 1:
            raise OSError(28, "no room")
        save_state(*given)

    for module in ("scheduler", "checkpoint"):
        monkeypatch.setattr(f"groundglass.attacks.{module}.save_state", full)

    def attacked(checkpoint=None):
        if isinstance(attack, Square):
            return run(attack, checkpoint=checkpoint)
        return attack(GradientAccess(network()), IMAGES, LABELS, BALL, seed=0, checkpoint=checkpoint)

    with pytest.warns(RuntimeWarning, match="the attack goes on, but .* no room"):
        found = attacked(tmp_path / "x")
    assert_same(found, attacked())
    assert_same(attacked(tmp_path / "x"), found)
    assert len(saves) > 2


#: A place where nothing can be written -> the work that is to be kept there, on a model and a device that count.
WORK: dict[str, Callable[[Path, Counting, Any], Any]] = {
    "queries": lambda path, model, device: run(Square(), access_for(Square(), model), checkpoint=path),
    "gradients": lambda path, model, device: PGD()(
        GradientAccess(model), IMAGES, LABELS, BALL, seed=0, checkpoint=path
    ),
    "audit": lambda path, model, device: audit(
        model, IMAGES, LABELS, BALL, checkpoint=path, config=AuditConfig(steps=2)
    ),
    "adversarial": lambda path, model, device: save_adversarial(
        path,
        AdversarialSet(Origin(source="", attack="", ball=BALL, seed=0), IMAGES, LABELS, LABELS >= 0, LABELS),
        IMAGES,
        GradientAccess(model),
    ),
    "training": lambda path, model, device: train(
        model, image_set(4), TrainingConfig(epochs=1), credit=BackProp(), seed=0, checkpoint=path
    ),
    "retrieval": lambda path, model, device: retrieve(
        DeviceAccess(device), FixedExposure(), frames=16 * N, seed=0, folder=path
    ),
    "classifier": lambda path, model, device: fit_classifier(
        defend(nn.Sequential(nn.Linear(4, 2)), at="0", device=device, seed=0),
        torch.zeros(4, N, dtype=torch.uint8),
        torch.zeros(4, dtype=torch.int64),
        seed=0,
        checkpoint=path,
    ),
}


@pytest.mark.parametrize("kind", WORK)
@pytest.mark.parametrize("place", ["below a file", "a folder"])
def test_a_place_where_nothing_can_be_written_is_found_before_any_query(kind, place, tmp_path):
    if place == "below a file":
        (tmp_path / "file").write_text("x")
        path = tmp_path / "file" / "x.safetensors"
    else:
        path = tmp_path / "folder"
        (path / "retrieval.json").mkdir(parents=True)
    model, device = Counting(network()), Watched(SimulatedOPU.create(N, 8, seed=1))
    with pytest.raises((OSError, DamagedFileError)):
        WORK[kind](path, model, device)
    assert (model.calls, device.asked) == (0, 0)
    assert [p.name for p in tmp_path.iterdir() if "inductor" not in p.name] == [path.relative_to(tmp_path).parts[0]]


class Watched:
    def __init__(self, device: SimulatedOPU) -> None:
        self._device, self.asked = device, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def measure(self, bits):
        self.asked += len(bits)
        return self._device.measure(bits)


def test_numbers_of_other_libraries_are_one_retrieval_and_one_training(tmp_path):
    device = SimulatedOPU.create(np.int64(N), np.int64(8), seed=1)
    assert device.fingerprint == SimulatedOPU.create(N, 8, seed=1).fingerprint
    odd: Any = {"frames": np.int64(16 * N), "seed": np.int64(3), "rows": np.int64(4), "folder": str(tmp_path / "u")}
    first = retrieve(DeviceAccess(device, budget=np.int64(9999)), FixedExposure(starts=np.int64(8)), **odd)
    again = retrieve(DeviceAccess(device), FixedExposure(), frames=16 * N, seed=3, rows=4, folder=tmp_path / "u")
    assert torch.equal(first.matrix, again.matrix)
    sets, path = image_set(8), tmp_path / "t.safetensors"
    for epochs, seed in ((np.int64(2), np.int64(0)), (2, 0)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
        config = TrainingConfig(epochs=epochs, batch_size=4)
        assert len(train(model, sets, config, credit=BackProp(), seed=seed, checkpoint=str(path))) == 2


def test_an_origin_is_plain_before_the_source_is_asked(tmp_path):
    model = GradientAccess(network())
    odd = Origin(source="x", attack="y", ball=Linf(np.float32(0.5)), seed=np.int64(7))  # type: ignore[arg-type]
    made = AdversarialSet(odd, IMAGES, LABELS, LABELS < 0, LABELS)
    save_adversarial(tmp_path / "x", made, IMAGES, model)
    found = load_adversarial(tmp_path / "x", IMAGES, LABELS, model, origin=odd)
    assert found.origin == Origin(source="x", attack="y", ball=Linf(0.5), seed=7)


def test_a_state_is_the_same_said_by_numpy_or_by_python(tmp_path):
    path = tmp_path / "x"
    save_state(
        path, {}, [1], {"a": np.int64(1), "b": (np.float32(0.5), torch.tensor(2)), "c": Path("p"), "d": np.bool_(True)}
    )
    assert load_state(path, {"a": 1, "b": [0.5, 2], "c": "p", "d": True})[1] == [1]


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    check_place(tmp_path / "new" / "x")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "x").write_text("kept")
    check_place(tmp_path / "x")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir() if p.is_file()] == [("x", "kept")]
