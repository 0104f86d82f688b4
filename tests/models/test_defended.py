import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundglass.attacks import Exact
from groundglass.models import DefendedNetwork, OpticalBlock, defend, vgg16
from groundglass.optics import Blocked, RandomFeedback, SimulatedOPU, binarise, true_matrix

N, M, D, C = 48, 96, 20, 10


class Features(nn.Module):
    """A small classifier with a named Linear, as any user's."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, D), nn.Tanh())
        self.fc = nn.Linear(D, C)

    def forward(self, x):
        return self.fc(self.body(x))


@pytest.fixture
def device():
    return SimulatedOPU.create(N, M, seed=11)


@pytest.fixture
def network(device):
    torch.manual_seed(0)
    return defend(Features(), at="fc", device=device, seed=5)


@pytest.fixture
def images():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(2))


LABELS = torch.tensor([0, 1, 2, 3, 4, 5])


def _by_hand(network, images):
    """The gradient of hybrid training written out, without any of the package's autograd."""
    body, block = network.network.body, network.block
    x = images.clone().requires_grad_()
    hidden = block.features(body(x))
    bits = binarise(hidden.detach())
    readings = block.optical(bits) * block.gain
    logits = block.readout(readings)
    error = (logits.softmax(1) - F.one_hot(LABELS, C)) / len(LABELS)
    (gradient,) = torch.autograd.grad(hidden, x, grad_outputs=(error @ network.feedback).detach())
    return gradient, error, readings


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_autograd_gives_the_dfa_gradient(network, images, training, frozen):
    network.train(training).requires_grad_(not frozen)
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(network(x), LABELS), x)
    expected, _, _ = _by_hand(network, images)
    assert expected.abs().max() > 0
    assert torch.allclose(gradient, expected, atol=1e-7)


def test_the_readout_gets_its_ordinary_gradient(network, images):
    network.eval()
    F.cross_entropy(network(images), LABELS).backward()
    _, error, readings = _by_hand(network, images)
    assert torch.allclose(network.block.readout.weight.grad, (error.T @ readings), atol=1e-6)


def test_backward_reaches_the_first_layer_and_is_not_counted_twice(network, images):
    network.eval()
    F.cross_entropy(network(images), LABELS).backward()
    first = network.network.body[1].weight.grad
    body, block = network.network.body, network.block
    network.zero_grad()
    hidden = block.features(body(images))
    _, error, _ = _by_hand(network, images)
    hidden.backward((error @ network.feedback).detach())
    assert torch.allclose(first, network.network.body[1].weight.grad, atol=1e-7)


def test_feedback_that_is_the_true_jacobian_is_backpropagation_where_the_section_is_affine(images):
    """A contract of the credit assignment: B = W for a linear head is plain backpropagation."""
    torch.manual_seed(0)
    network = defend(Features(), at="fc", device=None, hidden=N, seed=5).eval()
    x = images.clone().requires_grad_()
    rule = RandomFeedback(network.block.readout.weight.detach().clone())
    (gradient,) = torch.autograd.grad(F.cross_entropy(network.seen_through(rule)(x), LABELS), x)
    hidden = network.block.features(network.network.body(x))
    (expected,) = torch.autograd.grad(F.cross_entropy(network.block.readout(hidden), LABELS), x)
    assert torch.allclose(gradient, expected, atol=1e-7)
    (random,) = torch.autograd.grad(F.cross_entropy(network(x), LABELS), x)
    assert not torch.allclose(random, expected, atol=1e-4)


def test_every_rule_sees_the_same_logits(network, images):
    network.eval()
    views = [
        network,
        network.seen_through(Blocked()),
        network.seen_through(RandomFeedback.fresh(C, N, seed=1)),
    ]
    outputs = [view(images) for view in views]
    assert all(torch.equal(outputs[0], o) for o in outputs[1:])


