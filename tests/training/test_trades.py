"""TRADES beside its formula, where the inner maximum is known: two classes and a linear network behind a BatchNorm.

The KL between two Bernoulli distributions grows with the distance of their margins, so x' is x + eps * sign(w), or x - eps *
sign(w).
"""

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.core.accelerator import repeatable
from groundglass.data import ImageSet
from groundglass.training import TRADES

EPS, BETA, N = 16 / 255, 6.0, 40


def toy():
    draw = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
        model[1].running_mean.fill_(0.5)
        model[1].running_var.fill_(0.03)
    images, labels = torch.rand(N, 1, 2, 2, generator=draw) * 0.6 + 0.2, torch.arange(N) % 2
    return model.train(), images, labels


def margins(model, x):
    """By numpy, in float64: the margin of class 1 of a batch that BatchNorm normalises by its own statistics; and its input."""
    x = x.flatten(1).double().numpy()
    inside = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    weight, bias = (p.detach().double().numpy() for p in model[2].parameters())
    return inside @ (weight[1] - weight[0]) + bias[1] - bias[0], inside


def sigmoid(m):
    return 1 / (1 + np.exp(-m))


@pytest.mark.parametrize("beta", [0.0, 1.0, BETA])
def test_loss_gradient_and_statistics_are_those_of_the_formula(beta):
    model, x, y = toy()
    passed = []

    def learn(images):
        passed.append(images.detach().clone())
        return model(images)

    images = ImageSet("toy", "train", torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"))
    hard = TRADES(eps=EPS, beta=beta, steps=5)
    with repeatable(x.device):
        logits, loss = hard.objective(model, learn, images, precision="float32", seed=0, epoch=0)(x, y, 0)
    loss.backward()

    clean, x_hard = passed
    assert torch.equal(clean, x)
    way = (model[2].weight[1] - model[2].weight[0]).detach().sign()
    signs = ((x_hard - x).flatten(1) / EPS) * way
    assert torch.allclose(signs, signs[:, :1].expand(-1, 4), atol=1e-4)  # a corner of the ball, along w or against it
    assert torch.allclose(signs.abs(), torch.ones(()), atol=1e-4)
    assert {-1, 1} == set(signs[:, 0].round().int().tolist())

    (m, inside), (m_hard, inside_hard) = margins(model, clean), margins(model, x_hard)
    p, p_hard, label = sigmoid(m), sigmoid(m_hard), y.numpy()
    natural = np.where(label == 1, -np.log(p), -np.log(1 - p)).mean()
    kl = (p * np.log(p / p_hard) + (1 - p) * np.log((1 - p) / (1 - p_hard))).mean()
    assert kl > 0.01
    assert loss.item() == pytest.approx(natural + beta * kl, rel=1e-4)
    assert np.allclose((logits[:, 1] - logits[:, 0]).detach().numpy(), m_hard, atol=1e-3)
    # The clean prediction is no constant: the gradient goes through both of the KL's sides, as in the published code.
    by_m = p - label + beta * p * (1 - p) * (m - m_hard)
    by_weight = (by_m[:, None] * inside + beta * (p_hard - p)[:, None] * inside_hard).mean(0)
    assert np.allclose(model[2].weight.grad[1].numpy(), by_weight, atol=1e-4)
    assert np.allclose(model[2].weight.grad[0].numpy(), -by_weight, atol=1e-4)
    # The attack in eval mode leaves the statistics alone; then x moves them, and x'.
    mean = 0.9 * (0.9 * 0.5 + 0.1 * x.flatten(1).mean(0)) + 0.1 * x_hard.flatten(1).mean(0)
    assert torch.allclose(model[1].running_mean, mean, atol=1e-5)
