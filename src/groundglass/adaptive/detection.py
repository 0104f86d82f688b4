"""How soon an attacker knows what stands behind an access: is a layer of bits there, and which of several devices?

Both stop as soon as they are sure, and their error bounds hold at that moment: see `core.sequential`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool
from torch import Tensor

from groundglass.adaptive.signs import Sign
from groundglass.attacks import LabelAccess, ScoreAccess
from groundglass.attacks.tensors import Images
from groundglass.core import BudgetExceededError, input_dtype, logits_of, permutation
from groundglass.core import generator as stream
from groundglass.core.modes import evaluating
from groundglass.core.sequential import SequentialTest, SingleOut
from groundglass.core.settings import Count, Positive, fit


@dataclass(frozen=True)
class Detection:
    """What a sequential test has found.

    Attributes:
        present: whether the sign is there; None: it was not sure when queries or images ended.
        queries: that it took.
        alpha, beta: bounds of the chance of a wrong yes, and of a wrong no.
        asked: queries until each event.
        log10_ratio: of likelihoods after each: above 0 it speaks for the sign, at -log10(alpha) it is sure.
    """

    present: bool | None
    queries: int
    alpha: float
    beta: float
    asked: npt.NDArray[np.int64] = field(repr=False)
    log10_ratio: npt.NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class Identification:
    """Attributes:
    left: places, among those given, of the candidates that were not rejected: with a chance of 1 - alpha the true one is among
        them, if it was among all. None left: it was not.
    queries: that it took.
    alpha: a bound of the chance that the true one was rejected.
    """

    left: tuple[int, ...]
    queries: int
    alpha: float

    @property
    def which(self) -> int | None:
        """The place of the one that is left; None: there are several, when queries or images ended, or none."""
        return self.left[0] if len(self.left) == 1 else None


def detect(
    access: ScoreAccess | LabelAccess,
    images: Images,
    sign: Sign,
    *,
    alpha: float = 1e-3,
    beta: float = 1e-3,
    at_once: int = 1,
    seed: int = 0,
) -> Detection:
    """Ask until it is sure whether a sign is there, or queries or images end.

    The bounds hold if the sign's `rare` and `often` do, given what came before: images are drawn independently, and nothing
    behind the access learns from the questions.

    Args:
        images: [n, C, H, W] in [0, 1], any of the attacker's; each is used once, in random order.
        sign: what is looked for; see `adaptive.signs`.
        at_once: events whose queries are asked together: faster, but some may not have been needed.
        seed: of the order, and of what the sign draws.

    Raises:
        TypeError: an access that the sign does not ask.
        ValueError: fewer images than one event takes, or settings out of range.
    """
    test = SequentialTest(rare=sign.rare, often=sign.often, alpha=alpha, beta=beta)
    at_once, before = fit(Count, at_once, "at_once"), access.rows
    if len(images) < sign.takes:
        raise ValueError(f"an event of this sign takes {sign.takes} images, and there are {len(images)}: give more")
    order = permutation(len(images), generator=stream(seed, "detect"))
    groups = order[: len(order) // sign.takes * sign.takes].reshape(-1, sign.takes)
    events: list[bool] = []
    asked: list[int] = []
    present: bool | None = None
    for begin in range(0, len(groups), at_once):
        rows = groups[begin : begin + at_once]
        try:
            found = sign.events(access, images[rows], range(begin, begin + len(rows)), seed)
        except BudgetExceededError:
            break
        known = [bool(event) for event in found.tolist() if event >= 0]
        events += known
        asked += [access.rows - before] * len(known)
        present, _ = test.decide(events)
        if present is not None:
            break
    path = test.path(events) / np.log(10)
    return Detection(present, access.rows - before, test.alpha, test.beta, np.array(asked, np.int64), path)


def identify(
    access: ScoreAccess | LabelAccess,
    candidates: Sequence[Any],
    images: Images,
    *,
    alpha: float = 1e-3,
    miss: float = 0.05,
    within: float | None = None,
    at_once: int = 1,
) -> Identification:
    """Which of these networks answers? Each is rejected once it disagrees with more answers than the true one would.

    The bound is of the true one alone, and holds whatever the others do: see `SingleOut`. Near copies of it stay beside it.

    It is for candidates that are all accurate, such as devices each with a classifier of its own. Who has one classifier, and
    several devices for it, needs no query: under another device it is no better than chance on public labelled images.

    Args:
        candidates: K models, images -> logits, as the deployed one would be with each device. Asking them costs no query.
            That the true one is among them is taken for granted.
        images: [n, C, H, W] in [0, 1], each used once, in their order; drawn as those on which `miss` was measured.
        miss: with at most this share of answers the true candidate disagrees, whatever came before: 0.05 where the attacker's
            copy is good. To be measured on devices of the attacker's own, of which they have copies as good.
        within: by scores alone. None: a candidate agrees with an answer that has its class. A number: one whose scores are at
            most so far from its own, relative to the answer's length; a constant added to all scores counts in neither.
        at_once: images that are asked together.

    Raises:
        TypeError, ValueError: fewer than two candidates, settings out of range, or `within` of classes alone.
    """
    test = SingleOut(miss=miss, alpha=alpha)
    at_once, before = fit(Count, at_once, "at_once"), access.rows
    if len(candidates) < 2:
        raise ValueError(f"there must be two candidates or more, not {len(candidates)}")
    agreed: list[npt.NDArray[np.bool_]] = []
    left = tuple(range(len(candidates)))
    for begin in range(0, len(images), at_once):
        part = images[begin : begin + at_once]
        own = torch.stack([_answer(one, part) for one in candidates], 1)
        try:
            agreed.append(agreements(access, part, own, within).cpu().numpy())
        except BudgetExceededError:
            break
        left, _ = test.decide(np.concatenate(agreed))
        if len(left) < 2:
            break
    return Identification(left, access.rows - before, test.alpha)


def agreements(
    access: ScoreAccess | LabelAccess, images: Images, own: Tensor, within: float | None = None
) -> Bool[Tensor, "n k"]:
    """Which candidates, of logits `own` [n, K, classes], agree with each answer; see `identify`. A query an image."""
    if isinstance(access, LabelAccess):
        if within is not None:
            raise ValueError("`within` compares scores, and this access tells classes alone: leave it out")
        return own.argmax(2) == access.labels(images)[:, None]
    answer = access.logits(images).to(own.dtype)[:, None]
    if within is None:
        return own.argmax(2) == answer.argmax(2)
    own, answer = (one - one.mean(2, keepdim=True) for one in (own, answer))
    return (own - answer).norm(dim=2) <= fit(Positive, within, "within") * answer.norm(dim=2)


@torch.no_grad()
def _answer(model: Any, images: Images) -> Tensor:
    if not isinstance(model, torch.nn.Module):
        return logits_of(model(images))
    with evaluating(model):
        return logits_of(model(images.to(input_dtype(model))))
