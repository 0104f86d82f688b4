"""An audit of images that are not in [0, 1] is the audit of the same images in [0, 1]."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from groundglass.attacks import L1, L2, PGD, Linf, Square
from groundglass.audit import Audit, AuditConfig, audit
from groundglass.models import DefendedNetwork, defend
from groundglass.models.rescaled import rescaled
from groundglass.optics import SimulatedOPU

COUNT, EPS = 24, 0.1
FEW = AuditConfig(
    steps=4, queries=8, query_images=3, probes=6, fit_images=COUNT, labels=COUNT, draws=2, targets=1, restarts=1
)
# Multiples of 1/256, so that nothing is rounded on the way to four times as much and back.
IMAGES = torch.randint(0, 257, (COUNT, 1, 6, 6), generator=torch.Generator().manual_seed(3)) / 256


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * images


def network(high: float = 1.0, *, seed: int = 1, defended: bool = False) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        plain = nn.Sequential(Times(1 / high), nn.Flatten(), nn.Linear(36, 20), nn.ReLU(), nn.Linear(20, 4)).eval()
    return defend(plain, at="4", device=SimulatedOPU.create(16, 32, seed=1), seed=0).eval() if defended else plain


def of(high: float, *, defended: bool, images: Any = None, **changes: Any) -> Audit:
    model = network(high, defended=defended)
    labels = network(defended=defended)(IMAGES).argmax(1)
    given = {} if high == 1 else {"bounds": (0, high)}
    settings = {"natural": (high * IMAGES, labels), "surrogates": {"other": network(high, seed=2)}, **changes}
    pair = (high * IMAGES, labels) if images is None else images(high * IMAGES, labels)
    return audit(model, *pair, Linf(high * EPS), config=FEW, **given, **settings)


@pytest.mark.parametrize("defended", [False, True], ids=["plain", "defended"])
def test_the_units_of_the_images_change_nothing(defended: bool) -> None:
    one, four = of(1, defended=defended), of(4, defended=defended)
    assert [(a.name, a.tried, a.broke) for a in one.attempts] == [(a.name, a.tried, a.broke) for a in four.attempts]
    assert torch.equal(one.broken_by, four.broken_by)
    assert torch.equal(4 * one.adversarial, four.adversarial)
    assert [claim.figure for claim in one.claims] == [claim.figure for claim in four.claims]
    assert 0 < one.worst.share < 1 or defended
    assert (four.bounds, one.bounds) == ((0, 4), (0, 1))
    assert "[0, 4]" in four.ball
    assert "[0, 4]" in four.checks[0].measured


def test_what_is_brought_is_in_the_units_of_the_images() -> None:
    seen = []

    def mine(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf) -> Tensor:
        seen.append((images, ball, model(images)))
        return (images + ball.eps).clamp(0, 4)

    def too_far(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf) -> Tensor:
        return images + 2 * ball.eps

    found = of(
        4,
        defended=False,
        attacks={"mine": mine, "too far": too_far, "ours": PGD(steps=2)},
        views={"view": network(4)},
        claim={"view": "view", "mine": mine, "square": Square(), "another view": network(4)},
    )
    places = found.robust.nonzero().squeeze(1)
    images, ball, logits = seen[0]
    assert ball == Linf(4 * EPS)
    assert torch.equal(images, 4 * IMAGES[places])
    torch.testing.assert_close(logits, network(4)(images))
    assert [attempt.name for attempt in found.invalid] == ["too far"]
    shares = {claim.name: claim.share for claim in found.claims}
    assert shares["view"] == next(iter(of(1, defended=False).claims)).share
    assert len(shares) == 4


def test_other_bounds_and_norms() -> None:
    images, labels = 2 * IMAGES - 1, network()(IMAGES).argmax(1)
    model = nn.Sequential(Times(0.5), network(1))
    model[0].register_forward_hook(lambda module, given, out: out + 0.5)
    one = audit(network(), IMAGES, labels, L2(0.4), config=FEW)
    wide = audit(model, images, labels, L2(0.8), config=FEW, bounds=(-1, 1))
    assert abs(one.worst.share - wide.worst.share) <= 2 / COUNT
    assert float((wide.adversarial - images).flatten(1).norm(dim=1).max()) == pytest.approx(0.8, rel=1e-3)
    with pytest.raises(ValueError, match="bounds"):
        audit(model, images - 1, labels, L2(0.8), config=FEW, bounds=(-1, 1))
    with pytest.raises(ValueError, match="Linf and L2"):
        audit(network(), IMAGES, labels, L1(3), config=FEW)


def test_a_set_in_place_of_images_brings_its_labels() -> None:
    wanted = of(4, defended=False)
    for form in (TensorDataset, lambda x, y: DataLoader(TensorDataset(x, y), batch_size=5), lambda x, y: (x, y)):
        found = of(4, defended=False, images=lambda x, y, form=form: (form(x, y),))
        assert torch.equal(found.adversarial, wanted.adversarial)
        assert found.worst == wanted.worst


def test_unfinished_work_is_of_these_bounds(tmp_path) -> None:
    path = tmp_path / "audit.safetensors"
    whole = of(4, defended=False, checkpoint=path)
    assert torch.equal(of(4, defended=False, checkpoint=path).adversarial, whole.adversarial)
    labels = network()(IMAGES).argmax(1)
    settings = {"natural": (4 * IMAGES, labels), "surrogates": {"other": network(4, seed=2)}}
    with pytest.raises(ValueError, match="bounds"):
        audit(network(4), 4 * IMAGES, labels, Linf(4 * EPS), bounds=(0, 5), checkpoint=path, config=FEW, **settings)


def test_a_model_that_gives_probabilities_is_warned_about_once() -> None:
    soft = nn.Sequential(network(), nn.Softmax(1))
    with pytest.warns(RuntimeWarning) as told:
        audit(soft, IMAGES, network()(IMAGES).argmax(1), Linf(EPS), config=FEW)
    assert len([one for one in told if "probabilities" in str(one.message)]) == 1


def test_a_defended_network_is_one_in_any_units() -> None:
    model = network(4, defended=True)
    unit = rescaled(model, (0, 4))
    assert isinstance(unit, DefendedNetwork)
    assert unit.device is model.device
    assert torch.equal(unit(IMAGES), model(4 * IMAGES))
    assert torch.equal(unit.features(IMAGES), model.features(4 * IMAGES))
    view = rescaled(model.seen_through(model.training_rule()), (0, 4))
    assert torch.equal(view(IMAGES), model(4 * IMAGES))
    assert rescaled(model, (0, 1)) is model
