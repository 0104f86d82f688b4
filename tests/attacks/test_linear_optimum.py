"""On a linear model the best perturbation is known: eps sign(w) in L-inf, eps w / |w| in L2. Attacks must find it."""

import pytest
import torch

from groundglass.attacks import APGD, FGSM, L2, PGD, CarliniWagnerL2, GradientAccess, Linf
from tests.attacks.toy import Linear

SHAPE = (3, 4, 4)
WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
EPS = 0.1
BEST = {Linf: float(EPS * WEIGHT.abs().sum()), L2: float(EPS * WEIGHT.norm())}
DIRECTION = {Linf: EPS * WEIGHT.sign(), L2: EPS * WEIGHT / WEIGHT.norm()}

ATTACKS = [
    FGSM(),
    FGSM(loss="margin"),
    PGD(steps=20, step_size=None),
    PGD(steps=20, step_size=0.02, stop_when_fooled=False, keep="last"),
    PGD(steps=20, step_size=0.5, random_start=True, loss="margin"),
    *(APGD(steps=30, loss=loss, random_start=start) for loss in ("ce", "margin", "dlr") for start in (True, False)),
]


class Third(torch.nn.Module):
    """One more class, that never wins: DLR needs it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        logits = self.model(x)
        return torch.cat([logits, torch.full_like(logits[:, :1], -20)], dim=1)


def attacked(attack, ball, offset, count=3):
    images = torch.full((count, *SHAPE), 0.5)
    model = Third(Linear(WEIGHT, offset))
    labels = model(images).argmax(1)
    return attack(GradientAccess(model), images, labels, ball, seed=0), images, labels


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_optimum_is_reached_exactly(attack, kind, side):
    # Out of reach, so that no attack stops early: what is left is the point of highest loss.
    result, images, labels = attacked(attack, kind(EPS), offset=side * BEST[kind] * 1.001)
    assert labels.tolist() == [int(side > 0)] * 3
    assert not bool(result.success.any())
    assert torch.allclose(
        result.adversarial - images,
        -side * DIRECTION[kind].expand(3, *SHAPE),
        atol=1e-4 if isinstance(attack, APGD) else 2e-5,
    )
    assert result.norm.tolist() == pytest.approx([EPS] * 3, abs=1e-5)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("kind", [Linf, L2])
def test_a_model_is_fooled_just_where_it_can_be(attack, kind):
    result, _, _ = attacked(attack, kind(EPS), offset=BEST[kind] * 0.998)
    assert bool(result.success.all())


@pytest.mark.parametrize("kind", [Linf, L2])
def test_the_range_of_pixels_bounds_the_attack(kind):
    """From a white image only darkening is possible."""
    images = torch.ones(1, *SHAPE)
    model = Linear(WEIGHT, 10.0)
    result = PGD(steps=50, step_size=None)(GradientAccess(model), images, torch.tensor([1]), kind(EPS), seed=0)
    delta = (result.adversarial - images)[0]
    assert float(result.adversarial.max()) <= 1
    assert bool((delta[WEIGHT < 0] == 0).all())
    if kind is Linf:
        assert torch.allclose(delta[WEIGHT > 0], torch.tensor(-EPS))


def test_carlini_wagner_finds_the_distance_to_the_boundary():
    distance = 0.15
    attack = CarliniWagnerL2(steps=120, searches=7)
    result, images, _ = attacked(attack, None, offset=distance * float(WEIGHT.norm()))
    assert bool(result.success.all())
    assert result.norm.tolist() == pytest.approx([distance] * 3, rel=0.02)
    assert torch.allclose(result.norm, L2(1.0).norm(result.adversarial - images))
    near, _, _ = attacked(attack, L2(distance * 1.05), offset=distance * float(WEIGHT.norm()))
    far, images, _ = attacked(attack, L2(distance * 0.95), offset=distance * float(WEIGHT.norm()))
    assert bool(near.success.all())
    assert not bool(far.success.any())
    assert bool(L2(distance * 0.95).contains(far.adversarial, images).all())


def test_carlini_wagner_wins_by_the_confidence_asked_for():
    offset = 0.15 * float(WEIGHT.norm())
    sure, _, labels = attacked(CarliniWagnerL2(confidence=0.3), None, offset=offset)
    logits = Linear(WEIGHT, offset)(sure.adversarial)
    assert bool(sure.success.all())
    assert bool((logits[:, 0] - logits[:, 1] >= 0.3 - 1e-4).all())
    assert labels.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="L2"):
        attacked(CarliniWagnerL2(), Linf(0.1), offset=offset)
