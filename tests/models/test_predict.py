import pytest
import torch
from torch import nn

from groundglass.core import NonFiniteError
from groundglass.data import ImageSet
from groundglass.models import accuracy, predict_logits


class Brightest(nn.Module):
    """Predicts the channel with the most light; counts what goes through it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.rows = 0

    def forward(self, images):
        self.rows += len(images)
        return images.mean((2, 3)) * self.scale


def test_accuracy_counts_every_image_once_and_puts_the_mode_back():
    images = torch.zeros(7, 3, 32, 32, dtype=torch.uint8)
    for index, channel in enumerate([0, 1, 2, 0, 1, 2, 0]):
        images[index, channel] = 255
    labels = torch.tensor([0, 1, 2, 0, 1, 0, 1])  # the last two are wrong
    model = Brightest().train()
    subset = ImageSet("x", "test", images, labels, ("a", "b", "c"))
    assert accuracy(model, subset, batch_size=3) == 5 / 7
    assert model.rows == 7
    assert model.training
    assert torch.equal(predict_logits(model, subset.floats(), batch_size=2), model.eval()(subset.floats()).detach())


def test_a_network_that_writes_to_its_input_does_not_change_the_callers_images():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(48, 2)

        def forward(self, x):
            x.sub_(0.5)
            return self.last(x.flatten(1))

    images = torch.rand(7, 3, 4, 4)
    kept = images.clone()
    model = Writes()
    first, second = predict_logits(model, images, batch_size=3), predict_logits(model, images, batch_size=3)
    assert torch.equal(images, kept)
    assert torch.equal(first, second)


class Threshold(nn.Module):
    def __init__(self):
        super().__init__()
        self.below, self.above = nn.Linear(12, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.above((self.below(x.flatten(1)) > 0).float())


def test_a_weight_that_is_nan_below_a_threshold_is_no_figure():
    model, x = Threshold(), torch.rand(4, 3, 2, 2)
    predict_logits(model, x)
    model.below.weight.data[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"below\.weight"):
        predict_logits(model, x)
