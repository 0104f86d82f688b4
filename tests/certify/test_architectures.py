"""What certificates there are for the networks beside VGG-16: of smoothing, and not of bounds."""

import pytest
import torch

from groundglass.certify import smooth
from groundglass.certify.relaxed import bounds
from groundglass.models import ModelSpec, build
from groundglass.optics import SimulatedOPU

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_smoothing_needs_forward_passes_alone_and_bounds_refuse(name: str) -> None:
    spec = ModelSpec(architecture=name, width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    plain = build(spec, seed=0).eval()
    with pytest.raises(ValueError, match="in Sequential or in a Classifier"):
        bounds(plain, IMAGES, 0.01)
    device = SimulatedOPU.create(16, 24, seed=1)
    defended = build(ModelSpec(**{**vars(spec), "device_in": 16, "device_out": 24}), device=device, seed=0).eval()
    for model in (plain, defended):
        found = smooth(model, 0.1).certify(IMAGES, n0=10, n=20, seed=0)
        assert len(found.images) == 2
