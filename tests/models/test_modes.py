"""Train and eval mode: layers that their owner has frozen stay frozen, whatever is done with the network."""

import pytest
import torch
from torch import nn

from groundglass.adaptive import make_rule, observe
from groundglass.attacks import PGD, Averaged, GradientAccess, LabelAccess, Linf, frozen_for_attack
from groundglass.audit import AuditConfig, audit
from groundglass.core.modes import _modules_of
from groundglass.data import ImageSet
from groundglass.models import accuracy, defend, predict_logits
from groundglass.optics import SimulatedOPU
from groundglass.training import (
    TRADES,
    BackProp,
    HybridDFA,
    TrainingConfig,
    encode_bits,
    fit_classifier,
    place_device,
    train,
)

N, C = 32, 3
DEVICE = SimulatedOPU.create(N, 48, seed=1)


def data(count=24):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % C
    pixels = torch.randint(0, 90, (count, 3, 32, 32), generator=draw, dtype=torch.uint8)
    pixels[torch.arange(count), labels] += 120
    return ImageSet("coloured", "train", pixels, labels, ("r", "g", "b"))


def network(defended=True):
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.AvgPool2d(8), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, 12)),
        *(nn.BatchNorm1d(12), nn.Linear(12, C)),
    )
    return defend(model, at="7", device=DEVICE, seed=1) if defended else model


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def frozen(model):
    """As its owner has it: in train mode, the first BatchNorm in eval."""
    model.train()
    for norm in norms(model):
        norm.eval()
    return model


def modes(model):
    return {name: module.training for name, module in model.named_modules()}


def fits(model):
    place_device(model, DEVICE.redraw(seed=2))
    fit_classifier(model, encode_bits(model, data()), data().labels, seed=0)


X, Y = data().floats(slice(0, 6)), data().labels[:6]
USES = {
    "predict": lambda model: predict_logits(model, X),
    "accuracy": lambda model: accuracy(model, data()),
    "observe": lambda model: observe(model, data()),
    "fitted rule": lambda model: make_rule("bpda-fit-linear", model, seed=0, pairs=lambda: observe(model, data())),
    "view": lambda model: model.seen_through(model.training_rule())(X),
    "view of a view": lambda model: Averaged(model.seen_through(model.training_rule()), 2)(X),
    "encode and fit": fits,
    "access": lambda model: LabelAccess(model).labels(X),
    "attack": lambda model: PGD(steps=2)(GradientAccess(model), X, Y, Linf(0.03), seed=0),
    "frozen": frozen_for_attack,
    "audit": lambda model: audit(model, X, Y, Linf(0.03), config=AuditConfig(steps=2, queries=4), seed=0),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.filterwarnings("ignore")
def test_every_helper_leaves_every_module_in_its_mode(use):
    model = frozen(network())
    model.eval() if use == "audit" else None
    norms(model)[0].train(use == "audit")  # one module unlike the others
    before = modes(model)
    if use == "audit":
        train(model, data(), TrainingConfig(epochs=4, batch_size=12), credit=HybridDFA(), seed=0)
        norms(model)[0].train()
        before = modes(model)
    USES[use](model)
    assert modes(model) == before


@pytest.mark.parametrize("adversarial", [None, TRADES(eps=0.03, steps=1, rule="dfa"), TRADES(eps=0.03, steps=1)])
def test_training_leaves_what_its_owner_froze(adversarial):
    defended = adversarial is None or adversarial.rule != "bp"
    config = TrainingConfig(epochs=1, batch_size=8, adversarial=adversarial)
    credit = HybridDFA() if defended else BackProp()
    model, free = frozen(network(defended)), network(defended).train()
    before = [norm.running_mean.clone() for norm in norms(model)]
    seen = []
    norms(model)[0].register_forward_hook(lambda module, given, out: seen.append(module.training))
    for one in (model, free):
        train(one, data(), config, credit=credit, seed=0)
        assert not any(modes(one).values())
    assert seen
    assert not any(seen)
    assert all(torch.equal(norm.running_mean, kept) for norm, kept in zip(norms(model), before, strict=True))
    assert not torch.equal(norms(free)[0].running_mean, before[0])


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_network_that_comes_in_eval_mode_is_trained_whole(wrapped):
    model = network(defended=False).eval()
    model = nn.Sequential(nn.Identity(), model) if wrapped else model  # a wrapper is made in train mode
    before = norms(model)[0].running_mean.clone()
    train(model, data(), TrainingConfig(epochs=1, batch_size=8), credit=BackProp(), seed=0)
    assert not torch.equal(norms(model)[0].running_mean, before)


def test_a_network_that_was_loaded_and_got_a_device_is_trained_whole():
    model = network().eval()
    place_device(model, None)
    place_device(model, DEVICE)
    assert not any(modes(model).values())
    before = norms(model)[0].running_mean.clone()
    train(model, data(), TrainingConfig(epochs=1, batch_size=8), credit=HybridDFA(), seed=0)
    assert not torch.equal(norms(model)[0].running_mean, before)


class StaysRandom(nn.Dropout):
    """A defence by randomness: it overrides `train`, as dropout at test time is often written."""

    def train(self, mode=True):
        return super().train()


class Folds(nn.Module):
    """Folds its scale into its weight for eval mode, and takes it out again for training."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.scale = nn.Linear(48, C, bias=False), nn.BatchNorm1d(C), 3.0

    def train(self, mode=True):
        if mode != self.training:
            self.linear.weight.data.mul_(1 / self.scale if mode else self.scale)
        return super().train(mode)

    def forward(self, x):
        return self.linear(x.flatten(1)) * (self.scale if self.training else 1)


def test_a_module_with_a_train_of_its_own_decides_by_it():
    x = data().floats()[:, :, ::8, ::8]
    random = nn.Sequential(nn.Flatten(), StaysRandom(0.5), nn.Linear(48, C)).eval()
    for ask in (GradientAccess(random).logits, lambda x: predict_logits(random, x)):
        assert not torch.equal(ask(x), ask(x))
    assert modes(random) == {"": False, "0": False, "1": True, "2": False}
    folds = Folds()
    folds.norm.eval()
    expected, weight, before = folds(x), folds.linear.weight.clone(), modes(folds)
    assert torch.allclose(predict_logits(folds, x), expected, atol=1e-5)
    assert torch.allclose(folds.linear.weight, weight)
    assert modes(folds) == before


@pytest.mark.filterwarnings("ignore")  # torch's own, of what is old
def test_every_module_is_found_once_and_in_torchs_order():
    shared = nn.Linear(2, 2)
    nested = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared), nn.ModuleDict({"a": nn.Tanh()}))
    nested.register_module("none", None)
    for model in (nested, network(), Averaged(network(), 2), torch.jit.script(nn.Sequential(shared, nn.ReLU()))):
        assert _modules_of(model) == list(model.modules())
