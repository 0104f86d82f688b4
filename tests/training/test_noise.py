"""Training on noisy images."""

from dataclasses import replace

import pytest
import torch

from groundglass.models import build
from groundglass.optics import SimulatedOPU
from groundglass.training import BackProp, HybridDFA, PGDTraining, encode_bits, fit_classifier, train

from .conftest import SPEC, Killed, same


def network(kind: str) -> torch.nn.Module:
    if kind == "hybrid":
        return build(SPEC, device=SimulatedOPU.create(32, 64, seed=1), seed=2)
    return build(replace(SPEC, device_in=None, device_out=None), seed=2)


@pytest.mark.parametrize("kind", ["bp", "hybrid"])
def test_each_step_has_noise_of_its_own(coloured, config, kind):
    """What enters the network in train mode is the image and a Gaussian of that std; a seed decides it, and it is not clipped."""
    model, seen = network(kind), []
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    credit = HybridDFA() if kind == "hybrid" else BackProp()
    train(model, coloured, replace(config, epochs=1, noise=0.25), credit=credit, seed=0)
    noisy, again = list(seen), network(kind)
    seen.clear()
    again.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    train(again, coloured, replace(config, epochs=1), credit=credit, seed=0)
    noise = torch.cat([one - plain for one, plain in zip(noisy, seen, strict=True)])
    assert float(noise.std()) == pytest.approx(0.25, abs=0.003)
    assert abs(float(noise.mean())) < 0.003
    assert float(torch.cat(noisy).min()) < -0.3
    assert not torch.equal(noise[:30], noise[30:60])
    assert not same(model.state_dict(), again.state_dict())


def test_a_resumed_training_has_the_same_noise(coloured, config, tmp_path, at_every_step):
    noisy, path = replace(config, epochs=1, noise=0.25), tmp_path / "c.safetensors"

    class Dies(HybridDFA):
        steps = 0

        def logits(self, model, images):
            self.steps += 1
            if self.steps == 3:
                raise Killed
            return super().logits(model, images)

    whole, parts = network("hybrid"), network("hybrid")
    train(whole, coloured, noisy, credit=HybridDFA(), seed=3)
    with pytest.raises(Killed):
        train(parts, coloured, noisy, credit=Dies(), seed=3, checkpoint=path)
    again = network("hybrid")
    train(again, coloured, noisy, credit=HybridDFA(), seed=3, checkpoint=path)
    assert same(again.state_dict(), whole.state_dict())
    with pytest.raises(ValueError, match="noise"):
        train(network("hybrid"), coloured, replace(noisy, noise=0.1), credit=HybridDFA(), seed=3, checkpoint=path)


def test_without_noise_an_identity_is_what_it_was(config):
    assert "noise" not in config.described()
    assert replace(config, noise=0.25).described() == {**config.described(), "noise": 0.25}


def test_noise_is_for_training_on_images(coloured, config, defended):
    with pytest.raises(ValueError, match="noise"):
        replace(config, noise=0.1, adversarial=PGDTraining(eps=0.1))
    with pytest.raises(ValueError, match="noise"):
        replace(config, noise=-0.1)
    bits = encode_bits(defended, coloured)
    with pytest.raises(ValueError, match="noise"):
        fit_classifier(defended, bits, coloured.labels, config=replace(config, noise=0.1), seed=0)
