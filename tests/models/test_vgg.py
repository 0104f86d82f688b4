import itertools

import pytest
import torch
from torch import nn

from groundglass.models import vgg16

STATS = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


def test_the_papers_network_has_thirteen_convolutions_and_its_number_of_parameters():
    model = vgg16(1.0, classes=10, **STATS, seed=0)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 13
    # 9 * (3*64 + 64*64 + ... ) for the convolutions, 2 * channels for each BatchNorm, the head's three Linears.
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    expected = sum(9 * a * b for a, b in itertools.pairwise(channels)) + 2 * sum(channels[1:])
    expected += 2 * (512 * 512 + 512) + 512 * 10 + 10
    assert sum(p.numel() for p in model.parameters()) == expected


def test_width_scales_every_layer():
    quarter = vgg16(0.25, classes=10, **STATS, seed=0)
    assert [m.out_channels for m in quarter.modules() if isinstance(m, nn.Conv2d)][-1] == 128
    assert quarter(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_initial_weights_have_the_papers_spread():
    model = vgg16(0.5, classes=10, **STATS, seed=0)
    for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        expected = (2 / (9 * conv.out_channels)) ** 0.5
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.1)


def test_normalisation_is_inside():
    model = vgg16(0.125, classes=10, **STATS, seed=0).eval()
    bare = vgg16(0.125, classes=10, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0).eval()
    images = torch.rand(4, 3, 32, 32)
    assert torch.allclose(model(images), bare((images - 0.5) / 0.25), atol=1e-5)


def test_a_seed_gives_the_same_weights_and_leaves_the_global_stream_alone():
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    one = vgg16(0.125, classes=10, **STATS, seed=3)
    assert torch.equal(torch.rand(1), before)
    same, other = (vgg16(0.125, classes=10, **STATS, seed=s) for s in (3, 4))
    weights = [m.features[0].weight for m in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("change", "match"), [({"width": 0}, "width"), ({"classes": 1}, "classes"), ({"std": (0.0,) * 3}, "std")]
)
def test_bad_arguments_are_refused(change, match):
    arguments = {"width": 0.125, "classes": 10, "mean": (0.5,) * 3, "std": (0.5,) * 3, "seed": 0, **change}
    width = arguments.pop("width")
    with pytest.raises(ValueError, match=match):
        vgg16(width, **arguments)


def test_images_of_another_shape_are_refused():
    model = vgg16(0.125, classes=10, **STATS, seed=0).eval()
    with pytest.raises(ValueError, match="takes images"):
        model(torch.rand(2, 32, 32, 3))


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (1, 1), (48, 64), (33, 20)])
def test_images_of_any_size_and_number_of_channels(size):
    model = vgg16(0.05, classes=4, mean=(0.5,), std=(0.5,), size=size, seed=0).eval()
    assert model(torch.rand(2, 1, *size)).shape == (2, 4)
    # As many weights as of 32 x 32: the head does not see the size.
    usual = vgg16(0.05, classes=4, mean=(0.5,), std=(0.5,), seed=0)
    assert [w.shape for w in model.parameters()] == [w.shape for w in usual.parameters()]
    with pytest.raises(ValueError, match=f"takes images of {size[0]} x {size[1]}"):
        model(torch.rand(2, 1, 32, 32))


def test_a_size_of_32_is_the_papers_network_to_the_last_module():
    one, two = (vgg16(0.05, classes=4, **STATS, size=size, seed=0) for size in (None, (32, 32)))
    assert repr(one) == repr(two)
