"""What is brought to an audit, views, attacks and claims, changes nothing but what it breaks."""

import os
import signal
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.attacks import Linf, Square
from groundglass.audit import Audit, AuditConfig, Finding, audit
from groundglass.core import NonFiniteError
from groundglass.core.stopping import stoppable
from groundglass.optics import SimulatedOPU

from .known import BALL, layered, pictures, trained

FEW = AuditConfig(steps=5, queries=3, query_images=1, probes=6, draws=1)
IMAGES, LABELS = pictures(30, 7)


def of(model: nn.Module, **changes: object) -> Audit:
    settings: dict = {"config": FEW, **changes}
    return audit(model, IMAGES, LABELS, BALL, **settings)


def nothing(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf) -> Tensor:
    return images


class Pocket(nn.Module):
    """Wrong where the first pixel has moved by all of the radius, and the second not at all: noise and queries find no such
    image. Its gradient is at the pixel `at`, and turns round once that one has moved."""

    def __init__(self, at: int | None) -> None:
        super().__init__()
        self.at = at

    def forward(self, x: Tensor) -> Tensor:
        first, second = (x - 0.5).flatten(1)[:, :2].unbind(1)
        wrong = ((first > 0.9 * BALL.radius) & (second.abs() < 0.1 * BALL.radius)).float()
        z = (2 * wrong - 1).detach()
        if self.at is not None:
            pixel = x.flatten(1)[:, self.at]
            z = z + torch.where(pixel == 0.5, 1.0, -1.0).detach() * (pixel - pixel.detach())
        return torch.stack([torch.zeros_like(z), z], 1)


def test_a_claim_through_a_gradient_of_the_audit_breaks_nothing_that_the_audit_does_not() -> None:
    images, labels = torch.full((4, 1, 3, 3), 0.5), torch.zeros(4, dtype=torch.int64)
    views = {"second": Pocket(1), "first": Pocket(0)}
    one, other = (
        audit(Pocket(None), images, labels, BALL, views=views, claim=claim, config=FEW) for claim in ("first", 0.5)
    )
    assert torch.equal(one.broken_by, other.broken_by)
    assert one.worst.share == 1
    # Who brings it breaks the images: one step of it is enough.
    brought = audit(Pocket(None), images, labels, BALL, claim={"mine": Pocket(0), "weak": nothing}, config=FEW)
    assert brought.worst.share == 0
    assert "adaptive attacks get no further" in {check.name for check in brought.claim("weak").failed}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"claim": {"own": trained}}, "may not be called 'own'"),
        ({"claim": {"seen": trained}, "views": {"seen": nn.Identity()}}, "may not be called 'seen'"),
        ({"attacks": {"own": nothing}}, "may not be called own"),
        ({"attacks": {"mine": lambda images: images}}, "of \\(model, images, labels, ball\\)"),
        ({"attacks": {"mine": Square}}, "as PGD\\(\\)"),
        ({"attacks": {"mine": 3}}, "'mine' must be an attack"),
        ({"attacks": {"mine": nothing}, "claim": "own+mine"}, "'mine' is an attack"),
        ({"claim": "38%"}, "0.45, not 45 or 45%"),
        ({"claim": "1/3"}, "0.45, not 45 or 45%"),
        ({"claim": "dfa-fresh"}, "There are: own."),
    ],
)
def test_what_cannot_be_is_refused_in_words(changes: dict, said: str) -> None:
    if isinstance(changes.get("claim"), dict):
        changes = {**changes, "claim": {name: trained(False) for name in changes["claim"]}}
    with pytest.raises(ValueError, match=said):
        of(trained(False), **changes)


def test_a_claim_is_told_by_the_gradients_that_it_is_made_with_whatever_it_is_called() -> None:
    found = of(trained(False), claim={"mine": "own"}).claim("mine")
    assert found.by == of(trained(False)).claim("own").by
    two = of(trained(False), claim=[0.2, 0.9]).claims
    assert [(claim.stated, claim.verdict) for claim in two] == [(0.2, two[0].verdict), (0.9, Finding.CONTRADICTED)]
    assert two[0].name != two[1].name


def test_an_attack_that_is_brought_sees_the_networks_own_gradient() -> None:
    model = layered(SimulatedOPU.create(32, 64, seed=3)).eval().requires_grad_(False)
    labels = model(IMAGES).argmax(1)

    def gradient(model: nn.Module, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(model(x), labels), x)
        return grad

    seen = []

    def spy(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf) -> Tensor:
        seen.append(gradient(model, images))
        return images

    audit(model, IMAGES, labels, BALL, claim=spy, config=FEW)
    torch.testing.assert_close(seen[0], gradient(model, IMAGES))


def test_what_an_attack_does_to_the_model_or_to_the_stream_of_lots_is_undone() -> None:
    class Kept(nn.Module):
        """Cannot be copied: attacks are given it itself."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.inner = nn.BatchNorm2d(1), trained(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(self.norm(x))

        def __deepcopy__(self, memo: dict) -> "Kept":
            raise RuntimeError

    model = Kept().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    met = []

    def careless(given: nn.Module, images: Tensor, labels: Tensor, ball: Linf) -> Tensor:
        met.append((model.norm.training, torch.get_rng_state().tolist()))
        given.train()
        given(images + 0.1 * torch.randn_like(images))
        return images

    of(model, claim={"first": careless, "second": careless})
    of(model, claim={"second": careless})
    _, second, alone = met
    assert second == alone  # whatever the first did
    assert not second[0]
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_stop_is_no_mistake_of_the_attack_that_was_under_way() -> None:
    def stopped(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf) -> Tensor:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("INTERNAL ASSERT FAILED") from None
        return images

    with pytest.raises(KeyboardInterrupt), stoppable():
        of(trained(False), claim={"mine": stopped})


def fails(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf) -> Tensor:
    raise NonFiniteError("a gradient is NaN")


class Cracked(nn.Module):
    """NaN where a pixel has moved down by all of the radius."""

    def forward(self, x: Tensor) -> Tensor:
        far = (x < 0.5 - 0.99 * BALL.radius).flatten(1).all(1)[:, None]
        return trained(False)(x) + torch.where(far, torch.nan, 0.0)


@pytest.mark.parametrize(
    "attack", [fails, lambda model, x, y, ball: torch.full_like(x, 0.5 - ball.eps)], ids=["raised", "seen afresh"]
)
def test_an_attack_that_ends_at_a_nan_is_invalid_and_makes_no_claim(attack: Callable) -> None:
    images = torch.full((4, 1, 16, 16), 0.5)
    labels = trained(False)(images).argmax(1)
    found = audit(Cracked(), images, labels, BALL, claim={"nan": attack}, config=FEW)
    (invalid,) = found.invalid
    assert "NonFiniteError" in invalid.invalid
    assert found.claim("nan").verdict is Finding.UNMEASURED
