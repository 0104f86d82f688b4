import pytest
import torch
from torch import nn

from groundglass.adaptive import collapse, make_rule
from groundglass.adaptive.past_readout import QuadraticForms
from groundglass.models import Classifier, DefendedNetwork, defend
from groundglass.optics import RandomFeedback, SimulatedOPU

N, M, CLASSES = 24, 90, 3


def network(classes: int = CLASSES, above: bool = False) -> DefendedNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, 16), nn.ReLU())
        whole: nn.Module = Classifier(features, nn.Linear(16, classes), mean=(0.5,) * 3, std=(0.5,) * 3)
        if above:
            whole = nn.Sequential(whole, nn.Hardtanh())
    at = "0.head" if above else "head"
    device = SimulatedOPU.create(N, M, seed=1)
    return defend(whole, at=at, device=device, seed=0).eval().requires_grad_(False)


def gradient(view: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(view(x).logsumexp(1).sum(), x)
    return found


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("name", "kind"), [("fa", RandomFeedback), ("bpda-drawn", QuadraticForms)])
def test_the_gradient_at_the_images_is_the_same_but_for_rounding(name, kind, images):
    defended = network()
    rule = make_rule(name, defended, seed=4)
    short = collapse(rule, defended)
    assert isinstance(short, kind)
    assert (short.name, short.site) == (name, "logits")
    wanted, found = (gradient(defended.seen_through(r), images) for r in (rule, short))
    assert bool((wanted.flatten(1).norm(dim=1) > 0).all())
    assert ((found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)).max() < 1e-5
    # The logits are those of the device all the same.
    assert torch.equal(defended.seen_through(short)(images), defended(images))


def test_it_is_as_near_to_the_truth_as_what_it_replaces():
    defended = network()
    rule = make_rule("bpda-drawn", defended, seed=4)
    random = torch.Generator().manual_seed(5)
    bits = torch.randint(0, 2, (40, N), generator=random).float()
    error = torch.randn(40, CLASSES, generator=random)
    grad = error.double() @ (defended.block.readout.weight.double() * defended.block.gain)
    x = bits.double().requires_grad_()
    # The W that the rule drew, from what it makes of single bits: |Wb|^2 by autograd.
    planes = [plane.double() for plane in rule._planes.on(bits.device)]
    light = sum((x @ plane.t()).square() for plane in planes)
    (truth,) = torch.autograd.grad((light * grad).sum(), x)
    off = [
        float((v - truth).norm() / truth.norm())
        for v in (rule.vjp(bits, grad.float()), collapse(rule, defended).vjp(bits, error))
    ]
    assert off[1] < 3 * off[0] < 1e-5


@pytest.mark.parametrize("name", ["exact", "dfa-fresh", "dfa"])
def test_a_rule_that_is_not_linear_or_is_past_the_readout_already_stays(name):
    defended = network()
    rule = make_rule(name, defended, seed=4)
    assert collapse(rule, defended) is rule


@pytest.mark.parametrize("name", ["fa", "bpda-drawn"])
def test_where_something_stands_above_the_readout_the_rule_stays(name):
    defended = network(above=True)
    rule = make_rule(name, defended, seed=4)
    assert collapse(rule, defended) is rule


def test_with_many_classes_the_products_would_be_larger_and_the_rule_stays():
    few, many = network(classes=4 * M // N), network(classes=4 * M // N - 1)
    assert collapse(rule := make_rule("bpda-drawn", few, seed=4), few) is rule
    assert isinstance(collapse(make_rule("bpda-drawn", many, seed=4), many), QuadraticForms)


def test_the_forms_are_made_in_pieces(monkeypatch):
    defended = network()
    rule = make_rule("bpda-drawn", defended, seed=4)
    bits, error = torch.eye(N)[:3], torch.eye(CLASSES)
    whole = collapse(rule, defended).vjp(bits, error)
    monkeypatch.setattr("groundglass.adaptive.past_readout._PIECE", 7)
    assert torch.allclose(collapse(rule, defended).vjp(bits, error), whole, rtol=1e-4, atol=1e-4)


def test_the_rule_stays_where_the_gradient_would_be_another_one(images):
    rules = [make_rule(name, network(), seed=4) for name in ("fa", "bpda-drawn")]
    assert all(collapse(rule, network(), images) is not rule for rule in rules)
    for place in ("network.head.readout", "network"):
        hooked = network()
        hooked.get_submodule(place).register_forward_hook(lambda module, given, out: out * out.new_tensor([1.0, 2, -3]))
        assert all(collapse(rule, hooked, images) is rule for rule in rules)
