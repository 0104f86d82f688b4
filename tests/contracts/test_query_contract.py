"""Every attack by queries passes these, in every kind of ball it knows. Attacks that are broken in the usual ways do not."""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import (
    L0,
    L2,
    NES,
    ZOO,
    Bandits,
    GradientAccess,
    HopSkipJump,
    LabelAttack,
    Linf,
    Parsimonious,
    RandomNoise,
    RayS,
    ScoreAttack,
    SparseRS,
    Square,
    SurFree,
    TiledES,
    numpy_model,
)
from groundglass.attacks.result import COLUMNS
from tests.attacks.query_problem import network
from tests.attacks.sparse_optima import best_in_l0
from tests.attacks.toy import (
    Constant,
    Counting,
    Linear,
    RecordedLabels,
    RecordedScores,
    assert_batches_do_not_matter,
    assert_same,
)

SCORES = [
    NES(samples=4, step_size=0.01),
    Bandits(tile_size=4, step_size=0.03),
    Parsimonious(block_size=2, mini_batch=8),
    Parsimonious(block_size=4, mini_batch=8, hierarchical=True, loss="margin"),
    Parsimonious(block_size=2, mini_batch=8, group=5),
    Square(),
    RayS(),
]
EUCLIDEAN = [NES(samples=4, step_size=0.3), Bandits(tile_size=4, step_size=0.3), Square()]
CASES = [(attack, Linf(0.09)) for attack in SCORES] + [(attack, L2(0.8)) for attack in EUCLIDEAN]
BOXED = [Parsimonious(block_size=2, mini_batch=8), Square(), RayS()]
CASES += [(attack, Linf((0.12, 0.06, 0.09))) for attack in BOXED]
CASES += [(SparseRS(), L0(1))]
LABELS_ALONE = [(HopSkipJump(probes=6), Linf((0.2, 0.1, 0.15))), (HopSkipJump(probes=6, draw="philox"), L2(1.2))]
LABELS_ALONE += [(SurFree(tries=1, memory=4), L2(0.9))]
TILED = [TiledES(tiles=2), TiledES(tiles=4, strategy="cma", discrete=True, draw="philox")]
CASES += [(attack, Linf(0.12)) for attack in TILED]
COORDINATES = {"learning_rate": 0.1, "initial_c": 10.0}
CASES += [(ZOO(coordinates=3, **COORDINATES), Linf(0.1))]
CASES += [(ZOO(coordinates=2, sides=(2, 4), enlarge_every=2, importance=True, **COORDINATES), L2(0.8))]
CASES += LABELS_ALONE
PHILOX = [replace(attack, draw="philox") for attack in (SCORES[0], SCORES[1], SCORES[2], SCORES[5])]
CASES += [(attack, Linf(0.09)) for attack in PHILOX] + [
    (Square(draw="philox"), L2(0.8)),
    (SparseRS(draw="philox"), L0(1)),
]
pytestmark = pytest.mark.usefixtures("no_litter")
every_case = pytest.mark.parametrize(("attack", "ball"), CASES, ids=[f"{a!r} {b!r}" for a, b in CASES])

BANDITS_ABOVE_0 = ("exploration", "fd_eta", "online_lr", "step_size")

COUNT = 12
# After the check of the image itself: no multiple of any attack's step.
BUDGET = 30
WRONG = [0, 7]


def access_for(attack, model, budget=BUDGET):
    return (RecordedLabels if isinstance(attack, LabelAttack) else RecordedScores)(model, per_image=budget)


@pytest.fixture(scope="module")
def problem():
    """Images, labels of which some are wrong, and radii at which some are fooled soon, some late, some never."""
    images = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    labels = network()(images).argmax(1)
    labels[WRONG] = (labels[WRONG] + 1) % 3
    return images, labels


def run(attack, ball, problem, *, model=None, budget=BUDGET, seed=5, **options):
    access = access_for(attack, model or network(), budget)
    return attack(access, *problem, ball, seed=seed, **options)


