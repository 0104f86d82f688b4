"""Every attack passes these, in every kind of ball. Attacks that are broken in the usual ways do not."""

import inspect
from collections.abc import Callable
from dataclasses import FrozenInstanceError, is_dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from groundglass.attacks import (
    APGD,
    FAB,
    FGSM,
    L0,
    L1,
    L2,
    PGD,
    AttackResult,
    Ball,
    CarliniWagnerL2,
    DeepFool,
    GaussianKernel,
    GradientAccess,
    InputDiversity,
    Linf,
    RandomNoise,
    TransferPGD,
)
from tests.attacks.toy import Counting, ScaledInPlace, assert_same, blobs, trained

Attack = Callable[..., AttackResult]

ATTACKS: list[Attack] = [
    FGSM(),
    PGD(steps=10, step_size=None),
    PGD(steps=5, step_size=None, random_start=True, restarts=2, loss="margin"),
    PGD(steps=5, step_size=None, stop_when_fooled=False, keep="last"),
    APGD(steps=10),
    APGD(steps=5, loss="dlr", random_start=False, restarts=2),
    APGD(steps=5, loss="margin", stop_when_fooled=False),
    CarliniWagnerL2(steps=20, searches=3, learning_rate=0.03, initial_c=0.1),
    FAB(steps=4, targets=2, stop_when_fooled=False),
    FAB(steps=4),
    DeepFool(),
    RandomNoise(points=10),
    TransferPGD(steps=5),
    TransferPGD(
        steps=10,
        step_size=0.005,
        momentum=1.0,
        diversity=InputDiversity(probability=0.7),
        random_start=True,
        smoothing=GaussianKernel(size=3, sigma=0.4),
        keep="highest",
    ),
]
BALLS: list[Ball] = [Linf(0.02), Linf((0.01, 0.02, 0.03)), L2(0.25)]
CASES = [
    pytest.param(attack, ball, id=f"{attack!r} {ball!r}")
    for attack in ATTACKS
    for ball in BALLS
    if not (isinstance(attack, CarliniWagnerL2) and isinstance(ball, Linf))
]
SPARSE = [
    (PGD(steps=10), L1(1.5)),
    (PGD(steps=5, random_start=True, restarts=2, loss="margin"), L1(1.5)),
    (APGD(steps=10), L1(1.5)),
    (APGD(steps=10, stop_when_fooled=False), L1(1.5)),
    (FAB(steps=4), L1(1.5)),
    (RandomNoise(points=10), L1(1.5)),
    (TransferPGD(steps=10), L1(1.5)),
    (PGD(steps=10), L0(4)),
    (RandomNoise(points=10), L0(4)),
]
CASES += [pytest.param(attack, ball, id=f"{attack!r} {ball!r}") for attack, ball in SPARSE]
# At these radii every attack fools at least this share more than noise does.
ABOVE_NOISE = 0.25


def problem() -> tuple[Tensor, Tensor]:
    images, labels = blobs(60, seed=5)
    labels[:4] = (labels[:4] + 1) % 3
    return images, labels


@cache
def noise(ball: Ball) -> float:
    """What points at random achieve."""
    return RandomNoise(points=10)(GradientAccess(trained()), *problem(), ball, seed=2).success_rate


def check_contract(attack: Attack, ball: Ball) -> None:
    """All that a caller may rely on, whatever the attack."""
    if isinstance(attack, TransferPGD) and attack.step_size is not None:
        attack = replace(attack, step_size=ball.radius / 5)
    images, labels = problem()
    given = images.clone(), labels.clone()
    model = Counting(trained())
    access = GradientAccess(model)
    result = attack(access, images, labels, ball, seed=1, batch_size=32)
    predicted = trained()(result.adversarial).argmax(1)
    clean = trained()(images).argmax(1) == labels

    assert len(result) == len(images)
    assert result.adversarial.shape == images.shape
    assert result.adversarial.dtype == torch.float32
    assert not result.adversarial.requires_grad
    assert torch.equal(images, given[0]), "what was given is not written to"
    assert torch.equal(labels, given[1])

    # Where it may be.
    assert bool(ball.contains(result.adversarial, images, tolerance=1e-5).all())
    assert torch.allclose(result.norm, ball.norm(result.adversarial - images), atol=1e-6)

    # What it claims.
    assert torch.equal(result.clean_correct, clean)
    assert torch.equal(result.success, clean & (predicted != labels))
    assert torch.equal(result.adversarial[~clean], images[~clean])
    assert bool((result.norm[result.success] > 0).all())

    # What it cost.
    assert int(result.gradients.sum()) == access.gradients
    assert int((result.check_queries + result.loss_queries).sum()) == access.check_queries
    assert access.rows == model.rows
    assert bool((result.gradients[~clean] == 0).all())
    assert bool((result.zero_gradients <= result.gradients).all())

    # That it can be repeated, in any batches.
    again = attack(GradientAccess(trained()), images, labels, ball, seed=1, batch_size=32)
    assert torch.equal(again.adversarial, result.adversarial)
    other = attack(GradientAccess(trained()), images.flip(0), labels.flip(0), ball, seed=1, batch_size=25,
                   indices=list(range(len(images)))[::-1])  # fmt: skip
    assert int((other.success.flip(0) != result.success).sum()) <= 1, "up to rounding in another batch"

    # That it does something: more than points at random, unless it is that.
    if isinstance(attack, RandomNoise):
        assert float(result.loss.mean()) > float(attack(access, images, labels, L2(0.0), seed=1).loss.mean())
    else:
        assert result.success_rate > noise(ball) + ABOVE_NOISE


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("attack", "ball"), CASES)
def test_attacks_keep_the_contract(attack, ball):
    check_contract(attack, ball)


