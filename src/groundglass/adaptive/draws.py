"""Restarts over what an attacker draws: another B, another W, other labelled images, another start. One draw is luck.

Draw 0 is the attack with its own seed, and draw k of another; each draw attacks the images that those before it left.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor

from groundglass.adaptive.attackers import attacker
from groundglass.adaptive.rules import Pairs, make_rule
from groundglass.adaptive.stand_ins import LABELS, STAND_INS, StandInAccess, stand_in, unasked
from groundglass.attacks import AttackResult, Ball, GradientAccess, GradientAttack
from groundglass.attacks.norms import as_ball
from groundglass.attacks.result import COLUMNS
from groundglass.attacks.tensors import Flags, Images, Labels, Rows
from groundglass.core import as_images, as_labels, derive_seed
from groundglass.core.settings import Count, Tally, fit
from groundglass.data import ImagesLike
from groundglass.models import Defended

A = TypeVar("A", bound=GradientAttack)


def draw_seed(seed: int, draw: int) -> int:
    """The seed of an attacker's draw 0, 1, ...: that of draw 0 is `seed`, so the first draw is what it always was."""
    return seed if draw == 0 else derive_seed(seed, "draw", draw)


def redrawn_attack(rule: str, attack: A, draw: int) -> A:
    """The attack of a draw. Where a rule draws nothing of its own, draws 1, 2, ... start at random points, if the attack can."""
    if draw == 0 or attacker(rule).draws or not hasattr(attack, "random_start"):
        return attack
    return replace(attack, random_start=True)  # type: ignore[type-var]


def over_draws(
    once: Callable[[int, Rows], AttackResult], standing: Flags, *, draws: int, begin: int = 0
) -> Iterator[tuple[int, Rows, AttackResult]]:
    """Attack what is left with one draw after another, until nothing is.

    Args:
        once: the attack with draw k on the images of these rows.
        standing: the images that draws before `begin` left; written to.

    Yields:
        Each draw, the rows that it attacked, and what it did to them.
    """
    for draw in range(begin, draws):
        rows = standing.nonzero().squeeze(1)
        if not len(rows):
            return
        result = once(draw, rows)
        standing[rows] = result.robust
        yield draw, rows, result


@dataclass(frozen=True)
class Redrawn:
    """What the draws of an attacker did together, a row an image.

    Attributes:
        result: of the draw that fooled the image, or else of the last; gradients and checks are those of all draws.
        fell: the draw that fooled the image, 0, 1, ...; -1 if none did, or the network was wrong on the image itself.
    """

    result: AttackResult
    fell: Int64[Tensor, "n"]

    def accuracy_after(self, draws: int) -> float:
        """Share of all images that are right before and after the first so many draws.

        Raises:
            ValueError: a negative number of draws.
        """
        draws = fit(Tally, draws, "draws")
        fooled = (self.fell >= 0) & (self.fell < draws)
        return int((self.result.clean_correct & ~fooled).sum()) / max(1, len(fooled))


def redrawn(
    rule: str,
    network: Defended,
    attack: GradientAttack,
    images: Images,
    labels: Labels,
    ball: Ball,
    *,
    draws: int,
    seed: int,
    labelled: ImagesLike | None = None,
    n_labels: int = LABELS,
    pairs: Callable[[], Pairs] | None = None,
    batch_size: int = 128,
) -> Redrawn:
    """Attack each image with draw after draw of everything that the attacker of this rule draws, until one fools it.

    The matrix of "dfa-fresh", "fa" and "bpda-drawn", the labelled images of "own-head", the weights that "bpda-fit-network"
    begins with; for a rule that draws nothing, random starts.

    Args:
        attack: with "own-head" and "bit-flip" it runs to its end, see `unasked`.
        draws: how many; one is the attack itself, with `seed`.
        labelled, n_labels: of "own-head", see `OwnHead.fit`.
        pairs: of the fitted rules, see `make_rule`.

    Raises:
        ValueError, TypeError: what `make_rule`, `stand_in` or the attack refuses; before anything is fitted or attacked.
    """
    if not isinstance(network, Defended) or not isinstance(attack, GradientAttack):
        raise TypeError(
            f"redrawn(rule, network, attack, ...) takes a DefendedNetwork and an attack by gradients, such as PGD(), not "
            f"{type(network).__name__} and {attack!r:.60}"
        )
    draws, images, seed = fit(Count, draws, "draws"), as_images(images), fit(int, seed, "seed")
    labels, batch_size, ball = as_labels(labels, images), fit(Count, batch_size, "batch_size"), as_ball(ball)
    attack.check_ball(ball)
    ball.check(images)

    def access(of: int) -> GradientAccess:
        if rule in STAND_INS:
            return StandInAccess(network, stand_in(rule, network, labelled=labelled, labels=n_labels, seed=of))
        return GradientAccess(network.seen_through(make_rule(rule, network, seed=of, pairs=pairs)))

    if rule in STAND_INS:
        attack = unasked(attack)

    def once(draw: int, rows: Rows) -> AttackResult:
        of = draw_seed(seed, draw)
        one = redrawn_attack(rule, attack, draw)
        return one(access(of), images[rows], labels[rows], ball, seed=of, indices=rows, batch_size=batch_size)

    standing = torch.ones(len(images), dtype=torch.bool, device=images.device)
    fell = torch.full((len(images),), -1, dtype=torch.int64, device=images.device)
    total: AttackResult | None = None
    for draw, rows, result in over_draws(once, standing, draws=draws):
        fell[rows[result.success]] = draw
        total = result if total is None else _together(total, rows, result)
    return Redrawn(total or once(0, standing.nonzero().squeeze(1)), fell)


_COUNTED = ("gradients", "loss_queries", "check_queries", "zero_gradients")


def _together(before: AttackResult, rows: Rows, result: AttackResult) -> AttackResult:
    """The rows of a later draw in place of those of an earlier one, and the counts of both."""
    found = {name: getattr(before, name).clone() for name in COLUMNS}
    for name, values in found.items():
        own = getattr(result, name)
        values[rows] = values[rows] + own if name in _COUNTED else own
    return AttackResult(**found)