def check_result(attack, ball, problem):
    """What it claims is so, what it cost is counted, and no image had more than its budget."""
    images, labels = problem
    given = images.clone(), labels.clone()
    model = Counting(network())
    access = access_for(attack, model)
    result = attack(access, images, labels, ball, seed=5, batch_size=7)
    assert torch.equal(images, given[0])
    assert torch.equal(labels, given[1])

    clean, after = network()(images).argmax(1) == labels, network()(result.adversarial).argmax(1)
    assert torch.equal(result.clean_correct, clean)
    assert torch.equal(result.success, clean & (after != labels))
    assert bool(ball.contains(result.adversarial, images, tolerance=1e-6).all())
    assert float(result.adversarial.min()) >= 0
    assert float(result.adversarial.max()) <= 1
    assert torch.equal(result.norm, ball.norm(result.adversarial - images))
    assert bool((result.zero_gradients <= result.gradients).all())

    assert torch.equal(result.adversarial[WRONG], images[WRONG])
    assert result.clean_correct[WRONG].tolist() == [False] * len(WRONG)
    assert result.queries[WRONG].tolist() == [1] * len(WRONG)
    assert result.check_queries[WRONG].tolist() == [1] * len(WRONG)

    assert model.rows == access.rows == int(result.queries.sum())
    assert access.asked(range(COUNT)) == result.queries.tolist()
    assert int(result.queries.max()) <= BUDGET
    assert int(result.queries[result.robust].min()) > BUDGET - attack.cost(), "gave up early"
    assert [len(access.asked_rows[i]) for i in range(COUNT)] == result.queries.tolist()
    assert 0 < float(result.success.sum()) < COUNT - len(WRONG), "too easy or too hard to tell anything"
    return result, access


def check_stops(attack, ball, problem, result, access):
    """The first candidate that fools the model is the result, and nothing more was asked for that image."""
    images, labels = problem
    for i in range(COUNT):
        rows = access.asked_rows[i]
        assert torch.equal(rows[0][0], images[i])
        assert rows[0][1] == "check"
        assert all(float(x.min()) >= 0 and float(x.max()) <= 1 for x, _, _ in rows)
        # NES and Bandits look apart whether they have fooled it; what the others ask about is a candidate at once.
        apart = isinstance(attack, NES | Bandits)
        fooling = [
            at
            for at, (x, purpose, answer) in enumerate(rows)
            if answer != labels[i]
            and (purpose == "check" if apart else bool(ball.contains(x[None], images[i : i + 1], tolerance=1e-6)))
        ]
        if not result.success[i]:
            assert not fooling or i in WRONG
            continue
        assert torch.equal(rows[fooling[0]][0], result.adversarial[i])
        asked_at_once = 1 if apart else attack.cost()
        assert len(rows) - fooling[0] <= asked_at_once


def check_independence(attack, ball, problem):
    """Neither the batches nor the order of the images nor the parts of the set change anything."""
    return assert_batches_do_not_matter(lambda *given, **options: run(attack, ball, given, **options), *problem)


@pytest.mark.one_in(3)
@every_case
def test_claims_costs_and_stops(attack, ball, problem):
    check_stops(attack, ball, problem, *check_result(attack, ball, problem))


@pytest.mark.one_in(5)
@every_case
def test_no_result_depends_on_the_batch_the_order_or_the_parts(attack, ball, problem):
    whole = check_independence(attack, ball, problem)
    few = slice(0, 5)
    part = problem[0][few], problem[1][few]
    plain = network()
    through_numpy = numpy_model(lambda x: plain(torch.from_numpy(x)).detach().numpy())
    assert_same(whole.subset(few), run(attack, ball, part, model=through_numpy), "numpy")
    other = run(attack, ball, problem, seed=6)
    assert torch.equal(other.adversarial, whole.adversarial) == isinstance(attack, RayS), "RayS alone is not random"


@every_case
def test_a_budget_that_ends_in_the_middle_of_a_step_is_kept(attack, ball, problem):
    images, labels = problem[0][1:6], problem[1][1:6]
    tiny = L0(0) if isinstance(ball, L0) else type(ball)(1e-6)
    for more in range(1, attack.cost() + 2):
        budget = attack.cost() + more
        access = access_for(attack, network(), budget)
        result = attack(access, images, labels, tiny, seed=0, batch_size=4)
        assert not bool(result.success.any())
        assert max(access.asked(range(5))) <= budget
        assert min(access.asked(range(5))) > budget - attack.cost()
        if not (isinstance(attack, Parsimonious) and attack.group > 1):
            assert set(access.asked(range(5))) == {1 + (budget - 1) // attack.cost() * attack.cost()}


# Of one sign in every block of 4 x 4 pixels: what noise finds grows as the root of the pixels, the optimum as their number.
WEIGHT = (
    torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(3)).repeat_interleave(4, 1).repeat_interleave(4, 2)
)


