"""Attacks repeated with further draws of what their attacker draws, on one network at one radius."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.attack import BallConfig
from groundglass.results.kinds.base import Kind, column, counted_of, derives, length_of


@dataclass(frozen=True, kw_only=True)
class DrawsConfig(BallConfig):
    """An attack, with all its `settings`, and how many draws of its attacker. `again`: what later draws do, if it is another."""

    model: str = column("name of the attacked network", "network")
    rule: str = column("what the attacker differentiates with; see `groundglass.adaptive.attackers`")
    attack: str = column("PGD or FGSM")
    settings: Mapping[str, Any]
    draws: int = column("of all that the attacker draws: the first attack is one")
    n_images: int
    labels: int | None = column(
        "labelled images, known to all, that an attacker's own head was fitted to", default=None, left_out=True
    )
    again: Mapping[str, Any] | None = left_out()
    seed: int
    purpose: str = column("of which study", default="figure")


@dataclass(frozen=True, kw_only=True)
class DrawsResult:
    """What draw after draw left. `left`: images right before and after the first draw, the first two, and so on."""

    n_images: int = column("attacked, wrong ones included")
    clean_correct: int = column("right before the attack")
    correct: int = column("right before and after all draws")
    left: tuple[int, ...]
    gradients: int = column("images that went forward and backward, in draws after the first")
    unconfirmed: int = column("successes withdrawn: a fresh pass of the network itself did not confirm them")

    def after(self, draws: int) -> Proportion | None:
        """Accuracy after the first so many draws; None where there were not so many."""
        return Proportion(self.left[draws - 1], self.n_images) if draws <= len(self.left) else None

    @derives("`correct` of `n_images`", "accuracy_under_attack")
    def robust(self) -> Proportion:
        return Proportion(self.correct, self.n_images)

    @derives("images right after one draw, a share", "accuracy_after_1")
    def after_1(self) -> Proportion | None:
        return self.after(1)

    @derives("after 5 draws; of images that one draw has fooled none is attacked again", "accuracy_after_5")
    def after_5(self) -> Proportion | None:
        return self.after(5)

    @derives("after 10 draws", "accuracy_after_10")
    def after_10(self) -> Proportion | None:
        return self.after(10)

    @derives("after 20 draws", "accuracy_after_20")
    def after_20(self) -> Proportion | None:
        return self.after(20)

    @property
    def clean(self) -> Proportion:
        """Clean accuracy on the same images."""
        return Proportion(self.clean_correct, self.n_images)


def _fell_at(arrays: Mapping[str, np.ndarray]) -> dict[int, int]:
    """Draw -> images that it fooled, by the arrays; only draws that fooled any."""
    return dict(Counter(arrays["fell"][arrays["clean_correct"].astype(bool) & (arrays["fell"] >= 0)].tolist()))


def _fell_of(result: DrawsResult) -> dict[int, int]:
    """The same by the result."""
    steps = enumerate(pairwise((result.clean_correct, *result.left)))
    return {draw: before - after for draw, (before, after) in steps if before > after}


#: Attacks whose attacker draws again: `DrawsConfig`, `DrawsResult`.
DRAWS = Kind(
    "draws",
    DrawsConfig,
    DrawsResult,
    "draws",
    lambda r: f"accuracy after {len(r.left)} draws {r.correct / r.n_images:.1%}",
    holds={
        "1 <= n_images": lambda r: r.n_images >= 1,
        "correct <= clean_correct <= n_images": lambda r: r.correct <= r.clean_correct <= r.n_images,
        "left falls from clean_correct to correct": lambda r: (
            all(a >= b for a, b in zip((r.clean_correct, *r.left), r.left, strict=False)) and r.left[-1] == r.correct
        ),
    },
    counts={
        "images": (length_of("fell"), lambda r: r.n_images),
        "images right at first": (counted_of("clean_correct"), lambda r: r.clean_correct),
        "images right after it": (lambda a: int((a["clean_correct"] & ~a["success"]).sum()), lambda r: r.correct),
        "images that a draw fooled": (
            lambda a: int((a["clean_correct"] & (a["fell"] >= 0)).sum()),
            lambda r: r.clean_correct - r.correct,
        ),
        "images that each draw fooled": (_fell_at, _fell_of),
    },
)
