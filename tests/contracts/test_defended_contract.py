"""What holds for every defended network, of one layer or of several: `Defended`."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import groundglass as gg
from groundglass.adaptive import RULES, STAND_INS, make_rule, observe, stand_in
from groundglass.attacks import GradientAccess, frozen_for_attack
from groundglass.attacks.model_identity import identity_of
from groundglass.data import ImageSet
from groundglass.models import (
    Defended,
    DefendedEnsemble,
    DefendedNetwork,
    MemberRules,
    View,
    defend,
    devices_of,
    predict_logits,
)
from groundglass.models.rescaled import rescaled
from groundglass.optics import Blocked, SimulatedOPU, true_matrix
from groundglass.training import BackProp, HybridDFA

N, M, CLASSES = 16, 48, 4
IMAGES = torch.rand(9, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def _body() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 24), nn.ReLU())


def _part(number: int, optical: bool, below: nn.Module | None = None) -> DefendedNetwork:
    device = SimulatedOPU.create(N, M, seed=number + 1) if optical else None
    network = nn.Sequential(*([] if below is None else below), nn.Linear(24, CLASSES))
    hidden = None if optical else N
    return defend(network, at=str(len(network) - 1), device=device, hidden=hidden, seed=number, classes=CLASSES)


def _several(*, votes: bool, optical: bool = True) -> Callable[[], Defended]:
    return lambda: DefendedEnsemble([_part(k, optical) for k in range(3)], body=_body(), votes=votes)


MAKE: dict[str, Callable[[], Defended]] = {
    "one layer": lambda: _part(0, True, _body()),
    "a linear head": lambda: _part(0, False, _body()),
    "one classifier": _several(votes=False),
    "votes": _several(votes=True),
    "linear heads, votes": _several(votes=True, optical=False),
}


@pytest.fixture(params=MAKE)
def network(request: pytest.FixtureRequest) -> Defended:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MAKE[request.param]().eval()


def gradient(model: nn.Module) -> Tensor:
    x = IMAGES.clone().requires_grad_()
    error = torch.randn(len(x), CLASSES, generator=torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad(model(x), x, error, allow_unused=True)
    return torch.zeros_like(x) if found is None else found


def rules_for(network: Defended) -> list[str]:
    if not network.devices:
        return ["bp", "dfa", "dfa-fresh", "bpda-fit-linear"]
    return [name for name in RULES if name not in (*STAND_INS, "bp", "ste", "bpda-fit-network")]


def test_an_answer_is_the_same_by_any_rule_in_any_batch_and_mode(network: Defended) -> None:
    logits = network(IMAGES)
    assert logits.shape == (9, network.classes) == (9, CLASSES)
    natural = ImageSet(
        "n", "train", (255 * IMAGES).repeat(4, 1, 1, 1).to(torch.uint8), torch.arange(36) % 4, tuple("abcd")
    )
    given = [true_matrix(one) for one in network.devices]
    matrix = given if isinstance(network, DefendedEnsemble) else (given or [None])[0]
    for name in rules_for(network):
        needs = matrix if name in ("bpda-retrieved", "exact-blurred") else None
        rule = make_rule(name, network, seed=0, pairs=lambda: observe(network, natural), matrix=needs)
        assert rule.name == name
        view = network.seen_through(rule)
        assert isinstance(view, View)
        assert torch.equal(view(IMAGES), logits)
        assert bool(gradient(view).flatten(1).any(1).all()), name
        assert bool(gradient(network.seen_through(rule)).equal(gradient(view)))
    assert not gradient(network.seen_through(Blocked())).any()
    assert torch.equal(network.run(IMAGES[:0], network.training_rule()), logits[:0])
    torch.testing.assert_close(torch.cat([network(one) for one in IMAGES.split(4)]), logits)
    network.train()
    assert torch.equal(predict_logits(network, IMAGES), logits)
    assert network.training


def test_its_parts_are_what_has_one_layer_each(network: Defended) -> None:
    parts = network.parts
    assert network.devices == devices_of(network) == tuple(part.device for part in parts if part.device is not None)
    bits, logits = network.observe(IMAGES)
    assert bits.shape == (9, N * len(parts))
    assert logits.shape == (9, CLASSES * len(parts))
    below = network.each_below(IMAGES)
    assert [tuple(one.shape) for one in below] == [(9, N)] * len(parts)
    assert devices_of(nn.Linear(2, 2)) == ()
    assert isinstance(network.training_rule(), MemberRules) is isinstance(network, DefendedEnsemble)


def test_a_copy_for_attacks_is_the_same_network(network: Defended) -> None:
    frozen = frozen_for_attack(network, IMAGES)
    assert frozen.verified
    assert isinstance(frozen, Defended)
    assert frozen.devices == network.devices
    torch.testing.assert_close(frozen(IMAGES), network(IMAGES))
    torch.testing.assert_close(gradient(frozen), gradient(network))
    assert all(a is b for a, b in zip(copy.deepcopy(network).devices, network.devices, strict=True))


def test_it_is_itself_in_other_units(network: Defended) -> None:
    double = rescaled(network, (0, 2))
    assert isinstance(double, Defended)
    assert torch.equal(double(IMAGES / 2), network(IMAGES))
    assert [part.block for part in double.parts] == [part.block for part in network.parts]
    view = rescaled(network.seen_through(Blocked()), (0, 2))
    assert isinstance(view, View)
    assert torch.equal(view(IMAGES / 2), network(IMAGES))


def test_its_secret_is_in_no_state_and_it_cannot_be_pickled(network: Defended) -> None:
    assert not any(value.numel() >= N * M and set(value.shape) == {N, M} for value in network.state_dict().values())
    if network.devices:
        with pytest.raises(TypeError):
            pickle.dumps(network)
    fingerprints = identity_of(network)["devices"]
    assert set(fingerprints) == {one.fingerprint for one in network.devices}
    by = [identity_of(network.seen_through(make_rule("dfa-fresh", network, seed=seed))) for seed in (0, 0, 1)]
    assert by[0] == by[1] != by[2]


def test_without_b_nothing_passes_and_training_says_so(network: Defended) -> None:
    assert gradient(network).any()
    logits = network(IMAGES)
    network.destroy_feedback()
    assert not gradient(network).any()
    assert torch.equal(network(IMAGES), logits)
    with pytest.raises(ValueError, match="destroyed"):
        HybridDFA().logits(network, IMAGES)
    with pytest.raises(ValueError, match="'dfa' needs"):
        make_rule("dfa", network, seed=0)
    if network.devices:
        with pytest.raises(ValueError, match="HybridDFA"):
            BackProp().logits(network, IMAGES)


def test_stand_ins_and_attacks_take_it(network: Defended) -> None:
    labels = network(IMAGES).argmax(1)
    natural = ImageSet("n", "train", (255 * IMAGES).to(torch.uint8), torch.arange(9) % 4, tuple("abcd"))
    assert stand_in("own-head", network, labelled=natural, seed=0)(IMAGES).shape == (9, CLASSES)
    found = gg.PGD(steps=3, step_size=None)(GradientAccess(network), IMAGES, labels, gg.Linf(0.1))
    assert int(found.gradients.sum()) > 0
    asked = gg.Square()(network, IMAGES, labels, gg.Linf(0.1), budget=5)
    assert len(asked.success) == 9
