"""Attacks by gradients, or by noise, on one network at one radius."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Kind, column, counted_of, derives, length_of, near, share, through


@dataclass(frozen=True, kw_only=True)
class BallConfig:
    """A ball of allowed changes, and the study that it is for."""

    norm: str = column("linf or l2")
    eps: float = column("of the ball, of images in [0, 1]; of a box that differs by channel the widest", "radius")
    eps_per_channel: tuple[float, ...] | None
    eps_paper: float | None = column("the same on the paper's axis", "radius_paper")

    @derives("the box differs by channel")
    def per_channel(self) -> bool:
        return self.eps_per_channel is not None


@dataclass(frozen=True, kw_only=True)
class AttackConfig(BallConfig):
    """An attack, with all its `settings`. `gallery`: images that are kept whole."""

    model: str = column("name of the attacked network", "network")
    rule: str = column("what the attacker differentiates with; see `groundglass.adaptive.attackers`")
    attack: str = column("PGD, FGSM, CW or RandomNoise")
    settings: Mapping[str, Any]
    steps: int | None = column("of the attack")
    step_size: float | None
    restarts: int | None = column("of the attack")
    n_images: int
    fit_images: int | None
    gallery: int
    seed: int
    purpose: str = column(
        "control, for one that only shows whether the others can be believed; or of which study", default="figure"
    )
    matrix_error: float | None = column("relative error of the attacker's U, or B", default=None, left_out=True)
    error_scale: str = column(
        "what that error is drawn at: the true length of each row, or the one that its law has, which is public",
        default="row",
        left_out=True,
    )
    labels: int | None = column(
        "labelled images, known to all, that an attacker's own head was fitted to", default=None, left_out=True
    )
    confirmations: int = column("of each success, more than half of which must fool", default=1, left_out=True)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a fitted rule, or an attacker's own head, was fitted on, and how well it predicts new images."""

    n_images: int
    held_out_r2: float | None = None
    held_out_accuracy: float | None = left_out()


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What an attack left. `gradients`: images that went forward and backward."""

    robust_accuracy: float
    n_images: int = column("attacked, wrong ones included")
    clean_correct: int = column("right before the attack")
    correct: int = column("right before and after it")
    gradients: int
    zero_gradient_share: float = column("of the input gradients")
    success_rate: float = column("of the images that were right, the share fooled", "fooled")
    median_norm: float | None = column("of the perturbations that fool, in the norm", "median_distance")
    unconfirmed: int = column("successes withdrawn: a fresh pass of the network itself did not confirm them")
    fit: Fit | None

    @derives("`correct` of `n_images`", "accuracy_under_attack")
    def robust(self) -> Proportion:
        return Proportion(self.correct, self.n_images)

    @derives("forward and backward passes")
    def gradients_per_image(self) -> float:
        return self.gradients / self.n_images

    fit_images = through("fit.n_images", "natural images that a fitted rule has seen")
    head_accuracy = through("fit.held_out_accuracy", "of an attacker's own head, on held-out images")
    fit_r2 = through("fit.held_out_r2", "R² of a fitted rule on held-out images")

    @property
    def clean(self) -> Proportion:
        """Clean accuracy on the same images."""
        return Proportion(self.clean_correct, self.n_images)


#: Attacks by gradients, or by noise, on one network at one radius: `AttackConfig`, `AttackResult`.
ATTACK = Kind(
    "attack",
    AttackConfig,
    AttackResult,
    "attacks",
    lambda r: f"accuracy under attack {r.robust_accuracy:.1%}",
    holds={
        "1 <= n_images": lambda r: r.n_images >= 1,
        "correct <= clean_correct <= n_images": lambda r: r.correct <= r.clean_correct <= r.n_images,
        "robust_accuracy is correct / n_images": lambda r: near(r.robust_accuracy, r.correct / r.n_images),
        "success_rate is of clean_correct": lambda r: near(
            r.success_rate * r.clean_correct, r.clean_correct - r.correct
        ),
        "shares are in [0, 1]": lambda r: share(r.success_rate, r.zero_gradient_share),
    },
    counts={
        "images": (length_of("success"), lambda r: r.n_images),
        "images right at first": (counted_of("clean_correct"), lambda r: r.clean_correct),
        "images right after it": (lambda a: int((a["clean_correct"] & ~a["success"]).sum()), lambda r: r.correct),
    },
)
