"""Training of ensembles: one error for one classifier, each part's own for a vote."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DataParallel

from groundglass.models import DefendedEnsemble, accuracy, defend
from groundglass.optics import Camera, SimulatedOPU
from groundglass.training import (
    BackProp,
    DirectFeedback,
    HybridDFA,
    PGDTraining,
    TrainingConfig,
    encode_bits,
    fit_classifier,
    place_device,
    train,
)
from tests.contracts.test_credit_contract import coloured
from tests.models.test_ensemble import CLASSES, N, ensemble, images

CONFIG = TrainingConfig(epochs=15, batch_size=20, learning_rate=0.1)


def small(*, votes: bool, optical: bool = True, noise: float = 0.0, seed: int = 0) -> DefendedEnsemble:
    """Two heads on a hidden layer of 16, for pictures of three classes."""
    parts = []
    for number in range(2):
        opu = SimulatedOPU.create(N, 64, seed=number + 1, camera=Camera(read_noise=noise)) if optical else None
        head = nn.Sequential(nn.Linear(16, 3))
        parts.append(defend(head, at="0", device=opu, hidden=None if optical else N, seed=seed + number, classes=3))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DefendedEnsemble(parts, body=nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU()), votes=votes)


@pytest.mark.parametrize("votes", [False, True])
def test_it_learns_by_hybrid_dfa_and_goes_on_from_a_checkpoint(votes, tmp_path, monkeypatch):
    model, natural = small(votes=votes), coloured(0)
    history = train(model, natural, CONFIG, credit=HybridDFA(), seed=0)
    assert accuracy(model, natural) > 0.8
    assert history[-1].train_accuracy > history[0].train_accuracy
    path, stopped = tmp_path / "x.safetensors", small(votes=votes)

    def stop(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stopped, natural, CONFIG, credit=HybridDFA(), seed=0, checkpoint=path, on_epoch=stop)
    again = small(votes=votes, seed=9)
    train(again, natural, CONFIG, credit=HybridDFA(), seed=0, checkpoint=path)
    ours, theirs = model.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_parts_that_vote_learn_by_their_own_error_and_those_of_one_classifier_by_that_of_the_sum():
    """The gradient of each part's readout is what it would be if it were trained alone."""
    x, y = images(), torch.arange(7) % CLASSES
    model = ensemble(votes=True)
    logits = HybridDFA().logits(model, x)
    assert logits.shape == (7, 3, CLASSES)
    F.cross_entropy(logits.flatten(0, 1), y.repeat_interleave(3)).backward()
    found = [one.block.readout.weight.grad / len(x) * 7 for one in model.parts]
    for number, grad in enumerate(found):
        alone = ensemble().member(number)
        F.cross_entropy(HybridDFA().logits(alone, x), y).backward()
        torch.testing.assert_close(grad, alone.block.readout.weight.grad / 3)
    whole = ensemble()
    F.cross_entropy(HybridDFA().logits(whole, x), y).backward()
    assert not torch.allclose(whole.parts[0].block.readout.weight.grad, 3 * found[0], rtol=1e-2)


def test_linear_heads_learn_by_backpropagation():
    model, x, y = small(votes=False, optical=False).eval(), torch.rand(6, 3, 2, 2), torch.arange(6) % 3
    F.cross_entropy(BackProp().logits(model, x), y).backward()
    found = model.body[1].weight.grad.clone()

    def plain(number: int) -> torch.Tensor:
        block = model.parts[number].block
        return block.readout(block.features(model.body(x))) * block.gain

    model.zero_grad()
    F.cross_entropy(plain(0) + plain(1), y).backward()
    torch.testing.assert_close(found, model.body[1].weight.grad)
    assert BackProp().logits(small(votes=True, optical=False), x).shape == (6, 2, 3)


def test_what_cannot_train_an_ensemble_says_so(tmp_path):
    natural, model = coloured(0), small(votes=True)
    with pytest.raises(ValueError, match="HybridDFA"):
        BackProp().logits(model, images())
    with pytest.raises(ValueError, match="DataParallel"):
        HybridDFA().logits(DataParallel(model), images())
    with pytest.raises(ValueError, match="DefendedEnsemble"):
        DirectFeedback(seed=0).logits(model, images())
    noisy = small(votes=True, noise=1.0)
    with pytest.raises(ValueError, match="several"):
        train(noisy, natural, CONFIG, credit=HybridDFA(), seed=0, checkpoint=tmp_path / "x.safetensors")
    bits = torch.zeros(7, N, dtype=torch.uint8)
    for refused in (
        lambda: encode_bits(model, natural),
        lambda: place_device(model, None),
        lambda: fit_classifier(model, bits, torch.zeros(7, dtype=torch.int64), CONFIG, seed=0),
    ):
        with pytest.raises(ValueError, match="member"):
            refused()
    hard = TrainingConfig(epochs=1, adversarial=PGDTraining(eps=0.01, steps=1, rule="dfa"))
    with pytest.raises(ValueError, match="vote"):
        train(model, natural, hard, credit=HybridDFA(), seed=0)
    model.destroy_feedback()
    with pytest.raises(ValueError, match="destroyed"):
        HybridDFA().logits(model, images())


@pytest.mark.parametrize("rule", ["dfa", "dfa-fresh", "exact", "bpda-fit-linear"])
def test_one_classifier_learns_on_its_own_adversarial_images(rule):
    hard = replace(CONFIG, adversarial=PGDTraining(eps=0.01, steps=1, rule=rule))
    history = train(small(votes=False), coloured(0), hard, credit=HybridDFA(), seed=0)
    assert history[-1].train_accuracy > 0.6, "on the adversarial images"
    wrong = replace(CONFIG, adversarial=PGDTraining(eps=0.01, steps=1))
    with pytest.raises(ValueError, match="'bp' cannot pass"):
        train(small(votes=False), coloured(0), wrong, credit=HybridDFA(), seed=0)
