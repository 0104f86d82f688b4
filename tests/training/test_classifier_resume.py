"""A fit that is killed at any step goes on from the step before, to the same classifier bit for bit."""

from dataclasses import replace

import pytest
import torch

from groundglass.data import ImageSet
from groundglass.models import build
from groundglass.optics import Camera, MovingDevice, SimulatedOPU
from groundglass.training import TrainingConfig
from groundglass.training.checkpoint import begun
from groundglass.training.classifier import fit_classifier, place_device
from groundglass.training.encoding import encode_bits

from .conftest import SPEC, Killed, facts, same

pytestmark = pytest.mark.usefixtures("at_every_step")

CONFIG = TrainingConfig(epochs=2, batch_size=40, learning_rate=0.05)
STEPS = 3  # 90 inputs, 40 a step


def network(kind):
    camera = Camera(read_noise=4.0) if kind.startswith("noisy") else Camera()
    if kind == "moving":
        device = MovingDevice([SimulatedOPU.create(32, 64, seed=k) for k in (1, 2)], seed=3)
    else:
        device = None if kind == "linear" else SimulatedOPU.create(32, 64, seed=1, camera=camera)
    model = build(replace(SPEC, device_in=None, device_out=None, linear_hidden=32), seed=2).eval()
    place_device(model, device)
    return model


def fitted(kind, images: ImageSet, path=None, killed=None, config=CONFIG):
    model = network(kind)
    bits = encode_bits(model, images)
    before = model.block.readout.weight.detach().clone()
    steps = 0

    def cross_entropy(*args, **kwargs):
        nonlocal steps
        if steps == killed:
            raise Killed
        steps += 1
        return torch.nn.functional.cross_entropy(*args, **kwargs)

    memory = 0 if kind == "noisy, measured at each step" else 2**30
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("groundglass.training.classifier.F", type("F", (), {"cross_entropy": cross_entropy}))
        try:
            history = fit_classifier(
                model, bits, images.labels, config, seed=0, rows=25, memory=memory, checkpoint=path
            )
        except Killed:
            assert torch.equal(before, model.block.readout.weight)  # as it was
            raise
    return model.block.readout.state_dict(), facts(history)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", ["device", "linear", "noisy", "noisy, measured at each step", "moving"])
def test_killed_at_any_step_it_ends_as_if_nothing_had_been(coloured, tmp_path, kind):
    whole = fitted(kind, coloured)
    for killed in range(CONFIG.epochs * STEPS):
        path = tmp_path / f"{killed}.safetensors"
        with pytest.raises(Killed):
            fitted(kind, coloured, path, killed)
        assert path.exists() == (killed > 0)
        assert same(fitted(kind, coloured, path), whole), f"killed before step {killed}"


def test_a_step_that_was_kept_is_not_taken_again(coloured, tmp_path):
    path = tmp_path / "fit.safetensors"
    with pytest.raises(Killed):
        fitted("device", coloured, path, 4)
    with pytest.raises(Killed):  # before the sixth of six
        fitted("device", coloured, path, 1)
    assert same(fitted("device", coloured, path, 1), fitted("device", coloured))
    assert same(fitted("device", coloured, path, 0), fitted("device", coloured))


def test_it_says_whose_it_is_and_refuses_another_device(coloured, tmp_path):
    path = tmp_path / "fit.safetensors"
    with pytest.raises(Killed):
        fitted("device", coloured, path, 4)
    fit = begun(path)
    assert fit.device == network("device").device.fingerprint
    assert 0 < fit.seconds < 60
    with pytest.raises(ValueError, match="device was"):
        fitted("noisy", coloured, path)
    with pytest.raises(ValueError, match="learning_rate was"):
        fitted("device", coloured, path, config=replace(CONFIG, learning_rate=0.1))
