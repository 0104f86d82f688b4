"""What `defend` does to the network it is given, and what its weights say about their device."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from groundglass.models import OpticalBlock, defend
from groundglass.models.weights import load_weights
from groundglass.optics import OpticalLayer, SimulatedOPU
from groundglass.training import BackProp, HybridDFA, place_device

N, M, D, C = 16, 24, 12, 5
DEVICE, OTHER = (SimulatedOPU.create(N, M, seed=seed) for seed in (1, 2))


class Net(nn.Module):
    """Tied weights, a parametrized layer, a hook, and a layer above `fc`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = weight_norm(nn.Linear(48, D))
        self.second, self.third = nn.Linear(D, D, bias=False), nn.Linear(D, D, bias=False)
        self.third.weight = self.second.weight
        self.fc = nn.Linear(D, D)
        self.last = nn.Linear(D, C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.third(self.second(self.first(x.flatten(1)).relu()))
        logits: torch.Tensor = self.last(self.fc(x).tanh())
        return logits


def plain() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def images(seed: int = 0) -> torch.Tensor:
    return torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def step(network: nn.Module) -> None:
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    F.cross_entropy(network(images()), LABELS).backward()
    optimiser.step()


def test_the_callers_network_stays_as_it_was_and_shares_nothing() -> None:
    network = plain()
    before, state, names = (
        network(images()),
        copy.deepcopy(network.state_dict()),
        [n for n, _ in network.named_modules()],
    )
    made = defend(network, at="fc", device=DEVICE, seed=0)
    # What is not replaced has its weights.
    assert torch.equal(made.network.second.weight, network.second.weight)
    assert torch.equal(made.network.last.weight, network.last.weight)
    assert isinstance(made.block, OpticalBlock)
    assert isinstance(network.fc, nn.Linear)
    assert not {id(p) for p in made.parameters()} & {id(p) for p in network.parameters()}
    made.train()
    step(made)
    assert not torch.equal(made.network.second.weight, network.second.weight)
    assert torch.equal(network(images()), before)
    assert [n for n, _ in network.named_modules()] == names
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.training
    # Ties and parametrizations are those of the copy.
    assert made.network.third.weight is made.network.second.weight
    assert "first.parametrizations.weight.original0" in dict(made.network.named_parameters())


def test_a_hook_is_copied_with_its_module() -> None:
    network, met = plain(), []
    network.last.register_forward_hook(lambda module, given, out: met.append(module))
    made = defend(network, at="fc", device=DEVICE, seed=0)
    made(images())
    assert met == [made.network.last]


def test_in_place_is_the_same_network_changed() -> None:
    network = plain()
    apart = defend(network, at="fc", device=DEVICE, seed=3).eval()
    made = defend(network, at="fc", device=DEVICE, seed=3, inplace=True).eval()
    assert made.network is network
    assert isinstance(network.fc, OpticalBlock)
    assert torch.equal(made(images()), apart(images()))


def test_what_is_defended_is_not_defended_again() -> None:
    made = defend(plain(), at="fc", device=DEVICE, seed=0)
    for network, at in (
        (made, "network.last"),
        (made.seen_through(made.training_rule()), "defended.network.last"),
        (nn.Sequential(made), "0.network.fc"),
        (nn.Sequential(made), "0.network.fc.readout"),
        (nn.Sequential(made), "0"),
    ):
        with pytest.raises(ValueError, match="already"):
            defend(network, at=at, device=DEVICE, seed=0)
    assert defend(nn.Sequential(made), at="0.network.last", device=DEVICE, seed=0)(images()).shape == (6, C)


def test_the_same_call_again_says_that_the_network_is_defended() -> None:
    network = defend(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3)), at="1", device=None, hidden=4, seed=0)
    with pytest.raises(ValueError, match="is defended already, at '1'"):
        defend(network, at="1", device=None, hidden=4, seed=0)


