"""Attacks by queries, and the choice among settings of one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Kind, column, counted_of, derives, length_of, near, share


@dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """An attack by queries, with all its `settings`."""

    model: str = column("name of the attacked network", "network")
    attack: str = column(
        "NES, Bandits, Parsimonious, Hierarchical (parsimonious that halves its blocks), Square or RayS"
    )
    settings: Mapping[str, Any]
    access: str = column("what the attacker sees: scores or labels")
    norm: str = column("linf or l2")
    eps: float = column("of the ball, of images in [0, 1]", "radius")
    budget: int = column("images that may go through the network for each, success checks included", "budget_queries")
    n_images: int
    seed: int
    purpose: str = column("figure; sweep for one of several settings; or of which study", default="figure")
    nearest: bool = column(
        "the array `nearest` has the distance of the nearest point that fooled each image", default=False, left_out=True
    )
    eps_per_channel: tuple[float, ...] | None = left_out()
    eps_paper: float | None = column("the same radius on the paper's axis", "radius_paper", default=None, left_out=True)
    start: str | None = column(
        "network whose adversarial images the search starts from; none: it starts blind", default=None, left_out=True
    )
    answers: int = column(
        "of a network with noise that the attacker takes the mean of; each is a query", default=1, left_out=True
    )
    rechecks: int = column(
        "answers by which the attacker confirms a success before the attack ends; queries", default=0, left_out=True
    )
    confirmations: int = column(
        "of each success, more than half of which must fool; no queries", default=1, left_out=True
    )
    correlation: float | None = column(
        "correlation time of U, frames, one a query; none: it stands still",
        "correlation_frames",
        default=None,
        left_out=True,
    )
    first: int = column("number of the first test image", "first_image", default=0, left_out=True)
    choice: str | None = column("the setting that was chosen on other images", default=None, left_out=True)

    @property
    def ball(self) -> tuple[str, float]:
        """Norm, and radius as frames have it."""
        return self.norm, round(self.eps, 9)


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """What an attack by queries did. Only images that were right at first are attacked.

    `success_at`: (queries, images fooled within so many).
    """

    n_images: int = column("images looked at: in a larger ball of the access ladder, those that the smaller one left")
    clean_correct: int = column("of them, right at first and so attacked", "attacked")
    fooled: int = column("fooled within the budget", "fooled_images")
    success_rate: float
    success_at: tuple[tuple[int, int], ...]
    mean_queries: float | None = column("of the images that were fooled")
    median_queries: float | None = column("of the images that were fooled")
    mean_loss_queries: float | None
    median_loss_queries: float | None = column("the same without success checks")
    loss_queries: int
    check_queries: int
    most_queries: int
    flat_share: float | None = column("of the gradient estimates, zero everywhere; none where none are made")
    unconfirmed: int = column("successes withdrawn")
    forwards_per_second: float | None = column("images through the network")
    model_share: float | None = column("of the wall time, the network's forward pass")
    chosen: float | None = column("the value that the choice took", default=None, left_out=True)
    reach: float | None = column(
        "pixel units that all steps within the budget lead; none where steps have no length",
        default=None,
        left_out=True,
    )

    def within(self, fooled: int) -> Proportion | None:
        """So many of the images attacked; None when no image was right at first."""
        return Proportion(fooled, self.clean_correct) if self.clean_correct else None

    @derives("`fooled_images` of `attacked`", "fooled")
    def success(self) -> Proportion | None:
        return self.within(self.fooled)

    @property
    def claimed(self) -> Proportion | None:
        """Fooled when the attack found them, those that were withdrawn in the end too."""
        return self.within(self.fooled + self.unconfirmed)

    def success_within(self, queries: int) -> Proportion | None:
        """Images fooled within so many queries; None where nobody counted there."""
        counts = dict(self.success_at)
        return self.within(counts[queries]) if queries in counts else None


@dataclass(frozen=True, kw_only=True)
class ChoiceConfig:
    """Settings of one attack on one network, of which the best is taken."""

    model: str = column("name of the attacked network", "network")
    attack: str = column("whose setting is chosen")
    parameter: str = column("the setting")
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ChoiceResult:
    """The value chosen, and a row (value, success rate, mean queries) for each."""

    chosen: float = column("its best value")
    key: str = column("key of the attack with it", "query")
    table: tuple[tuple[float, float, float | None], ...]


def best_setting(tried: Sequence[QueryResult]) -> int:
    """Which of several settings of an attack is the best: it fools most images; of equals it has fewer zero estimates, then
    needs fewer queries.
    """

    def order(one: QueryResult) -> tuple[float, float, float]:
        return -one.fooled, one.flat_share or 0.0, math.inf if one.mean_queries is None else one.mean_queries

    return min(range(len(tried)), key=lambda i: order(tried[i]))


def right_within(arrays: Mapping[str, np.ndarray], queries: int) -> dict[int, bool]:
    """Which images are right after so many queries each: number of the image -> right; only those right at first.

    Args:
        arrays: as in `success_curve`, and `index`.
    """
    cost = arrays["loss_queries"].astype(np.int64) + arrays["check_queries"].astype(np.int64)
    stays = ~(arrays["success"].astype(bool) & (cost <= queries))
    right = arrays["clean_correct"].astype(bool)
    return dict(zip(arrays["index"][right].tolist(), stays[right].tolist(), strict=True))


def success_curve(
    arrays: Mapping[str, np.ndarray], config: QueryConfig, result: QueryResult
) -> dict[float, Proportion]:
    """The images fooled within so many queries, of those that were right at first.

    Args:
        arrays: `success`, `clean_correct` (bool), `loss_queries` and `check_queries` (int), one entry an image. A success
            that cost more than the budget is none.

    Returns:
        Queries, rising from 0 to the budget -> images; an empty dict where no image was right.

    Raises:
        ValueError: the arrays say other numbers than the result.
    """
    right = arrays["clean_correct"].astype(bool)
    cost = arrays["loss_queries"].astype(np.int64) + arrays["check_queries"].astype(np.int64)
    spent = cost[right & arrays["success"].astype(bool) & (cost <= config.budget)]
    if (len(spent), right.sum()) != (result.fooled, result.clean_correct):
        raise ValueError(
            f"{len(spent)} of {right.sum()} images fooled, by the result {result.fooled} of {result.clean_correct}"
        )
    at, counts = np.unique(spent, return_counts=True)
    points = {0: 0, **dict(zip(at.tolist(), np.cumsum(counts).tolist(), strict=True)), config.budget: len(spent)}
    return {float(q): share for q, count in points.items() if (share := result.within(count))}


#: Attacks by queries: `QueryConfig`, `QueryResult`.
QUERY = Kind(
    "query",
    QueryConfig,
    QueryResult,
    "queries",
    lambda r: f"fooled {r.success_rate:.1%}",
    holds={
        "fooled <= clean_correct <= n_images": lambda r: r.fooled <= r.clean_correct <= r.n_images,
        "success_rate is of clean_correct": lambda r: near(r.success_rate * r.clean_correct, r.fooled),
        "no count of success_at is above fooled": lambda r: all(0 <= count <= r.fooled for _, count in r.success_at),
        "shares are in [0, 1]": lambda r: share(r.success_rate, r.flat_share, r.model_share),
    },
    counts={
        "images": (length_of("success"), lambda r: r.n_images),
        "images right at first": (counted_of("clean_correct"), lambda r: r.clean_correct),
        "images fooled": (lambda a: int((a["clean_correct"] & a["success"]).sum()), lambda r: r.fooled),
    },
)
#: The best of several settings of one attack: `ChoiceConfig`, `ChoiceResult`.
CHOICE = Kind(
    "choice",
    ChoiceConfig,
    ChoiceResult,
    "choices",
    lambda r: f"{r.chosen:g}",
    holds={"the chosen value is one of those tried": lambda r: any(value == r.chosen for value, _, _ in r.table)},
)
