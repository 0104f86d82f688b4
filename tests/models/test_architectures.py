"""What holds for each network that a spec may name; and what is known of ResNet-18 and of the vision transformer."""

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from groundglass.attacks import frozen_for_attack
from groundglass.core import DamagedFileError
from groundglass.models import ARCHITECTURES, ModelSpec, build, load_model, read_spec, resnet18, save_model, vit
from groundglass.models.architectures import ArchitectureName
from groundglass.models.defence import Defence
from groundglass.models.resnet import ResidualBlock
from groundglass.models.shared_features import ensemble_on
from groundglass.models.transformer import Attention
from groundglass.optics import SimulatedOPU
from groundglass.studies.cells.network import described_spec

every = pytest.mark.parametrize("name", ARCHITECTURES)
STATS: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
SPEC = ModelSpec(width=0.05, classes=4, **STATS)
IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def device():
    return SimulatedOPU.create(24, 48, seed=5)


def specs(name):
    """Without the layer, with it, and with a linear head."""
    plain = replace(SPEC, architecture=name)
    return plain, replace(plain, device_in=24, device_out=48), replace(plain, linear_hidden=24, encoding="float")


def test_every_name_has_a_network():
    assert set(ARCHITECTURES) == set(get_args(ArchitectureName))


@every
@pytest.mark.parametrize("size", [None, (28, 28), (30, 21), (8, 8)])
def test_multiplications_are_those_that_torch_counts(name, size):
    one = ARCHITECTURES[name]
    network = one.make(0.2, classes=7, **STATS, size=size, seed=0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.features((torch.rand(1, 3, *(size or (32, 32))) - 0.5) / 0.25)
    assert counter.get_total_flops() / 2 == one.multiplications(0.2, size=size)


@pytest.mark.parametrize(("size", "depths"), [(None, (2, 2)), (None, (3, 1)), ((20, 24), (4, 3)), ((8, 8), (3, 2))])
def test_of_an_ensemble_the_convolutions_up_to_the_deepest_of_its_parts_are_counted(size, depths):
    network = ARCHITECTURES["vgg16"].make(0.2, classes=7, **STATS, size=size, seed=0).eval()
    head = Defence(at="", hidden=8, device_out=None, dropout=0.0, encoding="float", head="normalised", linear_out=None)
    parts = ensemble_on(network, [head] * len(depths), [None] * len(depths), depths=depths, votes=False, seed=0)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        parts.body(torch.rand(1, 3, *(size or (32, 32))))
    found = ARCHITECTURES["vgg16"].multiplications(0.2, size=size, depth=max(depths))
    assert counter.get_total_flops() / 2 == found


@every
def test_the_largest_layer_and_the_head_are_as_said(name):
    one = ARCHITECTURES[name]
    for width, size in ((0.1, None), (0.3, (64, 96))):
        network = one.make(width, classes=3, **STATS, size=size, seed=0)
        assert one.largest(width, size) <= max(p.numel() for p in network.parameters())
        first = next(m for m in network.head.modules() if isinstance(m, nn.Linear))
        assert first.in_features == one.taken(width)


@every
def test_a_seed_gives_the_same_weights_and_leaves_the_global_stream_alone(name):
    make = ARCHITECTURES[name].make
    before = torch.get_rng_state()
    one, same, other = (make(0.05, classes=4, **STATS, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    states = [torch.cat([p.flatten() for p in network.parameters()]) for network in (one, same, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@every
def test_normalisation_is_inside(name):
    make = ARCHITECTURES[name].make
    model = make(0.05, classes=4, **STATS, seed=0).eval()
    bare = make(0.05, classes=4, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0).eval()
    assert torch.allclose(model(IMAGES), bare((IMAGES - 0.5) / 0.25), atol=1e-5)


@every
@pytest.mark.parametrize("which", [0, 1, 2])
def test_files_hold_all_of_a_network(tmp_path, device, name, which):
    spec = specs(name)[which]
    opu = device if which == 1 else None
    model = build(spec, device=opu, seed=1).eval()
    path = tmp_path / "model.safetensors"
    save_model(path, model, spec)
    found = read_spec(path)
    assert found == replace(spec, fingerprint=found.fingerprint, public_seed=found.public_seed)
    loaded = load_model(path, find_device=lambda fingerprint: device)
    with torch.no_grad():
        assert torch.equal(model(IMAGES), loaded(IMAGES))


def test_the_papers_network_is_written_and_named_as_ever(tmp_path):
    save_model(tmp_path / "m", build(SPEC, seed=0), SPEC)
    with safe_open(tmp_path / "m", "pt") as file:
        told = json.loads(file.metadata()["spec"])
    assert "architecture" not in told
    assert "architecture" not in described_spec(SPEC)
    assert described_spec(replace(SPEC, architecture="vit"))["architecture"] == "vit"


def test_a_file_of_one_network_is_not_read_as_another(tmp_path):
    names = list(ARCHITECTURES)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        model = build(replace(SPEC, architecture=name), seed=0)
        save_model(tmp_path / name, model, replace(SPEC, architecture=other))
        with pytest.raises(ValueError, match="another"):
            load_model(tmp_path / name)


def test_a_spec_of_more_places_than_the_file_has_weights_is_refused(tmp_path):
    spec = replace(SPEC, architecture="vit")
    save_model(tmp_path / "m", build(spec, seed=0), replace(spec, size=(100_000, 100_000)))
    with pytest.raises(DamagedFileError, match="at least"):
        load_model(tmp_path / "m")
    with pytest.raises(ValueError, match="architecture"):
        replace(SPEC, architecture="vgg19")


@every
@pytest.mark.parametrize("which", [0, 1])
def test_a_copy_for_attacks_is_the_same_function(device, name, which):
    model = build(specs(name)[which], device=device if which else None, seed=2).train()
    for _ in range(3):
        model(IMAGES)  # statistics of its norms that are not as new
    model.eval()
    frozen = frozen_for_attack(model, IMAGES)
    assert frozen.verified
    found = []
    for one in (model, frozen):
        x = IMAGES.clone().requires_grad_()
        logits = one(x)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, torch.arange(6) % 4), x)
        found.append((logits.detach(), gradient))
    if not which:  # a bit may turn by rounding
        assert torch.allclose(found[0][0], found[1][0], atol=1e-4)
        assert torch.allclose(found[0][1], found[1][1], atol=1e-4)
    assert not torch.equal(found[0][1], torch.zeros_like(found[0][1]))


def test_resnet_18_has_its_known_numbers():
    model = resnet18(classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    assert sum(p.numel() for p in model.parameters()) == 11_173_962  # of its CIFAR form, as published
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 17 + 3  # and three that change a shape
    assert ARCHITECTURES["resnet18"].multiplications(1.0) == 555_417_600


def test_a_residual_block_adds_its_input():
    block = ResidualBlock(8, 8, 1).eval()
    nn.init.zeros_(block.body[-1].weight)
    x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(block(x), torch.relu(x))
    assert ResidualBlock(8, 16, 2)(x).shape == (2, 16, 3, 3)


def test_attention_is_torchs():
    """The same weights in `nn.MultiheadAttention` give the same."""
    own, theirs = Attention(3), nn.MultiheadAttention(96, 3, batch_first=True)
    theirs.load_state_dict(own.state_dict())
    x = torch.randn(2, 10, 96, generator=torch.Generator().manual_seed(1)) * 8
    assert torch.allclose(own(x), theirs(x, x, x, need_weights=False)[0], atol=1e-5)


def test_a_transformer_sees_places_and_takes_its_own_size_alone():
    model = vit(0.05, classes=4, **STATS, seed=0).eval()
    nn.init.normal_(model.features[0].place)
    turned = IMAGES.roll(8, 3)  # whole patches: the same tokens in other places
    assert not torch.allclose(model(IMAGES), model(turned), atol=1e-4)
    nn.init.zeros_(model.features[0].place)
    assert torch.allclose(model(IMAGES), model(turned), atol=1e-5)
    with pytest.raises(ValueError, match="takes images of 32 x 32"):
        model(torch.rand(2, 3, 28, 28))


@every
def test_bad_arguments_are_refused(name):
    for change in (
        {"width": 0},
        {"width": 9.0},
        {"classes": 1},
        {"std": (0.0,) * 3},
        {"size": (0, 32)},
        {"dropout": 1.0},
    ):
        arguments = {"width": 0.05, "classes": 10, **STATS, "seed": 0, **change}
        with pytest.raises(ValueError, match=next(iter(change))):
            ARCHITECTURES[name].make(arguments.pop("width"), **arguments)
