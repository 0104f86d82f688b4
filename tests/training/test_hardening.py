"""A device in place of a trained network's classifier: what stays, what is learned, and what is refused before any work."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import groundglass as gg
from groundglass.data import Augment
from groundglass.models import defend
from groundglass.models.vgg import vgg16
from groundglass.optics import SimulatedOPU
from groundglass.optics.counted import CountedDevice
from groundglass.training import DivergedError, PGDTraining, encode_features, fine_tune, fit_block, insert
from groundglass.training import checkpoint as checkpoints
from groundglass.training.hardening import HARDENING, classifier_of
from tests.studies.tiny import pictures

from .conftest import same

N, M = 48, 96
DATA = pictures("given")
SHORT = replace(HARDENING, epochs=3, batch_size=20)


class Net(nn.Module):
    """Random features tell the pictures apart. `last`: of a layer above the classifier's first Linear."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
        self.head = head

    def forward(self, images):
        return self.head(self.body(images - 0.5))


def net(*head: nn.Module) -> Net:
    torch.manual_seed(1)
    made = Net(nn.Sequential(*head) if head else nn.Linear(128, 10))
    with torch.no_grad():
        for _ in range(30):
            made.train()(DATA.train.floats(slice(0, 100)))  # BatchNorm's statistics
    return made.eval()


@pytest.fixture(scope="module")
def device():
    return SimulatedOPU.create(N, M, seed=3)


def test_a_device_takes_the_place_of_the_classifier_and_what_lies_below_stays(device):
    network = net()
    before = copy.deepcopy(network.state_dict())
    made = gg.harden(network, device, DATA.train, SHORT, seed=0)
    assert gg.accuracy(network, DATA.test) < 0.4
    assert gg.accuracy(made, DATA.test) > 0.95
    assert (made.at, made.device, made.training) == ("head", device, False)
    assert same(network.state_dict(), before)
    own = made.network.state_dict()
    assert all(torch.equal(own[name], before[name]) for name in before if name.startswith("body")), "statistics too"
    assert all(weight.requires_grad for weight in made.parameters())


def test_the_same_seed_gives_the_same_weights_and_another_one_others(device):
    one, two, other = (gg.harden(net(), device, DATA.train, replace(SHORT, epochs=1), seed=s) for s in (0, 0, 1))
    assert same(one.state_dict(), two.state_dict())
    assert not torch.equal(one.block.readout.weight, other.block.readout.weight)


def test_features_that_are_computed_once_teach_what_the_whole_network_teaches(device):
    """The same steps on the same features, but for what rounds otherwise."""
    config = replace(SHORT, epochs=1)
    once, whole = (insert(net(), device, DATA.train, seed=0) for _ in range(2))
    fine_tune(once, DATA.train, config, seed=0)
    fine_tune(whole, DATA.train, config, augment=_nothing, seed=0)
    assert torch.allclose(once.block.project[0].weight, whole.block.project[0].weight, atol=2e-3)
    assert once.block.readout.weight.abs().max() > 0.05
    assert same(once.network.body.state_dict(), whole.network.body.state_dict())


def _nothing(images, index, *, seed, epoch):
    """An augmentation that does nothing, but is one."""
    return images


@pytest.mark.parametrize("way", ["nothing frozen", "augmented", "on adversarial images"])
def test_other_ways_to_fine_tune(device, way):
    network = net()
    config = replace(
        SHORT, epochs=1, adversarial=PGDTraining(eps=0.01, steps=1, rule="dfa") if way[:2] == "on" else None
    )
    frozen = "nothing" if way == "nothing frozen" else "below"
    augment = Augment(crop=1, flip=False, rotation=0) if way == "augmented" else None
    made = gg.harden(network, device, DATA.train, config, frozen=frozen, augment=augment, seed=0)
    assert gg.accuracy(made, DATA.test) > 0.8
    stayed = same(made.network.body.state_dict(), network.body.state_dict())
    assert stayed == (frozen == "below")
    assert all(weight.requires_grad for weight in made.parameters())


def test_layers_above_the_device_are_trained_and_those_below_are_not(device):
    network = net(nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10))
    made = gg.harden(network, device, DATA.train, SHORT, at="head.0", seed=0)
    assert not made.ends_in_block
    assert gg.accuracy(made, DATA.test) > 0.9
    assert not torch.equal(made.network.head[2].weight, network.head[2].weight)
    assert same(made.network.body.state_dict(), network.body.state_dict())


def test_the_control_has_no_device(device):
    made = gg.harden(net(), None, DATA.train, SHORT, hidden=N, seed=0)
    assert made.device is None
    assert made.block.readout.in_features == N
    assert gg.accuracy(made, DATA.test) > 0.95


