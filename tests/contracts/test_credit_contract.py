"""What holds for every credit assignment of a network with a device."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.adaptive import make_rule
from groundglass.data import ImageSet
from groundglass.models import DefendedNetwork, defend, load_defended, save_defended
from groundglass.optics import Camera, SimulatedOPU
from groundglass.training import (
    CREDITS,
    TRADES,
    Credit,
    CreditAssignment,
    EstimatedDerivative,
    HybridDFA,
    SignSymmetry,
    TrainingConfig,
    make_credit,
    train,
)
from groundglass.training import checkpoint as checkpoints

MAKE: dict[str, Callable[[DefendedNetwork, int], CreditAssignment]] = {
    name: lambda network, seed, made=made: made(network, seed) for name, made in CREDITS.items() if name != "bp"
}
MAKE["sign-symmetry, random"] = lambda network, seed: SignSymmetry(seed=seed, magnitudes="random")
NETWORKS = 6
CONFIG = TrainingConfig(epochs=2, batch_size=20, learning_rate=0.02)
every = pytest.mark.parametrize("kind", MAKE)


def small() -> nn.Sequential:
    """3 x 2 x 2 pixels, two hidden layers of 16."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Sequential(nn.Linear(16, 3))
    )


def network(seed: int = 0, device: int = 1, noise: float = 0.0) -> DefendedNetwork:
    opu = SimulatedOPU.create(32, 128, seed=device, camera=Camera(read_noise=noise))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return defend(small(), at="5", device=opu, seed=seed, classes=3)


def coloured(seed: int, count: int = 60) -> ImageSet:
    """Three classes, each around a picture of its own."""
    draw = torch.Generator().manual_seed(seed + 100)
    labels = torch.arange(count) % 3
    centres = torch.randn(3, 3, 2, 2, generator=draw)[labels]
    pixels = 128 + 20 * (centres + 2 * torch.randn(count, 3, 2, 2, generator=draw))
    return ImageSet("coloured", "train", pixels.clamp(0, 255).to(torch.uint8), labels, ("a", "b", "c"))


def pictures(seed: int) -> tuple[Tensor, Tensor]:
    images = coloured(seed)
    return (images.floats() - 0.5) * 255 / 20, images.labels


