import types

import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from groundglass.attacks import PGD, Exact, GradientAccess, Linf, frozen_for_attack
from groundglass.attacks.faster_layers import Faster, FusedConvolutions, SteadyLinear
from groundglass.models import DefendedNetwork, defend, vgg16
from groundglass.optics import RandomFeedback, SimulatedOPU, true_matrix
from tests.attacks.toy import Scaled, blobs, trained


def conv(a, b, **options):
    return nn.Conv2d(a, b, 3, **{"padding": 1, **options})


def randomised(model):
    """Weights of a usual size, and running statistics that are not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                if module.track_running_stats:
                    nn.init.normal_(module.running_mean, 0, 0.2)
                    nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        # Not those of torch's own stream, which are others in another order of tests.
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.uniform_(module.bias, -0.1, 0.1)
    return model


class Device:
    """Stands for an optical device: it cannot be copied, and says that it is itself."""

    def __deepcopy__(self, memo):
        return self


class Net(nn.Module):
    """A VGG in small, with all that a copy may trip over: named parts, dropout, a head with BatchNorm, a device."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            Scaled(),
            conv(3, 8, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
            conv(8, 8, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            conv(8, 12), nn.ReLU(), nn.MaxPool2d(2),
            conv(12, 12), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Dropout(0.9), nn.Linear(48, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 5))
        self.device = Device()

    def forward(self, x):
        return self.head(self.features(x))


@pytest.fixture(scope="module")
def net():
    return randomised(Net()).train()


@pytest.fixture(scope="module")
def images():
    return torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def parts(frozen):
    """What runs in place of layers."""
    own = [vars(m)["forward"] for m in frozen.modules() if "forward" in vars(m)]
    return [step for one in own for step in getattr(one, "steps", [one]) if isinstance(step, Faster)]


def gradient(model, images):
    x = images.clone().requires_grad_()
    logits = model(x)
    return torch.autograd.grad(logits.square().sum(), x)[0]


def test_the_same_function_and_gradient(net, images):
    frozen = frozen_for_attack(net)
    plain = net.eval()
    expected = plain(images).detach()
    assert float((frozen(images) - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    wanted, found = gradient(plain, images), gradient(frozen, images)
    error = (found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    assert float(error.median()) < 1e-4
    net.train()


def test_it_is_really_rearranged(net):
    frozen = frozen_for_attack(net)
    assert [(type(part.fast), len(part.layers)) for part in parts(frozen)] == [
        (FusedConvolutions, 14), (SteadyLinear, 2), (SteadyLinear, 1), (SteadyLinear, 1)
    ]  # fmt: skip
    assert [type(m) for m in frozen.modules()] == [type(m) for m in net.modules()], "the layers stay where they are"


def test_a_convolution_alone_stays_torchs(images):
    """Between strides: carrying its images into Winograd's layout and back costs more than it gains."""

    def conv(incoming: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(incoming, 4, 3, stride, 1), nn.ReLU()]

    body = nn.Sequential(*conv(3, 1), *conv(4, 2), *conv(4, 1), *conv(4, 1), nn.Flatten()).eval()
    frozen = frozen_for_attack(body)
    assert [(type(part.fast), len(part.layers)) for part in parts(frozen)] == [(FusedConvolutions, 4)]
    assert torch.allclose(frozen(images), body(images), atol=1e-5)


def test_the_model_is_not_changed_and_the_copy_is_frozen(images):
    net = randomised(Net()).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    frozen = frozen_for_attack(net)
    gradient(frozen, images)
    kept = frozen(images)
    assert net.training
    assert all(m.training for m in net.modules())
    assert all(p.requires_grad for p in net.parameters())
    assert list(before) == list(net.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m.training for m in frozen.modules())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert type(frozen) is Net
    assert frozen.device is net.device
    assert {n for n, _ in net.named_modules()} <= {n for n, _ in frozen.named_modules()}
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    assert torch.equal(frozen(images), kept), "weights are copied, not shared"


@pytest.mark.parametrize(
    "body",
    [
        nn.Sequential(conv(3, 4, stride=2), nn.ReLU()),
        nn.Sequential(conv(3, 4, padding=0), nn.ReLU()),
        nn.Sequential(conv(3, 4, dilation=2, padding=2), nn.ReLU()),
        nn.Sequential(conv(3, 6, groups=3), nn.ReLU()),
        nn.Sequential(conv(3, 4, padding_mode="reflect"), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU()),
        nn.Sequential(conv(3, 4), nn.LeakyReLU(0.2)),
        nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(3, 2)),
        nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(2, 1)),
        nn.Sequential(conv(3, 4), nn.ReLU(), nn.AvgPool2d(2)),
        nn.Sequential(conv(3, 4), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()),
        nn.Sequential(conv(3, 4), nn.MaxPool2d(2), nn.ReLU()),
        nn.Sequential(nn.BatchNorm2d(3), conv(3, 4), nn.ReLU(), conv(4, 4)),
        nn.Sequential(nn.ReLU(), nn.Sequential(conv(3, 4), nn.BatchNorm2d(4)), nn.ReLU()),
        nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(4), nn.MaxPool2d(2)),
        nn.Sequential(nn.MaxPool2d(2), nn.ZeroPad2d(1), conv(3, 4), nn.ReLU()),
        nn.Sequential(conv(3, 4), nn.Dropout2d(0.5), nn.ReLU()),
        nn.Sequential(nn.Identity(), conv(3, 4, padding="same"), nn.ReLU()),
    ],
    ids=lambda body: " ".join(str(m).replace("\n", "") for m in body)[:60],
)
def test_whatever_the_layers_are_the_function_stays(body, images):
    model = randomised(nn.Sequential(body, nn.AdaptiveAvgPool2d(2), nn.Flatten())).eval()
    wanted = model(images)
    frozen = frozen_for_attack(model)
    assert torch.allclose(frozen(images), wanted, rtol=1e-4, atol=1e-4 * float(wanted.detach().abs().max()))
    error = gradient(frozen, images) - gradient(model, images)
    assert float(error.norm()) < 0.01 * float(gradient(model, images).norm())


def test_where_the_fast_way_does_not_apply_the_layers_do(net):
    """Sizes without a scheme, another type: the same layers, as they were."""
    body = randomised(nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(2)))
    frozen = frozen_for_attack(body)
    for x in (torch.rand(2, 3, 10, 10), torch.rand(2, 3, 7, 8), torch.rand(0, 3, 8, 8), torch.rand(3, 8, 8)):
        assert torch.allclose(frozen(x), body(x), atol=1e-5)
    assert torch.allclose(
        frozen.double()(torch.ones(1, 3, 8, 8).double()), body(torch.ones(1, 3, 8, 8)).double(), atol=1e-5
    )


