import pytest
import torch
from torch import nn

from groundglass.attacks import FittedLinear, FittedNetwork
from groundglass.optics import BackwardRule

N, CLASSES = 30, 4


def pairs(count=600, curve=0.0, noise=0.0, seed=0):
    """Bits with unequal means, and logits that are linear in them, or not quite."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(77))
    bits = (torch.rand(count, N, generator=random) < torch.linspace(0.2, 0.8, N)).float()
    field = bits @ torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(78))
    logits = bits @ truth + curve * (field - field.mean(0)) ** 2 + 5
    return bits, logits + noise * torch.randn(logits.shape, generator=random), truth


def test_ridge_finds_a_linear_map():
    bits, logits, truth = pairs()
    rule = FittedLinear.fit(bits, logits)
    assert rule.n_images == 600
    assert rule.held_out_r2 > 0.999
    error = torch.randn(7, CLASSES)
    assert torch.allclose(rule.vjp(bits[:7], error), error @ truth.t(), atol=0.05)


def test_ridge_is_the_closed_form():
    bits, logits, _ = pairs(noise=1.0)
    rule = FittedLinear.fit(bits, logits, ridge=[0.1])
    kept = torch.arange(600) % 10 != 9
    x = (bits[kept] - bits[kept].mean(0)).double()
    y = (logits[kept] - logits[kept].mean(0)).double()
    gram = x.t() @ x
    expected = torch.linalg.solve(gram + 0.1 * gram.diagonal().mean() * torch.eye(N), x.t() @ y)
    assert torch.allclose(rule.vjp(bits[:CLASSES], torch.eye(CLASSES)), expected.t().float(), atol=1e-4)


def test_the_ridge_is_chosen_by_what_was_held_out():
    bits, logits, _ = pairs(count=60, noise=20.0)
    chosen = FittedLinear.fit(bits, logits)
    each = [FittedLinear.fit(bits, logits, ridge=[r]).held_out_r2 for r in (1e-3, 1e-2, 0.1, 1.0, 10.0)]
    assert chosen.held_out_r2 == max(each)
    assert max(each) > each[0] + 0.1


def test_held_out_r2_does_not_flatter():
    """Nothing to learn: no better than the mean."""
    bits, logits, _ = pairs()
    shuffled = logits[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    assert FittedLinear.fit(bits, shuffled).held_out_r2 < 0.05
    assert FittedNetwork.fit(bits, shuffled, seed=0, epochs=3).held_out_r2 < 0.05


def test_the_network_learns_what_a_linear_map_cannot():
    bits, logits, _ = pairs(count=3000, curve=0.6)
    linear = FittedLinear.fit(bits, logits)
    network = FittedNetwork.fit(bits, logits, seed=0, hidden=64, epochs=20)
    assert linear.held_out_r2 < 0.75
    assert network.held_out_r2 > linear.held_out_r2 + 0.15
    assert network.n_images == 3000

    # Its gradient points where the logits really grow: towards what flipping each bit does.
    start = bits[:40]
    _, _, truth = pairs(count=1)
    field_map = torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(78))
    centre = (bits @ field_map).mean(0)
    b = start.clone().requires_grad_()
    logit = b @ truth + 0.6 * (b @ field_map - centre) ** 2
    (true_gradient,) = torch.autograd.grad(logit[:, 0].sum(), b)
    error = torch.zeros(40, CLASSES)
    error[:, 0] = 1
    cosine = nn.CosineSimilarity(dim=1)
    near = float(cosine(network.vjp(start, error), true_gradient).mean())
    assert near > float(cosine(linear.vjp(start, error), true_gradient).mean()) + 0.1
    assert near > 0.6


def test_a_fit_depends_on_its_seed_and_touches_no_other_stream():
    bits, logits, _ = pairs(count=100)
    error = torch.randn(3, CLASSES)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a, b, c = (FittedNetwork.fit(bits, logits, seed=s, hidden=8, epochs=2).vjp(bits[:3], error) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_gradient_is_the_networks_own_even_under_no_grad():
    bits, logits, _ = pairs(count=200)
    rule = FittedNetwork.fit(bits, logits, seed=0, hidden=16, epochs=2)
    error = torch.eye(CLASSES)[:1]
    with torch.no_grad():
        found = rule.vjp(bits[:1], error)
    first, bias, second, _ = rule._weights
    b = (bits[:1] - rule._bits_mean).requires_grad_()
    out = torch.nn.functional.gelu(b @ first.t() + bias) @ second.t()
    (expected,) = torch.autograd.grad(out[:, 0].sum(), b)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not found.requires_grad


@pytest.mark.parametrize("kind", [FittedLinear, FittedNetwork])
def test_surrogates_are_rules_at_the_logits(kind):
    bits, logits, _ = pairs(count=50)
    rule = kind.fit(bits, logits, seed=0)
    assert isinstance(rule, BackwardRule)
    assert rule.site == "logits"
    assert "n_images=50" in repr(rule)
    assert "tensor" not in repr(rule)


@pytest.mark.parametrize("kind", [FittedLinear, FittedNetwork])
def test_pairs_that_cannot_be_fitted(kind):
    bits, logits, _ = pairs(count=50)
    with pytest.raises(ValueError, match="pairs must be"):
        kind.fit(bits, logits[:-1], seed=0)
    with pytest.raises(ValueError, match="too few"):
        kind.fit(bits[:10], logits[:10], seed=0)
    with pytest.raises(ValueError, match="NaN"):
        kind.fit(bits, logits * torch.nan, seed=0)
    with pytest.raises(ValueError, match="above 0"):
        FittedLinear.fit(bits, logits, ridge=[0.0])
    with pytest.raises(ValueError, match="at least 1"):
        FittedNetwork.fit(bits, logits, seed=0, epochs=0)


def test_a_bit_that_never_changes_does_no_harm():
    bits, logits, _ = pairs()
    bits[:, 5] = 1
    rule = FittedLinear.fit(bits, logits)
    assert bool(torch.isfinite(rule.vjp(bits[:3], torch.ones(3, CLASSES))).all())
