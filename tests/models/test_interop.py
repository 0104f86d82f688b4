"""Other libraries' attacks run on a defended network as they are, and see the gradient that ours see."""

import pytest
import torch

from groundglass.attacks import PGD, GradientAccess, Linf
from groundglass.models import ModelSpec, build
from groundglass.optics import RandomFeedback, SimulatedOPU

foolbox = pytest.importorskip("foolbox")

EPS, STEPS, SIZE = 0.05, 5, 0.01


@pytest.fixture(scope="module")
def network():
    spec = ModelSpec(width=0.06, classes=4, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=64, device_out=128)
    return build(spec, device=SimulatedOPU.create(64, 128, seed=1), seed=3).eval()


@pytest.mark.parametrize("view", ["itself", "through another rule"])
def test_foolbox_pgd_is_our_pgd(network, view):
    model = network if view == "itself" else network.seen_through(RandomFeedback.fresh(4, 64, seed=9))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 32, 32, generator=generator)
    labels = model(images).argmax(1)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=SIZE, steps=STEPS, random_start=False)
    wrapped = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    _, theirs, _ = attack(wrapped, images, labels, epsilons=EPS)
    ours = PGD(steps=STEPS, step_size=SIZE, keep="last", stop_when_fooled=False)(
        GradientAccess(model), images, labels, Linf(EPS), seed=0
    )
    moved = (theirs - images).abs().flatten(1).amax(1)
    assert torch.allclose(moved, torch.full((8,), EPS), atol=1e-6)
    same = ((theirs - ours.adversarial).abs() < 1e-6).float().mean()
    assert same > 0.99  # a gradient beside zero may have another sign in another library's graph
