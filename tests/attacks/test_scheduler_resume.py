"""An attack by queries that stops anywhere goes on to the same result, and no query is asked twice."""

import itertools
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from groundglass.attacks import (
    L2,
    NES,
    Bandits,
    BudgetExceededError,
    Linf,
    ScoreAccess,
    Square,
    scheduler,
)
from groundglass.core import DamagedFileError
from tests.attacks.query_problem import (
    ATTACKS,
    BUDGET,
    COUNT,
    IMAGES,
    LABELS,
    Forbidden,
    access_for,
    every_attack,
    network,
    run,
)
from tests.attacks.toy import Failing, RowModel, assert_same

pytestmark = pytest.mark.usefixtures("no_litter")
COUNTS = ("rows", "loss_queries", "check_queries")


@cache
def uninterrupted(attack):
    """What the attack comes to where nothing stops it, and its access."""
    access = access_for(attack)
    return run(attack, access), access


def assert_same_counts(first, second):
    assert first.asked(range(COUNT)) == second.asked(range(COUNT))
    for name in COUNTS:
        assert getattr(first, name, None) == getattr(second, name, None), name


def interrupted(attack, rows, path, *, access=None, batch_size=6):
    """The access of an attack that came so far; `path` holds what it did."""
    access = access or access_for(attack, Failing(network(), rows))
    with pytest.raises(ConnectionError) as error:
        run(attack, access, checkpoint=path, batch_size=batch_size)
    return access, error.value


@pytest.mark.one_in(5)
@every_attack
@pytest.mark.parametrize("rows", [6, 31, 75])
def test_an_interrupted_attack_goes_on_to_the_same_result_and_counts(attack, rows, tmp_path):
    whole, whole_access = uninterrupted(attack)
    assert int(whole.queries.sum()) > 80
    path = tmp_path / "state"
    broken, error = interrupted(attack, rows, path)
    assert str(path) in error.__notes__[0]
    assert max(broken.asked(range(COUNT))) <= BUDGET
    saved = path.read_bytes()

    for batch_size in (4, 50):
        path.write_bytes(saved)
        access = access_for(attack)
        assert_same(run(attack, access, checkpoint=path, batch_size=batch_size), whole)
        assert_same_counts(access, whole_access)
        # Finished: the result is there for the asking, and the new access is told.
        again = access_for(attack, Forbidden())
        assert_same(run(attack, again, checkpoint=path), whole)
        assert_same_counts(again, whole_access)


@every_attack
def test_the_same_access_goes_on_too(attack, tmp_path):
    """It knows what it was asked: nothing is charged twice. Only the rows that the model failed at are counted beside."""
    whole, _ = uninterrupted(attack)
    path = tmp_path / "state"
    model = Failing(network(), 33)
    access, _ = interrupted(attack, 33, path, access=access_for(attack, model))
    lost = access.rows - sum(access.asked(range(COUNT)))
    assert 0 < lost <= 6
    model.left = 10**9
    assert_same(run(attack, access, checkpoint=path), whole)
    assert access.asked(range(COUNT)) == whole.queries.tolist()
    assert access.rows == int(whole.queries.sum()) + lost


@pytest.mark.one_in(5)
@every_attack
def test_a_model_that_fails_all_the_time_still_gets_there(attack, tmp_path):
    """Ten rows an attempt, each with a new access and other batches: many stops in the middle of a step."""
    whole, whole_access = uninterrupted(attack)
    path = tmp_path / "state"
    for attempt in itertools.count():
        access = access_for(attack, Failing(network(), 10))
        try:
            found = run(attack, access, checkpoint=path, batch_size=(3, 7, 4)[attempt % 3])
            break
        except ConnectionError:
            assert attempt < 60
    assert attempt > 7
    assert_same(found, whole)
    assert_same_counts(access, whole_access)


@every_attack
def test_without_a_checkpoint_the_note_names_a_file_that_is_one(attack, tmp_path):
    with pytest.raises(ConnectionError) as error:
        run(attack, access_for(attack, Failing(network(), 40)))
    (note,) = error.value.__notes__
    path = Path(re.search(r"kept in (\S+): the same call with that as checkpoint=", note).group(1))
    assert tmp_path in path.parents
    assert_same(run(attack, checkpoint=path), uninterrupted(attack)[0])


@every_attack
def test_an_error_before_any_answer_leaves_no_file(attack, tmp_path):
    _, error = interrupted(attack, 5, tmp_path / "state")
    assert not hasattr(error, "__notes__")
    assert not list(tmp_path.iterdir())


