import warnings

import pytest
import torch

from groundglass.attacks import FGSM, L2, PGD, GradientAccess, Linf, RandomNoise
from tests.attacks.toy import Counting, RowModel, blobs, trained

COUNT = 37


@pytest.fixture(scope="module")
def problem():
    """Images, labels of which some are wrong, and a radius at which some are fooled soon, some late, some never."""
    model = RowModel(seed=3)
    images = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    labels = model(images).argmax(1)
    labels[::7] = (labels[::7] + 1) % 3
    return model, images, labels


HARD = PGD(steps=7, step_size=None, random_start=True, restarts=3)


def run(model, images, labels, attack=HARD, ball=None, **options):
    access = GradientAccess(model)
    return attack(access, images, labels, ball or Linf(0.03), seed=5, **options), access


def test_the_problem_has_all_kinds_of_images(problem):
    result, _ = run(*problem)
    left = result.robust
    assert 3 <= int(left.sum()) <= COUNT - 10
    assert int((~result.clean_correct).sum()) == 6
    assert len(set(result.gradients[result.success].tolist())) >= 4


@pytest.mark.parametrize("attack", [HARD, PGD(steps=7, step_size=None), FGSM(), RandomNoise(points=5)], ids=repr)
@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.12)], ids=repr)
def test_counts_are_the_rows_that_went_through_the_model(problem, attack, ball):
    model, images, labels = problem
    counting = Counting(model)
    result, access = run(counting, images, labels, attack, ball, batch_size=10)
    assert int(result.gradients.sum()) == access.gradients
    assert int(result.check_queries.sum()) == access.check_queries
    assert access.gradients + access.check_queries == counting.rows
    wrong = ~result.clean_correct
    assert result.gradients[wrong].tolist() == [0] * int(wrong.sum())
    assert result.check_queries[wrong].tolist() == [1] * int(wrong.sum())


def test_an_image_costs_a_gradient_a_step_and_a_check_at_either_end(problem):
    result, _ = run(*problem, PGD(steps=7, step_size=None))
    stands = result.robust
    assert set(result.gradients[stands].tolist()) == {7}
    assert set(result.check_queries[stands].tolist()) == {2}
    # Fooled after k moves: seen by the gradient that is asked for there, or by the last check.
    early = result.success & (result.iterations < 7)
    assert int(early.sum()) > 3
    assert torch.equal(result.gradients[early], result.iterations[early] + 1)
    assert set(result.check_queries[early].tolist()) == {1}


@pytest.mark.parametrize("attack", [HARD, RandomNoise(points=4)], ids=repr)
def test_no_result_hangs_on_the_batch(problem, attack):
    model, images, labels = problem
    whole, _ = run(model, images, labels, attack)
    assert 0 < whole.success_rate < 1
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    half = COUNT // 2
    variants = {
        "small batches": run(model, images, labels, attack, batch_size=5)[0],
        "one by one": run(model, images, labels, attack, batch_size=1)[0],
        "shuffled": run(model, images[order], labels[order], attack, indices=order, batch_size=8)[0].subset(
            order.argsort()
        ),
        "split": type(whole).concat(
            [
                run(model, images[:half], labels[:half], attack, indices=range(half))[0],
                run(model, images[half:], labels[half:], attack, indices=range(half, COUNT))[0],
            ]
        ),
    }
    for name, other in variants.items():
        for field in ("adversarial", "success", "iterations", "gradients", "check_queries", "norm", "loss"):
            assert torch.equal(getattr(whole, field), getattr(other, field)), (name, field)


def test_seed_and_index_name_the_random_start(problem):
    model, images, labels = problem
    one = PGD(steps=1, step_size=0.03, random_start=True, keep="last", stop_when_fooled=False)
    access = GradientAccess(model)
    a = one(access, images, labels, Linf(0.03), seed=5).adversarial
    b = one(access, images, labels, Linf(0.03), seed=5).adversarial
    c = one(access, images, labels, Linf(0.03), seed=6).adversarial
    d = one(access, images, labels, Linf(0.03), seed=5, indices=range(100, 100 + COUNT)).adversarial
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert not torch.equal(a, d)


