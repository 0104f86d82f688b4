"""Small models and images for the tests of attacks."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 3


class RowModel(nn.Module):
    """A small smooth network computed row by row, so that its logits are the same, bit for bit, in any batch."""

    def __init__(self, seed: int = 0, size: int = 3 * 4 * 4, hidden: int = 16, classes: int = CLASSES) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(hidden, size, generator=generator) / size**0.5)
        self.second = nn.Parameter(3 * torch.randn(classes, hidden, generator=generator) / hidden**0.5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(4 * ((x.flatten(1)[:, None] - 0.5) * self.first).sum(-1))
        return (hidden[:, None] * self.second).sum(-1)


class Linear(nn.Module):
    """Two classes; the second wins where w (x - 1/2) + offset > 0."""

    def __init__(self, weight: Tensor, offset: float) -> None:
        super().__init__()
        self.weight, self.offset = weight, offset

    def forward(self, x: Tensor) -> Tensor:
        score = ((x - 0.5) * self.weight).flatten(1).sum(1) + self.offset
        return torch.stack([torch.zeros_like(score), score], dim=1)


class Counting(nn.Module):
    """Passes images on, and counts them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.rows, self.calls = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        self.calls += 1
        return self.model(x)


def blobs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images [count, 3, 8, 8] of three classes: a faint pattern of the class under noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    noise = torch.randn(count, 3, 8, 8, generator=generator)
    return (0.5 + 0.05 * patterns[labels] + 0.1 * noise).clamp(0, 1), labels


@cache
def trained() -> nn.Module:
    """A small convolutional network that tells the blobs apart; in eval mode. Do not change it."""
    images, labels = blobs(512, seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, CLASSES)
        )  # fmt: skip
        optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(8):
            for rows in torch.randperm(len(images)).split(128):
                optimiser.zero_grad()
                F.cross_entropy(model((images[rows] - 0.5) * 4), labels[rows]).backward()
                optimiser.step()
    return nn.Sequential(Scaled(), *model).eval()


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) * 4
