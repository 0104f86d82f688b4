import pytest
import torch

from groundglass.training import Both, OneCycle, Plateau, Steps, TrainingConfig
from groundglass.training.optimiser_steps import make_optimiser


def test_one_cycle_rises_to_one_and_falls_to_nothing():
    course = [OneCycle(0.25).factor(e / 100, 8, []) for e in range(801)]
    assert max(course) == pytest.approx(1, abs=1e-3)
    assert course.index(max(course)) == pytest.approx(200, abs=2)
    assert course[0] < 0.05
    assert course[-1] == pytest.approx(0, abs=1e-3)
    assert course[:200] == sorted(course[:200])
    assert course[201:] == sorted(course[201:], reverse=True)


def test_steps():
    schedule = Steps(at=(2, 4), by=0.1)
    assert [schedule.factor(e, 6, []) for e in (0, 1.9, 2, 4)] == pytest.approx([1, 1, 0.1, 0.01])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("both", [False, True])
def test_plateau_is_torchs_rule_alone_and_beside_milestones(seed, both):
    generator = torch.Generator().manual_seed(seed)
    losses = (2 - torch.linspace(0, 1, 30) + 0.5 * torch.rand(30, generator=generator)).tolist()
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=2, factor=0.5, threshold=0.01)
    schedule, milestones = Plateau(), None
    if both:
        milestones = torch.optim.lr_scheduler.MultiStepLR(optimiser, (9, 21), gamma=0.5)
        schedule = Both(Steps(at=(9, 21), by=0.5), schedule)
    for epoch in range(30):
        assert schedule.factor(epoch, 30, losses) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if milestones:
            milestones.step()
        peer.step(losses[epoch])


@pytest.mark.parametrize(("nesterov", "expected"), [(False, (1, 2.9)), (True, (1.9, 4.61))])
def test_momentum_is_plain_or_looks_ahead(nesterov, expected):
    """Two steps at a gradient of 1 and a rate of 1: the velocities are 1 and 1.9."""
    config = TrainingConfig(epochs=1, learning_rate=1.0, weight_decay=0.0, nesterov=nesterov)
    weight = torch.nn.Linear(1, 1, bias=False, dtype=torch.float32, device="cpu")
    torch.nn.init.zeros_(weight.weight)
    optimiser = make_optimiser(weight, config)
    moved = []
    for _ in range(2):
        weight.weight.grad = torch.ones_like(weight.weight)
        optimiser.step()
        moved.append(-float(weight.weight.detach()))
    assert moved == pytest.approx(expected)
    assert ("nesterov" in config.described()) != nesterov
