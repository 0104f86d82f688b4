"""Small networks of small images, whose certificates are quick."""

import torch
from torch import Tensor, nn

from groundglass.core.sealed import Seed
from groundglass.models import defend
from groundglass.models.defended import DefendedNetwork
from groundglass.optics import SimulatedOPU

SHAPE = (1, 4, 4)


def images(count: int, *, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.2


def linear(seed: int = 1) -> nn.Sequential:
    """Two classes: 1 where w x + b is above 0. The boundary goes through the middle of the images."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    weight = torch.randn(16, generator=torch.Generator().manual_seed(seed)) * 3
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([-weight, weight]))
        model[1].bias.copy_(torch.tensor([0.5, -0.5]) * weight.sum())
    return model.eval()


def curved(seed: int = 2, *, hidden: int = 24, classes: int = 3) -> nn.Sequential:
    """A network with a hidden layer and large weights, so that its boundaries are near, and many."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, classes))
        for layer in (model[1], model[3]):
            nn.init.normal_(layer.weight, std=0.7)
        nn.init.normal_(model[1].bias, std=0.5)
        middle = torch.full((1, *SHAPE), 0.5)
        with torch.no_grad():
            model[3].bias.copy_(-model(middle)[0] + model[3].bias)
    return model.eval()


def convolutional(seed: int = 3, *, shape: tuple[int, int, int] = (2, 8, 8)) -> nn.Sequential:
    """Every kind of layer that bounds know."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(shape[0], 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(4, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Linear(8, 4),
        )
        for module in model:
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, -1.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.5)
    return model.eval()


def defended(seed: int = 4, *, bits: int = 12, read_noise: float = 0.0) -> DefendedNetwork:
    """A hidden layer, then a device of a few bits."""
    device = SimulatedOPU.create(bits, 40, seed=Seed.raw(seed), read_noise=read_noise)
    network = defend(curved(seed), at="3", device=device, seed=seed)
    with torch.no_grad():
        norm = network.block.project[1]
        norm.momentum = 1.0  # its statistics, so that features are on both sides of 0
        network.train()(images(200, seed=9))
    return network.eval()
