import pytest
import torch

from groundglass.training import OneCycle, Plateau, Steps


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
def test_plateau_is_torchs_rule(seed):
    generator = torch.Generator().manual_seed(seed)
    losses = (2 - torch.linspace(0, 1, 30) + 0.5 * torch.rand(30, generator=generator)).tolist()
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=2, factor=0.5, threshold=0.01)
    for epoch in range(30):
        assert Plateau().factor(epoch, 30, losses) == pytest.approx(optimiser.param_groups[0]["lr"])
        peer.step(losses[epoch])
