"""A copy set up for attacks is the model, whatever the model does with its layers; and nothing is used up to see that."""

import copy
import random
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from groundglass.attacks import Averaged, GradientAccess, frozen_for_attack
from groundglass.attacks.faster_layers import FusedConvolutions, SteadyLinear
from groundglass.attacks.losses import cross_entropy
from groundglass.attacks.same_function import same_function
from groundglass.kernels.convolutions import ConvChain
from groundglass.models import defend, vgg16
from groundglass.optics import Camera, MovingDevice, SimulatedOPU

from .test_frozen import conv, parts, randomised

IMAGES = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(3))


class Net(nn.Module):
    """Convolutions with BatchNorm, ReLU and pooling, and a head with BatchNorm; subclasses run them in their own ways."""

    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(
            conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Sequential(nn.Linear(128, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
        randomised(self)

    def forward(self, x):
        return self.head(self.f(x).flatten(1))


class OneLayer(Net):
    def forward(self, x):
        return self.head(F.max_pool2d(self.f[0](x), 2).flatten(1))


class Iterates(Net):
    def forward(self, x):
        for number, layer in enumerate(self.f):
            x = layer(x) * (1 + number)
        for layer in self.head:
            x = layer(x.flatten(1))
        return x


class Slices(Net):
    def forward(self, x):
        return self.head[1:](self.head[:1](self.f[3:](2 * self.f[:3](x)).flatten(1)))


class AsksForTypes(Net):
    def forward(self, x):
        for layer in [*self.f, nn.Flatten(), *self.head]:
            x = layer(x)
            if isinstance(layer, nn.BatchNorm2d) or type(layer) is nn.Linear:
                x = 2 * x
        return x


class TakesWeights(Net):
    def forward(self, x):
        hidden = F.conv2d(x, self.f[0].weight, padding=1) + self.f[1].running_mean[:, None, None]
        return self.head(F.max_pool2d(hidden, 2).flatten(1)) + self.f(x).mean() * self.head[3].weight.sum(1)


class Branches(Net):
    """By the batch, and by the image."""

    def forward(self, x):
        hidden = self.f(x) if x.mean() > 0.45 else F.max_pool2d(self.f[0](x), 2)
        bright = (x.mean((1, 2, 3)) > 0.5)[:, None]
        return torch.where(bright, self.head(hidden.flatten(1)), self.head[3](self.head[0](hidden.flatten(1))))


class WritesWeights(Net):
    def __init__(self):
        super().__init__()
        self.kept = self.f[0].weight.detach().clone()

    def forward(self, x):
        with torch.no_grad():
            self.f[0].weight.copy_(self.kept * (1 + x.mean()))
        return super().forward(x)


class ExchangesWeights(Net):
    def forward(self, x):
        kept = self.f[0].weight
        self.f[0].weight = nn.Parameter(kept.detach() * (1 + x.mean().detach()), requires_grad=False)
        try:
            return super().forward(x)
        finally:
            self.f[0].weight = kept


class HooksForAMoment(Net):
    def forward(self, x):
        hook = self.f[1].register_forward_hook(lambda layer, given, out: out * (1 + x.mean()))
        try:
            return super().forward(x)
        finally:
            hook.remove()


class NormalisesByTheBatch(Net):
    def forward(self, x):
        self.f[1].training = bool(x.mean() > 0.45)
        return super().forward(x)


def patched(place, by=lambda layer: lambda x: 2 * type(layer).forward(layer, x)):
    def make():
        net = Net()
        layer = net.get_submodule(place)
        layer.forward = by(layer)
        return net

    return make


def changed(place, change):
    def make():
        net = Net()
        change(net.get_submodule(place))
        return net

    return make


def doubled(layer, *given):
    return 2 * given[-1] if isinstance(given[-1], torch.Tensor) else (2 * given[-1][0],)


class Twice(nn.Module):
    """A convolution in two Sequentials, and a Sequential in two places."""

    def __init__(self):
        super().__init__()
        shared = conv(3, 3)
        self.f = nn.Sequential(shared, nn.BatchNorm2d(3), nn.ReLU())
        self.g = nn.Sequential(self.f, shared, nn.ReLU(), self.f, nn.Flatten(), nn.Linear(192, 4))
        randomised(self)

    def forward(self, x):
        return self.g(self.f(x) + x)


class Backwards(nn.Sequential):
    def forward(self, x):
        for layer in reversed(self):
            x = layer(x)
        return x


class Halved(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) / 2


def subclasses():
    return randomised(
        nn.Sequential(
            Backwards(nn.ReLU(), nn.BatchNorm2d(3), conv(3, 3)),
            Halved(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4),
        )
    )  # fmt: skip


def asked_before(net):
    net(IMAGES[:2])
    return net


def old_norms():
    net = Net()
    nn.utils.weight_norm(net.f[0])
    nn.utils.weight_norm(net.head[0])
    nn.utils.spectral_norm(net.f[3])
    return asked_before(net)


def new_norms():
    net = Net()
    parametrizations.weight_norm(net.f[0])
    parametrizations.spectral_norm(net.f[3])
    parametrizations.weight_norm(net.head[0])
    return asked_before(net)


NETS = {
    kind.__name__: kind
    for kind in (Net, OneLayer, Iterates, Slices, AsksForTypes, TakesWeights, Branches, WritesWeights, ExchangesWeights,
                 HooksForAMoment, NormalisesByTheBatch, Twice, subclasses, old_norms, new_norms)
} | {f"patched {place}": patched(place) for place in ("f", "f.0", "f.1", "f.2", "head", "head.0", "head.1", "head.3")} | {
    f"hook on {place}": changed(place, lambda layer: layer.register_forward_hook(doubled))
    for place in ("f", "f.0", "f.1", "f.6", "head.0", "head.3")
} | {
    f"hook before {place}": changed(place, lambda layer: layer.register_forward_pre_hook(doubled))
    for place in ("f", "f.1", "f.3", "head.1", "head.3")
}  # fmt: skip


def gradient(model, images):
    x = images.clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]


def assert_same(model, frozen, images=IMAGES):
    for part in (images, images / 2, images[5:9]):
        wanted = model(part).detach()
        assert float((frozen(part).detach() - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
        wanted = gradient(model, part)
        apart = (gradient(frozen, part) - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
        # One image may be at a kink, a ReLU or a maximum, where rounding decides.
        assert float(apart.sort().values[-2]) < 0.02


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("with_images", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_whatever_a_module_does_with_its_layers_the_copy_does_it_too(name, with_images):
    model = NETS[name]().eval()
    frozen = frozen_for_attack(model, IMAGES[:4] if with_images else None)
    assert frozen.verified == with_images
    assert_same(model, frozen)


def test_a_float64_network_is_compared_in_float64():
    model = Net().double().eval()
    frozen = frozen_for_attack(model, IMAGES)
    assert frozen.verified
    assert torch.allclose(frozen(IMAGES.double()), model(IMAGES.double()))


def test_an_ordinary_network_is_rearranged_and_verified_by_either_way():
    model = Net().eval()
    frozen = frozen_for_attack(model, IMAGES)
    assert [type(part.fast) for part in parts(frozen)] == [FusedConvolutions, SteadyLinear, SteadyLinear, SteadyLinear]
    assert frozen.verified is True
    later = frozen_for_attack(model)
    assert later.verified is False
    assert torch.equal(later(IMAGES), frozen(IMAGES))
    assert later.verified is True
    assert {part.trusted for part in parts(frozen)} | {part.trusted for part in parts(later)} == {"same", "new"}


@pytest.mark.parametrize("with_images", [False, True])
@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (FusedConvolutions, "forward", lambda old: lambda self, x: 1.01 * old(self, x)),
        (FusedConvolutions, "forward", lambda old: lambda self, x: self.layers[0](x)),
        (FusedConvolutions, "forward", lambda old: lambda self, x: 1 / 0),
        (SteadyLinear, "forward", lambda old: lambda self, x: old(self, x).roll(1, 0)),
        (ConvChain, "backward", lambda old: lambda self, grad, trace: old(self, grad, trace)[:, ::-1].copy()),
        (ConvChain, "backward", lambda old: lambda self, grad, trace: np.float32(1.2) * old(self, grad, trace)),
    ],
    ids=["nearly right", "a layer alone", "fails", "rows exchanged", "channels exchanged", "gradient too long"],
)
def test_a_part_that_is_wrong_in_value_or_gradient_is_not_used(monkeypatch, owner, name, wrong, with_images):
    """The control: a fast way that is not what the layers do."""
    model = Net().eval()
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    frozen = frozen_for_attack(model, IMAGES if with_images else None)
    assert_same(model, frozen)
    assert frozen.verified
    of = FusedConvolutions if owner is ConvChain else owner
    assert not any(isinstance(part.fast, of) and part.trusted == "same" for part in parts(frozen))


def test_a_copy_that_asks_its_original_is_not_verified():
    """A forward that closes over a layer of the original runs that layer, in its mode."""
    model = Net()
    old = model.f[1].forward
    model.f[1].forward = lambda x: 2 * old(x)
    frozen = frozen_for_attack(model.train(), IMAGES)
    assert frozen.verified is False
    assert frozen_for_attack(model.eval(), IMAGES).verified is True


class Random(nn.Module):
    """A network with something random in it, in eval mode too."""

    def __init__(self, draw, **held):
        super().__init__()
        self.net, self.draw = Net(), draw
        for name, value in held.items():
            setattr(self, name, value)
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))
        self.calls = 0

    def forward(self, x):
        return self.net(x + 0.2 * torch.as_tensor(self.draw(self, x)).to(x).reshape(-1, 1, 1, 1))


def counted(self, x):
    self.calls += 1
    self.count += 1
    return torch.randn(len(x), generator=torch.Generator().manual_seed(self.calls + int(self.count)))


RANDOM = {
    "torch": (lambda self, x: torch.randn(len(x)), {}),
    "dropout": (lambda self, x: F.dropout(torch.ones(len(x)), 0.5, training=True), {}),
    "numpy": (lambda self, x: np.random.standard_normal(len(x)), {}),  # noqa: NPY002
    "python": (lambda self, x: [random.gauss(0, 1) for _ in x], {}),
    "own": (lambda self, x: torch.randn(len(x), generator=self.own), {"own": torch.Generator}),
    "own numpy": (lambda self, x: self.own[0].standard_normal(len(x)), {"own": lambda: [np.random.default_rng(0)]}),
    "own python": (lambda self, x: [self.own["r"].gauss(0, 1) for _ in x], {"own": lambda: {"r": random.Random(0)}}),
    "counted": (counted, {}),
}


@pytest.mark.parametrize("name", RANDOM)
def test_a_random_model_is_compared_under_the_same_draws_and_none_is_used_up(name):
    draw, held = RANDOM[name]
    model = Random(draw, **{k: make() for k, make in held.items()}).eval()
    twin = copy.deepcopy(model)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    frozen = frozen_for_attack(model, IMAGES)
    assert frozen.verified
    assert parts(frozen)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]  # noqa: NPY002
    found = []
    for one in (model, twin, frozen):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        found.append(one(IMAGES))
    assert torch.equal(found[0], found[1])
    assert torch.allclose(found[2], found[0], rtol=1e-3, atol=1e-3)
    assert not torch.equal(model(IMAGES), found[0])  # it is random


def test_a_wrong_copy_of_a_random_model_is_not_verified_nor_one_whose_draws_cannot_be_repeated(monkeypatch):
    model = Random(RANDOM["torch"][0]).eval()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.net.f[1].running_mean += 1
    assert same_function(model, copy.deepcopy(model), IMAGES[:8])
    assert not same_function(model, other, IMAGES[:8])
    hidden = torch.Generator()
    model = Random(lambda self, x: torch.randn(len(x), generator=hidden)).eval()
    assert not frozen_for_attack(model, IMAGES).verified


class Stub:
    """A device that nobody may ask."""

    in_features, out_features, mean_reading, fingerprint = 64, 300, 40.0, "stub"

    def __deepcopy__(self, memo):
        return self

    def measure(self, bits):
        raise AssertionError("a frame was taken")


def defended(device):
    network = vgg16(0.06, classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=2)
    return randomised(defend(network, at="head", device=device, seed=3)).eval()


@pytest.mark.parametrize("device", ["noisy", "moving", "stub"])
def test_no_frame_of_a_device_is_taken_and_no_draw(device):
    make = {
        "noisy": lambda: SimulatedOPU.create(64, 300, seed=1, camera=Camera(read_noise=20, shot_noise=100)),
        "moving": lambda: MovingDevice.create(64, 300, count=3, seed=1, camera=Camera(read_noise=1)),
        "stub": Stub,
    }[device]
    images = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model, twin = defended(make()), defended(make())
    for kind in (model, Averaged(model, 2)):
        frozen = frozen_for_attack(kind, images)
        assert frozen.verified
        assert parts(frozen)
    if device != "stub":
        assert torch.equal(model(images), twin(images))


@pytest.mark.parametrize("moving", [False, True])
def test_a_device_that_a_module_asks_by_itself_answers_both_alike_and_counts_no_frame(moving):
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            noisy = Camera(read_noise=20)
            kind = MovingDevice if moving else SimulatedOPU
            self.eyes = kind.create(16, 32, seed=1, camera=noisy, **({"count": 3} if moving else {}))
            self.net, self.last = Net(), nn.Linear(32, 4)

        def forward(self, x):
            seen = self.last(self.eyes.measure((x[:, 0, :2].flatten(1) > 0.5).to(torch.uint8)).float() / 255)
            return self.net(x) + seen

    torch.manual_seed(0)
    model = Asks().eval()
    torch.manual_seed(0)
    twin = Asks().eval()
    assert frozen_for_attack(model, IMAGES).verified
    assert torch.equal(model(IMAGES), twin(IMAGES))
    assert not torch.equal(model(IMAGES), model(IMAGES))


def test_a_rounding_at_a_threshold_is_no_other_function():
    class Signs(nn.Module):
        """Bits of features, some exactly at their threshold; the derivative of the step passed as the identity's."""

        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(192, 64), nn.Linear(64, 4)
            self.threshold = self.first(IMAGES[0].flatten()).detach()

        def forward(self, x):
            hidden = self.first(x.flatten(1)) - self.threshold
            return self.last((hidden > 0).to(x) + hidden - hidden.detach())

    plain = randomised(Signs()).eval()
    plain.threshold = plain.first(IMAGES[:8].flatten(1))[0].detach()
    jumps = copy.deepcopy(plain)
    jumps.threshold -= 1e-6
    assert float((plain(IMAGES[:1]) - jumps(IMAGES[:1])).abs().max().detach()) > 0.1
    assert same_function(plain, jumps, IMAGES[:8])
    other = copy.deepcopy(plain)
    with torch.no_grad():
        other.last.weight *= -1
    assert not same_function(plain, other, IMAGES[:8])


def test_what_cannot_be_copied_says_so():
    model = Net()
    model.lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        frozen_for_attack(model, IMAGES)


CHANGES = {
    "other weights": lambda net: net.load_state_dict(randomised(Net()).state_dict()),
    "another weight": lambda net: setattr(net.f[0], "weight", nn.Parameter(-net.f[0].weight)),
    "a hook": lambda net: net.f[2].register_forward_hook(doubled),
    "a forward": lambda net: setattr(net.head[1], "forward", lambda x: x),
    "another layer": lambda net: net.f.append(nn.Tanh()),
    "train mode": lambda net: net.train(),
    "another type": lambda net: net.double(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_to_the_copy_is_no_change_of_something_else(change):
    plain = Net().eval()
    frozen = frozen_for_attack(plain, IMAGES)
    frozen(IMAGES)
    for net in (plain, frozen):
        torch.manual_seed(0)
        CHANGES[change](net)
    images = IMAGES.double() if change == "another type" else IMAGES
    assert torch.allclose(frozen(images), plain(images), rtol=1e-3, atol=1e-3)


def test_a_copy_of_the_copy_is_as_fast_and_stands_alone():
    frozen = frozen_for_attack(Net().eval(), IMAGES)
    twin = copy.deepcopy(frozen)
    assert torch.equal(twin(IMAGES), frozen(IMAGES))
    assert (
        [part.trusted for part in parts(twin)]
        == [part.trusted for part in parts(frozen)]
        == [*["same"] * 2, "new", "same"]
    )
    assert {id(p) for p in twin.parameters()}.isdisjoint(id(p) for p in frozen.parameters())
    assert len(list(copy.deepcopy(frozen.head[0]).modules())) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:Converting a tensor")
def test_a_script_is_copied_and_a_trace_of_a_copy_is_the_model():
    model = Net().eval()
    script = torch.jit.trace(model, IMAGES[:4])
    frozen = frozen_for_attack(script, IMAGES)
    assert frozen.verified
    assert_same(script, frozen)
    assert_same(model, torch.jit.trace(frozen_for_attack(model, IMAGES), IMAGES[:4]))


def test_under_inference_mode_the_copy_is_made_and_compared():
    model = Net().eval()
    with torch.inference_mode():
        frozen = frozen_for_attack(model)
        assert torch.allclose(frozen(IMAGES), model(IMAGES), atol=1e-3)
    assert {part.trusted for part in parts(frozen)} == {"same"}
    found = GradientAccess(frozen).loss_and_grad(IMAGES, torch.zeros(40, dtype=torch.int64), cross_entropy)
    assert not found.zero.any()
