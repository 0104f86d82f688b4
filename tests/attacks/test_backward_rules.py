import pytest
import torch
from torch import nn

from groundglass.adaptive import collapse, make_rule
from groundglass.attacks import DrawnMatrix, Exact, LinearMatrix, Normalised, StraightThrough
from groundglass.models import OpticalBlock, defend
from groundglass.optics import BackwardRule, Camera, SimulatedOPU, true_matrix
from groundglass.optics.backward import stitch

N, M, BATCH = 24, 40, 5


@pytest.fixture
def matrix():
    planes = torch.randn(2, M, N, generator=torch.Generator().manual_seed(1))
    return torch.complex(planes[0], planes[1])


@pytest.fixture
def bits():
    return torch.randint(0, 2, (BATCH, N), generator=torch.Generator().manual_seed(2)).float()


@pytest.fixture
def grad():
    return torch.randn(BATCH, M, generator=torch.Generator().manual_seed(3))


def by_autograd(matrix, bits, grad, power=2):
    """Through a graph of complex numbers: |U b|^2, as in equation (1), or another power."""
    b = bits.clone().requires_grad_()
    intensity = (matrix @ b.t().to(matrix.dtype)).t().abs() ** power
    (found,) = torch.autograd.grad(intensity, b, grad)
    return found


def test_exact_is_the_derivative_of_the_intensity(matrix, bits, grad):
    assert torch.allclose(Exact(matrix).vjp(bits, grad), by_autograd(matrix, bits, grad), rtol=1e-4, atol=1e-3)
    assert torch.allclose(
        Exact(matrix.real).vjp(bits, grad), by_autograd(matrix.real, bits, grad), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("power", [1, 1.5, 3, 4])
def test_exact_follows_another_power_of_the_camera(matrix, bits, grad, power):
    wanted = by_autograd(matrix, bits, grad, power)
    assert torch.allclose(Exact(matrix, power=power).vjp(bits, grad), wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max())
    dark = Exact(matrix, power=power).vjp(torch.zeros_like(bits), grad)
    assert not dark.any(), "no light, no direction, and no NaN"
    opu = SimulatedOPU.create(N, M, seed=1, camera=Camera(power=power))
    network = defend(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), at="1", hidden=N, device=opu, seed=0)
    drawn, exact = (make_rule(name, network, seed=0) for name in ("bpda-drawn", "exact"))
    assert drawn.power == exact.power == power
    assert collapse(drawn, network) is drawn, "linear in the bits no longer"
    u = true_matrix(opu)
    full = 255 ** (2 / power)
    open_pixels = ((u @ bits.t().to(u.dtype)).t().abs().square() < full).float()
    wanted = by_autograd(u, bits, grad * open_pixels, power)
    assert torch.allclose(exact.vjp(bits, grad), wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max())


