"""Expectation over transformation: the mean of a randomised model's own draws, of their logits or of their losses."""

import torch
from torch import Tensor, nn

from groundglass.attacks.access import UNIT, GradientAccess, Gradients, Model
from groundglass.attacks.losses import Loss
from groundglass.attacks.tensors import Images, Labels, Logits
from groundglass.core import logits_of
from groundglass.core.settings import Count, fit


class Averaged(nn.Module):
    """The mean logits of `samples` passes through a randomised model, whose noise is drawn anew for every row.

    For noise of the camera and for matrices that change from query to query. Give an attack `GradientAccess(Averaged(view,
    samples))` in place of the view's own: each gradient is then one over `samples` draws (EOT; Athalye, Engstrom, Ilyas and
    Kwok 2018). An access counts the images it asks about: the deployed model sees `samples` times as many rows. A
    success is one of the mean logits: `AttackResult.confirmed` on the model itself asks it once.

    Differences from the original: the gradient is that of the loss of the mean logits, loss(E[z]), not the mean of the
    draws' own gradients, E[loss(z)], of the original. Here all draws share the error of the mean; there each has its own,
    and with cross-entropy a draw that is right with confidence has nearly no gradient. The two agree for a loss that is linear
    in the logits, such as a margin between two given classes, and where draws agree. Cross-entropy is convex in z, so
    loss(E[z]) is never the greater. E[z] is estimated without bias, its loss, from finitely many samples, is not.
    `AveragedAccess` is the original's.

    A model without randomness gives its own logits and gradients, to rounding. The model keeps its own mode, and an
    access sets it to eval mode; active dropout is a draw like any other.

    Args:
        model: images -> logits; a network, or a view of one (`seen_through`).
        samples: passes for each image.
        rows: images that go through the model at a time; passes of a batch are joined up to that, and no batch is cut.
            It bounds the forward pass only: the graph for a gradient holds all samples.

    Raises:
        ValueError: `samples` or `rows` below 1.
    """

    def __init__(self, model: nn.Module, samples: int, *, rows: int = 512) -> None:
        super().__init__()
        self.model = model
        self.samples: int = fit(Count, samples, "samples")
        self.rows: int = fit(Count, rows, "rows")
        self.training = model.training

    def forward(self, images: Images) -> Logits:
        joined = max(1, self.rows // max(1, len(images)))
        parts = []
        for start in range(0, self.samples, joined):
            passes = min(joined, self.samples - start)
            logits: Tensor = logits_of(self.model(torch.cat([images] * passes)))
            parts.append(logits.reshape(passes, len(images), *logits.shape[1:]))
        return torch.cat(parts).mean(0)

    def extra_repr(self) -> str:
        return f"samples={self.samples}, rows={self.rows}"


class AveragedAccess(GradientAccess):
    """White-box access to a randomised model by `samples` passes a question: the mean of the draws' losses and gradients.

    E[loss(z)], as Athalye, Engstrom, Ilyas and Kwok 2018 have it; `Averaged` is the loss of the mean logits, and says where the
    two differ. Which is stronger depends on the model: audits of randomised ones use both. Each pass counts, so a
    question about n images is n * `samples` rows. The logits, and with them whether an image is fooled, are the mean of the
    passes.

    Args:
        model: images -> logits; a network, or a view of one (`seen_through`).
        samples: passes for each question.
        budget: rows, over all calls, that may pass through the model; None for no limit.
        bounds: the range of the images that the model takes.

    Raises:
        ValueError: `samples` below 1.
    """

    def __init__(
        self, model: Model, samples: int, budget: int | None = None, *, bounds: tuple[float, float] = UNIT
    ) -> None:
        super().__init__(model, budget, bounds=bounds)
        self.samples: int = fit(Count, samples, "samples")

    def loss_and_grad(self, images: Images, labels: Labels, loss: Loss) -> Gradients:
        found = [super(AveragedAccess, self).loss_and_grad(images, labels, loss) for _ in range(self.samples)]
        grad = torch.stack([each.grad for each in found]).mean(0)
        logits, losses = (
            torch.stack(column).mean(0) for column in zip(*((f.logits, f.loss) for f in found), strict=True)
        )
        return Gradients(logits, losses, grad, grad.flatten(1).abs().amax(1) == 0 if len(grad) else losses.bool())

    def waste(self, gradients: int) -> None:
        super().waste(gradients * self.samples)

    def logits(self, images: Images) -> Logits:
        passes = [super(AveragedAccess, self).logits(images) for _ in range(self.samples)]
        return torch.stack(passes).mean(0)
