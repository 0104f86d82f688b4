from dataclasses import asdict

import pytest
import torch

from groundglass.data import ImageSet
from groundglass.models import ModelSpec, build
from groundglass.optics import SimulatedOPU
from groundglass.training import HybridDFA, TrainingConfig
from groundglass.training import checkpoint as checkpoints

SPEC = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, dropout=0.1, device_in=32, device_out=64)


@pytest.fixture(scope="session")
def coloured():
    """Three colours under noise: learned in a few steps."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=generator)
    images = torch.randint(0, 90, (90, 3, 32, 32), generator=generator, dtype=torch.uint8)
    images[torch.arange(90), labels] += 120
    return ImageSet("coloured", "train", images, labels, ("r", "g", "b"))


class Killed(Exception):
    """Ends a training in the middle."""


def same(a, b):
    """Two states or histories: all tensors bit for bit, all else but the time equal."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def facts(history):
    return [
        {k: v for k, v in asdict(h).items() if k not in ("seconds", "core_seconds", "images_per_second")}
        for h in history
    ]


@pytest.fixture
def at_every_step(monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)


def fresh():
    return build(SPEC, device=SimulatedOPU.create(32, 64, seed=1), seed=2)


@pytest.fixture
def defended():
    return fresh()


@pytest.fixture
def config():
    return TrainingConfig(epochs=3, batch_size=30, learning_rate=0.02)


@pytest.fixture
def credit():
    return HybridDFA()
