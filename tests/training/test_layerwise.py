"""Feedback through each layer below the device, beside gradients by hand."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import CheckpointError, checkpoint

from groundglass.core import derive_seed
from groundglass.models import defend
from groundglass.optics import SimulatedOPU
from groundglass.optics.backward import draw_feedback
from groundglass.training import DirectFeedback, FeedbackAlignment, HybridDFA, SignSymmetry
from groundglass.training.cutting import cutting
from groundglass.training.layerwise import _ByLayer

LABELS = torch.arange(6) % 3


def defended(below, width):
    """`below` gives [batch, width]."""
    draws = nn.Sequential(below, nn.Flatten(), nn.Linear(width, 3))
    return defend(draws, at="2", device=SimulatedOPU.create(32, 64, seed=1), seed=2, classes=3)


def images(seed=0):
    return torch.randn(6, 4, 7, 7, generator=torch.Generator().manual_seed(seed))


def gradients(model, credit, x):
    model.zero_grad()
    F.cross_entropy(credit.logits(model, x), LABELS).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


class Own(_ByLayer):
    """A layer's own weights go back: that is backpropagation."""

    _kind = "own"

    def _instead(self, name, weight, size):
        return weight


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4 * 49, 20), nn.Linear(20, 20)
        self.second.register_forward_pre_hook(
            lambda layer, given, named: ((), {"input": named["input"] * 2}), with_kwargs=True
        )
        self.second.register_forward_hook(lambda layer, given, out: out * 3)

    def forward(self, x):
        x = torch.relu(self.first(x.flatten(1)))
        return x + self.second(input=x)  # its input goes elsewhere too


NETWORKS = {
    "strided": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3, stride=2)),
        36,
    ),
    "grouped, dilated": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 2, dilation=2, groups=3)),
        150,
    ),
    "padded": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 3, padding="same", padding_mode="reflect")),
        98,
    ),
    "in one dimension": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Flatten(2), nn.Conv1d(4, 2, 5, padding=2)), 98),
    "in three": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.Unflatten(1, (2, 2)), nn.Conv3d(2, 2, (2, 3, 3), padding=(0, 1, 1))
        ),
        98,
    ),
    "tokens": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Flatten(2), nn.Linear(49, 6), nn.GELU(), nn.Linear(6, 5)),
        20,
    ),
    "by name, with hooks, residual": (Named, 20),
    "one layer twice": (lambda: nn.Sequential(shared := nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), shared), 196),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_with_its_own_weights_a_layer_is_backpropagated(kind):
    torch.manual_seed(0)
    make, width = NETWORKS[kind]
    model = defended(make(), width)
    found, usual = gradients(model, Own(), images()), gradients(model, HybridDFA(), images())
    for name in usual:
        assert torch.allclose(found[name], usual[name], rtol=1e-4, atol=1e-6), name
    # And with others it is another gradient, below the last layer.
    other = gradients(model, FeedbackAlignment(), images())
    first = next(iter(usual))
    assert F.cosine_similarity(other[first].flatten(), usual[first].flatten(), dim=0) < 0.9


@pytest.mark.parametrize("kind", ["strided", "grouped, dilated", "padded", "tokens"])
def test_in_bfloat16_too(kind):
    torch.manual_seed(0)
    make, width = NETWORKS[kind]
    model, exact = defended(make(), width), {}
    for own in (Own(), HybridDFA()):
        with torch.autocast("cpu", torch.bfloat16):
            exact[own.name] = gradients(model, own, images())
    found, usual = exact.values()
    for name in usual:
        assert found[name].dtype == torch.float32
        assert (found[name] - usual[name]).norm() <= 0.05 * usual[name].norm() + 1e-6, name


@pytest.fixture
def two():
    """Flatten, Linear, ReLU; then the block, whose own Linear is the second layer below the device."""
    torch.manual_seed(0)
    return defended(nn.Sequential(nn.Flatten(), nn.Linear(196, 20), nn.ReLU()), 20)