def test_an_attack_on_the_copy_is_an_attack_on_the_model():
    images, labels = blobs(200, seed=5)
    attack, ball = PGD(steps=10, step_size=None), Linf(0.015)
    slow = attack(GradientAccess(trained()), images, labels, ball, seed=0)
    fast = attack(GradientAccess(frozen_for_attack(trained())), images, labels, ball, seed=0)
    assert 0.2 < slow.success_rate < 0.95
    assert abs(fast.robust_accuracy - slow.robust_accuracy) <= 0.01
    confirmed = fast.confirmed(GradientAccess(trained()), labels)
    assert abs(confirmed.robust_accuracy - slow.robust_accuracy) <= 0.01


def test_a_defended_network_keeps_its_device_and_its_rules():
    device = SimulatedOPU.create(64, 300, seed=1)
    network = vgg16(0.06, classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=2)
    defended = randomised(defend(network, at="head", device=device, seed=3)).eval()
    frozen = frozen_for_attack(defended)
    assert isinstance(frozen, DefendedNetwork)
    assert frozen.device is device
    assert any(isinstance(part.fast, FusedConvolutions) for part in parts(frozen))

    images = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    bits, logits = defended.observe(images)
    frozen_bits, frozen_logits = frozen.observe(images)
    # Rounding may flip a bit that is right at its threshold; where none is flipped, the logits agree.
    same = (bits == frozen_bits).all(1)
    assert int(same.sum()) >= 11
    assert torch.allclose(frozen_logits[same], logits[same], rtol=1e-4, atol=1e-4)

    for rule in (RandomFeedback.fresh(4, 64, seed=0), Exact(true_matrix(device))):
        plain, fast = (gradient(m.seen_through(rule), images[same]) for m in (defended, frozen))
        assert float(plain.norm()) > 0
        assert float((fast - plain).norm()) < 0.02 * float(plain.norm())
    labels = logits.argmax(1)
    result = PGD(steps=5, step_size=None)(GradientAccess(frozen.seen_through(rule)), images, labels, Linf(0.1), seed=0)
    assert result.zero_gradient_share == 0
    assert result.success_rate > 0


MANY = torch.rand(70, 3, 16, 16, generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33, 70])
def test_logits_are_the_same_bit_for_bit_in_any_batch(net, size):
    frozen = frozen_for_attack(net)
    whole = frozen(MANY)
    assert torch.equal(torch.cat([frozen(part) for part in MANY.split(size)]), whole)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(size))
    assert torch.equal(torch.cat([frozen(part) for part in MANY[order].split(size)]), whole[order])
    assert torch.equal(frozen(MANY[-size:]), whole[-size:])