def test_a_saturated_pixel_has_no_derivative(matrix, bits, grad):
    intensity = (matrix @ bits.t().to(matrix.dtype)).t().abs().square()
    ordered = intensity.flatten().sort().values
    level = float(ordered[len(ordered) // 2 - 1 : len(ordered) // 2 + 1].mean())  # between two: no rounding decides
    open_pixels = (intensity < level).float()
    assert 0.3 < float(open_pixels.mean()) < 0.7
    found = Exact(matrix, saturation=level).vjp(bits, grad)
    assert torch.allclose(found, by_autograd(matrix, bits, grad * open_pixels), rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match="above 0"):
        Exact(matrix, saturation=0)


def test_the_exact_rule_agrees_with_the_device_itself(bits):
    """Turning a bit on or off changes the readings as the derivative, and half the curvature, say."""
    device = SimulatedOPU.create(N, M, seed=1)
    u = true_matrix(device)
    base = device.measure(bits.to(torch.uint8)).float()
    step = 1 - 2 * bits[:, 3]
    flipped = bits.clone()
    flipped[:, 3] += step
    change = device.measure(flipped.to(torch.uint8)).float() - base
    rows = [Exact(u).vjp(bits, torch.eye(M)[m].expand(BATCH, M))[:, 3] for m in range(M)]
    predicted = torch.stack(rows, 1) * step[:, None] + u[:, 3].abs().square()
    seen = (base < 254) & (base + change < 254)
    assert float((predicted - change)[seen].abs().max()) <= 1.01


def test_linear_matrix_is_feedback_alignment(bits, grad):
    r = torch.randn(N, M, generator=torch.Generator().manual_seed(0))
    rule = LinearMatrix(r)
    assert torch.allclose(rule.vjp(bits, grad), grad @ r.t(), atol=1e-5)
    assert torch.equal(rule.vjp(bits, grad), rule.vjp(1 - bits, grad)), "no factor 2Ub: the bits play no part"


def test_drawn_matrices_depend_on_the_seed_and_have_the_devices_law(bits, grad):
    for draw in (lambda seed: DrawnMatrix(N, M, seed=seed), lambda seed: LinearMatrix.draw(N, M, seed=seed)):
        assert torch.equal(draw(1).vjp(bits, grad), draw(1).vjp(bits, grad))
        assert not torch.equal(draw(1).vjp(bits, grad), draw(2).vjp(bits, grad))
    large = DrawnMatrix(200, 300, seed=0)
    real, imaginary = large._planes.on(torch.device("cpu"))
    for plane in (real, imaginary):
        assert float(plane.mean()) == pytest.approx(0, abs=0.01)
        assert float(plane.square().mean()) == pytest.approx(0.5, rel=0.02)
    assert float((real * imaginary).mean()) == pytest.approx(0, abs=0.01)


def test_a_drawn_matrix_is_a_bad_guess_and_the_true_one_is_not(matrix, bits, grad):
    truth = by_autograd(matrix, bits, grad)
    cosine = nn.CosineSimilarity(dim=1)
    assert float(cosine(Exact(matrix).vjp(bits, grad), truth).min()) > 0.999
    assert float(cosine(DrawnMatrix(N, M, seed=7).vjp(bits, grad), truth).mean()) < 0.5


@pytest.mark.parametrize(
    "make", [lambda u: Exact(u), lambda u: DrawnMatrix(N, M, seed=0), lambda u: LinearMatrix.draw(N, M, seed=0)]
)
def test_rules_are_rules_and_keep_their_secret(matrix, bits, make):
    rule = make(matrix)
    assert isinstance(rule, BackwardRule)
    assert rule.site == "readings"
    assert f"n={N}, m={M}" in repr(rule)
    assert rule.name in repr(rule)
    assert "tensor" not in repr(rule)
    hidden = torch.rand(BATCH, N, requires_grad=True)
    readings = torch.rand(BATCH, M)
    (found,) = torch.autograd.grad(stitch(readings, hidden, bits, rule).square().sum(), hidden)
    assert torch.allclose(found, rule.vjp(bits, 2 * readings), rtol=1e-4, atol=1e-4)


def test_a_matrix_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="\\[m, n\\]"):
        Exact(torch.zeros(3))


def test_straight_through_is_backpropagation_under_a_linear_head_and_the_identity_under_bits():
    images = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    found = {}
    for name, encoding in (("bp", "float"), ("ste", "bits")):
        body = nn.Sequential(nn.Flatten(), nn.Linear(18, 12), nn.ReLU(), nn.Linear(12, 5))
        network = defend(body, at="1", device=None, hidden=N, encoding=encoding, seed=0).eval()
        block = network.block
        assert isinstance(block, OpticalBlock)

        def loss(logits):
            return logits.logsumexp(1).sum()

        x = images.clone().requires_grad_()
        (found[name],) = torch.autograd.grad(loss(network.seen_through(StraightThrough(name))(x)), x)
        x = images.clone().requires_grad_()
        hidden = block.features(x.flatten(1))
        # The bits in place of the features, differentiated as if they were the features.
        entering = (
            hidden if name == "bp" else hidden + ((hidden > hidden.mean(1, keepdim=True)).float() - hidden).detach()
        )
        (wanted,) = torch.autograd.grad(loss(body[2:](block.readout(entering))), x)
        assert torch.allclose(found[name], wanted, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found["bp"], found["ste"])


def test_a_rule_behind_a_scaling_has_its_derivative_in_front(matrix, grad):
    features = torch.rand(BATCH, N, generator=torch.Generator().manual_seed(4))
    x = features.clone().requires_grad_()
    scaled = x / x.norm(dim=1, keepdim=True) * 3.5
    intensity = (matrix @ scaled.t().to(matrix.dtype)).t().abs().square()
    (wanted,) = torch.autograd.grad(intensity, x, grad)
    rule = Normalised(Exact(matrix), 3.5)
    assert torch.allclose(rule.vjp(features, grad), wanted, rtol=1e-3, atol=1e-3)
    assert rule.name == "exact"
    assert torch.isfinite(rule.vjp(torch.zeros(BATCH, N), grad)).all()
