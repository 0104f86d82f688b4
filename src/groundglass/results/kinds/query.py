"""Attacks by queries, and the choice among settings of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Kind, column, derives


@dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """An attack by queries, with all its `settings`."""

    model: str = column("name of the attacked network", "network")
    attack: str = column("NES, Bandits, Parsimonious, Square or RayS")
    settings: Mapping[str, Any]
    access: str = column("what the attacker sees: scores or labels")
    norm: str = column("linf or l2")
    eps: float = column("of the ball, of images in [0, 1]", "radius")
    budget: int = column("images that may go through the network for each, success checks included", "budget_queries")
    n_images: int
    seed: int
    purpose: str = column("figure; sweep for one of several settings; or of which study", default="figure")


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """What an attack by queries did. Only images that were right at first are attacked.

    `success_at`: (queries, images fooled within so many).
    """

    n_images: int = column("images looked at")
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

    def within(self, fooled: int) -> Proportion | None:
        """So many of the images attacked; None when no image was right at first."""
        return Proportion(fooled, self.clean_correct) if self.clean_correct else None

    @derives("`fooled_images` of `attacked`", "fooled")
    def success(self) -> Proportion | None:
        return self.within(self.fooled)


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


def success_curve(arrays: Mapping[str, np.ndarray], budget: int) -> tuple[list[int], list[int], int]:
    """The images fooled within so many queries.

    Args:
        arrays: `success`, `clean_correct` (bool), `loss_queries` and `check_queries` (int), one entry an image.
        budget: queries an image; a success that cost more is none.

    Returns:
        Queries, rising from 0 to the budget; images fooled within so many; images that were right at first.
    """
    right = arrays["clean_correct"].astype(bool)
    cost = arrays["loss_queries"].astype(np.int64) + arrays["check_queries"].astype(np.int64)
    spent = cost[right & arrays["success"].astype(bool) & (cost <= budget)]
    at, counts = np.unique(spent, return_counts=True)
    points = {0: 0, **dict(zip(at.tolist(), np.cumsum(counts).tolist(), strict=True)), budget: len(spent)}
    return list(points), list(points.values()), int(right.sum())


QUERY: Kind[QueryConfig, QueryResult] = Kind(
    "query", QueryConfig, QueryResult, "queries", lambda r: f"fooled {r.success_rate:.1%}"
)
CHOICE: Kind[ChoiceConfig, ChoiceResult] = Kind(
    "choice", ChoiceConfig, ChoiceResult, "choices", lambda r: f"{r.chosen:g}"
)