@cache
def smooth_problem(ball):
    """A linear model out of reach of 399 points of noise, at .3 of the way to the best point; in L0 of a larger ball."""
    if isinstance(ball, L0):
        ball = L0(12)
        best, share = best_in_l0(WEIGHT, torch.full_like(WEIGHT, 0.5), ball.eps), 0.6
    else:
        best, share = ball.step(WEIGHT[None], ball.radius)[0], 0.3
    model = Linear(WEIGHT, share * float((best * WEIGHT).sum()))
    images = 0.5 + 0.01 * torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.ones(3, dtype=torch.int64)
    noise = RandomNoise(points=399)(GradientAccess(model), images, labels, ball, seed=2)
    assert noise.clean_accuracy == 1
    assert noise.success_rate == 0
    return model, (images, labels), ball


@pytest.mark.one_in(5)
@every_case
def test_each_attack_fools_what_noise_of_as_many_points_does_not(attack, ball):
    model, given, ball = smooth_problem(ball)
    assert (
        run(attack, ball, given, model=model, budget=400 if isinstance(attack, NES | HopSkipJump) else 250).success_rate
        > 0.6
    )


@every_case
def test_a_constant_model_is_never_fooled(attack, ball, problem):
    images = problem[0][:5]
    labels = torch.tensor([0, 0, 1, 0, 0])
    result = run(attack, ball, (images, labels), model=Constant(), budget=17)
    assert not bool(result.success.any())
    assert result.clean_correct.tolist() == [True, True, False, True, True]
    assert torch.equal(result.adversarial, images), "nothing was better than the image itself"
    assert int(result.queries[2]) == 1
    assert int(result.queries[[0, 1, 3, 4]].min()) > 17 - attack.cost()
    if isinstance(attack, NES | Bandits):
        assert torch.equal(result.zero_gradients, result.gradients)
        assert result.gradients.tolist() == [16 // attack.cost() * c for c in (1, 1, 0, 1, 1)]


@every_case
def test_nobody_is_asked_about_nothing(attack, ball, problem):
    images, right = problem[0], network()(problem[0]).argmax(1)
    model = Counting(network())
    none = run(attack, ball, (images[:0], right[:0]), model=model)
    assert model.calls == 0
    assert none.adversarial.shape == (0, 3, 4, 4)
    assert (len(none), none.success_rate) == (0, 0.0)

    wrong = (right + 1) % 3
    result = run(attack, ball, (images, wrong), model=model, batch_size=5)
    assert torch.equal(result.adversarial, images)
    assert result.queries.tolist() == result.check_queries.tolist() == [1] * COUNT
    access = access_for(attack, model, None)
    assert len(result.confirmed(access, wrong)) == COUNT
    assert model.rows == COUNT


class Trainable(nn.Module):
    """Would answer at random in train mode, and notes whether a graph was asked for."""

    def __init__(self):
        super().__init__()
        self.body, self.dropout, self.graphs = network(), nn.Dropout(0.9), []

    def forward(self, x):
        out = self.body(self.dropout(x))
        self.graphs.append(out.requires_grad or x.requires_grad)
        return out


@every_case
def test_no_graph_is_made_and_the_models_mode_is_put_back(attack, ball, problem):
    few = problem[0][:5], problem[1][:5]
    model = Trainable().train()
    model.body.eval()
    result = run(attack, ball, few, model=model, budget=17)
    assert (model.training, model.body.training, model.dropout.training) == (True, False, True)
    assert not any(model.graphs)
    assert all(not getattr(result, name).requires_grad for name in COLUMNS)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert_same(result, run(attack, ball, few, budget=17))


@every_case
def test_a_model_that_works_in_place_on_its_images_changes_no_result(attack, ball, problem):
    few = problem[0][:5], problem[1][:5]
    plain = network()

    def ruins(x):
        answer = plain(x)
        x.fill_(0.5)
        return answer

    expected = run(attack, ball, few, budget=17)
    assert_same(expected, run(attack, ball, few, model=ruins, budget=17))
    buffer = np.zeros((99, 3), dtype=np.float32)

    def ruins_and_reuses(x):
        buffer[: len(x)] = plain(torch.from_numpy(x)).detach().numpy()
        x[:] = 0.5
        return buffer[: len(x)]

    assert_same(expected, run(attack, ball, few, model=numpy_model(ruins_and_reuses), budget=17))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NES(samples=3), "even"),
        (lambda: NES(samples=0), "at least 2"),
        (lambda: NES(sigma=math.nan), "above 0"),
        (lambda: NES(step_size=-0.1), "above 0"),
        (lambda: NES(loss="hinge"), "loss"),
        *((lambda name=name: Bandits(**{name: math.nan}), name) for name in BANDITS_ABOVE_0),
        *((lambda name=name: Bandits(**{name: 0.0}), name) for name in BANDITS_ABOVE_0),
        (lambda: Bandits(tile_size=0), "tile_size"),
        *((lambda value=value: Square(p_init=value), "p_init") for value in (0.0, 1.5, math.nan)),
        *((lambda value=value: RayS(tolerance=value), "tolerance") for value in (0.0, -1.0, math.nan, math.inf)),
        (lambda: Parsimonious(block_size=0), r"`block_size` \(=0\)"),
        (lambda: Parsimonious(group=0), r"`group` \(=0\)"),
        (lambda: Square().check_ball(None), "Square needs a ball"),
        (lambda: Parsimonious().check_ball(L2(1.0)), "Parsimonious is for Linf"),
        (lambda: SparseRS().check_ball(Linf(0.1)), r"SparseRS is for L0, not for Linf"),
        (lambda: RayS().check_ball(L2(0.5)), r"RayS is for Linf, not for L2"),
    ],
)
def test_settings_and_balls_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- negative controls: if one of these passed, the contract above would be worth nothing ---


