"""What holds for every attack by gradients, bit for bit; tests/contracts has what holds up to rounding."""

import warnings
from dataclasses import replace

import pytest
import torch

from groundglass.attacks import (
    APGD,
    FAB,
    FGSM,
    L2,
    PGD,
    CarliniWagnerL2,
    DeepFool,
    Ensemble,
    GaussianKernel,
    InputDiversity,
    Linf,
    RandomNoise,
    TransferPGD,
)
from tests.attacks.toy import Counting, RowModel, assert_batches_do_not_matter, attacked
from tests.attacks.toy import problem as make_problem

pytestmark = pytest.mark.filterwarnings("ignore:.*cannot reach the border:RuntimeWarning")

HARD = PGD(steps=7, step_size=None, random_start=True, restarts=3)
AUTO = APGD(steps=12, restarts=2)
TARGETED = APGD(steps=8, loss="dlr", targets=3)
TO_THE_END = PGD(steps=5, step_size=None, stop_when_fooled=False, keep="last")
PLAIN = TransferPGD(steps=6)
DIVERSE = replace(PLAIN, diversity=InputDiversity(probability=0.7), keep="highest", loss="margin")
SMOOTH = TransferPGD(
    steps=6, step_size=0.01, momentum=1.0, random_start=True, smoothing=GaussianKernel(size=3, sigma=0.8)
)
WAGNER = CarliniWagnerL2(steps=12, searches=3, learning_rate=0.03, initial_c=0.1)
BOUNDARY = FAB(steps=3, restarts=2)
TOWARDS = FAB(steps=3, targets=3, stop_when_fooled=False)
ATTACKS = [FGSM(), RandomNoise(points=4), PGD(steps=7, step_size=None), HARD, TO_THE_END, AUTO, TARGETED]
ATTACKS += [APGD(steps=5, stop_when_fooled=False), PLAIN, DIVERSE, SMOOTH, WAGNER, BOUNDARY, TOWARDS, DeepFool()]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=repr)
BALL, COUNT = Linf(0.03), 37


def ball_for(attack, radius=0.03):
    return L2(10 * radius) if isinstance(attack, CarliniWagnerL2) else Linf(radius)


@pytest.fixture(scope="module")
def problem():
    """At these radii some images are fooled soon, some late, some never, and six are wrong from the start."""
    return make_problem(COUNT, classes=6)


@pytest.mark.parametrize("attack", [HARD, AUTO, TARGETED], ids=repr)
def test_the_problem_has_all_kinds_of_images(problem, attack):
    result, _ = attacked(*problem, attack, BALL)
    assert 3 <= int(result.robust.sum()) <= COUNT - 10
    assert int((~result.clean_correct).sum()) == 6
    assert len(set(result.gradients[result.success].tolist())) >= 4


@every_attack
def test_counts_are_the_rows_that_went_through_the_model(problem, attack):
    model = Counting(problem[0])
    result, access = attacked(model, *problem[1:], attack, ball_for(attack), batch_size=10)
    assert int(result.gradients.sum()) == access.gradients
    assert int(result.check_queries.sum()) == access.check_queries
    assert access.gradients + access.check_queries == model.rows
    wrong = ~result.clean_correct
    assert set(result.gradients[wrong].tolist()) == {0}
    assert set(result.check_queries[wrong].tolist()) == {1}
    if isinstance(attack, PGD | APGD):
        runs = attack.restarts * max(1, getattr(attack, "targets", 0))
        assert set(result.gradients[result.robust].tolist()) == {attack.steps * runs}
        assert set(result.check_queries[result.robust].tolist()) == {1 + runs}


@pytest.mark.one_in(5)
@every_attack
@pytest.mark.parametrize("norm", [Linf, L2])
def test_no_result_depends_on_the_batch(problem, attack, norm):
    if isinstance(attack, CarliniWagnerL2) and norm is Linf:
        return
    model, images, labels = problem
    ball = norm(0.03 if norm is Linf else 0.2)

    def run(images, labels, **options):
        return attacked(model, images, labels, attack, ball, **options)[0]

    assert_batches_do_not_matter(run, images, labels)


@every_attack
def test_no_images_no_work_and_a_ball_without_room_fools_nobody(problem, attack):
    model, images, labels = problem
    result, access = attacked(model, images[:0], labels[:0], attack, ball_for(attack))
    assert (len(result), access.rows, result.robust_accuracy) == (0, 0, 0)
    for ball in (ball_for(attack, 0.0), L2(0.0)):
        result, _ = attacked(*problem, attack, ball)
        assert result.success_rate == 0
        assert float(result.norm.max()) == 0