@every_attack
def test_a_ctrl_c_costs_no_more_than_what_came_after_the_last_save(attack, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "_SECONDS_BETWEEN_SAVES", -1)
    whole, whole_access = uninterrupted(attack)
    path = tmp_path / "state"
    stopped = access_for(attack, Failing(network(), 52, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(attack, stopped, checkpoint=path)
    access = access_for(attack)
    assert_same(run(attack, access, checkpoint=path), whole)
    assert_same_counts(access, whole_access)


def test_after_a_ctrl_c_an_access_that_was_asked_more_is_refused(tmp_path, monkeypatch):
    """Its budget is spent on rows that nobody remembers: to go on with it would end elsewhere."""
    monkeypatch.setattr(scheduler, "_SECONDS_BETWEEN_SAVES", -1)
    attack, refused, went_on = Bandits(tile_size=2, step_size=0.03), 0, 0
    for rows in range(50, 60):
        path = tmp_path / str(rows)
        model = Failing(network(), rows, KeyboardInterrupt)
        stopped = access_for(attack, model)
        with pytest.raises(KeyboardInterrupt):
            run(attack, stopped, checkpoint=path)
        model.left = 10**9
        if sum(stopped.asked(range(100))) > int(load_file(path)["asked"].sum()):
            refused += 1
            with pytest.raises(ValueError, match="Make a new access"):
                run(attack, stopped, checkpoint=path)
        else:
            went_on += 1
            assert_same(run(attack, stopped, checkpoint=path), uninterrupted(attack)[0])
    assert refused, "some row must be lost for this test to say anything"
    assert went_on, "and some stop must lose none"


def test_an_attack_that_fails_to_begin_forgets_no_image(tmp_path):
    """Memory runs out for new slots: those images are still in line."""

    class Unlucky(Square):
        def begin(self, live):
            if broken and 5 in live.numbers:
                raise MemoryError
            return super().begin(live)

    path, attack, broken = tmp_path / "state", Unlucky(), False
    whole = run(attack, batch_size=2)
    broken = True
    with pytest.raises(MemoryError):
        run(attack, batch_size=2, checkpoint=path)
    broken = False
    assert_same(run(attack, batch_size=2, checkpoint=path), whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack": NES(samples=4, step_size=0.02)}, "settings"),
        ({"attack": Square(loss="ce")}, "attack was 'NES', is 'Square'"),
        ({"seed": 6}, "seed was 5, is 6"),
        ({"ball": Linf(0.1)}, r"ball was 'Linf\(eps=0.09\)', is 'Linf\(eps=0.1\)'"),
        ({"ball": L2(0.09)}, "ball"),
        ({"budget": BUDGET + 1}, "budget was 24, is 25"),
        ({"images": IMAGES.flip(0)}, "images"),
        ({"images": IMAGES.flip(1)}, "images"),
        ({"labels": (LABELS + 1) % 3}, "images"),
        ({"indices": range(1, COUNT + 1)}, "images"),
        ({"images": IMAGES[:9], "labels": LABELS[:9]}, "images"),
        ({"model": RowModel(seed=4)}, "weights"),
    ],
)
def test_a_checkpoint_of_other_work_is_refused_with_what_differs(change, message, tmp_path):
    path = tmp_path / "state"
    interrupted(ATTACKS[0], 40, path)
    before = path.read_bytes()
    attack = change.pop("attack", ATTACKS[0])
    access = access_for(attack, change.pop("model", Forbidden()), change.pop("budget", BUDGET))
    with pytest.raises(ValueError, match=f"another run: {message}"):
        run(attack, access, checkpoint=path, **change)
    assert path.read_bytes() == before
    assert access.rows == 0
    path.write_bytes(before[:-1])
    with pytest.raises(DamagedFileError, match=re.escape(str(path))):
        run(attack, access, checkpoint=path)
    assert path.read_bytes() == before[:-1]


@pytest.mark.parametrize("rows", [43, 50])
def test_estimates_are_counted_once_across_an_interruption(rows, tmp_path):
    """On a model that is flat for some: in the middle of a step, and between its loss queries and its check."""

    class Flat(nn.Module):
        def __init__(self, rows):
            super().__init__()
            self.model = Failing(network(), rows)

        def forward(self, x):
            dark = x.mean((1, 2, 3), keepdim=True) < 0.3
            return self.model(torch.where(dark, 0.25, x))

    images = IMAGES.clone()
    images[:5] *= 0.3
    labels = Flat(99)(images).argmax(1)
    for attack in ATTACKS[:2]:
        whole = run(attack, access_for(attack, Flat(10**9)), images=images, labels=labels, ball=Linf(0.01))
        assert 0 < int(whole.zero_gradients.sum()) < int(whole.gradients.sum())
        steps = (BUDGET - 1) // attack.cost()
        assert whole.gradients[whole.robust].unique().tolist() == [steps]
        path = tmp_path / type(attack).__name__
        with pytest.raises(ConnectionError):
            run(attack, access_for(attack, Flat(rows)), images=images, labels=labels, ball=Linf(0.01), checkpoint=path)
        access = access_for(attack, Flat(10**9))
        assert_same(run(attack, access, images=images, labels=labels, ball=Linf(0.01), checkpoint=path), whole)


def test_seconds_of_earlier_sessions_are_in_the_file(tmp_path, monkeypatch):
    path, now = tmp_path / "attack.safetensors", [0.0]
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: now[0])

    def progress(*told, **figures):
        now[0] += 10

    assert scheduler.earlier_seconds(path) == 0
    run(ATTACKS[0], checkpoint=path, progress=progress)
    first = scheduler.earlier_seconds(path)
    assert first >= 10
    now[0] += 1000  # between sessions
    run(ATTACKS[0], checkpoint=path, progress=progress)
    assert scheduler.earlier_seconds(path) == first
    assert scheduler.seconds_in({}) == 0  # of an earlier version


def test_a_budget_for_all_ends_the_attack_and_a_new_access_goes_on(tmp_path):
    path, attack = tmp_path / "state", Square()
    access = ScoreAccess(network(), budget=80, per_image=BUDGET)
    with pytest.raises(BudgetExceededError, match="budget of 80") as error:
        run(attack, access, checkpoint=path)
    assert 80 - 6 < access.rows <= 80
    assert str(path) in error.value.__notes__[0]
    assert_same(run(attack, checkpoint=path), uninterrupted(attack)[0])