@dataclass(frozen=True, kw_only=True)
class Walk(ScoreAttack):
    """A random walk through corners, and the ways to do it wrong."""

    fault: str = ""

    def cost(self):
        return 1

    def begin(self, live):
        return {"x": live.original, "loss": torch.full_like(live.left, -torch.inf, dtype=torch.float32)}

    def step(self, live, state, ask):
        if self.fault == "one stream for all":
            noise = torch.randn(live.original.shape, generator=torch.Generator().manual_seed(int(live.step[0])))
        else:
            noise = live.normal(*live.original.shape[1:], path="walk")
        if self.fault == "normalised over the batch":
            noise = noise - noise.mean(0)
        size = live.ball.radius * (1.5 if self.fault == "leaves the ball" else 1)
        x = live.original if self.fault == "does nothing" else live.original + live.ball.step(noise, size)
        x = x.clamp(0, 1)
        told = ask(x, live.slots, inside=True)
        if self.fault == "asks more than it says":
            ask(x.repeat_interleave(2, 0), live.slots.repeat_interleave(2), inside=False)
        if self.fault == "asks again after it fooled":
            for slot in told.fooled.nonzero().squeeze(1).tolist():
                if int(live.left[slot]) > 1:
                    ask(x[slot : slot + 1], live.slots[slot : slot + 1], inside=True)
        return state


FAULTS = {
    "does nothing": check_result,
    "leaves the ball": check_result,
    "asks more than it says": check_result,
    "one stream for all": check_independence,
    "normalised over the batch": check_independence,
    "asks again after it fooled": lambda *given: check_stops(*given, *check_result(*given)),
}


def test_the_walk_itself_keeps_the_contract(problem):
    check_stops(Walk(), Linf(0.15), problem, *check_result(Walk(), Linf(0.15), problem))
    check_independence(Walk(), Linf(0.15), problem)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_attack_fails_the_contract(fault, problem):
    with pytest.raises((AssertionError, RuntimeError)):
        FAULTS[fault](Walk(fault=fault), Linf(0.15), problem)