def test_a_readings_rule_gets_the_gradient_at_the_device(network, images):
    class Spy:
        name, site = "spy", "readings"

        def vjp(self, bits, grad):
            self.bits, self.grad = bits, grad
            return torch.ones_like(bits)

    spy = Spy()
    network.eval()
    x = images.clone().requires_grad_()
    torch.autograd.grad(F.cross_entropy(network.seen_through(spy)(x), LABELS), x)
    _, error, _ = _by_hand(network, images)
    assert torch.allclose(spy.grad, error @ network.block.readout.weight * network.block.gain, atol=1e-7)
    assert set(spy.bits.unique().tolist()) == {0.0, 1.0}


def test_a_prediction_does_not_depend_on_its_batch(network, images):
    network.eval()
    whole = network(images)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(whole, alone, atol=1e-5)


def test_without_feedback_it_predicts_and_nothing_is_taught_below(network, images):
    network.eval()
    before = network(images)
    network.destroy_feedback()
    assert "feedback" not in network.state_dict()
    x = images.clone().requires_grad_()
    logits = network(x)
    assert torch.equal(logits, before)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, LABELS), x)
    assert gradient.abs().max() == 0


def test_a_copy_shares_the_device_and_a_pickle_is_refused(network, images):
    network.eval()
    copied = copy.deepcopy(network)
    assert copied.device is network.device
    assert torch.equal(copied(images), network(images))
    with pytest.raises(TypeError, match="holds a secret"):
        pickle.dumps(network)


def test_nothing_of_the_device_is_in_state_or_graph(network, images):
    sizes = {tuple(t.shape) for t in network.state_dict().values()}
    assert (N, M) not in sizes
    assert (M, N) not in sizes
    seen, queue = set(), [F.cross_entropy(network(images.requires_grad_()), LABELS).grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        queue += [n for n, _ in node.next_functions]
        for tensor in getattr(node, "saved_tensors", ()):
            assert tensor is None or tuple(tensor.shape) not in {(N, M), (M, N), (N, 2 * M)}
        assert not any(isinstance(v, SimulatedOPU) for v in getattr(node, "__dict__", {}).values())


def test_the_layer_goes_half_way_and_into_vgg(device, images):
    half_way = defend(
        nn.Sequential(nn.Flatten(), nn.Linear(192, D), nn.ReLU(), nn.Linear(D, D), nn.ReLU(), nn.Linear(D, C)),
        at="3",
        device=device,
        seed=0,
    )
    assert half_way(images).shape == (6, C)
    assert half_way.feedback.shape == (C, N)
    network = vgg16(0.125, classes=C, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    defended = defend(network, at="head", device=device, seed=0)
    assert isinstance(defended, DefendedNetwork)
    assert isinstance(defended.network.head, OpticalBlock)
    assert defended(torch.rand(2, 3, 32, 32)).shape == (2, C)


def test_wrong_places_are_refused_with_what_to_do(device):
    with pytest.raises(ValueError, match="did you mean 'fc'"):
        defend(Features(), at="fcc", device=device, seed=0)
    with pytest.raises(ValueError, match="no Linear"):
        defend(Features(), at="body.2", device=device, seed=0)
    with pytest.raises(ValueError, match="hidden"):
        defend(Features(), at="fc", device=None, seed=0)


@pytest.mark.parametrize("view", ["the training feedback", "another", "readings"])
@pytest.mark.parametrize("change", [lambda z: z.mul_(2), lambda z: z.__iadd__(z.detach()), lambda z: z[:, :5].mul_(2)])
def test_logits_can_be_changed_in_place(network, images, view, change):
    rules = {"another": RandomFeedback.fresh(C, N, seed=1), "readings": Exact(true_matrix(network.device))}
    seen = network.eval() if view == "the training feedback" else network.eval().seen_through(rules[view])
    found = []
    for in_place in (True, False):
        x = images.clone().requires_grad_()
        logits = seen(x)
        logits = change(logits if in_place else logits.clone())
        found.append(torch.autograd.grad(logits.square().sum(), x)[0])
    assert torch.equal(*found)
    assert found[0].any()
