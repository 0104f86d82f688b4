"""A network with a narrow 1 x 1 convolution with a stride, as the shortcuts of small ResNets have: torch 2.13 writes beyond its
memory in its gradient where channels come last and the processor has AVX-512, and the process ends."""

import pytest
import torch
from torch import nn

from groundglass.attacks import PGD, Linf
from groundglass.core.layout import layout_of
from groundglass.training import BackProp, PGDTraining, TrainingConfig, train


def network(channels: int = 8, kernel: int = 1, stride: int = 2) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shortcut = nn.Conv2d(channels, 16, kernel, stride)
        return nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            nn.ReLU(),
            shortcut,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 3),
        )


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "last"),
    [(8, 1, 2, False), (12, 1, 2, False), (16, 1, 2, True), (8, 1, 1, True), (8, 3, 2, True)],
)
def test_only_such_networks_are_computed_in_the_plain_order(
    channels: int, kernel: int, stride: int, last: bool
) -> None:
    wanted = torch.channels_last if last else torch.contiguous_format
    assert layout_of(network(channels, kernel, stride)) == wanted


@pytest.mark.parametrize("adversarial", [None, PGDTraining(eps=0.01, steps=1)])
def test_they_are_trained_and_attacked(adversarial: PGDTraining | None) -> None:
    images, labels = torch.rand(8, 3, 56, 56), torch.arange(8) % 3
    config = TrainingConfig(epochs=2, batch_size=8, learning_rate=0.01, adversarial=adversarial)
    model = network()
    (first, last) = train(model, (images, labels), config, credit=BackProp(), seed=0)
    assert 0 < last.loss < 2 * first.loss
    assert all(bool(torch.isfinite(weights).all()) for weights in model.parameters())
    assert bool(torch.isfinite(PGD(steps=2)(model, images, labels, Linf(0.05)).adversarial).all())
