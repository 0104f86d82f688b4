"""The same settings, ours and theirs: the same robust accuracy, within one image of twelve, and nearly the same pixels."""

from functools import cache

import pytest

from groundglass.attacks import FGSM, L2, PGD, GradientAccess, Linf
from tests.interop import peers
from tests.interop.test_theirs_on_ours import RULES

STEPS = 5
# Small enough for some images to stand: where all have fallen everything agrees.
BALLS = {"Linf": Linf(3 / 255), "L2": L2(0.6)}


CASES = [("Linf", rule) for rule in RULES] + [("L2", rule) for rule in ("bp", "dfa", "fa", "exact")]


@pytest.fixture(scope="module")
def our_pgd(seen, images, labels):
    @cache
    def run(norm, rule):
        attack = PGD(steps=STEPS, step_size=BALLS[norm].radius / 3, stop_when_fooled=False, keep="last")
        return attack(GradientAccess(seen(rule)), images, labels, BALLS[norm], seed=0)

    return run


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("norm", "rule"), CASES)
@pytest.mark.parametrize("library", peers.PEERS)
def test_pgd(seen, our_pgd, images, labels, library, norm, rule):
    model, ball, ours = seen(rule), BALLS[norm], our_pgd(norm, rule)
    theirs = peers.PEERS[library](model, images, labels, ball, STEPS, ball.radius / 3)
    assert bool(ball.contains(theirs, images, tolerance=1e-5).all())
    robust = int((model(theirs).argmax(1) == labels).sum())
    assert abs(robust - int(ours.robust.sum())) <= 1
    # A gradient beside zero may have another sign in another library's graph, and a bit beside its threshold flip.
    assert ((theirs - ours.adversarial).abs() < 1e-5).float().mean() > 0.9


@pytest.mark.parametrize("rule", ["bp", "dfa", "exact"])
@pytest.mark.parametrize("library", peers.ONE_STEP)
def test_fgsm(seen, images, labels, library, rule):
    model = seen(rule)
    ours = FGSM()(GradientAccess(model), images, labels, Linf(peers.EPS), seed=0)
    theirs = peers.ONE_STEP[library](model, images, labels)
    assert ((theirs - ours.adversarial).abs() < 1e-5).float().mean() > 0.99
    assert abs(int((model(theirs).argmax(1) == labels).sum()) - int(ours.robust.sum())) <= 1


@pytest.mark.parametrize("norm", BALLS)
def test_some_images_stand_and_some_fall(our_pgd, norm):
    """Else the tests above could not tell a strong attack from a weak one."""
    left = {rule: our_pgd(norm, rule).robust_accuracy for rule in ("bp", "dfa", "fa", "exact")}
    assert any(0 < accuracy < 1 for accuracy in left.values()), left
    assert len(set(left.values())) > 1, left
