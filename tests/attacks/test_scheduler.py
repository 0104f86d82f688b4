import math

import numpy as np
import pytest
import torch
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
    Parsimonious,
    RayS,
    ScoreAccess,
    SparseRS,
    Square,
    numpy_model,
)
from tests.attacks.query_problem import (
    ATTACKS,
    BUDGET,
    COUNT,
    IMAGES,
    LABELS,
    Forbidden,
    access_for,
    ball_for,
    every_attack,
    network,
    run,
)
from tests.attacks.toy import Counting, Failing, assert_same

pytestmark = pytest.mark.usefixtures("no_litter")


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
@pytest.mark.parametrize("ball", [None, L2(0.5)], ids=repr)
def test_an_empty_set_asks_nothing(attack, ball, tmp_path):
    ball = ball_for(attack) if ball is None else ball
    if ball.kind not in attack.kinds:
        return
    access = access_for(attack, Forbidden())
    path = tmp_path / "empty"
    for _ in range(2):
        result = run(attack, access, images=IMAGES[:0], labels=LABELS[:0], ball=ball, checkpoint=path)
        assert len(result) == 0
        assert result.adversarial.shape == (0, 3, 4, 4)
        assert (result.success_rate, result.robust_accuracy, access.rows) == (0, 0, 0)


@every_attack
def test_what_cannot_be_is_refused_before_a_question(attack):
    kind = type(access_for(attack))
    with pytest.raises(ValueError, match=rf"budget for each image: {kind.__name__}\(model, per_image="):
        run(attack, kind(Forbidden()))
    message = f"budget of {attack.cost()} queries .* {type(attack).__name__}: {attack.cost()}, and one check"
    with pytest.raises(ValueError, match=message):
        run(attack, access_for(attack, Forbidden(), attack.cost()))
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
    for access in (other(Forbidden(), per_image=BUDGET), GradientAccess(Forbidden())):
        with pytest.raises(TypeError, match=f"{type(attack).__name__} needs a {wanted}.*{type(access).__name__}"):
            run(attack, access)
    unlimited = (LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess)(Forbidden())
    with pytest.raises(ValueError, match=rf"{type(attack).__name__} needs a budget.*{wanted}\(model, per_image="):
        run(attack, unlimited)


@every_attack
def test_a_model_gets_the_access_and_the_budget_that_the_attack_needs(attack):
    given = attack(network(), IMAGES, LABELS, ball_for(attack), budget=BUDGET, batch_size=7)
    assert_same(given, run(attack, access_for(attack), seed=0, batch_size=7))
    # Twice the queries, if nobody says how many: a default that is known.
    assert attack.default_budget == 10_000
    for options in ({"budget": BUDGET}, {"bounds": (-1, 1)}):
        with pytest.raises(ValueError, match="its own budget and bounds"):
            attack(access_for(attack), IMAGES, LABELS, ball_for(attack), **options)


@every_attack
def test_labels_that_the_model_does_not_have_are_refused(attack):
    labels = LABELS.clone()
    labels[7] = 3
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
    result = run(
        attack, access, ball=type(ball_for(attack))(0) if isinstance(attack, SparseRS) else type(ball_for(attack))(1e-6)
    )
    asked = access.asked(range(COUNT))
    assert max(asked) <= BUDGET
    assert asked[0] - int(result.queries[0]) == 4
    assert asked[3] - int(result.queries[3]) == 8
    assert asked[3] > BUDGET - attack.cost()


# --- models that are not what they should be ---


def probabilities(x):
    return network()(x).softmax(1)


@pytest.mark.parametrize("attack", [NES(samples=4, step_size=0.03), RayS()], ids=lambda a: type(a).__name__)
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


@pytest.mark.parametrize(
    ("attack", "budget", "radius", "said"),
    [
        (NES(step_size=0.01), 500, 0.3, "9 steps of 0.01 cannot reach the border of a ball of radius 0.3"),
        (Bandits(step_size=0.01), 20, 0.1, "6 steps of 0.01"),
        (NES(samples=4, step_size=0.05), 11, (0.1, 0.2, 0.1), "2 steps of 0.05"),
    ],
)
def test_steps_that_cannot_cross_the_ball_say_so_before_any_question(attack, budget, radius, said):
    with pytest.warns(RuntimeWarning, match=said) as caught, pytest.raises(AssertionError, match="asked"):
        run(attack, ScoreAccess(Forbidden(), per_image=budget), ball=Linf(radius))
    assert caught[0].filename == run.__code__.co_filename, "it names the line that calls the attack"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)
def test_steps_that_just_reach_it_and_attacks_without_a_step_say_nothing(attack):
    steps = (BUDGET - 1) // attack.cost()
    ball = ball_for(attack)
    reach = attack.reach(BUDGET, ball)
    assert reach == (steps * attack.step_in(ball) if hasattr(attack, "step_size") else math.inf)
    run(attack, ball=Linf(reach) if reach < ball.radius else ball)


class Lucky(nn.Module):
    """Answers every seventh row that it ever sees wrongly."""

    def __init__(self):
        super().__init__()
        self.model, self.seen = network(), 0

    def forward(self, images):
        at = torch.arange(self.seen, self.seen + len(images))
        self.seen += len(images)
        logits = self.model(images)
        return torch.where((at % 7 == 6)[:, None], -logits, logits)


@pytest.mark.parametrize("attack", [Square(), Parsimonious(block_size=2, mini_batch=5, group=3)])
def test_a_success_by_chance_ends_only_an_attack_that_does_not_confirm(attack):
    # In so small a ball nothing fools but chance; of three answers in a row it has one.
    naive, careful = (run(attack, access_for(attack, Lucky(), confirm=k), ball=Linf(1e-5)) for k in (0, 3))
    assert naive.success.sum() > 4
    assert not careful.success.any()
    right = careful.clean_correct
    assert careful.queries[right].max() <= BUDGET
    # Each claim took three checks, one was of the image itself; and it went on while a step and its checks could be paid.
    assert ((careful.check_queries[right] - 1) % 3 == 0).all()
    assert careful.check_queries[right].max() > 1
    assert (careful.queries[right] > BUDGET - attack.cost() - 3).all()


@pytest.mark.parametrize("rows", [31, 75])
def test_an_attack_that_confirms_and_was_interrupted_goes_on_to_the_same_result(rows, tmp_path):
    attack = Square()
    whole = run(attack, access_for(attack, confirm=3))
    assert whole.success.any()
    assert (whole.check_queries[whole.success] == 4).all()
    with pytest.raises(ConnectionError):
        run(attack, access_for(attack, Failing(network(), rows), confirm=3), checkpoint=tmp_path / "state")
    again = access_for(attack, confirm=3)
    assert_same(run(attack, again, checkpoint=tmp_path / "state"), whole)
    assert sum(again.asked(range(COUNT))) == int(whole.queries.sum())
    with pytest.raises(ValueError, match="confirm"):
        run(attack, access_for(attack), checkpoint=tmp_path / "state")
