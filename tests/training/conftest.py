import pytest
import torch

from groundglass.data import ImageSet
from groundglass.models import ModelSpec, build
from groundglass.optics import SimulatedOPU
from groundglass.training import HybridDFA, TrainingConfig

SPEC = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, dropout=0.1, device_in=32, device_out=64)


@pytest.fixture(scope="session")
def coloured():
    """Three colours under noise: learned in a few steps."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=generator)
    images = torch.randint(0, 90, (90, 3, 32, 32), generator=generator, dtype=torch.uint8)
    images[torch.arange(90), labels] += 120
    return ImageSet("coloured", "train", images, labels, ("r", "g", "b"))


@pytest.fixture
def defended():
    return build(SPEC, device=SimulatedOPU.create(32, 64, seed=1), seed=2)


@pytest.fixture
def config():
    return TrainingConfig(epochs=3, batch_size=30, learning_rate=0.02)


@pytest.fixture
def credit():
    return HybridDFA()