@pytest.mark.filterwarnings("ignore:.*cannot reach the border")
@pytest.mark.parametrize(("attack", "ball"), CASES)
def test_nobody_is_asked_about_nothing(attack, ball):
    images, labels = blobs(5, seed=5)
    model = Counting(trained())
    access = GradientAccess(model)
    none = attack(access, images[:0], labels[:0], ball, seed=1)
    assert model.calls == 0
    assert none.adversarial.shape == (0, 3, 8, 8)
    assert (len(none), none.success_rate) == (0, 0.0)

    wrong = (model.model(images).argmax(1) + 1) % 3
    result = attack(access, images, wrong, ball, seed=1, batch_size=2)
    assert torch.equal(result.adversarial, images)
    assert result.check_queries.tolist() == [1] * 5
    assert (model.rows, access.rows, int(result.gradients.sum())) == (5, 5, 0)
    assert len(result.confirmed(access, wrong)) == 5
    assert model.rows == 5
    assert len(none.confirmed(access, labels[:0])) == 0


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_network_may_write_to_its_input(attack):
    images, labels = problem()
    kept, ball = images.clone(), L2(0.25)
    writes = nn.Sequential(ScaledInPlace(), *list(trained())[1:])
    if isinstance(attack, TransferPGD):
        attack = replace(attack, step_size=None)
    results = [attack(GradientAccess(model), images, labels, ball, seed=1) for model in (trained(), writes)]
    assert_same(*results)
    assert results[0].success.any()
    assert torch.equal(images, kept)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_result_says_that_there_were_no_gradients(attack):
    """Logits so large that the softmax is exact: the cross-entropy has no gradient, and every image stands."""
    images, labels = problem()
    if isinstance(attack, TransferPGD):
        attack = replace(attack, step_size=None)
    saturated, flat = lambda x: 1e6 * trained()(x), lambda x: trained()(x).detach() + 0 * x.flatten(1)[:, :1]
    honest, ball = attack(GradientAccess(trained()), images, labels, L2(0.25), seed=1), L2(0.25)
    for model in (saturated, flat) if getattr(attack, "loss", None) == "ce" else (flat,):
        found = attack(GradientAccess(model), images, labels, ball, seed=1)
        if isinstance(attack, RandomNoise):
            assert not found.unclimbed.any()
            continue
        assert found.zero_gradient_share > 0.5  # a view of an image may have one where the image has none
        assert found.unclimbed[found.robust].float().mean() > 0.4
        assert f"{int(found.unclimbed.sum())} of {int(found.robust.sum())} robust images" in repr(found)
        assert f"{found.zero_gradient_share:.1%} of the gradients" in repr(found)
    assert not honest.unclimbed.any()
    assert "zero everywhere" not in repr(honest)
    assert len(repr(honest).splitlines()) <= 5


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_an_attack_is_its_configuration(attack):
    assert is_dataclass(attack)
    assert attack == replace(attack)
    assert eval(repr(attack)) == attack
    with pytest.raises(FrozenInstanceError):
        attack.steps = 3
    seed = inspect.signature(type(attack).__call__).parameters["seed"]
    assert seed.kind is inspect.Parameter.KEYWORD_ONLY
    assert seed.default == 0


# --- negative controls: if one of these passed, the contract above would be worth nothing ---


def broken(change: Callable[[AttackResult, Tensor], AttackResult]) -> Attack:
    """PGD, with its result tampered with."""

    def attack(
        access: GradientAccess, images: Tensor, labels: Tensor, ball: Ball, *, seed: int, **options: object
    ) -> AttackResult:
        return change(PGD(steps=10, step_size=None)(access, images, labels, ball, seed=seed, **options), images)

    return attack


def _everything_fooled(result: AttackResult, images: Tensor) -> AttackResult:
    everything = torch.ones_like(result.success)
    return replace(result, clean_correct=everything, success=result.success | ~result.clean_correct)


def _overwrite(result: AttackResult, images: Tensor) -> AttackResult:
    images.clamp_(0.1, 0.9)
    return result


BROKEN: dict[str, Attack] = {
    "does nothing": lambda *given, **options: PGD(steps=1, step_size=1e-9)(*given[:3], type(given[3])(0.0), **options),
    "leaves the ball": broken(lambda r, x: replace(r, adversarial=x + 1.5 * (r.adversarial - x), norm=1.5 * r.norm)),
    "leaves the range": broken(lambda r, x: replace(r, adversarial=torch.where(x > 0.99, 1.01, r.adversarial))),
    "returns the originals": broken(lambda r, x: replace(r, adversarial=x, norm=torch.zeros_like(r.norm))),
    "claims too much": broken(lambda r, x: replace(r, success=r.clean_correct.clone())),
    "hides a success": broken(lambda r, x: replace(r, success=r.success & (r.success.cumsum(0) > 1))),
    "counts too little": broken(lambda r, x: replace(r, gradients=r.gradients // 2)),
    "forgets its checks": broken(lambda r, x: replace(r, check_queries=torch.zeros_like(r.check_queries))),
    "writes over what it was given": broken(_overwrite),
    "counts wrong images as fooled": broken(_everything_fooled),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("ball", [BALLS[0], BALLS[2]], ids=repr)
def test_a_broken_attack_fails_the_contract(name, ball):
    with pytest.raises(AssertionError):
        check_contract(BROKEN[name], ball)
