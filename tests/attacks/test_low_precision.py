"""Gradients in bfloat16; what counts as fooled, the model says in its own precision."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from groundglass.attacks import (
    APGD,
    L1,
    PGD,
    AttackCheckpoint,
    DeepFool,
    GradientAccess,
    Linf,
    LowPrecisionAccess,
    checkpoint,
)
from groundglass.attacks.losses import cross_entropy

STEPS = 6


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 4)]
    return nn.Sequential(*layers).eval()


def images_of(count: int) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class TwoFaced(nn.Module):
    """Says class 0 in one precision and class 1 in the other, and goes by the images in neither."""

    def __init__(self, low: int, own: int) -> None:
        super().__init__()
        self.weight, self.low, self.own = nn.Parameter(torch.ones(192, 2) * torch.tensor([1, 2])), low, own

    def forward(self, x: Tensor) -> Tensor:
        product = x.flatten(1) @ self.weight
        said = torch.zeros(2)
        said[self.low if product.dtype == torch.bfloat16 else self.own] = 1e3
        return product + said


def test_gradients_are_those_of_the_model_to_the_digits_of_bfloat16() -> None:
    model, x = convolutions(), images_of(9)
    labels = model(x).argmax(1)
    access, exact = LowPrecisionAccess(model), GradientAccess(model)
    found, wanted = (one.loss_and_grad(x, labels, cross_entropy) for one in (access, exact))
    assert found.grad.dtype == found.loss.dtype == found.logits.dtype == torch.float32
    assert found.grad.is_contiguous()
    cosine = torch.cosine_similarity(found.grad.flatten(1), wanted.grad.flatten(1))
    assert cosine.min() > 0.98
    assert not torch.equal(found.grad, wanted.grad), "it was computed in float32"
    assert torch.equal(access.logits(x), exact.logits(x)), "the model judges as it is"
    assert access.gradients == exact.gradients == 9
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("attack", [PGD(steps=STEPS), APGD(steps=STEPS), PGD(steps=STEPS, stop_when_fooled=False)])
@pytest.mark.parametrize("ball", [Linf(0.02), L1(3.0)], ids=repr)
def test_each_success_is_the_models_own_and_as_many_are_fooled(attack: PGD | APGD, ball: Linf | L1) -> None:
    model, x = convolutions(), images_of(40)
    with torch.no_grad():
        labels = model(x).argmax(1)
    low, exact = attack(LowPrecisionAccess(model), x, labels, ball), attack(model, x, labels, ball)
    with torch.no_grad():
        assert torch.equal(low.success, model(low.adversarial).argmax(1) != labels)
    assert 0 < exact.success.sum() < 40
    assert abs(int(low.success.sum()) - int(exact.success.sum())) <= 2


def test_what_only_bfloat16_takes_for_a_success_is_none() -> None:
    x, labels = images_of(5), torch.zeros(5, dtype=torch.int64)
    found = PGD(steps=STEPS)(LowPrecisionAccess(TwoFaced(low=1, own=0)), x, labels, Linf(0.1))
    assert not found.success.any()
    assert (found.gradients == STEPS).all(), "it climbs on"
    assert (found.check_queries == STEPS + 2).all(), (
        "each is looked at again: besides, the image itself and the last iterate"
    )
    assert PGD(steps=STEPS)(TwoFaced(low=1, own=0), x, labels, Linf(0.1)).check_queries.tolist() == [2] * 5


def test_what_bfloat16_overlooks_is_seen_at_the_end() -> None:
    class Late(TwoFaced):
        def forward(self, x: Tensor) -> Tensor:
            self.own = int(bool((x != images_of(5)).any()))
            return super().forward(x)

    x, labels = images_of(5), torch.zeros(5, dtype=torch.int64)
    found = PGD(steps=STEPS, loss="margin")(LowPrecisionAccess(Late(low=0, own=0)), x, labels, Linf(0.1))
    assert found.success.all()
    assert (found.gradients == STEPS).all()


def test_attacks_that_would_believe_it_are_refused_before_a_question() -> None:
    access = LowPrecisionAccess(convolutions())
    with pytest.raises(TypeError, match="PGD and APGD"):
        DeepFool()(access, images_of(2), torch.zeros(2, dtype=torch.int64), Linf(0.1))
    assert access.rows == 0


@pytest.mark.parametrize("low_first", [True, False])
def test_what_one_precision_has_begun_the_other_does_not_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, low_first: bool
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", -1.0)
    model, x = convolutions(), images_of(6)
    labels, path = model(x).argmax(1), tmp_path / "begun.safetensors"
    kinds = (LowPrecisionAccess, GradientAccess) if low_first else (GradientAccess, LowPrecisionAccess)
    first, then = (kind(model) for kind in kinds)
    attack, ball = PGD(steps=STEPS, stop_when_fooled=False), Linf(0.02)
    attack(first, x, labels, ball, checkpoint=AttackCheckpoint(path))
    with pytest.raises(ValueError, match="gradients"):
        attack(then, x, labels, ball, checkpoint=AttackCheckpoint(path))
