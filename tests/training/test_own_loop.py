"""A PyTorch loop of one's own trains a defended network as `train` does; and features first, by backpropagation."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundglass.data import batches
from groundglass.models import DefendedNetwork, accuracy, defend
from groundglass.optics import SimulatedOPU
from groundglass.training import (
    BackProp,
    HybridDFA,
    Steps,
    TrainingConfig,
    encode_bits,
    fit_classifier,
    place_device,
    train,
)
from tests.training.conftest import same

N, M = 32, 64
DEVICE = SimulatedOPU.create(N, M, seed=1)
CONFIG = TrainingConfig(epochs=1, batch_size=15, learning_rate=0.02, schedule=Steps(at=()))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=4),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def defended(device: SimulatedOPU | None = DEVICE) -> DefendedNetwork:
    return defend(net(), at="5", device=device, hidden=N, seed=2)


@pytest.mark.parametrize("device", [DEVICE, None], ids=["hybrid", "features first"])
def test_an_epoch_in_a_plain_loop_is_one_of_train_bit_for_bit(coloured, device) -> None:
    mine, theirs = defended(device), defended(device)
    credit = BackProp() if device is None else HybridDFA()
    before = theirs.state_dict()["network.0.weight"].clone()
    (result,) = train(theirs, coloured, CONFIG, credit=credit, seed=4)
    assert not torch.equal(theirs.network[0].weight, before)
    # The layout of memory is the one thing that `train` chooses: convolutions round by it.
    mine.train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(mine.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
    total = 0.0
    for batch in batches(coloured, batch_size=15, seed=4, epoch=0):
        images = batch.images.contiguous(memory_format=torch.channels_last)
        logits = mine(images) if device is not None else credit.logits(mine, images)
        loss = F.cross_entropy(logits, batch.labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item() * len(batch)
    assert total / len(coloured) == pytest.approx(result.loss)
    assert same(mine.state_dict(), theirs.state_dict())


def test_features_are_trained_first_by_the_gradient_of_the_whole() -> None:
    """By hand: all layers, up to the linear head, in one ordinary graph."""
    network, images, labels = defended(None).train(), torch.rand(9, 3, 32, 32), torch.arange(9) % 3
    F.cross_entropy(BackProp().logits(network, images), labels).backward()
    found = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    whole = network.block.readout(network.block.features(network.network[:5](images)))
    F.cross_entropy(whole, labels).backward()
    expected = [parameter.grad for parameter in network.parameters()]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    network.zero_grad()
    F.cross_entropy(network(images), labels).backward()  # B's is another
    assert not torch.allclose(network.network[0].weight.grad, expected[0], atol=1e-4)


def test_two_stages(coloured) -> None:
    network = defended(None)
    train(network, coloured, TrainingConfig(epochs=4, batch_size=15), credit=BackProp(), seed=0)
    first = accuracy(network, coloured)
    assert first > 0.9
    bits = encode_bits(network, coloured)
    place_device(network, DEVICE)
    assert network.device is DEVICE
    fit_classifier(network, bits, coloured.labels, seed=0)
    assert accuracy(network, coloured) > 0.9
    with pytest.raises(ValueError, match="HybridDFA"):
        BackProp().logits(network, coloured.floats(slice(0, 4)))
    train(network, coloured, CONFIG, credit=HybridDFA(), seed=0)  # and the hybrid stage, of all weights
    place_device(network, None)
    with pytest.raises(ValueError, match="binarisation"):
        BackProp().logits(network, coloured.floats(slice(0, 4)))
