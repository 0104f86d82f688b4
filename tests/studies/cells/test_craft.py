"""Adversarial images tried on a network that answers now this, now that."""

import pytest
import torch
from torch import nn

from groundglass.models import defend, predict_logits
from groundglass.optics import Camera, SimulatedOPU
from groundglass.studies.cells.craft import by_majority


class Fickle(nn.Module):
    """Says of each image the next class of its list."""

    def __init__(self, classes):
        super().__init__()
        self.classes = torch.tensor(classes)
        self.asked = 0

    def forward(self, x):
        self.asked += 1
        return nn.functional.one_hot(self.classes[:, self.asked - 1], 4).float()


def test_most_of_the_answers_decide():
    answers = [[0, 0, 1, 1, 0], [0, 1, 2, 3, 0], [1, 0, 1, 1, 0]]
    labels = torch.tensor([0, 0, 0])
    prediction, right = by_majority(Fickle(answers), torch.zeros(3, 3, 2, 2), labels, 5)
    assert right.tolist() == [True, False, False]
    # Two right answers of five are the commonest, and no majority.
    assert prediction.tolist() == [0, 0, 1]
    prediction, right = by_majority(Fickle(answers), torch.zeros(3, 3, 2, 2), labels, 1)
    assert (prediction.tolist(), right.tolist()) == ([0, 0, 1], [True, True, False])


@pytest.fixture
def noisy():
    device = SimulatedOPU.create(12, 40, seed=1, camera=Camera(read_noise=64.0))
    body = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
    return defend(body, at="1", device=device, in_features=12, seed=0).eval()


def test_what_a_noisy_camera_measured_before_changes_nothing(noisy):
    images = torch.rand(200, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    first, again = (predict_logits(noisy, images).argmax(1) for _ in range(2))
    assert (first != again).any()
    told = by_majority(noisy, images, first, 1)
    assert torch.equal(told[0], by_majority(noisy, images, first, 1)[0])
    assert torch.equal(told[0], first)
