"""The two heads that a defended network may have: ours, and that of the paper's published code."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core.settings import Count

#: "normalised", ours: BatchNorm before the binarisation, a linear readout of the readings. "published-code": no BatchNorm, a
#: ReLU on readings less their mean, and where no device is an ordinary Linear with a ReLU in its place.
Head = Literal["normalised", "published-code"]
# Of the new batch in the running mean, as BatchNorm has it.
_MOMENTUM = 0.1


class Rectified(nn.Module):
    """ReLU of readings less their mean over all outputs of the batch (the paper's code for its real device).

    One difference: in eval mode the mean is a running one, so that no prediction depends on its batch-mates. The published
    code takes the batch's at test time too. The mean gets no gradient.

    Shapes: readings [batch, M], of any mean and scale, -> [batch, M], not negative.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros((), dtype=torch.float32, device="cpu"))

    def forward(self, readings: Float[Tensor, "batch m"]) -> Float[Tensor, "batch m"]:
        mean = self.mean
        if self.training and len(readings):
            mean = readings.detach().mean()
            self.mean.lerp_(mean.to(self.mean), _MOMENTUM)
        return torch.relu(readings - mean)


def projection(in_features: int, hidden: int, head: Head) -> nn.Sequential:
    """What makes the features that are encoded, up to their ReLU: [batch, in_features] -> [batch, hidden]."""
    if head == "published-code":
        return nn.Sequential(nn.Linear(in_features, hidden, dtype=torch.float32, device="cpu"))
    return nn.Sequential(
        nn.Linear(in_features, hidden, bias=False, dtype=torch.float32, device="cpu"),
        nn.BatchNorm1d(hidden, dtype=torch.float32, device="cpu"),
    )


def in_its_place(hidden: int, linear_out: Count) -> nn.Sequential:
    """Linear(N, M) and a ReLU, where the published code switches the device off."""
    return nn.Sequential(nn.Linear(hidden, linear_out, dtype=torch.float32, device="cpu"), nn.ReLU())