def test_the_batch_is_kept_full(problem):
    model, images, labels = problem
    counting = Counting(model)
    result, access = run(counting, images, labels, PGD(steps=20, step_size=None), batch_size=4)
    gradient_calls = counting.calls - -(-COUNT // 4)
    # All but the tail, and the checks of last iterates, at four images a pass.
    assert gradient_calls <= access.gradients / 4 + 20 + -(-int(result.robust.sum()) // 4) + 1


def test_robust_accuracy_is_the_same_with_and_without_stopping(problem):
    model, images, labels = problem
    stopped, cheap = run(model, images, labels, PGD(steps=12, step_size=None))
    full, dear = run(model, images, labels, PGD(steps=12, step_size=None, stop_when_fooled=False))
    assert torch.equal(stopped.success, full.success)
    assert torch.equal(stopped.adversarial, full.adversarial)
    assert cheap.gradients < dear.gradients == 12 * int(full.clean_correct.sum())


JUMPING = {"steps": 8, "step_size": 0.035, "stop_when_fooled": False}


def run_into_a_dent(attack, depth):
    """The score of the right class has a dent; a step that is too large jumps into it and out again, four times."""

    def dented(x):
        shift = (x - 0.5).mean((1, 2, 3))
        score = 0.5 - depth * torch.exp(-(((shift - 0.03) / 0.015) ** 2))
        return torch.stack([torch.zeros_like(score), score], dim=1)

    images, labels = torch.full((2, 3, 4, 4), 0.5), torch.ones(2, dtype=torch.int64)
    return run(dented, images, labels, attack, Linf(0.1))[0]


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


def test_restarts_only_add(problem):
    once, _ = run(*problem, PGD(steps=3, step_size=None))
    often, _ = run(*problem, PGD(steps=3, step_size=None, restarts=5))
    assert bool((often.success | ~once.success).all())
    assert torch.equal(often.gradients[once.success], once.gradients[once.success])
    assert set(often.gradients[often.robust].tolist()) == {15}


def test_zero_gradients_are_reported(problem):
    model, images, labels = problem
    assert run(model, images, labels)[0].zero_gradient_share == 0

    def half_dead(x):
        """Gradients get through for about half of the images."""
        gate = (x.detach().mean((1, 2, 3), keepdim=True) > 0.5).float()
        return model(gate * x + (1 - gate) * x.detach())

    result, _ = run(half_dead, images, labels, PGD(steps=4, step_size=None))
    assert 0.2 < result.zero_gradient_share < 0.95
    stuck = result.clean_correct & (result.zero_gradients == result.gradients)
    assert int(stuck.sum()) > 5
    assert bool((result.norm[stuck] == 0).all())


def test_stronger_in_the_order_that_it_should_be():
    images, labels = blobs(200, seed=5)
    rates = []
    for attack in (RandomNoise(), FGSM(), PGD(steps=10, step_size=None), PGD(steps=10, step_size=None, restarts=2)):
        rates.append(attack(GradientAccess(trained()), images, labels, Linf(0.02), seed=0).success_rate)
    assert rates == sorted(rates)
    assert rates[1] > rates[0] + 0.3
    assert rates[2] > rates[1]


def test_a_ball_without_room_fools_nobody(problem):
    for ball in (Linf(0.0), L2(0.0)):
        for attack in (PGD(), PGD(step_size=None, steps=2), FGSM(), RandomNoise(points=2)):
            result, _ = run(*problem, attack, ball)
            assert result.success_rate == 0
            assert float(result.norm.max()) == 0


def test_no_images_no_work(problem):
    model, images, labels = problem
    for attack in (HARD, FGSM(), RandomNoise()):
        result, access = run(model, images[:0], labels[:0], attack)
        assert len(result) == 0
        assert access.rows == 0
        assert result.robust_accuracy == 0


def test_steps_that_cannot_cross_the_ball_are_pointed_out(problem):
    with pytest.warns(RuntimeWarning, match="cannot reach the border"):
        run(*problem, PGD(steps=5), L2(1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(*problem, PGD(steps=5, step_size=None), L2(1.0))
        run(*problem, PGD(), Linf(0.025))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "at least 1"),
        ({"restarts": 0}, "at least 1"),
        ({"step_size": 2}, "2/255, not 2"),
        ({"keep": "worst"}, "'best' or 'last'"),
        ({"keep": "last"}, "stop_when_fooled=False"),
        ({"loss": "cee"}, "did you mean 'ce'"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        PGD(**settings)