@pytest.mark.slow
def test_wrappers_are_refused_and_the_defended_network_may_be_wrapped() -> None:
    for wrapped, at in (
        (nn.DataParallel(plain()), "module.fc"),
        (torch.compile(plain(), backend="eager"), "_orig_mod.fc"),
        (torch.jit.trace(plain(), images()), "fc"),
    ):
        with pytest.raises(ValueError, match=r"network\.module|_orig_mod|TorchScript"):
            defend(wrapped, at=at, device=DEVICE, seed=0)
    made = defend(plain(), at="fc", device=DEVICE, seed=0).eval()
    found = {}
    for name, wrapped in (
        ("alone", made),
        ("parallel", nn.DataParallel(made)),
        ("compiled", torch.compile(made, backend="eager")),
    ):
        with pytest.raises(ValueError, match="HybridDFA"):
            BackProp().logits(wrapped, images())
        made.zero_grad()
        F.cross_entropy(HybridDFA().logits(wrapped, images()), LABELS).backward()
        found[name] = made.network.second.weight.grad.clone()
    assert found["alone"].abs().max() > 0
    assert torch.equal(found["alone"], found["parallel"])
    assert torch.allclose(found["alone"], found["compiled"], atol=1e-6)
    with pytest.raises(ValueError, match="defended network"):
        HybridDFA().logits(nn.DataParallel(plain()), images())


def test_what_cannot_be_copied_is_said_and_can_be_changed_in_place() -> None:
    network = plain()
    network.kept = network.last.weight * 2  # not a leaf: torch does not copy it
    with pytest.raises(ValueError, match="inplace=True"):
        defend(network, at="fc", device=DEVICE, seed=0)
    assert isinstance(network.fc, nn.Linear)
    assert defend(network, at="fc", device=DEVICE, inplace=True, seed=0)(images()).shape == (6, C)
    with pytest.raises(ValueError, match="run it on an image"):
        defend(nn.Sequential(nn.Flatten(), nn.LazyLinear(C)), at="1", device=DEVICE, seed=0)


@pytest.mark.parametrize(
    "load", [lambda net, state: net.load_state_dict(state), lambda n, s: load_weights(n, s, what="f")]
)
def test_weights_of_another_device_are_refused_before_any_is_taken(load) -> None:
    state = defend(plain(), at="fc", device=DEVICE, seed=1).state_dict()
    same, other = (defend(plain(), at="fc", device=device, seed=2) for device in (DEVICE, OTHER))
    load(same, state)
    assert all(torch.equal(value, state[name]) for name, value in same.state_dict().items())
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=f"{OTHER.fingerprint}.*{DEVICE.fingerprint}"):
        load(other, state)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    # A network of no device, and one of another size, too.
    for device in (None, SimulatedOPU.create(N, M + 1, seed=1)):
        with pytest.raises((ValueError, RuntimeError)):
            load(defend(plain(), at="fc", device=device, hidden=N, seed=2), state)
    # By a redraw the weights are another device's.
    place_device(same, OTHER)
    load(other, same.state_dict())


def test_a_layer_in_a_network_of_ones_own_says_whose_it_is_too() -> None:
    mine, theirs = (nn.Sequential(nn.Linear(4, N), OpticalLayer(device), nn.Linear(M, C)) for device in (DEVICE, OTHER))
    with pytest.raises(ValueError, match="not the one"):
        theirs.load_state_dict(mine.state_dict())
    for state in (
        b"x",
        torch.zeros(3),
        torch.zeros(2, 2, dtype=torch.uint8),
        torch.zeros(10**6, dtype=torch.uint8),
        "x",
    ):
        with pytest.raises(ValueError, match="altered"):
            mine.load_state_dict({**mine.state_dict(), "1._extra_state": state})


def test_weights_of_an_earlier_version_name_no_device_and_are_taken() -> None:
    made = defend(plain(), at="fc", device=DEVICE, seed=1)
    state = made.state_dict()
    del state["network.fc.optical._extra_state"]
    again = defend(plain(), at="fc", device=DEVICE, seed=2)
    again.load_state_dict(state)
    assert torch.equal(again.eval()(images()), made.eval()(images()))
