"""Attacks by gradients, or by noise, on one network at one radius."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Column, Kind, share_columns


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """An attack.

    Attributes:
        model: name of the network.
        rule: what the attacker differentiates with; see `groundglass.adaptive.registry`.
        attack, settings: "PGD", and all its settings.
        norm, eps: the ball, pixel units; of a box that differs by channel the widest, and each in `eps_per_channel`.
        eps_paper: the radius on the paper's axis, if it is one of that axis.
        fit_images: natural images that a fitted rule has seen.
        gallery: images that are kept whole.
        purpose: "control" for an attack that only shows whether the others can be believed; else of which study.
        matrix_error: relative error of the U that the rule "exact-blurred" has.
    """

    model: str
    rule: str
    attack: str
    settings: Mapping[str, Any]
    norm: str
    eps: float
    eps_per_channel: tuple[float, ...] | None
    eps_paper: float | None
    steps: int | None
    step_size: float | None
    restarts: int | None
    n_images: int
    fit_images: int | None
    gallery: int
    seed: int
    purpose: str = "figure"
    matrix_error: float | None = left_out()


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a fitted rule was fitted on, and how well it predicts images it has not seen."""

    n_images: int
    held_out_r2: float | None = None


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What an attack left.

    Attributes:
        clean_correct, correct: images right before and after, of `n_images`.
        robust_accuracy, success_rate: `correct` of all; fooled of those that were right.
        gradients: images that went forward and backward.
        zero_gradient_share: of these, those whose input gradient was zero.
        median_norm: length of the perturbations that fool.
        unconfirmed: successes withdrawn, as a fresh pass of the network itself did not confirm them.
    """

    robust_accuracy: float
    n_images: int
    correct: int
    clean_correct: int
    gradients: int
    zero_gradient_share: float
    success_rate: float
    median_norm: float | None
    unconfirmed: int
    fit: Fit | None

    @property
    def robust(self) -> Proportion:
        """Accuracy under attack."""
        return Proportion(self.correct, self.n_images)

    @property
    def clean(self) -> Proportion:
        """Clean accuracy on the same images."""
        return Proportion(self.clean_correct, self.n_images)


ATTACK: Kind[AttackConfig, AttackResult] = Kind(
    "attack",
    AttackConfig,
    AttackResult,
    "attacks",
    {
        "network": Column("name of the attacked network", lambda e: e.config.model),
        "rule": Column("what the attacker differentiates with", lambda e: e.config.rule),
        "attack": Column("PGD, FGSM, CW or RandomNoise", lambda e: e.config.attack),
        "norm": Column("linf or l2", lambda e: e.config.norm),
        "radius": Column("of the ball, of images in [0, 1]", lambda e: round(e.config.eps, 9)),
        "radius_paper": Column(
            "the same on the paper's axis",
            lambda e: None if e.config.eps_paper is None else round(e.config.eps_paper, 9),
        ),
        "per_channel": Column("the box differs by channel", lambda e: e.config.eps_per_channel is not None),
        "matrix_error": Column("relative error of the attacker's U", lambda e: e.config.matrix_error),
        "purpose": Column("control, or of which study", lambda e: e.config.purpose),
        "n_images": Column("attacked, wrong ones included", lambda e: e.result.n_images),
        "clean_correct": Column("right before the attack", lambda e: e.result.clean_correct),
        "correct": Column("right after it", lambda e: e.result.correct),
        **share_columns("accuracy_under_attack", "`correct` of `n_images`", lambda e: e.result.robust),
        "fooled": Column("of the images that were right, the share fooled", lambda e: e.result.success_rate),
        "steps": Column("of the attack", lambda e: e.config.steps),
        "restarts": Column("of the attack", lambda e: e.config.restarts),
        "gradients_per_image": Column("forward and backward passes", lambda e: e.result.gradients / e.result.n_images),
        "zero_gradient_share": Column("of the input gradients", lambda e: e.result.zero_gradient_share),
        "median_distance": Column("of the perturbations that fool, in the norm", lambda e: e.result.median_norm),
        "fit_images": Column(
            "natural images that a fitted rule has seen", lambda e: e.result.fit and e.result.fit.n_images
        ),
        "fit_r2": Column("R² of a fitted rule on held-out images", lambda e: e.result.fit and e.result.fit.held_out_r2),
        "unconfirmed": Column("successes withdrawn", lambda e: e.result.unconfirmed),
    },
    line=lambda r: f"accuracy under attack {r.robust_accuracy:.1%}",
)
