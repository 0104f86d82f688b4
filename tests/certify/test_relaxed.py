import pytest
import torch
from torch import Tensor, nn

import groundglass as gg
from groundglass.certify.relaxed import bounds, margins, verified
from groundglass.models import defend, predict_logits, vgg16
from groundglass.models.preprocessing import Preprocessed, Preprocessing
from groundglass.models.rescaled import rescaled
from tests.certify.toys import convolutional, curved, defended, images, linear

METHODS = ("ibp", "crown-ibp", "crown")


def anywhere(x: Tensor, eps: float, seed: int) -> Tensor:
    """Inside the balls, most of them in corners."""
    random = torch.Generator().manual_seed(seed)
    step = 2 * torch.rand(x.shape, generator=random) - 1
    return (x + eps * (step if seed % 3 == 0 else step.sign())).clamp(0, 1)


@pytest.mark.parametrize("method", METHODS)
def test_of_a_linear_network_bounds_are_exact(method: str) -> None:
    model, x = linear(), images(5)
    low, high = bounds(model, x, 0.05, method=method)
    out, reach = model(x).detach().double(), 0.05 * model[1].weight.detach().double().abs().sum(1)
    assert torch.allclose(low, out - reach, atol=1e-5)
    assert torch.allclose(high, out + reach, atol=1e-5)
    signed = margins(model, x, [1] * 5, 0.05, method=method)
    both = 0.05 * (model[1].weight[1] - model[1].weight[0]).detach().double().abs().sum()
    assert torch.allclose(signed, out[:, 1] - out[:, 0] - both, atol=1e-5)


def test_crown_is_what_its_paper_defines() -> None:
    """Both passes of a network with one hidden layer, written out with matrices."""
    model, x, eps = curved(), images(6), 0.04
    w, b = model[1].weight.detach().double(), model[1].bias.detach().double()
    v, c = model[3].weight.detach().double(), model[3].bias.detach().double()
    low, high = bounds(model, x, eps)
    for i, image in enumerate(x.flatten(1).double()):
        middle, reach = w @ image + b, eps * w.abs().sum(1)
        lower, upper = middle - reach, middle + reach
        slope = torch.where(lower >= 0, 1.0, torch.where(upper <= 0, 0.0, upper / (upper - lower))).double()
        flat = torch.where(lower >= 0, 1.0, torch.where(upper <= 0, 0.0, (upper > -lower).double())).double()
        lifted = torch.where((lower < 0) & (upper > 0), -lower * slope, torch.zeros_like(slope))
        for sign, found in ((1, low), (-1, -high)):
            rows = sign * v
            through = rows.clamp_min(0) * flat + rows.clamp_max(0) * slope
            bound = sign * c + rows.clamp_max(0) @ lifted + through @ (w @ image + b)
            bound = bound - eps * (through @ w).abs().sum(1)
            assert torch.allclose(found[i], torch.maximum(bound, _interval(v, c, lower, upper, sign)), atol=1e-5)


def _interval(v: Tensor, c: Tensor, lower: Tensor, upper: Tensor, sign: int) -> Tensor:
    rows = sign * v
    return sign * c + rows.clamp_min(0) @ lower.relu() + rows.clamp_max(0) @ upper.relu()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("eps", [0.0, 0.02, 0.1])
def test_nothing_in_the_ball_is_out_of_bounds(method: str, eps: float) -> None:
    """Of a network with every kind of layer; without a ball the bounds are the logits."""
    model, x = convolutional(), images(8, shape=(2, 8, 8))
    low, high = bounds(model, x, eps, method=method)
    for seed in range(40):
        out = model(anywhere(x, eps, seed)).detach().double()
        assert bool(((out >= low - 1e-5) & (out <= high + 1e-5)).all())
    if eps == 0:
        assert torch.allclose(low, high, atol=1e-6)


def test_each_method_is_narrower_than_the_one_before() -> None:
    model, x = convolutional(), images(4, shape=(2, 8, 8))
    widths = [float((high - low).mean()) for low, high in (bounds(model, x, 0.03, method=m) for m in METHODS)]
    assert widths[1] < 0.7 * widths[0]
    assert widths[2] < 0.99 * widths[1]


def test_where_no_unit_changes_sides_crown_is_exact() -> None:
    """The network is linear there: its extremes are at the corners along its gradient."""
    model, x, eps = curved(), images(20), 1e-4
    low, high = bounds(model, x, eps)
    pre = model[:2](x)
    still = (pre.abs() > eps * model[1].weight.abs().sum(1)).all(1)
    assert still.sum() > 5
    for label in range(3):
        y = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(model(y)[:, label].sum(), y)
        reach = eps * grad.abs().flatten(1).sum(1).double()
        out = model(x)[:, label].detach().double()
        assert torch.allclose((out - reach)[still], low[still, label], atol=1e-6)
        assert torch.allclose((out + reach)[still], high[still, label], atol=1e-6)


