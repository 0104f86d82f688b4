"""Two small trained networks, and the defended one as every attacker sees it."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from groundglass.adaptive import make_rule, observe
from groundglass.data import ImageSet
from groundglass.models import DefendedNetwork, ModelSpec, build
from groundglass.optics import SimulatedOPU, true_matrix
from groundglass.training import BackProp, HybridDFA, TrainingConfig, train

N, M = 64, 256
#: Gentle enough that every one of 4 seeds, for the plain and the defended network, ends with all images right.
HOW = TrainingConfig(epochs=4, batch_size=20, learning_rate=0.02)


def pictures(split: str, count: int) -> ImageSet:
    """Ten faint patterns of big squares under noise: easy to learn, and 8/255 is enough to turn one into another."""
    squares = 0.4 + 0.2 * torch.rand(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % 10
    noise = 0.2 * torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count)) - 0.1
    images = squares.repeat_interleave(8, 2).repeat_interleave(8, 3)[labels] + noise
    return ImageSet("patterns", split, (255 * images).round().to(torch.uint8), labels, tuple("abcdefghij"))


def _spec(device: SimulatedOPU | None) -> ModelSpec:
    sizes = {} if device is None else {"device_in": N, "device_out": M}
    return ModelSpec(width=0.06, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, **sizes)


@pytest.fixture(scope="session")
def training_images() -> ImageSet:
    return pictures("train", 300)


@pytest.fixture(scope="session")
def images() -> Tensor:
    return pictures("test", 12).floats()


@pytest.fixture(scope="session")
def labels() -> Tensor:
    return pictures("test", 12).labels


@pytest.fixture(scope="session")
def plain(training_images: ImageSet) -> nn.Module:
    network = build(_spec(None), seed=3)
    train(network, training_images, HOW, credit=BackProp(), seed=0)
    network.zero_grad()
    return network


@pytest.fixture(scope="session")
def defended(training_images: ImageSet) -> DefendedNetwork:
    device = SimulatedOPU.create(N, M, seed=5)
    network = build(_spec(device), device=device, seed=3)
    train(network, training_images, HOW, credit=HybridDFA(), seed=0)
    network.zero_grad()
    assert isinstance(network, DefendedNetwork)
    return network


@pytest.fixture(scope="session")
def seen(plain: nn.Module, defended: DefendedNetwork, training_images: ImageSet) -> Callable[[str], nn.Module]:
    """The network that the rule of that name is for, as the attacker who uses it sees it."""

    @cache
    def view(name: str) -> nn.Module:
        if name == "bp":
            return plain
        matrix = None
        if name in ("bpda-retrieved", "exact-blurred"):
            # As good as a retrieval gets: a part of the true matrix is noise.
            matrix = true_matrix(defended.device)
            noise = torch.randn(2, *matrix.shape, generator=torch.Generator().manual_seed(1))
            matrix = matrix + 0.1 * matrix.abs().square().mean().sqrt() * torch.complex(noise[0], noise[1])
        rule = make_rule(name, defended, seed=9, pairs=lambda: observe(defended, training_images), matrix=matrix)
        return defended.seen_through(rule)

    return view
