"""Training on images that grow."""

from dataclasses import replace

import pytest
import torch

from groundglass.data import ImageSet
from groundglass.models import ModelSpec, build, vgg16
from groundglass.optics import Camera, SimulatedOPU
from groundglass.training import BackProp, Growing, HybridDFA, PGDTraining, train

from .conftest import SPEC, same

HALF = Growing(start=0.5, until=0.5)


def seen_by(model):
    """Sizes of the images of every training step."""
    sizes = []
    model.register_forward_pre_hook(
        lambda module, args: sizes.append(tuple(args[0].shape[2:])) if module.training else None
    )
    return sizes


@pytest.mark.parametrize("kind", ["bp", "hybrid"])
def test_images_are_small_first_and_whole_at_the_end(coloured, config, kind):
    if kind == "bp":
        model, credit = build(replace(SPEC, device_in=None, device_out=None), seed=2), BackProp()
    else:
        model, credit = build(SPEC, device=SimulatedOPU.create(32, 64, seed=1), seed=2), HybridDFA()
    pools = [one for one in model.modules() if isinstance(one, torch.nn.MaxPool2d)]
    sizes = seen_by(model)
    train(model, coloured, replace(config, epochs=10, growing=Growing(until=0.2)), credit=credit, seed=0)
    assert sizes == [(16, 16)] * 3 + [(24, 24)] * 3 + [(32, 32)] * 24
    assert not any(pool.ceil_mode for pool in pools)
    assert (model(coloured.floats()).argmax(1) == coloured.labels).float().mean() > 0.75


def test_small_images_are_means_of_what_they_show():
    images = torch.rand(2, 3, 32, 32)
    flat = torch.full((1, 3, 32, 32), 0.3)
    assert torch.allclose(HALF.shrunk(flat, 0, 4), torch.full((1, 3, 16, 16), 0.3))
    small = HALF.shrunk(images, 0, 4)
    assert small.mean().item() == pytest.approx(images.mean().item(), abs=0.005)
    # Without antialiasing it would be as noisy as every other pixel.
    assert small.std() < 0.7 * images.std()
    assert small.min() >= 0
    assert small.max() <= 1
    assert HALF.shrunk(images, 2, 4) is images


def test_a_network_of_a_fixed_size_takes_smaller_ones_while_it_trains(coloured, config):
    twice = torch.cat([coloured.images] * 2, 2)
    wide = ImageSet("wide", "train", twice, coloured.labels, coloured.classes)
    model = vgg16(0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, dropout=0, size=(64, 32), seed=0)
    sizes = seen_by(model)
    train(model, wide, replace(config, epochs=2, growing=HALF), credit=BackProp(), seed=0)
    assert (sizes[0], sizes[-1]) == ((32, 16), (64, 32))
    with pytest.raises(ValueError, match="64 x 32"):
        model(torch.zeros(1, 3, 32, 16))


def test_a_network_that_takes_one_size_alone_is_refused_before_it_learns(coloured, config):
    vit = build(ModelSpec(width=0.1, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, architecture="vit"), seed=0)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    with pytest.raises(ValueError, match="16 x 16"):
        train(vit, coloured, replace(config, growing=HALF), credit=BackProp(), seed=0)
    assert same(vit.state_dict(), before)


def test_nothing_is_measured_to_see_whether_a_network_takes_them(coloured, config):
    device = SimulatedOPU.create(32, 64, seed=1, camera=Camera(read_noise=1.0))  # without noise none are counted
    model = build(SPEC, device=device, seed=2)
    train(model, coloured, replace(config, epochs=2, growing=HALF), credit=HybridDFA(), seed=0)
    assert device.frames == 2 * len(coloured)


def test_adversarial_training_is_on_small_images_too(coloured, config, defended):
    sizes = []
    defended.network.features.register_forward_pre_hook(lambda module, args: sizes.append(args[0].shape[-1]))
    hard = replace(config, epochs=2, growing=HALF, adversarial=PGDTraining(eps=4 / 255, steps=1, rule="dfa"))
    train(defended, coloured, hard, credit=HybridDFA(), seed=0)
    assert {*sizes} == {16, 32}


@pytest.mark.parametrize(("epochs", "until"), [(1, 0.1), (2, 0.6), (5, 0.81)])
def test_some_epochs_must_be_left_for_whole_images(config, epochs, until):
    with pytest.raises(ValueError, match="whole images"):
        replace(config, epochs=epochs, growing=Growing(until=until))
    assert replace(config, epochs=epochs + 1, growing=Growing(until=until / 2)).growing.share(epochs, epochs + 1) == 1
