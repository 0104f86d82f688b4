"""Our attacks take any module of torch, or any function: what it is made of changes nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.attacks import (
    FGSM,
    L2,
    PGD,
    CarliniWagnerL2,
    GradientAccess,
    LabelAccess,
    Linf,
    Parsimonious,
    RayS,
    ScoreAccess,
    Square,
    numpy_model,
)
from tests.interop import peers

EPS = 32 / 255


@pytest.fixture(scope="module")
def ordinary(images, labels):
    """No class of ours: a Sequential that was fitted by plain torch."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, 10))
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    network.zero_grad()
    return network.eval()


class Doubled(nn.Module):
    """The network in float64, with float64 logits."""

    def __init__(self, network):
        super().__init__()
        self.inner = copy.deepcopy(network).double()

    def forward(self, images):
        return self.inner(images.double())


def _exported(network):
    batch = torch.export.Dim("batch", min=1, max=1024)
    return torch.export.export(network, (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: batch},)).module()


KINDS = {
    "a lambda": lambda network: lambda images: network(images),
    "float64": Doubled,
    "TorchScript": torch.jit.script,
    "a trace": lambda network: torch.jit.trace(network, torch.rand(2, 3, 32, 32)),
    "torch.export": _exported,
    "foolbox's wrapper": lambda network: peers.need("foolbox").PyTorchModel(network, bounds=(0, 1), device="cpu"),
}
ATTACKS = [
    (PGD(steps=8, step_size=EPS / 4), GradientAccess, Linf(EPS)),
    (FGSM(), GradientAccess, Linf(EPS)),
    (CarliniWagnerL2(steps=20, searches=2, learning_rate=0.02, initial_c=1.0), GradientAccess, L2(6.0)),
    (Parsimonious(), ScoreAccess, Linf(EPS)),
    (Square(), ScoreAccess, Linf(EPS)),
    (RayS(), LabelAccess, Linf(EPS)),
]


def _attack(attack, access, model, images, labels, ball):
    budget = {} if access is GradientAccess else {"per_image": 250}
    return attack(access(model, **budget), images, labels, ball, seed=0)


@pytest.mark.parametrize(("attack", "access", "ball"), ATTACKS, ids=lambda value: type(value).__name__)
def test_a_plain_sequential(ordinary, images, labels, attack, access, ball):
    result = _attack(attack, access, ordinary, images, labels, ball)
    assert result.clean_accuracy == 1
    assert result.success_rate >= 0.5
    assert bool(ball.contains(result.adversarial, images, tolerance=1e-5).all())
    assert all(p.grad is None and p.requires_grad for p in ordinary.parameters())


@pytest.mark.one_in(5)
@pytest.mark.filterwarnings("ignore")  # torch would rather have torch.export
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("attack", "access", "ball"), ATTACKS[:1] + ATTACKS[4:5], ids=["PGD", "Square"])
def test_the_same_in_another_guise(ordinary, images, labels, kind, attack, access, ball):
    """The weights decide, not what holds them."""
    expected = _attack(attack, access, ordinary, images, labels, ball)
    found = _attack(attack, access, KINDS[kind](ordinary), images, labels, ball)
    assert torch.equal(found.success, expected.success)
    assert ((found.adversarial - expected.adversarial).abs() < 1e-5).float().mean() > 0.99


@pytest.mark.parametrize("attack", [Parsimonious(), Square()], ids=lambda attack: type(attack).__name__)
def test_a_model_of_numpy(ordinary, images, labels, attack):
    """No torch in it: means, two matrix products and a tanh."""
    w1, b1, w2, b2 = (p.detach().numpy() for p in ordinary.parameters())

    def ask(x):
        pooled = x.reshape(len(x), 3, 4, 8, 4, 8).mean((3, 5)).reshape(len(x), -1)
        return np.tanh(pooled @ w1.T + b1) @ w2.T + b2

    result = _attack(attack, ScoreAccess, numpy_model(ask), images, labels, Linf(EPS))
    expected = _attack(attack, ScoreAccess, ordinary, images, labels, Linf(EPS))
    assert torch.equal(result.success, expected.success)


def test_a_classifier_of_art(ordinary, images, labels):
    """Through its `predict`, which takes and gives arrays."""
    predict = peers.art_classifier(ordinary).predict
    result = Square()(ScoreAccess(numpy_model(predict), per_image=250), images, labels, Linf(EPS), seed=0)
    expected = _attack(Square(), ScoreAccess, ordinary, images, labels, Linf(EPS))
    assert torch.equal(result.success, expected.success)


def test_training_mode_is_put_back(ordinary, images, labels):
    network = nn.Sequential(nn.Dropout(0.5), ordinary).train()
    PGD(steps=2, step_size=EPS)(GradientAccess(network), images, labels, Linf(EPS), seed=0)
    assert network.training
    assert network[0].training
    ordinary.eval()
