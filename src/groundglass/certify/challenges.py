"""Certificates put to the test: an attack on the smoothed classifier within each certified radius, which none may survive."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from groundglass.attacks import L2, PGD, GradientAccess, GradientAttack
from groundglass.certify.decisions import ABSTAIN
from groundglass.certify.smoothing import SmoothedClassifier

#: To the end: the first iterate that fools the mean of a few draws seldom fools the smoothed classifier.
CLIMB = PGD(steps=10, stop_when_fooled=False, keep="last")


@dataclass(frozen=True, eq=False)
class Challenge:
    """What an attack on certified images found, one entry an image.

    Attributes:
        attacked: bool [n]; not attacked is an image whose class the mean of the attack's few draws does not show at first.
        broken: bool [n], given another class for certain, of those that were attacked.
        passes: of the network: forward, with or without a gradient, of all draws.
    """

    attacked: Tensor
    broken: Tensor
    passes: int


def challenge(
    judge: SmoothedClassifier,
    attacker: SmoothedClassifier,
    images: Tensor,
    classes: Tensor,
    radii: Sequence[float],
    *,
    attack: GradientAttack = CLIMB,
    attack_draws: int = 8,
    judge_draws: int = 100,
    alpha: float = 0.001,
    seed: int = 0,
    indices: Sequence[int] | Tensor | None = None,
) -> Challenge:
    """Attack a smoothed classifier's own classes, each image in an L2 ball of its own.

    Args:
        judge: says whether an image has another class, at most once in 1 / alpha times falsely.
        attacker: the same as the attacker differentiates it: a view of a defended network, a faster copy.
        images, classes: with the class of each, not `ABSTAIN`: int64 [n], on any device.
        radii: pixel units, one an image.
        attack_draws: noisy copies whose mean probabilities the attack climbs (Salman et al. 2019).
        seed, indices: of all noise, as of `SmoothedClassifier.certify`.

    Raises:
        TypeError, ValueError: as the attack and `SmoothedClassifier.predict`.
    """
    classes = classes.to(images.device)
    access = GradientAccess(attacker.soft(attack_draws, seed=seed))
    options: dict[str, Any] = {"seed": seed, "indices": indices}
    near = attack(access, images, classes, L2.each(radii), **options)
    told = judge.predict(near.adversarial, n=judge_draws, alpha=alpha, **options)
    broken = (told != classes) & (told != ABSTAIN) & near.clean_correct
    passes = attack_draws * access.rows + judge_draws * len(images)
    return Challenge(near.clean_correct.cpu(), broken.cpu(), passes)