def gradients(model: DefendedNetwork, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    F.cross_entropy(logits, labels, reduction="sum").backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def by(credit: CreditAssignment, model: DefendedNetwork, seed: int = 0) -> dict[str, Tensor]:
    x, y = pictures(seed)
    return gradients(model, credit.logits(model, x), y)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@every
def test_the_forward_pass_and_all_above_the_device_are_those_of_hybrid_training(kind: str) -> None:
    model, plain = network(), network()
    credit, (x, _) = MAKE[kind](model, 3), pictures(0)
    assert isinstance(credit, CreditAssignment)
    assert torch.equal(credit.logits(model, x), HybridDFA().logits(plain, x))
    assert same(dict(model.named_buffers()), dict(plain.named_buffers()))  # one pass, and it moved BatchNorm once
    found, usual = by(credit, network()), by(HybridDFA(), network())
    assert found.keys() == usual.keys()
    for name in found:
        above = ".readout." in name
        assert torch.equal(found[name], usual[name]) == (above or kind == "hybrid-dfa" or _at_layer_end(kind, name)), (
            name
        )
        assert found[name].abs().sum() > 0


def _at_layer_end(kind: str, name: str) -> bool:
    """The last layer below the device has its error through B in all but the estimate."""
    return ".project." in name and kind != "estimated-derivative"


@every
def test_settings_decide_the_gradients_and_are_in_the_name(kind: str) -> None:
    model = network()
    one, again, other = (MAKE[kind](model, seed) for seed in (3, 3, 4))
    assert one.name == again.name
    assert same(by(one, model), by(again, model))
    assert same(by(one, model), by(one, model))
    drawn = kind not in ("hybrid-dfa", "sign-symmetry")
    assert (one.name != other.name) == drawn or kind == "sign-symmetry"
    assert same(by(one, model), by(other, model)) != drawn
    with torch.random.fork_rng():
        torch.manual_seed(77)  # nothing is drawn from torch's own stream
        before = torch.get_rng_state()
        assert same(by(MAKE[kind](model, 3), model), by(one, model))
        assert torch.equal(torch.get_rng_state(), before)


@every
def test_gradients_of_parts_of_a_batch_add_up(kind: str) -> None:
    model = network().eval()
    credit, (x, y) = MAKE[kind](model, 3), pictures(0)
    whole = gradients(model, credit.logits(model, x), y)
    parts = [gradients(model, credit.logits(model, x[rows]), y[rows]) for rows in (slice(0, 25), slice(25, 60))]
    for name, found in whole.items():
        assert torch.allclose(found, parts[0][name] + parts[1][name], atol=1e-4 * float(found.abs().max())), name


@pytest.fixture(scope="module")
def learned() -> dict[str, list[tuple[DefendedNetwork, CreditAssignment, int]]]:
    """Six networks each, after 30 steps on the whole set."""
    found: dict[str, list[tuple[DefendedNetwork, CreditAssignment, int]]] = {kind: [] for kind in MAKE}
    for kind, make in MAKE.items():
        for seed in range(NETWORKS):
            model = network(seed)
            credit, (x, y) = make(model, seed), pictures(seed)
            optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
            for _ in range(30):
                optimiser.zero_grad()
                F.cross_entropy(credit.logits(model, x), y).backward()
                optimiser.step()
            found[kind].append((model, credit, seed))
    return found


def _angle(found: dict[str, Tensor], true: dict[str, Tensor]) -> float:
    """Mean cosine with the true gradient, over the weights below the device."""
    names = [name for name, p in true.items() if p.ndim > 1 and ".readout." not in name]
    assert len(names) == 3
    return sum(float(F.cosine_similarity(found[n].flatten(), true[n].flatten(), dim=0)) for n in names) / 3


@every
def test_it_learns_and_comes_to_align_with_the_true_gradient(kind: str, learned: dict[str, Any]) -> None:
    """The true one has U. Over six networks: one alone may fall either way."""
    aligned, begun, others, right = 0.0, 0.0, 0.0, 0.0
    for model, credit, seed in learned[kind]:
        x, y = pictures(seed)
        true = gradients(model, model.run(x, make_rule("exact", model, seed=0)), y)
        aligned += _angle(by(credit, model, seed), true) / NETWORKS
        right += float((credit.logits(model, x).argmax(1) == y).float().mean()) / NETWORKS
        # A control: the same weights, whose credit is by matrices that they never saw.
        stranger = network(seed + 50, device=2)
        weights = {k: v for k, v in model.state_dict().items() if k != "feedback" and not k.endswith("_extra_state")}
        stranger.load_state_dict(weights, strict=False)
        others += _angle(by(MAKE[kind](stranger, seed + 50), stranger, seed), true) / NETWORKS
        fresh = network(seed)
        begun += (
            _angle(by(credit, fresh, seed), gradients(fresh, fresh.run(x, make_rule("exact", fresh, seed=0)), y))
            / NETWORKS
        )
    assert right > 0.7  # guessing: a third
    assert aligned > 0.08
    assert aligned > others + 0.05
    assert kind == "estimated-derivative" or aligned > begun + 0.05


@every
def test_killed_at_a_step_it_goes_on_to_the_same_weights(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    """On a device with noise, whose frames are counted; and another setting is refused."""
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)

    class Killed(Exception):
        pass

    def trained(seed: int, path: Path | None = None, after: int = 1000) -> dict[str, Tensor]:
        model, left = network(noise=2.0), [after]
        credit = MAKE[kind](model, seed)

        class Killing:
            name = credit.name

            def logits(self, model: nn.Module, images: Tensor) -> Tensor:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return credit.logits(model, images)

        train(model, images, CONFIG, credit=Killing(), seed=4, checkpoint=path)
        return model.state_dict()

    images = coloured(0, 48)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        trained(3, path, after=4)  # of 2 x 3 steps
    kept = path.read_bytes()
    assert same(trained(3, path), trained(3))
    path.write_bytes(kept)
    if kind not in ("hybrid-dfa", "sign-symmetry"):
        with pytest.raises(ValueError, match="credit was"):
            trained(5, path)


@every
def test_a_network_that_was_saved_goes_on_with_the_same_gradients(kind: str, tmp_path: Path) -> None:
    model = network()
    credit = MAKE[kind](model, 3)
    train(model, coloured(0, 40), replace(CONFIG, epochs=1), credit=credit, seed=0)
    save_defended(model, tmp_path / "network.safetensors")
    again = load_defended(tmp_path / "network.safetensors", network=small, device=SimulatedOPU.create(32, 128, seed=1))
    assert same(by(MAKE[kind](again.eval(), 3), again), by(credit, model))


@every
def test_it_trains_on_adversarial_images(kind: str) -> None:
    model = network()
    plain = replace(CONFIG, epochs=1)
    hard = replace(plain, adversarial=TRADES(eps=8 / 255, steps=1, rule="dfa"))
    (found,) = train(model, coloured(0, 40), hard, credit=MAKE[kind](model, 3), seed=0)
    assert math.isfinite(found.loss)


@every
def test_nothing_is_left_on_the_network(kind: str) -> None:
    model = network()
    seen: list[tuple[int, ...]] = []
    handle = model.network[3].register_forward_hook(lambda layer, given, out: seen.append(tuple(out.shape)))
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    credit, (x, _) = MAKE[kind](model, 3), pictures(0)
    credit.logits(model, x)
    with pytest.raises(RuntimeError):
        credit.logits(model, x[:, :, :1])
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    handle.remove()
    assert seen == [(60, 16)]
    copy.deepcopy(model)


@every
def test_a_network_that_it_is_not_for_is_refused(kind: str) -> None:
    model, (x, _) = network(), pictures(0)
    credit = MAKE[kind](model, 3)
    with pytest.raises(ValueError, match="defend"):
        credit.logits(small(), x)
    model.destroy_feedback()
    if isinstance(credit, EstimatedDerivative):  # the only one without B
        by(credit, model)
    else:
        with pytest.raises(ValueError, match="destroyed"):
            credit.logits(model, x)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'sign-symmetry'"):
        make_credit("sign-symetry", network(), seed=0)  # type: ignore[arg-type]
    assert make_credit("bp", small(), seed=0).name == "bp"
    assert set(get_args(Credit)) == set(CREDITS)