def test_an_interrupted_fine_tuning_goes_on_to_the_same_weights(device, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)

    class Killed(Exception):
        pass

    def killing(what, done, total, **figures):
        if what == "hardening" and done * 2 > total:
            raise Killed

    whole = gg.harden(net(), device, DATA.train, SHORT, dropout=0.3, seed=0)
    place = tmp_path / "kept.safetensors"
    with pytest.raises(Killed):
        gg.harden(net(), device, DATA.train, SHORT, dropout=0.3, seed=0, checkpoint=place, progress=killing)
    told = []
    again = gg.harden(
        net(), device, DATA.train, SHORT, dropout=0.3, seed=0, checkpoint=place,
        progress=lambda what, done, total, **_: told.append((what, done, total)),
    )  # fmt: skip
    assert same(again.state_dict(), whole.state_dict())
    done = [done for what, done, _ in told if what == "hardening"]
    assert min(done) > 300, "not from the beginning"
    with pytest.raises(ValueError, match="device"):
        gg.harden(net(), device.redraw(5), DATA.train, SHORT, dropout=0.3, seed=0, checkpoint=place)


def test_which_module_is_the_classifier():
    vgg = vgg16(0.05, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    assert classifier_of(vgg) == "head", "dropout and activations are of the head"
    assert classifier_of(net()) == "head"
    assert classifier_of(net(nn.Linear(128, 9), nn.Tanh(), nn.Linear(9, 10))) == "head"
    assert classifier_of(net(nn.LayerNorm(128), nn.Linear(128, 10))) == "head.1", "a norm has weights that it keeps"
    assert classifier_of(nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))) == "3"
    assert classifier_of(nn.Sequential(nn.Flatten(), nn.Sequential(nn.Dropout(), nn.Linear(8, 4)))) == "1"
    for odd in (nn.Sequential(nn.Conv2d(3, 10, 32), nn.Flatten()), nn.Linear(3, 4)):
        with pytest.raises(ValueError, match="no Linear"):
            classifier_of(odd)


class Backwards(Net):
    """Defines its classifier first, and an auxiliary one last."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(128, 10))
        self.more = nn.Linear(10, 10)

    def forward(self, images):
        return self.head(self.body(images)) + 0 * self.more(self.head(self.body(images)))


def test_what_cannot_be_hardened_is_refused_before_any_work(device, monkeypatch):
    defended = defend(net(), at="head", device=device, seed=0)
    features = torch.zeros(300, 128)
    for wrong, said in (
        (lambda: gg.harden(defended, device, DATA.train, seed=0), "defended already"),
        (lambda: gg.harden(nn.Sequential(nn.Conv2d(3, 10, 32), nn.Flatten()), device, DATA.train, seed=0), "no Linear"),
        (lambda: gg.harden(net(), device, DATA.train, at="body.0", seed=0), "holds no Linear"),
        (lambda: gg.harden(net(), device, DATA.train, at="haed", seed=0), "head"),
        (lambda: gg.harden(net(), None, DATA.train, seed=0), "`hidden`"),
        (lambda: gg.harden(Backwards(), device, DATA.train, seed=0), "does not give its logits"),
        (lambda: gg.harden(net(), device, (torch.rand(4, 3, 8, 8), torch.arange(4)), seed=0), "128 features|fails on"),
        (lambda: gg.harden(net(), device, DATA.train, seed=0, frozen="all"), "frozen"),  # type: ignore[arg-type]
        (lambda: fit_block(defended, features[:, :5], DATA.train.labels, seed=0), "float32 .n, 128."),
        (lambda: fit_block(defended, features + torch.nan, DATA.train.labels, seed=0), "NaN"),
        (lambda: fit_block(defended, features, DATA.train.labels[:9], seed=0), "label"),
        (lambda: fit_block(defended, features, DATA.train.labels, replace(SHORT, noise=0.1), seed=0), "noise"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()
    with pytest.raises(DivergedError):
        gg.harden(net(), device, DATA.train, replace(SHORT, learning_rate=1e6), seed=0)


def test_features_are_what_the_block_is_given_and_no_frame_is_taken(device):
    network = defend(net(), at="head", device=device, seed=0).eval()
    frames = device.frames
    features, labels = encode_features(network, DATA.train)
    assert torch.allclose(features, net().body(DATA.train.floats() - 0.5), atol=1e-5)
    assert torch.equal(labels, DATA.train.labels)
    assert device.frames == frames


def test_a_device_measures_every_image_in_every_epoch_and_one_before(device):
    held = CountedDevice(SimulatedOPU.create(N, M, seed=3))
    gg.harden(net(), held, DATA.train, replace(SHORT, epochs=2), seed=0)
    assert held.frames == 1 + 2 * len(DATA.train)
