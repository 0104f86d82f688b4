import itertools
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from groundglass.attacks import (
    L2,
    NES,
    AttackResult,
    Bandits,
    BudgetExceededError,
    GradientAccess,
    LabelAccess,
    LabelAttack,
    Linf,
    NonFiniteError,
    Parsimonious,
    RayS,
    ScoreAccess,
    Square,
    numpy_model,
    scheduler,
)
from groundglass.core import DamagedFileError
from tests.attacks.toy import Counting, Failing, RowModel, assert_same

ATTACKS = [
    NES(samples=4, step_size=0.03),
    Bandits(tile_size=2, step_size=0.03),
    Parsimonious(block_size=2, mini_batch=5, group=3, hierarchical=True),
    Square(),
    RayS(),
]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)
COUNT, BUDGET, BALL = 10, 24, Linf(0.09)
COUNTS = ("rows", "loss_queries", "check_queries")


@pytest.fixture(autouse=True)
def _no_litter(tmp_path, monkeypatch):
    """An attack that fails keeps what it did in a temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def network():
    return RowModel(seed=3)


def made():
    images = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    labels = network()(images).argmax(1)
    labels[[2, 9]] = (labels[[2, 9]] + 1) % 3
    return images, labels


IMAGES, LABELS = made()


def access_for(attack, model=None, budget=BUDGET):
    return (LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess)(model or network(), per_image=budget)


def run(attack, access=None, **changes):
    options = {"images": IMAGES, "labels": LABELS, "ball": BALL, "seed": 5, "batch_size": 6} | changes
    access = access_for(attack) if access is None else access
    return attack(access, options.pop("images"), options.pop("labels"), options.pop("ball"), **options)


@cache
def uninterrupted(attack):
    """What the attack comes to where nothing stops it, and its access."""
    access = access_for(attack)
    return run(attack, access), access


def assert_same_counts(first, second):
    assert first.asked(range(COUNT)) == second.asked(range(COUNT))
    for name in COUNTS:
        assert getattr(first, name, None) == getattr(second, name, None), name


class Forbidden(nn.Module):
    def forward(self, x):
        raise AssertionError("asked")


# --- slots, passes, budgets ---


@every_attack
def test_slots_are_refilled_and_passes_are_full(attack):
    """Far more images than slots: nobody is forgotten, nobody has more than its budget, and batches stay nearly full."""
    images = torch.rand(25, 3, 4, 4, generator=torch.Generator().manual_seed(8))
    labels = network()(images).argmax(1)
    model, figures = Counting(network()), []
    sizes = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    access = access_for(attack, model)
    result = run(attack, access, images=images, labels=labels, batch_size=7, progress=lambda *a, **k: figures.append(k))
    assert max(sizes) <= 7
    assert sum(sizes) == model.rows == int(result.queries.sum())
    assert bool((result.success | (result.queries > BUDGET - attack.cost())).all())
    assert int(result.queries.max()) <= BUDGET
    # At least one slot, and no more than fill two batches.
    assert max(f["live"] for f in figures) <= max(1, 14 // attack.cost())
    assert model.rows / len(sizes) > 3
    assert 0 < int(result.success.sum()) < 25
    alone = [
        run(attack, images=images[i : i + 1], labels=labels[i : i + 1], indices=[i], batch_size=1) for i in (0, 17)
    ]
    assert_same(result.subset([0, 17]), AttackResult.concat(alone))


@every_attack
def test_progress_counts_up_to_what_was_asked(attack):
    told = []

    def progress(what, done, total, **figures):
        told.append((what, done, total, figures))

    result = run(attack, progress=progress)
    assert {what for what, *_ in told} == {type(attack).__name__}
    done, totals = [d for _, d, _, _ in told], [t for _, _, t, _ in told]
    assert done == sorted(set(done))
    assert totals == sorted(totals, reverse=True)
    assert all(d <= t for d, t in zip(done, totals, strict=True))
    assert done[-1] == int(result.queries.sum())
    assert told[-1][3] == {"live": 0, "finished": 8, "fooled": int(result.success.sum())}


@every_attack
@pytest.mark.parametrize("ball", [BALL, L2(0.5)], ids=repr)
def test_an_empty_set_asks_nothing(attack, ball, tmp_path):
    if isinstance(ball, L2) and isinstance(attack, Parsimonious | RayS):
        return
    access = access_for(attack, Forbidden())
    path = tmp_path / "empty"
    for _ in range(2):
        result = run(attack, access, images=IMAGES[:0], labels=LABELS[:0], ball=ball, checkpoint=path)
        assert len(result) == 0
        assert result.adversarial.shape == (0, 3, 4, 4)
        assert (result.success_rate, result.robust_accuracy, access.rows) == (0, 0, 0)


@every_attack
def test_where_all_are_wrong_each_costs_one_check(attack):
    wrong = (network()(IMAGES).argmax(1) + 1) % 3
    access = access_for(attack)
    result = run(attack, access, labels=wrong)
    assert result.queries.tolist() == [1] * COUNT
    assert access.rows == COUNT
    assert not bool(result.clean_correct.any())
    assert not bool(result.success.any())
    assert torch.equal(result.adversarial, IMAGES)


@every_attack
def test_the_smallest_budget_is_one_step_and_the_check(attack):
    access = access_for(attack, Forbidden(), attack.cost())
    message = f"budget of {attack.cost()} queries .* {type(attack).__name__}: {attack.cost()}, and one check"
    with pytest.raises(ValueError, match=message):
        run(attack, access)
    result = run(attack, access_for(attack, budget=attack.cost() + 1))
    assert int(result.queries.max()) <= attack.cost() + 1


@every_attack
def test_what_cannot_be_is_refused_before_a_question(attack):
    kind = type(access_for(attack))
    with pytest.raises(ValueError, match=rf"budget for each image: {kind.__name__}\(model, per_image="):
        run(attack, kind(Forbidden()))
    access = access_for(attack, Forbidden())
    for indices in ([0] * COUNT, [*range(COUNT - 1), 0], range(-1, COUNT - 1), torch.zeros(COUNT, dtype=torch.int64)):
        with pytest.raises(ValueError, match="different numbers, 0 or more"):
            run(attack, access, indices=indices)
    with pytest.raises(ValueError, match="9 indices for 10 images"):
        run(attack, access, indices=range(9))
    assert access.rows == 0
    assert access.asked(range(COUNT)) == [0] * COUNT


@every_attack
def test_an_access_of_another_kind_is_refused(attack):
    wanted, other = ("LabelAccess", ScoreAccess) if isinstance(attack, LabelAttack) else ("ScoreAccess", LabelAccess)
    for access, name in [
        (other(Forbidden(), per_image=BUDGET), other.__name__),
        (GradientAccess(Forbidden()), "GradientAccess: wrap the model in it"),
        (Forbidden(), "Forbidden: wrap the model in it"),
    ]:
        with pytest.raises(TypeError, match=f"{type(attack).__name__} .* give a {wanted}, not {name}"):
            run(attack, access)


@every_attack
def test_labels_that_the_model_does_not_have_are_refused(attack):
    labels = LABELS.clone()
    labels[7] = 3
    if isinstance(attack, LabelAttack):
        # Labels alone do not tell how many classes there are: such an image is simply wrong.
        assert not bool(run(attack, labels=labels).clean_correct[7])
    else:
        with pytest.raises(ValueError, match=r"must be in 0\.\.2"):
            run(attack, labels=labels)


@every_attack
def test_an_access_that_was_used_up_is_refused(attack):
    access = access_for(attack)
    first = run(attack, access)
    assert bool(first.robust.any())
    with pytest.raises((ValueError, BudgetExceededError), match=r"used for them before|new access has new budgets"):
        run(attack, access)
    assert max(access.asked(range(COUNT))) <= BUDGET

    # One check of each image still fits, the step does not.
    access = access_for(attack)
    access.charge(range(COUNT), [BUDGET - attack.cost()] * COUNT, "loss")
    with pytest.raises(ValueError, match="fewer queries left than one step takes"):
        run(attack, access)
    assert access.asked(range(COUNT)) == [BUDGET - attack.cost() + 1] * COUNT


@every_attack
def test_what_an_access_was_asked_before_counts_against_the_budget(attack):
    access = access_for(attack)
    access.charge([0, 3], [4, 8], "loss")
    result = run(attack, access, ball=Linf(1e-6))
    asked = access.asked(range(COUNT))
    assert max(asked) <= BUDGET
    assert asked[0] - int(result.queries[0]) == 4
    assert asked[3] - int(result.queries[3]) == 8
    assert asked[3] > BUDGET - attack.cost()


def test_a_budget_for_all_ends_the_attack_and_a_new_access_goes_on(tmp_path):
    path, attack = tmp_path / "state", Square()
    access = ScoreAccess(network(), budget=80, per_image=BUDGET)
    with pytest.raises(BudgetExceededError, match="budget of 80") as error:
        run(attack, access, checkpoint=path)
    assert 80 - 6 < access.rows <= 80
    assert str(path) in error.value.__notes__[0]
    assert_same(run(attack, checkpoint=path), uninterrupted(attack)[0])


# --- stopping and going on ---


def interrupted(attack, rows, path, *, access=None, batch_size=6):
    """The access of an attack that came so far; `path` holds what it did."""
    access = access or access_for(attack, Failing(network(), rows))
    with pytest.raises(ConnectionError) as error:
        run(attack, access, checkpoint=path, batch_size=batch_size)
    return access, error.value


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
def test_a_file_of_another_model_is_refused(attack, tmp_path):
    path = tmp_path / "state"
    with pytest.raises(ConnectionError):
        run(attack, access_for(attack, Failing(network(), 31)), checkpoint=path)
    with pytest.raises(ValueError, match="another run: weights"):
        run(attack, access_for(attack, RowModel(seed=4)), checkpoint=path)
    assert_same(run(attack, checkpoint=path), uninterrupted(attack)[0])


@every_attack
def test_without_a_checkpoint_the_note_names_a_file_that_is_one(attack, tmp_path):
    with pytest.raises(ConnectionError) as error:
        run(attack, access_for(attack, Failing(network(), 40)))
    (note,) = error.value.__notes__
    path = Path(re.search(r"kept in (\S+): the same call with checkpoint=", note).group(1))
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


@every_attack
def test_a_progress_that_fails_is_an_interruption_like_others(attack, tmp_path):
    path = tmp_path / "state"

    def progress(what, done, total, **figures):
        if done > 50:
            raise OSError("no terminal")

    with pytest.raises(OSError, match="no terminal"):
        run(attack, checkpoint=path, progress=progress)
    assert_same(run(attack, checkpoint=path), uninterrupted(attack)[0])


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
    ],
)
def test_a_checkpoint_of_other_work_is_refused_with_what_differs(change, message, tmp_path):
    path = tmp_path / "state"
    interrupted(ATTACKS[0], 40, path)
    before = path.read_bytes()
    attack = change.pop("attack", ATTACKS[0])
    access = access_for(attack, Forbidden(), change.pop("budget", BUDGET))
    with pytest.raises(ValueError, match=f"another run: {message}"):
        run(attack, access, checkpoint=path, **change)
    assert path.read_bytes() == before
    assert access.rows == 0


@every_attack
def test_a_damaged_checkpoint_is_named_and_kept(attack, tmp_path):
    path = tmp_path / "state"
    interrupted(attack, 40, path)
    whole = path.read_bytes()
    for length in (0, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=re.escape(str(path))):
            run(attack, access_for(attack, Forbidden()), checkpoint=path)
        assert path.read_bytes() == whole[:length]


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


# --- models that are not what they should be ---


@every_attack
def test_logits_that_are_no_numbers_end_the_attack_and_keep_what_was_done(attack, tmp_path):
    class Late(nn.Module):
        rows = 0

        def forward(self, x):
            Late.rows += len(x)
            logits = network()(x).detach()
            if Late.rows > 40:
                logits[-1, 0] = torch.nan
            return logits

    path = tmp_path / "state"
    with pytest.raises(NonFiniteError, match="fix the model") as error:
        run(attack, access_for(attack, Late()), checkpoint=path)
    assert str(path) in error.value.__notes__[0]
    assert_same(run(attack, checkpoint=path), uninterrupted(attack)[0])


def probabilities(x):
    return network()(x).softmax(1)


@pytest.mark.parametrize("attack", [NES(samples=4), RayS()], ids=lambda a: type(a).__name__)
def test_probabilities_are_warned_of_once_and_it_says_why(attack):
    with pytest.warns(RuntimeWarning, match="seems to return probabilities") as caught:
        run(attack, access_for(attack, probabilities))
    assert len(caught) == 1
    for words in ("second softmax", "sum to 1", "logarithm"):
        assert words in str(caught[0].message)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "model",
    [
        lambda x: probabilities(x).log(),
        lambda x: network()(x),
        lambda x: network()(x).relu(),
        lambda x: probabilities(x) * 2,
        numpy_model(lambda x: np.asarray(network()(torch.from_numpy(x)).tolist())),
    ],
    ids=["log-probabilities", "logits", "none negative", "sum to 2", "numpy"],
)
def test_nobody_is_warned_of_logits(model):
    run(Square(), access_for(Square(), model))


@pytest.mark.filterwarnings("error")
def test_a_read_only_array_is_as_good_as_another():
    def function(x):
        logits = network()(torch.from_numpy(x)).detach().numpy()
        logits.flags.writeable = False
        return logits

    assert_same(run(Square(), access_for(Square(), numpy_model(function))), run(Square()))


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
