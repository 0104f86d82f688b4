"""`batch_size="auto"`: chosen from memory, and no result depends on it."""

import pytest
import torch
from torch import nn

import groundglass as gg
from groundglass.audit import AuditConfig
from groundglass.core import accelerator, batch_size
from groundglass.core.batch_size import checked, fitting
from groundglass.core.seeds import own_streams
from groundglass.models import accuracy, predict_logits
from groundglass.optics import Camera, SimulatedOPU
from tests.cards import Cards

CPU, CARD = torch.device("cpu"), torch.device("cuda")
IMAGES = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


class Watched(nn.Module):
    """Remembers how many images came at a time."""

    def __init__(self) -> None:
        super().__init__()
        with own_streams(0):
            self.inner = nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 3))
        self.seen: list[int] = []

    def forward(self, x):
        self.seen.append(len(x))
        return self.inner(x)


@pytest.fixture
def room(monkeypatch):
    """Memory for a few images only."""
    monkeypatch.setattr(batch_size, "memory_taken", lambda work, where: (work(), 800)[1])
    monkeypatch.setattr(batch_size, "free_memory", lambda where: 1100)


def test_what_fits(monkeypatch):
    def fits(taken, free, where=CPU, usual=100):
        monkeypatch.setattr(batch_size, "memory_taken", lambda work, where: taken)
        monkeypatch.setattr(batch_size, "free_memory", lambda where: free)
        return fitting(lambda: None, 8, where, usual=usual)

    assert fits(800, 2 * 100 * 50) == 32  # fifty images fit into half of it
    assert fits(800, 2 * 100 * 100) == 100
    assert fits(800, 2 * 100 * 10_000) == 100
    assert fits(800, 2 * 100 * 10_000, CARD) == 800
    assert fits(800, 2 * 100 * 500, CARD) == 256
    assert fits(8_000_000, 100) == 1
    assert fits(0, 100) == 100
    assert fits(None, 100) == fits(800, None) == 100
    assert fitting(lambda: pytest.fail("asked"), 0, CPU, usual=7) == 7
    with pytest.raises(ValueError, match="batch_size"):
        checked(0)
    with pytest.raises(ValueError, match=r"batch_size.*'auto'"):
        checked("many")


def test_the_memory_that_work_takes(monkeypatch):
    taken = accelerator.memory_taken(lambda: torch.ones(2**24, dtype=torch.float32).sum(), CPU)
    if taken is not None:
        assert taken >= 2**25  # of 64 MiB, some of which the process may have had
    cards = Cards(monkeypatch, 1)
    assert accelerator.memory_taken(lambda: cards.held.update({0: 3 * 2**30}), CARD) == 2 * 2**30


@pytest.mark.parametrize("attack", [gg.PGD(steps=3), gg.Square()], ids=["PGD", "Square"])
def test_an_attacks_result_is_the_same(room, attack):
    options = {"seed": 1, **({} if attack.default_budget is None else {"budget": 20})}
    model = Watched()
    wanted = attack(model, IMAGES, LABELS, gg.Linf(0.05), **options)
    assert max(model.seen) > 4
    model.seen.clear()
    found = attack(model, IMAGES, LABELS, gg.Linf(0.05), batch_size="auto", **options)
    assert model.seen[0] == 8, "those that are measured"
    assert max(model.seen[1:]) == 4
    assert torch.equal(found.adversarial, wanted.adversarial)
    with pytest.raises(ValueError, match="checkpoint"):
        attack(model, IMAGES, LABELS, gg.Linf(0.05), batch_size="auto", checkpoint="no.safetensors", **options)


def test_a_noisy_device_is_not_asked_about_what_is_measured(room):
    def network():
        camera = Camera(read_noise=2.0)
        return gg.defend(
            Watched().inner, at="3", device=SimulatedOPU.create(8, 16, seed=1, camera=camera), seed=0
        ).eval()

    first, second = network(), network()
    wanted = predict_logits(first, IMAGES, batch_size=4)
    assert torch.equal(predict_logits(second, IMAGES, batch_size="auto"), wanted)
    assert first.device.frames == second.device.frames == 12


def test_accuracy_and_audit_are_the_same(room):
    model = Watched()
    assert accuracy(model, (IMAGES, LABELS), batch_size="auto") == accuracy(model, (IMAGES, LABELS))
    config = AuditConfig(steps=3, queries=20, query_images=4, probes=4, samples=2)
    results = [
        gg.audit(model, IMAGES, LABELS, gg.Linf(0.02), config=config, batch_size=size, seed=0)
        for size in (None, "auto")
    ]
    assert torch.equal(results[0].adversarial, results[1].adversarial)
    assert [check.name for check in results[1].failed] == [check.name for check in results[0].failed]
