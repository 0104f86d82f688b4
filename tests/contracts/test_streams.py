"""Whatever is seeded inside, the caller's random streams go on from where they were, those of the cards too."""

import pytest
import torch
from torch import nn

import groundglass as gg
from groundglass.attacks.same_function import same_function
from groundglass.audit import AuditConfig
from groundglass.core.seeds import global_streams, own_streams
from groundglass.data import ImageSet
from groundglass.models import load_model, vgg16
from groundglass.training import BackProp, TrainingConfig
from groundglass.training.precision import bfloat16_is_right
from tests.cards import Cards

IMAGES = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3


def plain() -> nn.Module:
    with own_streams(0):
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 3))


def network_of_a_stranger() -> nn.Module:
    torch.manual_seed(7)
    return plain()


def defend() -> object:
    return gg.defend(plain(), at="3", device=None, hidden=8, seed=0)


def train() -> object:
    images = ImageSet("shown", "train", (IMAGES * 255).byte(), LABELS, ("r", "g", "b"))
    return gg.train(plain(), images, TrainingConfig(epochs=1, batch_size=4), credit=BackProp(), seed=0)


def audit() -> object:
    def attack(model, images, labels, ball):
        torch.manual_seed(5)
        return images + 0 * torch.rand(images.shape)

    config = AuditConfig(steps=2, queries=20, query_images=2, probes=2, samples=2)
    return gg.audit(plain(), IMAGES, LABELS, gg.Linf(0.1), attacks={"brought": attack}, config=config, seed=0)


WORK = {
    "a VGG": lambda: vgg16(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0),
    "a factory": lambda: load_model(f"{__name__}:network_of_a_stranger"),
    "defend": defend,
    "train": train,
    "audit": audit,
    "two functions": lambda: same_function(plain(), plain(), IMAGES),
    "bfloat16": lambda: bfloat16_is_right.__wrapped__(),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_the_callers_streams_are_left_alone(monkeypatch, work):
    cards = Cards(monkeypatch, 2)
    before = cards.states, torch.get_rng_state().tolist()
    work()
    assert (cards.states, torch.get_rng_state().tolist()) == before


@pytest.mark.parametrize("work", [WORK[name] for name in WORK if name not in ("audit", "a factory")])
def test_cards_that_are_not_in_use_are_not_seeded_for_later(monkeypatch, work):
    """Torch keeps a seed that is set before CUDA is used, and gives it to the cards then."""
    cards = Cards(monkeypatch, 2, started=False)
    before = cards.states
    work()
    assert cards.states == before


def test_a_block_has_streams_of_its_own(monkeypatch):
    cards = Cards(monkeypatch, 2)
    before = global_streams()
    with own_streams(3):
        first, own = torch.rand(3), cards.states
        assert not any(map(torch.equal, global_streams(), before))
    assert all(map(torch.equal, global_streams(), before))
    assert len(before) == 3
    with own_streams():
        assert all(map(torch.equal, global_streams(), before))
        torch.rand(1)
    with own_streams(3):
        assert torch.equal(torch.rand(3), first)
        assert cards.states == own
    # As seeding has always done: what was drawn from a seed in earlier versions is drawn from it still.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        assert torch.equal(torch.rand(3), first)
