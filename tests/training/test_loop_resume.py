"""A training that is killed at any step goes on from the step before, to the same weights bit for bit."""

import json
from dataclasses import replace

import pytest
from safetensors import safe_open

from groundglass.core import save_state
from groundglass.data import Augment
from groundglass.models import build
from groundglass.optics import Camera, SimulatedOPU
from groundglass.training import TRADES, BackProp, Freezing, Growing, HybridDFA, PGDTraining, TrainingConfig, train
from groundglass.training import checkpoint as checkpoints
from groundglass.training.checkpoint import begun

from .conftest import SPEC, Killed, facts, same

pytestmark = pytest.mark.usefixtures("at_every_step")

EPOCHS, STEPS = 2, 3  # 48 images, 20 a step: the last step has 8
PLAIN = TrainingConfig(epochs=EPOCHS, batch_size=20, learning_rate=0.02)
PGD = PGDTraining(eps=8 / 255, steps=2, rule="dfa")
KINDS = {
    "bp": PLAIN,
    "hybrid": PLAIN,
    "adam": replace(PLAIN, optimiser="adam", learning_rate=1e-3),
    "bfloat16": replace(PLAIN, precision="bfloat16"),
    "noisy": PLAIN,
    "pgd": replace(PLAIN, adversarial=PGD),
    "pgd, drawn each epoch": replace(PLAIN, adversarial=replace(PGD, rule="dfa-fresh")),
    "pgd, fitted each epoch": replace(PLAIN, adversarial=replace(PGD, rule="bpda-fit-linear", fit_images=40)),
    "noisy, pgd, fitted each epoch": replace(PLAIN, adversarial=replace(PGD, rule="bpda-fit-linear", fit_images=40)),
    "trades": replace(PLAIN, adversarial=TRADES(eps=8 / 255, steps=2, rule="dfa")),
    "averaged": replace(PLAIN, average=0.5, label_smoothing=0.1),
    "noisy, averaged, bfloat16": replace(PLAIN, average=0.5, precision="bfloat16"),
    "growing, early layers still": replace(PLAIN, growing=Growing(until=0.5), freezing=Freezing(after=0.5), noise=0.1),
    "pgd, growing": replace(PLAIN, adversarial=PGD, growing=Growing(until=0.5), freezing=Freezing(after=0.5)),
}


@pytest.fixture(scope="module")
def coloured(coloured):
    return coloured.head(48)


class Killing:
    """A credit assignment that is killed before it learns from a batch, `after` so many."""

    def __init__(self, credit, after):
        self.credit, self.name, self.left = credit, credit.name, after

    def logits(self, model, images):
        if self.left == 0:
            raise Killed
        self.left -= 1
        return self.credit.logits(model, images)


def fresh(kind):
    spec = replace(SPEC, dropout=0.5)
    if kind == "bp":
        return build(replace(spec, device_in=None, device_out=None), seed=2), BackProp()
    camera = Camera(read_noise=2.0) if kind.startswith("noisy") else Camera()
    return build(spec, device=SimulatedOPU.create(32, 64, seed=1, camera=camera), seed=2), HybridDFA()


def trained(kind, images, path=None, after=None, **others):
    model, credit = fresh(kind)
    by = credit if after is None else Killing(credit, after)
    history = train(model, images, KINDS[kind], credit=by, seed=4, augment=Augment(), checkpoint=path, **others)
    return model.state_dict(), facts(history)


def stored(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["notes"])


@pytest.mark.one_in(5)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_step_it_ends_as_if_nothing_had_been(coloured, tmp_path, kind):
    whole = trained(kind, coloured)
    passes = 2 if kind == "trades" else 1
    for killed in range(EPOCHS * STEPS):
        path = tmp_path / f"{killed}.safetensors"
        with pytest.raises(Killed):
            trained(kind, coloured, path, after=passes * killed)
        assert path.exists() == (killed > 0)
        if killed:
            notes = stored(path)
            # After the last step of an epoch, the epoch itself is written.
            assert (len(notes["history"]), notes["inside"]["step"]) == divmod(killed, STEPS)
        assert same(trained(kind, coloured, path), whole), f"killed before step {killed}"


def test_killed_at_every_step_one_after_the_other(coloured, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    for _ in range(EPOCHS * STEPS - 1):  # the last of these stands before the last step
        with pytest.raises(Killed):
            trained("pgd", coloured, path, after=1)
    assert same(trained("pgd", coloured, path, after=1), trained("pgd", coloured))


def test_killed_after_the_last_step_of_an_epoch_before_its_end_was_written(coloured, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"

    def kill(standing):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("groundglass.training.state.TrainingState.end_epoch", kill)
        with pytest.raises(Killed):
            trained("hybrid", coloured, path)
    assert stored(path)["inside"]["step"] == STEPS
    assert same(trained("hybrid", coloured, path), trained("hybrid", coloured))


def test_a_last_batch_of_one_image_which_is_left_out(coloured, tmp_path):
    images, path = coloured.head(41), tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        trained("hybrid", images, path, after=2)
    assert same(trained("hybrid", images, path), trained("hybrid", images))


def test_seconds_go_on_and_no_checkpoint_is_written_before_its_time(coloured, tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("groundglass.training.checkpoint.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("groundglass.training.checkpoint.SECONDS", 30.0)
    path = tmp_path / "checkpoint.safetensors"
    written = []

    class Slow(HybridDFA):
        def logits(self, model, images):
            written.append(stored(path)["inside"]["step"] if path.exists() else None)
            clock[0] += 16
            return super().logits(model, images)

    model, _ = fresh("hybrid")
    train(model, coloured, PLAIN, credit=Slow(), seed=4, checkpoint=path)
    # 16 s a step: the second step of each epoch is late, the end of the first epoch is written always.
    assert written == [None, None, 2, 0, 0, 2]


def test_the_seconds_of_an_epoch_are_those_of_all_who_worked_on_it(coloured, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        trained("hybrid", coloured, path, after=4)
    tensors, notes, identity = _opened(path)
    notes["inside"]["seconds"] += 1000
    notes["inside"]["core_seconds"] += 2000
    save_state(path, tensors, notes, identity)
    assert begun(path).seconds == pytest.approx(1000, abs=100)
    model, credit = fresh("hybrid")
    history = train(model, coloured, PLAIN, credit=credit, seed=4, augment=Augment(), checkpoint=path)
    assert history[0].seconds < 100
    assert 1000 < history[1].seconds < 1100
    assert 2000 < history[1].core_seconds < 2100
    assert history[1].images_per_second == pytest.approx(48 / history[1].seconds)


def test_a_checkpoint_of_version_0_1_is_gone_on_from(coloured, tmp_path):
    """Those are of the ends of epochs; their notes are the history alone."""
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        trained("hybrid", coloured, path, after=STEPS)
    tensors, notes, identity = _opened(path)
    assert notes["inside"]["step"] == 0
    save_state(
        path, {k: v for k, v in tensors.items() if k.startswith(("model/", "optimiser/"))}, notes["history"], identity
    )
    assert begun(path).seconds == pytest.approx(notes["history"][0]["seconds"])
    assert same(trained("hybrid", coloured, path), trained("hybrid", coloured))


def test_nothing_is_said_to_be_done_where_there_is_no_file(tmp_path):
    assert begun(tmp_path / "none.safetensors") == checkpoints.Begun(0.0, None)


def _opened(path):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    return tensors, json.loads(metadata["notes"]), json.loads(metadata["identity"])