def test_no_attack_succeeds_where_margins_say_so_and_a_larger_ball_is_broken() -> None:
    model, x = curved(), images(60)
    labels = model(x).argmax(1)
    sure = verified(model, x, labels, 0.02)
    assert 15 < int(sure.sum()) < 60
    for attack in (gg.PGD(steps=30), gg.APGD(steps=30), gg.FAB()):
        inside = attack(model, x[sure], labels[sure], gg.Linf(0.02))
        assert not bool(inside.success.any())
    beyond = gg.PGD(steps=30)(model, x[sure], labels[sure], gg.Linf(0.06))
    assert beyond.success.sum() > 3
    assert torch.equal(verified(model, x, labels, 0.02, method="ibp") & ~sure, torch.zeros_like(sure))


def test_the_networks_of_the_package_are_followed() -> None:
    x = images(1, shape=(3, 32, 32))
    small = vgg16(0.02, classes=3, mean=(0.5,) * 3, std=(0.2,) * 3, seed=1).eval()
    for model in (
        small,
        nn.Sequential(nn.Identity(), small),
        rescaled(small, (-1, 1)),
        Preprocessed(small, Preprocessing(mean=(0.4,) * 3, std=(0.3,) * 3), name="mine"),
        defend(small, at="head", device=None, hidden=16, seed=1).eval(),
    ):
        low, high = bounds(model, x, 0.0, method="ibp")
        assert torch.allclose(low[0], model(x)[0].detach().double(), rtol=1e-3, atol=1e-4)
        assert torch.allclose(low, high, atol=1e-9)


def test_what_cannot_be_followed_is_refused() -> None:
    x = images(2)
    with pytest.raises(ValueError, match="GELU"):
        bounds(nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.GELU()), x, 0.1)
    with pytest.raises(ValueError, match="flippable_bits"):
        bounds(defended(), x, 0.1)
    hooked = curved()
    hooked[1].register_forward_hook(lambda module, args, out: 2 * out)
    with pytest.raises(ValueError, match="hook"):
        bounds(hooked, x, 0.1)
    for bad in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="eps"):
            bounds(curved(), x, bad)
    with pytest.raises(ValueError, match="method"):
        bounds(curved(), x, 0.1, method="alpha")
    with pytest.raises(ValueError, match="label"):
        margins(curved(), x, [0, 3], 0.1)
    assert bounds(curved(), images(0), 0.1)[0].numel() == 0
    assert margins(curved(), images(0), [], 0.1).shape == (0,)


def test_a_network_in_train_mode_is_bounded_as_in_eval_mode() -> None:
    model, x = convolutional(), images(2, shape=(2, 8, 8))
    wanted = bounds(model, x, 0.02, method="ibp")
    assert torch.equal(bounds(model.train(), x, 0.02, method="ibp")[0], wanted[0])
    assert model.training


def test_a_linear_layer_may_come_before_images_are_flattened() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)).eval()
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for method in METHODS:
        low, high = bounds(model, x, 0.1, method=method)
        assert low.shape == (5, 4)
        for seed in range(20):
            logits = model(anywhere(x, 0.1, seed)).detach().double()
            assert bool(((low - 1e-5 <= logits) & (logits <= high + 1e-5)).all())


def test_a_margin_that_rounding_eats_is_not_verified() -> None:
    """Two numbers of some thousands are subtracted: float32 has three decimals of what is left."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2)).eval()
    for weight, bias, values in ((model[1].weight, model[1].bias, 4e3), (model[2].weight, model[2].bias, 1.0)):
        nn.init.constant_(weight, values)
        nn.init.zeros_(bias)
    with torch.no_grad():
        model[1].bias[1] = 0.1002  # more than the first by that; float32 rounds it down
        model[2].weight[0] = torch.tensor([-1.0, 1.0])
        model[2].weight[1] = 0
        model[2].bias.copy_(torch.tensor([1.0, 1.1002 - 3e-5]))  # class 0 is ahead by that in exact arithmetic
    x = torch.rand(300, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    assert bool((margins(model, x, [0] * 300, 0.0) > 2e-5).all())
    fooled = predict_logits(model, x).argmax(1) != 0
    assert bool(fooled.any())
    assert not bool(verified(model, x, [0] * 300, 0.0)[fooled].any())
    plain, x = linear(), images(5)
    assert bool(verified(plain, x, predict_logits(plain, x).argmax(1), 0.0).all())
