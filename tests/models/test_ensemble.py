"""Several optical layers in one network: what it answers, by which gradients, and what its file says."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from groundglass.core import DamagedFileError
from groundglass.core.sealed import Seed
from groundglass.models import (
    DefendedEnsemble,
    DefendedNetwork,
    MemberRules,
    ModelSpec,
    build,
    defend,
    ensemble_on,
    load_defended,
    load_model,
    predict_logits,
    read_spec,
    save_defended,
    save_model,
    vgg16,
)
from groundglass.models.defence import Defence
from groundglass.models.shared_features import Taps
from groundglass.models.spec import check_room
from groundglass.optics import Blocked, DeviceStore, RandomFeedback, SimulatedOPU

N, M, CLASSES = 16, 64, 5


def device(number: int, n: int = N, m: int = M) -> SimulatedOPU:
    return SimulatedOPU.create(n, m, seed=Seed.raw(number))


class Counted(nn.Sequential):
    """Counts the images that pass."""

    rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        return super().forward(x)


def body() -> Counted:
    return Counted(nn.Flatten(), nn.Linear(12, 10), nn.ReLU())


def part(number: int) -> DefendedNetwork:
    return defend(nn.Sequential(nn.Linear(10, CLASSES)), at="0", device=device(number), seed=number, classes=CLASSES)


def ensemble(count: int = 3, *, votes: bool = False) -> DefendedEnsemble:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DefendedEnsemble([part(number) for number in range(count)], body=body(), votes=votes).eval()


def images(count: int = 7) -> Tensor:
    return torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(1))


class Says(nn.Module):
    """A body that gives each part its own row."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.flatten(1).split(4, 1))


def saying(logits: list[list[float]]) -> DefendedEnsemble:
    """Parts whose logits are these, whatever they see."""
    parts = [
        defend(nn.Sequential(nn.Linear(4, 3)), at="0", device=device(number), seed=number, classes=3)
        for number in range(len(logits))
    ]
    for one, told in zip(parts, logits, strict=True):
        nn.init.zeros_(one.block.readout.weight)
        one.block.readout.bias.data = torch.tensor(told)
    return DefendedEnsemble(parts, body=Says(), votes=True).eval()


def test_one_classifier_is_the_sum_of_its_parts_with_one_pass_through_the_body():
    model, x = ensemble(), images()
    seen = model.body.rows
    logits = model(x)
    assert model.body.rows - seen == len(x)
    parts = [model.member(number) for number in range(3)]
    torch.testing.assert_close(logits, torch.stack([one(x) for one in parts]).sum(0))
    assert torch.equal(predict_logits(model, x), logits)
    assert parts[1].block is model.parts[1].block
    assert parts[1].device is model.devices[1]


def test_its_own_gradient_is_hybrid_dfa_through_every_b():
    """One error, at the sum, through the B of each part, into the body they share."""
    model, x, y = ensemble(), images(), torch.arange(7) % CLASSES
    weight = model.body[1].weight
    (found,) = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), weight)
    features = model.body(x)
    error = (model(x).softmax(1) - F.one_hot(y, CLASSES)).detach()
    wanted = torch.zeros_like(weight)
    for one in model.parts:
        hidden = one.features(features)
        wanted += torch.autograd.grad(hidden, weight, error @ one.feedback, retain_graph=True)[0]
    torch.testing.assert_close(found, wanted)


def test_a_vote_gives_the_votes_and_the_mean_probabilities():
    logits = [[2.0, 0.0, 0.0], [1.5, 1.0, 0.0], [0.0, 9.0, 0.0]]
    model = saying(logits)
    (scores,) = model(torch.rand(1, 3, 2, 2))
    assert int(scores.argmax()) == 0, "two of three, although the third is surer and the mean is class 1"
    assert int(torch.tensor(logits).softmax(1).mean(0).argmax()) == 1
    torch.testing.assert_close(scores, torch.tensor([2.0, 1.0, 0.0]) + torch.tensor(logits).softmax(1).mean(0))


def test_of_equal_votes_the_mean_decides():
    model = saying([[0.5, 0.0, 0.0], [0.0, 3.0, 0.0]])
    assert int(model(torch.rand(1, 8, 1, 1)).argmax()) == 1


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_votes_are_differentiated_as_the_mean_of_logits_however_sure_the_parts_are(size):
    model, x = ensemble(votes=True), images()
    for one in model.parts:
        one.block.readout.weight.data *= size
    x.requires_grad_()
    scores = model(x)
    error = torch.randn(scores.shape, generator=torch.Generator().manual_seed(2))
    (found,) = torch.autograd.grad(scores, x, error)
    (wanted,) = torch.autograd.grad(model.each(x).mean(1), x, error)
    torch.testing.assert_close(found, wanted)
    assert bool((found.flatten(1).abs().amax(1) > 0).all())


