"""Hybrid training below a device, of the networks beside VGG-16."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from groundglass.models import ARCHITECTURES, accuracy, build
from groundglass.optics import SimulatedOPU
from groundglass.training import EstimatedDerivative, FeedbackAlignment, HybridDFA, TrainingConfig, make_credit, train

from .conftest import SPEC, facts, same

CONFIGS = {
    "resnet18": TrainingConfig(epochs=8, batch_size=15, learning_rate=0.02),
    "vit": TrainingConfig(epochs=8, batch_size=15, learning_rate=3e-3, optimiser="adam", weight_decay=0.0),
}
assert set(CONFIGS) == set(ARCHITECTURES) - {"vgg16"}
every = pytest.mark.parametrize("name", CONFIGS)


def fresh(name, **changes):
    spec = replace(SPEC, architecture=name, **changes)
    return build(spec, device=SimulatedOPU.create(32, 64, seed=1) if spec.device_in else None, seed=2)


@pytest.mark.one_in(5)
@every
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_below_the_device(coloured, name, precision):
    network = fresh(name, dropout=0.0)
    config = replace(CONFIGS[name], precision=precision)
    train(network, coloured, config, credit=HybridDFA(), seed=0)
    assert accuracy(network, coloured) > 0.8  # 1/3 by chance
    assert all(torch.isfinite(p).all() for p in network.parameters())


@every
def test_the_signal_through_b_reaches_every_weight_below(coloured, name):
    network = fresh(name, dropout=0.0).train()
    images = coloured.floats(torch.arange(30))
    F.cross_entropy(HybridDFA().logits(network, images), coloured.labels[:30]).backward()
    for key, parameter in network.network.features.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@every
def test_an_interrupted_training_ends_in_the_same_weights(tmp_path, coloured, name):
    config = replace(CONFIGS[name], epochs=2)
    whole, halves = fresh(name), fresh(name)
    long = train(whole, coloured, config, credit=HybridDFA(), seed=0)

    def stop(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(halves, coloured, config, credit=HybridDFA(), seed=0, checkpoint=tmp_path / "c", on_epoch=stop)
    again = fresh(name)
    short = train(again, coloured, config, credit=HybridDFA(), seed=0, checkpoint=tmp_path / "c")
    assert same(facts(long), facts(short))
    assert same(dict(whole.state_dict()), dict(again.state_dict()))


def test_layer_by_layer_rules_know_residual_blocks_and_refuse_attention(coloured):
    images = coloured.floats(torch.arange(6))
    for credit in ("feedback-alignment", "sign-symmetry", "direct-feedback"):
        resnet, transformer = fresh("resnet18").train(), fresh("vit").train()
        made = make_credit(credit, resnet, seed=0)
        F.cross_entropy(made.logits(resnet, images), coloured.labels[:6]).backward()
        assert all(p.grad is not None for p in resnet.network.features.parameters())
        with pytest.raises(ValueError, match=r"is a Attention: only Linear"):
            made.logits(transformer, images)
    # These two only change how the device is passed.
    transformer = fresh("vit").train()
    for one in (HybridDFA(), EstimatedDerivative.fit(transformer)):
        assert one.logits(transformer, images).shape == (6, 3)
    assert isinstance(make_credit("feedback-alignment", transformer, seed=0), FeedbackAlignment)