def parts(model, x):
    """By hand: the activation of the first layer, the error at the logits, and at the output of the second layer through B."""
    block, first = model.network[2], model.network[0][1]
    with torch.no_grad():
        logits, before = model.eval()(x), first(x.flatten(1))
        error = (logits.softmax(1) - F.one_hot(LABELS, 3)) / len(x)
        at_hidden = error @ model.feedback
        norm = block.project[1]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        second = block.below(before.relu()) > 0
        return before, error, at_hidden * second * scale


def test_direct_feedback_is_the_error_through_a_matrix_of_the_layer(two):
    before, error, _ = parts(two, images())
    name, width = "2.project.0", 20
    drawn = draw_feedback(3, width, seed=derive_seed(5, name, 3, width))
    delta = (error @ drawn) * (before > 0)
    found = gradients(two, DirectFeedback(seed=5), images())
    assert torch.allclose(found["network.0.1.weight"], delta.t() @ images().flatten(1), atol=1e-5)
    assert torch.allclose(found["network.0.1.bias"], delta.sum(0), atol=1e-5)


@pytest.mark.parametrize("magnitudes", ["uniform", "random"])
def test_sign_symmetry_sends_signs_back_and_no_magnitudes(two, magnitudes):
    with torch.no_grad():
        two.network[2].project[0].weight[0, :5] = 0.0
    credit = SignSymmetry(seed=5, magnitudes=magnitudes)
    found = gradients(two.eval(), credit, images())
    before, _, delta = parts(two, images())
    sign = two.network[2].project[0].weight.detach().sign()
    if magnitudes == "uniform":
        by_hand = ((delta @ sign) * (2 / 32) ** 0.5) * (before > 0)
        assert torch.allclose(found["network.0.1.weight"], by_hand.t() @ images().flatten(1), atol=1e-5)
    # Other magnitudes of the weights are of no consequence, where the error at the layer is the same: BatchNorm has it so.
    with torch.no_grad():
        two.network[2].project[0].weight.mul_(4)
        two.network[2].project[1].running_mean.mul_(4)
        two.network[2].project[1].running_var.mul_(16)
    again = gradients(two, credit, images())
    assert torch.allclose(again["network.0.1.weight"] * 4, found["network.0.1.weight"], rtol=1e-2, atol=1e-5)
    with torch.no_grad():
        two.network[2].project[0].weight.neg_()
        two.network[2].project[1].running_mean.neg_()
        two.network[2].project[1].weight.neg_()
    turned = gradients(two, credit, images())
    assert torch.allclose(turned["network.0.1.weight"], again["network.0.1.weight"], rtol=1e-2, atol=1e-5)


def test_random_weights_keep_the_size_of_a_gradient():
    torch.manual_seed(0)
    for groups in (1, 4, 16):
        below = nn.Sequential(nn.Conv2d(4, 16, 1), nn.Conv2d(16, 64, 3, padding=1, groups=groups))
        model = defended(below, 64 * 49)
        sizes = []
        for layer in model.network[0]:
            layer.register_forward_hook(
                lambda layer, given, out, sizes=sizes: (
                    out.register_hook(lambda g: sizes.append(g.square().mean())) and None
                )
            )
        for credit in (FeedbackAlignment(), SignSymmetry(), SignSymmetry(magnitudes="random")):
            gradients(model, credit, images())
            at_out, at_input = sizes[-2:]
            ratio = at_input / at_out
            assert 1 < ratio < 4, (groups, credit, ratio)  # 2, but for the border


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(49, 20, batch_first=True)

    def forward(self, x):
        return self.cell(x.flatten(2))[0][:, -1]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(196, 3)

    def forward(self, x):
        return self.head(x.flatten(1)) + self.head(-x.flatten(1))