def test_undecided_parts_count_more_where_the_attacker_says_so():
    model, x = saying([[1.0, 0.9, 0.0], [9.0, 0.0, 0.0]]), torch.rand(1, 8, 1, 1)
    biases = [one.block.readout.bias for one in model.parts]
    for undecided, more in ((False, False), (True, True)):
        rule = MemberRules([Blocked(), Blocked()], undecided=undecided)
        near, far = torch.autograd.grad(model.run(x, rule)[0, 0], biases)
        assert float(near[0]) + float(far[0]) == pytest.approx(1)
        assert bool(near[0] > 2 * far[0]) is more
    assert torch.equal(model.run(x, rule), model(x)), "the answers stay"


def test_a_part_that_left_the_majority_counts_by_how_soon_it_would_come_back():
    # All parts' classes lead by 1 or 8; the vote answers 0, and the last two parts are on other sides.
    model = saying([[1.0, 0.0, 0.0], [8.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    rule = MemberRules([Blocked()] * 5, undecided=True)
    biases = [one.block.readout.bias for one in model.parts]
    found = torch.autograd.grad(model.run(torch.rand(1, 20, 1, 1), rule)[0, 0], biases)
    near, far, again, left, farther = (float(one[0]) for one in found)
    assert near == again == left > farther > far


def test_rules_of_parts_are_one_rule_and_one_rule_is_for_all():
    matrices = [torch.randn(CLASSES, N, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    rules = MemberRules([RandomFeedback(one) for one in matrices])
    bits, grad = torch.rand(4, 3 * N), torch.randn(4, 3 * CLASSES)
    wanted = torch.cat([g @ m for g, m in zip(grad.chunk(3, 1), matrices, strict=True)], 1)
    torch.testing.assert_close(rules.vjp(bits, grad), wanted)
    model, x = ensemble(), images().requires_grad_()
    alike = MemberRules([RandomFeedback(matrices[0])] * 3)
    one, each = (torch.autograd.grad(model.seen_through(rule)(x).sum(), x)[0] for rule in (alike.rules[0], alike))
    assert torch.equal(one, each)
    with pytest.raises(ValueError, match="2 rules"):
        model.run(x, MemberRules([Blocked()] * 2))
    with pytest.raises(ValueError, match="none"):
        MemberRules([])


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        (lambda: [part(0)], "two parts"),
        (lambda: [part(0)] * 2, "twice"),
        (lambda: [part(0), part(1).network], "not a Sequential"),
        (lambda: [part(0), defend(nn.Sequential(nn.Linear(10, 5)), at="0", device=None, hidden=N, seed=0)], "one kind"),
        (lambda: [part(0), defend(nn.Sequential(nn.Linear(10, 4)), at="0", device=device(1), seed=0)], "same classes"),
    ],
)
def test_parts_that_make_no_ensemble_are_refused(parts, error):
    with pytest.raises((TypeError, ValueError), match=error):
        DefendedEnsemble(parts())


def test_a_body_gives_one_tensor_or_one_a_part():
    model = DefendedEnsemble([part(0), part(1)], body=Says())
    with pytest.raises(ValueError, match="3 tensors to 2 parts"):
        model(images())
    whole = DefendedEnsemble(
        [defend(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), at="1", device=device(k), seed=k) for k in (0, 1)]
    )
    assert whole.member(1) is whole.parts[1]
    assert whole(images()).shape == (7, 5)


@pytest.mark.parametrize("view", [False, True])
def test_an_ensemble_is_defended_already(view):
    model = ensemble()
    network = model.seen_through(Blocked()) if view else model
    with pytest.raises(ValueError, match="defended already"):
        defend(network, at="body", device=device(7), seed=0)


def test_nothing_secret_is_in_its_state_and_another_device_is_refused():
    model = ensemble()
    with pytest.raises(TypeError):
        pickle.dumps(model)
    state = model.state_dict()
    assert max(value.numel() for value in state.values()) < N * M
    other = DefendedEnsemble([part(number) for number in (0, 1, 4)], body=body())
    with pytest.raises(ValueError, match="device"):
        other.load_state_dict(state)
    again = ensemble()
    again.load_state_dict(state)
    again.destroy_feedback()
    assert all(one.feedback is None for one in again.parts)
    assert torch.equal(again(images()), model(images()))
    copied = copy.deepcopy(model)
    assert copied.devices[0] is model.devices[0]
    assert torch.equal(copied(images()), model(images()))


MEAN = STD = (0.5,) * 3


def on_vgg(depths: tuple[int, ...] = (), *, votes: bool = True, optical: bool = True) -> DefendedEnsemble:
    network = vgg16(0.06, classes=3, mean=MEAN, std=STD, seed=0)
    defence = Defence(at="", hidden=N, device_out=M if optical else None)
    devices = [device(number) if optical else None for number in range(3)]
    made = ensemble_on(network, [defence] * 3, devices, depths=depths, votes=votes, seed=5)
    assert torch.equal(next(made.body.parameters()), next(network.parameters())), (
        "the convolutions are those of the network"
    )
    return made.eval()


@pytest.mark.parametrize("depths", [(), (5, 5, 5), (3, 5, 4), (1, 2, 1), (4, 4, 4)])
@pytest.mark.parametrize("optical", [True, False])
def test_a_file_of_an_ensemble_is_read_with_the_devices_of_its_fingerprints(depths, optical, tmp_path):
    model, path = on_vgg(depths, optical=optical), tmp_path / "model.safetensors"
    spec = ModelSpec(width=0.06, classes=3, mean=MEAN, std=STD, depths=depths)
    save_model(path, model, spec)
    store = DeviceStore(tmp_path / "devices")
    for one in model.devices:
        store.put(one)
    again = load_model(path, find_device=store.find)
    assert isinstance(again, DefendedEnsemble)
    assert again.votes
    assert isinstance(again.body.features, Taps) is (set(depths) not in (set(), {5}))
    x = torch.rand(3, 3, 32, 32)
    assert torch.equal(again(x), model(x))
    assert [one.fingerprint for one in read_spec(path).parts] == [
        one.device and one.device.fingerprint for one in model.parts
    ]
    if optical:
        with pytest.raises(ValueError, match="needs its optical device"):
            load_model(path)
        with pytest.raises(ValueError, match="is not the one"):
            load_model(path, find_device=lambda fingerprint: device(9))
        assert not any(value.numel() >= N * M and M in value.shape for value in load_file(path).values()), "no U"
    with pytest.raises(ValueError, match="ensemble"):
        load_defended(path)
    with pytest.raises(ValueError, match="state_dict"):
        save_defended(model, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="devices"):
        build(read_spec(path), device=device(0), seed=0)


def test_a_spec_that_is_larger_than_the_weights_is_refused(tmp_path):
    model, path = on_vgg(optical=False), tmp_path / "model.safetensors"
    for changed in ({"hidden": 10**8}, {"in_features": None}, {"linear_out": 10**7}):
        told = [{**vars(Defence.of(one)), **changed} for one in model.parts]
        spec = ModelSpec(width=0.06, classes=3, mean=MEAN, std=STD, parts=tuple(Defence(**one) for one in told))
        save_model(path, nn.Linear(2, 2), spec)
        with pytest.raises(DamagedFileError):
            load_model(path)


@pytest.mark.parametrize("size", [None, (48, 40), (9, 12)])
def test_a_shallow_network_is_the_first_layers_of_a_whole_one(size):
    depths = (2, 1, 2)
    spec = ModelSpec(width=0.06, classes=3, mean=MEAN, std=STD, size=size, depths=depths)
    defences = (Defence(at="", hidden=N, device_out=None),) * 3
    whole = ensemble_on(
        vgg16(0.06, classes=3, mean=MEAN, std=STD, size=size, seed=0),
        defences,
        [None] * 3,
        depths=depths,
        votes=False,
        seed=0,
    )
    made = build(replace(spec, parts=defences), seed=0)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (whole, made)]
    assert shapes[0] == shapes[1]
    made.load_state_dict(whole.state_dict())
    x = torch.rand(2, 3, *(size or (32, 32)))
    assert torch.equal(made.eval()(x), whole.eval()(x))


def test_a_wide_network_of_which_the_first_layers_are_kept_takes_no_more_than_they_do():
    """All layers of it would be a hundred times the file."""
    parts = tuple(Defence(at="", hidden=4, in_features=512, device_out=None, encoding="float") for _ in range(2))
    spec = ModelSpec(width=8.0, classes=3, mean=MEAN, std=STD, size=(2, 3), depths=(1, 1), parts=parts)
    with pytest.raises(DamagedFileError):  # of so few pixels there is one pool, and all is in front of it
        check_room(spec, 3_000_000, "it")
    spec = replace(spec, size=(4, 4), parts=tuple(replace(part, in_features=4 * 512) for part in parts))
    made = build(spec, seed=0)
    numbers = sum(value.numel() for value in made.state_dict().values())
    assert numbers < 3_000_000
    check_room(spec, numbers, "it")
    for changed in ({"depths": (1, 2)}, {"depths": ()}, {"size": (2**20, 2**20)}):
        with pytest.raises(DamagedFileError):
            check_room(replace(spec, **changed), numbers, "it")


def test_depths_are_those_of_the_network():
    with pytest.raises(ValueError, match="depths 1 to 5"):
        on_vgg((1, 6, 2))
    with pytest.raises(ValueError, match="as many devices and depths"):
        on_vgg((1, 2))
    shallow = on_vgg((1, 5, 1))
    assert [one.block.taken for one in shallow.parts] == [4 * 16 * 16, 31, 4 * 16 * 16]


def test_another_network_is_written_as_it_was(tmp_path):
    model, path = vgg16(0.06, classes=3, mean=MEAN, std=STD, seed=0), tmp_path / "model.safetensors"
    save_model(path, model, ModelSpec(width=0.06, classes=3, mean=MEAN, std=STD))
    assert b"parts" not in path.read_bytes()[:4000]
    assert b"votes" not in path.read_bytes()[:4000]