@pytest.mark.parametrize("width", [5, 31, 512, 514, 1000])
@pytest.mark.parametrize("out", [3, 10, 64])
def test_a_linear_layer_of_any_width_is_as_steady(width, out):
    """Where rows begin at different alignments, their place among the others counts too: 31 and 514 inputs, 10 outputs."""
    layer = randomised(nn.Sequential(nn.Linear(width, out)))
    steady = frozen_for_attack(layer)
    assert [type(part.fast) for part in parts(steady)] == [SteadyLinear]
    x = torch.randn(70, width, generator=torch.Generator().manual_seed(0))
    whole = steady(x)
    assert torch.allclose(whole, layer(x), rtol=1e-4, atol=1e-5)
    for size in (1, 2, 3, 7, 8, 33, 64, 65, 70):
        assert torch.equal(torch.cat([steady(part) for part in x.split(size)]), whole), size
    assert torch.equal(steady(x.flip(0)).flip(0), whole)
    # However it lies in memory.
    assert torch.equal(steady(x[:64].T.contiguous().T), whole[:64])
    assert torch.equal(steady(x[3:67]), whole[3:67])


def test_a_steady_layer_looks_like_a_linear_layer(net, images):
    frozen = frozen_for_attack(net)
    layers = [m for m in frozen.head.modules() if isinstance(m, nn.Linear)]
    assert [type(m) for m in layers] == [nn.Linear, nn.Linear]
    last, plain = layers[1], net.head[4]
    assert torch.equal(last.weight, plain.weight)
    assert torch.equal(last.bias, plain.bias)
    assert (last.in_features, last.out_features) == (20, 5)
    assert {"weight", "bias"} <= set(last.state_dict())
    # Also where the result is not two-dimensional, there are no rows, or there is no bias.
    for x in (torch.rand(20), torch.rand(2, 3, 20), torch.rand(0, 20)):
        assert torch.equal(last(x), nn.functional.linear(x, plain.weight, plain.bias))
    bare = frozen_for_attack(nn.Sequential(nn.Linear(4, 2, bias=False)))
    assert bare[0].bias is None
    assert bare(torch.ones(3, 4)).shape == (3, 2)


def test_the_gradient_through_a_steady_layer_is_the_layers():
    layer = randomised(nn.Sequential(nn.Linear(48, 6), nn.Tanh(), nn.Linear(6, 3)))
    x = torch.rand(67, 48, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(gradient(frozen_for_attack(layer), x), gradient(layer, x), atol=1e-5)


class _Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize(
    "wrap",
    [lambda z: {"logits": z, "loss": None}, lambda z: (z,), lambda z: types.SimpleNamespace(logits=z)],
    ids=["dict", "tuple", "object"],
)
def test_outputs_that_attacks_take_are_compared(wrap):
    model, x = _Wrapped(wrap), torch.rand(4, 3, 8, 8)
    assert frozen_for_attack(model, x).verified
    assert frozen_for_attack(model, x.numpy()).verified


def test_outputs_that_attacks_refuse_are_refused_by_name():
    for wrap, said in ((lambda z: (z, z), "which are the logits"), (lambda z: z.detach().numpy(), "ndarray")):
        with pytest.raises(TypeError, match=said):
            frozen_for_attack(_Wrapped(wrap), torch.rand(4, 3, 8, 8))
    with pytest.raises(TypeError, match=r"nn\.Module"):
        frozen_for_attack(lambda x: x)  # type: ignore[type-var]


@pytest.mark.parametrize("verified", [True, False])
def test_functional_transforms_pass_a_copy(verified):
    model, x = (
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5)),
        torch.rand(4, 3, 8, 8),
    )
    frozen = frozen_for_attack(model, x if verified else None)
    assert torch.allclose(vmap(lambda x: frozen(x[None])[0])(x), model(x), atol=1e-5)
    grads = [vmap(grad(lambda x, net=net: net(x[None])[0, 0]))(x) for net in (model, frozen)]
    assert torch.allclose(*grads, atol=1e-5)


class _Watched(nn.Module):
    """Its hook writes where the module was made: a copy's hook still writes there."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.seen = nn.Sequential(conv(3, 8), nn.ReLU()), nn.Linear(512, 5), {}
        self.body[0].register_forward_hook(lambda module, given, out: self.seen.update(features=out))

    def forward(self, x):
        self.body(x)
        return self.head(self.seen["features"].flatten(1))


def test_parts_that_agree_do_not_verify_a_copy_whose_hooks_speak_to_the_original():
    model, x = _Watched().eval(), torch.rand(6, 3, 8, 8)
    with torch.no_grad():
        model(x[:4])
    alone = frozen_for_attack(model)
    alone(x[:4])
    assert not torch.allclose(alone(x[2:]), model(x[2:]), atol=1e-3)
    assert not alone.verified
    assert not frozen_for_attack(model, x[2:]).verified
