"""Measurements on a model that no attack makes: is it a function, is its gradient one, and where does a climb end?"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.attacks import Ball, GradientAccess, NonFiniteError
from groundglass.attacks.criteria import UNTARGETED, Criterion
from groundglass.attacks.losses import Loss, cross_entropy
from groundglass.attacks.probabilities import are_probabilities
from groundglass.core import generator, integers, permutation


@dataclass(frozen=True)
class Answers:
    """Predictions of the same images, asked for in different ways.

    Attributes:
        again: share of images whose class changed in any of five identical calls.
        elsewhere: share whose class was another alone than in a batch, or in a shuffled batch; of those whose class
            does not change by itself.
        images: asked about.
        probabilities: the model's output seems to be probabilities, not logits.
        training: the model was handed over in train mode.
    """

    again: float
    elsewhere: float
    images: int
    probabilities: bool
    training: bool


def answers(
    access: GradientAccess, images: Float[Tensor, "n c h w"], *, alone: int, training: bool, seed: int
) -> Answers:
    """Ask for the same images five times, shuffled beside others, and the first `alone` one by one."""
    calls = torch.stack([access.logits(images) for _ in range(5)])
    classes = calls.argmax(2)
    same = (classes == classes[0]).all(0)
    order = permutation(len(images), generator=generator(seed, "shuffle")).to(images.device)
    # Half of the batch, shuffled: other neighbours, another place, another size.
    half = order[: max(1, len(images) // 2)]
    shuffled = access.logits(images[half]).argmax(1)
    moved = same.new_zeros(len(images))
    moved[half] |= shuffled != classes[0][half]
    for row in range(min(alone, len(images))):
        moved[row] |= bool(access.logits(images[row : row + 1]).argmax(1) != classes[0][row])
    steady = int(same.sum())
    logits = calls[0]
    return Answers(
        again=1 - steady / len(images),
        elsewhere=int((moved & same).sum()) / max(1, steady),
        images=len(images),
        probabilities=are_probabilities(logits),
        training=training,
    )


@dataclass(frozen=True)
class Slopes:
    """How the true loss changes in random directions around some images.

    Attributes:
        images, labels: around these.
        directions: [n, k, c, h, w], entries of one size.
        change: [n, k], central differences, per unit of a direction.
        flat: images whose loss is the same at all the points.
    """

    images: Tensor
    labels: Tensor
    directions: Tensor
    change: Tensor
    flat: Bool[Tensor, "n"]


def slopes(
    access: GradientAccess,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, "n"],
    *,
    reach: float,
    directions: int,
    seed: int,
) -> Slopes:
    """Cross-entropy at `reach` (pixel units) before and after each image, in directions of random signs."""
    signs = integers(2, (len(images), directions, *images.shape[1:]), generator=generator(seed, "slopes"))
    made = (2 * signs - 1).to(images)

    def losses(sign: float) -> Tensor:
        points = (images[:, None] + sign * reach * made).clamp(0, 1)
        parts = [access.logits(part) for part in points.flatten(0, 1).split(256)]
        values = F.cross_entropy(torch.cat(parts).double(), labels.repeat_interleave(directions), reduction="none")
        return values.view(len(images), directions)

    up, down = losses(1), losses(-1)
    both = torch.cat([up, down], 1)
    return Slopes(images, labels, made, (up - down) / (2 * reach), both.amax(1) - both.amin(1) <= 0)


def agreement(access: GradientAccess, found: Slopes) -> float:
    """The mean cosine, over images, of the loss's changes with those that a gradient foretells; 0 where either is zero.

    A gradient that is the loss's has nearly 1, one without relation to it about 0.
    """
    grad = access.loss_and_grad(found.images, found.labels, cross_entropy).grad
    foretold = (grad[:, None] * found.directions).flatten(2).double().sum(2)
    cosine = F.cosine_similarity(foretold, found.change, dim=1, eps=1e-300)
    return float(cosine.nan_to_num().mean())


@dataclass(frozen=True)
class Climb:
    """Every step of an attack, without stopping: how many images were climbed, and fooled at some step."""

    rising: float  # share of images whose loss still rises clearly in the last tenth of the steps
    lost: float  # share of the fooled images that are not at the last step
    images: int
    fooled: int


def climb(
    access: GradientAccess,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, "n"],
    ball: Ball,
    *,
    steps: int,
    criterion: Criterion = UNTARGETED,
) -> Climb:
    """PGD from the image itself with steps of 2.5 radii in all, each loss noted."""
    x, size, loss = images.clone(), 2.5 * ball.radius / steps, criterion.climbs("ce")
    losses, fooled = [], []
    for _ in range(steps):
        found = access.loss_and_grad(x, labels, loss)
        losses.append(found.loss)
        fooled.append(criterion.met(found.logits, labels))
        x = ball.project(x + ball.step(found.grad, size), images)
    trace, ever = torch.stack(losses).double(), torch.stack(fooled)
    tail = max(1, steps // 10)
    # Against what the whole climb has gained: the last tenth of a climb that has settled adds next to nothing.
    gained = (trace.cummax(0).values[-1] - trace[0]).clamp_min(1e-9)
    late = trace.cummax(0).values[-1] - trace.cummax(0).values[-1 - tail]
    at_end = ever[-1]
    once = ever.any(0)
    return Climb(
        rising=float((late > 0.1 * gained).double().mean()),
        lost=int((once & ~at_end).sum()) / max(1, int(once.sum())),
        images=len(images),
        fooled=int(once.sum()),
    )


def bad_gradients(access: GradientAccess, images: Tensor, labels: Tensor, loss: Loss = cross_entropy) -> float:
    """Share of images whose gradient is zero everywhere; 1 where it is NaN, infinite, or not there at all."""
    try:
        return float(access.loss_and_grad(images, labels, loss).zero.double().mean())
    except (NonFiniteError, ValueError):
        return 1.0