@pytest.mark.one_in(5)
@every_attack
def test_seed_and_index_name_the_random_draws(problem, attack):
    random = getattr(attack, "random_start", isinstance(attack, RandomNoise)) or getattr(attack, "diversity", None)

    def left(**options):
        return attacked(*problem, attack, ball_for(attack), **options)[0].adversarial

    assert torch.equal(left(), left())
    assert torch.equal(left(), left(seed=6)) == (not random)
    assert torch.equal(left(), left(indices=range(100, 100 + COUNT))) == (not random)


@pytest.mark.parametrize(
    "attack", [PGD(steps=3, step_size=None), APGD(steps=4), replace(TARGETED, targets=1)], ids=repr
)
def test_restarts_and_targets_only_add(problem, attack):
    more = {"targets": 3} if getattr(attack, "targets", 0) else {"restarts": 5}
    once, often = (attacked(*problem, chosen, BALL)[0] for chosen in (attack, replace(attack, **more)))
    assert bool((often.success | ~once.success).all())
    assert int(often.success.sum()) > int(once.success.sum()) or "restarts" in more
    assert bool((often.loss >= once.loss)[often.robust].all())
    assert torch.equal(often.gradients[once.success], once.gradients[once.success])


@pytest.mark.parametrize("attack", [PGD(steps=12, step_size=None), APGD(steps=12)], ids=repr)
def test_robust_accuracy_is_the_same_with_and_without_stopping(problem, attack):
    stopped, cheap = attacked(*problem, attack, BALL)
    full, dear = attacked(*problem, replace(attack, stop_when_fooled=False), BALL)
    assert torch.equal(stopped.success, full.success)
    assert torch.equal(stopped.adversarial, full.adversarial)
    assert cheap.gradients < dear.gradients == 12 * int(full.clean_correct.sum())


@pytest.mark.parametrize("attack", [PGD(steps=20, step_size=None), APGD(steps=20)], ids=repr)
def test_the_batch_is_kept_full(problem, attack):
    model = Counting(problem[0])
    _, access = attacked(model, *problem[1:], attack, BALL, batch_size=4)
    # All but the tail, and the checks of last iterates, at four images a pass.
    checks = -(-COUNT // 4) + access.check_queries - COUNT
    assert model.calls - checks <= access.gradients / 4 + 20


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("attack", [PGD(steps=5, step_size=0.005), TransferPGD(steps=5, step_size=0.005)], ids=repr)
def test_steps_that_cannot_cross_the_ball_are_pointed_out(problem, attack):
    with pytest.warns(RuntimeWarning, match="cannot reach the border") as caught:
        attacked(*problem, attack, L2(1.0))
    assert caught[0].filename.endswith("toy.py"), "it points at the call"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attacked(*problem, replace(attack, step_size=None), L2(1.0))
        attacked(*problem, attack, Linf(0.025))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(steps=0), "`steps`.* at least 1"),
        (lambda: PGD(restarts=0), "`restarts`.* at least 1"),
        (lambda: PGD(step_size=0.0), "2/255, not 2"),
        (lambda: PGD(keep="worst"), "best, last"),
        (lambda: PGD(keep="last"), "stop_when_fooled=False"),
        (lambda: FGSM(loss="cee"), "did you mean 'ce'"),
        (lambda: RandomNoise(points=0), "`points`"),
        (lambda: CarliniWagnerL2(searches=0), "`searches`"),
        (lambda: APGD(rho=1.5), "paper's is 0.75"),
        (lambda: APGD(alpha=0.0), "no momentum"),
        (lambda: APGD(targets=-1), "untargeted"),
        (lambda: APGD(targets=3), "needs loss='dlr'"),
        (lambda: TransferPGD(steps=0), "at least 1"),
        (lambda: TransferPGD(step_size=0.0), "2/255, not 2"),
        (lambda: TransferPGD(momentum=-0.1), "0 or more"),
        (lambda: TransferPGD(keep="best"), "highest, last"),
        (lambda: InputDiversity(probability=1.5), r"in \[0, 1\]"),
        (lambda: InputDiversity(smallest=1.0), "28/32"),
        (lambda: InputDiversity(fill=128), "not 128"),
        (lambda: GaussianKernel(size=4), "odd"),
        (lambda: GaussianKernel(sigma=0), "above 0"),
        (lambda: Ensemble([]), "at least one"),
        (lambda: Ensemble([RowModel()], weights=[1, 1]), "one a model"),
        (lambda: Ensemble([RowModel()], weights=[0]), "above 0"),
        (lambda: Ensemble([RowModel(), RowModel(classes=4)])(torch.rand(2, 3, 4, 4)), "same classes"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
