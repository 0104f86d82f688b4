import pytest
import torch

from groundglass.attacks import PGD, Linf
from tests.attacks.toy import attacked
from tests.attacks.toy import problem as make_problem

BALL = Linf(0.03)


@pytest.fixture(scope="module")
def problem():
    return make_problem()


def test_an_image_costs_a_gradient_a_step_and_a_check_at_either_end(problem):
    result, _ = attacked(*problem, PGD(steps=7, step_size=None), BALL)
    assert set(result.gradients[result.robust].tolist()) == {7}
    assert set(result.check_queries[result.robust].tolist()) == {2}
    # Fooled after k moves: seen by the gradient that is asked for there, or by the last check.
    early = result.success & (result.iterations < 7)
    assert int(early.sum()) > 3
    assert torch.equal(result.gradients[early], result.iterations[early] + 1)
    assert set(result.check_queries[early].tolist()) == {1}


JUMPING = {"steps": 8, "step_size": 0.035, "stop_when_fooled": False}


def run_into_a_dent(attack, depth):
    """The score of the right class has a dent; a step that is too large jumps into it and out again, four times."""

    def dented(x):
        shift = (x - 0.5).mean((1, 2, 3))
        score = 0.5 - depth * torch.exp(-(((shift - 0.03) / 0.015) ** 2))
        return torch.stack([torch.zeros_like(score), score], dim=1)

    images, labels = torch.full((2, 3, 4, 4), 0.5), torch.ones(2, dtype=torch.int64)
    return attacked(dented, images, labels, attack, Linf(0.1))[0]


def test_the_best_iterate_is_kept_not_the_last():
    best = run_into_a_dent(PGD(**JUMPING), depth=1.0)
    last = run_into_a_dent(PGD(**JUMPING, keep="last"), depth=1.0)
    assert best.success.tolist() == [True, True]
    assert best.iterations.tolist() == [1, 1]
    assert last.success.tolist() == [False, False]
    assert last.iterations.tolist() == [8, 8]


def test_of_iterates_that_do_not_fool_the_one_of_highest_loss_is_kept():
    best = run_into_a_dent(PGD(**JUMPING), depth=0.4)
    last = run_into_a_dent(PGD(**JUMPING, keep="last"), depth=0.4)
    assert best.success.tolist() == last.success.tolist() == [False, False]
    assert bool((best.loss > last.loss + 0.05).all())
    assert bool((best.norm > 0.03).all())


def test_zero_gradients_are_reported(problem):
    model, images, labels = problem
    attack = PGD(steps=4, step_size=None)
    assert attacked(*problem, attack, BALL)[0].zero_gradient_share == 0

    def half_dead(x):
        """Gradients get through for about half of the images."""
        gate = (x.detach().mean((1, 2, 3), keepdim=True) > 0.5).float()
        return model(gate * x + (1 - gate) * x.detach())

    result, _ = attacked(half_dead, images, labels, attack, BALL)
    assert 0.2 < result.zero_gradient_share < 0.95
    stuck = result.clean_correct & (result.zero_gradients == result.gradients)
    assert int(stuck.sum()) > 5
    assert bool((result.norm[stuck] == 0).all())


@pytest.mark.parametrize(("levels", "steps"), [(1, 2), (2, 3), (4, 5), (8, 10), (16, 20), (32, 36)])
def test_bim_takes_the_published_number_of_steps_of_one_level(levels, steps):
    attack = PGD.bim(levels / 255)
    assert attack == PGD(steps=steps, step_size=1 / 255)
    assert attack.steps * attack.step_size >= levels / 255


def test_bim_is_for_a_radius():
    with pytest.raises(ValueError, match="eps"):
        PGD.bim(8)
    result, _ = attacked(*make_problem(), PGD.bim(0.03), BALL)
    assert result.success.any()