class Rechecked(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.second, self.reentrant = nn.Linear(196, 20), nn.Linear(20, 20), reentrant

    def forward(self, x):
        x = torch.relu(self.first(x.flatten(1)))
        return checkpoint(lambda x: torch.relu(self.second(x)), x, use_reentrant=self.reentrant)


class Rows(nn.Module):
    """Two rows an image, and one after them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(98, 10), nn.Linear(10, 10)

    def forward(self, x):
        return self.second(torch.relu(self.first(x.reshape(-1, 98)))).reshape(len(x), 20)


@pytest.mark.parametrize("credit", [DirectFeedback(), FeedbackAlignment(), SignSymmetry()], ids=repr)
def test_what_cannot_be_told_layer_by_layer_is_refused(credit):
    with pytest.raises(ValueError, match="GRU"):
        gradients(defended(Recurrent(), 20), credit, images())
    twice = defend(Twice(), at="head", device=SimulatedOPU.create(32, 64, seed=1), seed=2)
    with pytest.raises(ValueError, match="several times"):
        gradients(twice, credit, images())
    with pytest.raises(ValueError, match="checkpointing"):
        gradients(defended(Rechecked(True), 20), credit, images())
    if not isinstance(credit, DirectFeedback):  # which needs no graph through a layer, so none that could be missing
        with pytest.raises(CheckpointError):
            gradients(defended(Rechecked(False), 20), credit, images())
    with pytest.raises(ValueError, match="wrapper"):
        credit.logits(nn.DataParallel(defended(nn.Flatten(), 196)), images())


def test_rows_that_are_no_images_have_no_error_of_their_own():
    model = defended(Rows(), 20)
    with pytest.raises(ValueError, match="12 rows"):
        gradients(model, DirectFeedback(), images())
    gradients(model, FeedbackAlignment(), images())


@pytest.mark.parametrize("credit", [DirectFeedback(), FeedbackAlignment(), SignSymmetry()], ids=repr)
def test_frozen_layers_and_those_above_the_device_are_as_ever(credit):
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.fc, self.last = nn.Linear(196, 20), nn.Linear(20, 8), nn.GRU(8, 3, batch_first=True)
            self.middle = nn.Linear(20, 20)
            self.features.requires_grad_(False)

        def forward(self, x):
            with torch.no_grad():
                x = torch.relu(self.features(x.flatten(1)))
            return self.last(self.fc(torch.relu(self.middle(x)))[:, None])[0][:, 0]

    torch.manual_seed(0)
    model = defend(Frozen(), at="fc", device=SimulatedOPU.create(32, 64, seed=1), seed=2, classes=3)
    model.zero_grad()
    F.cross_entropy(credit.logits(model, images()), LABELS).backward()
    found = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    usual = defend(Frozen(), at="fc", device=SimulatedOPU.create(32, 64, seed=1), seed=2, classes=3)
    usual.load_state_dict(model.state_dict())
    F.cross_entropy(usual(images()), LABELS).backward()
    for name, parameter in usual.named_parameters():
        if parameter.grad is not None and ("last" in name or "readout" in name):
            assert torch.equal(found[name], parameter.grad), name
    assert "network.features.weight" not in found
    assert found["network.middle.weight"].abs().sum() > 0
    with torch.no_grad():
        assert credit.logits(model, images()).shape == (6, 3)


def test_under_autocast_the_gradient_is_about_the_same():
    torch.manual_seed(0)
    make, width = NETWORKS["strided"]
    model = defended(make(), width).eval()
    for credit in (DirectFeedback(), FeedbackAlignment(), SignSymmetry()):
        whole = gradients(model, credit, images())
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = credit.logits(model, images())
        F.cross_entropy(logits.float(), LABELS).backward()
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())
        same_logits = F.cosine_similarity(
            whole["network.2.readout.weight"].flatten(), model.network[2].readout.weight.grad.flatten(), dim=0
        )
        assert same_logits > 0.5  # a bit or two may flip


def test_another_thread_that_uses_the_network_meanwhile_sees_it_as_it_is(two):
    def cross(name, layer, source, out):
        seen.append(threading.get_ident())
        return out

    seen = []
    with cutting(two, cross):
        other = threading.Thread(target=lambda: two(images()))
        other.start()
        other.join()
        assert seen == []
        two(images())
    assert seen == [threading.get_ident()]
