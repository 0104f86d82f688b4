"""Attacks by queries, and the choice among settings of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Column, Kind, share_columns


@dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """An attack by queries.

    Attributes:
        access: what the attacker sees: "scores" or "labels".
        budget: images that may go through the network for each image, success checks included.
        purpose: "figure", "sweep" for one of several settings, or the study that it is of.
    """

    model: str
    attack: str
    settings: Mapping[str, Any]
    access: str
    norm: str
    eps: float
    budget: int
    n_images: int
    seed: int
    purpose: str = "figure"


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """What an attack by queries did. Only images that were right at first are attacked.

    Attributes:
        success_at: (queries, images fooled within so many).
        mean_queries, median_queries: of the images that were fooled; the loss queries alone beside them.
        flat_share: of the gradient estimates, those that were zero everywhere; None where the attack makes none.
        model_share: of the wall time, what the network's forward pass took.
    """

    n_images: int
    clean_correct: int
    fooled: int
    success_rate: float
    success_at: tuple[tuple[int, int], ...]
    mean_queries: float | None
    median_queries: float | None
    mean_loss_queries: float | None
    median_loss_queries: float | None
    loss_queries: int
    check_queries: int
    most_queries: int
    flat_share: float | None
    unconfirmed: int
    forwards_per_second: float | None
    model_share: float | None

    @property
    def success(self) -> Proportion | None:
        """Images fooled of those attacked; None when no image was right at first."""
        return self.within(self.fooled)

    def within(self, fooled: int) -> Proportion | None:
        """So many of the images attacked."""
        return Proportion(fooled, self.clean_correct) if self.clean_correct else None


@dataclass(frozen=True, kw_only=True)
class ChoiceConfig:
    """Settings of one attack on one network, of which the best is taken."""

    model: str
    attack: str
    parameter: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ChoiceResult:
    """The value chosen, the key of its record, and a row (value, success rate, mean queries) for each."""

    chosen: float
    key: str
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
    "query",
    QueryConfig,
    QueryResult,
    "queries",
    {
        "network": Column("name of the attacked network", lambda e: e.config.model),
        "attack": Column("NES, Bandits, Parsimonious, Square or RayS", lambda e: e.config.attack),
        "access": Column("what the attacker sees: scores or labels", lambda e: e.config.access),
        "norm": Column("linf or l2", lambda e: e.config.norm),
        "radius": Column("of the ball, of images in [0, 1]", lambda e: round(e.config.eps, 9)),
        "budget_queries": Column("an image, success checks included", lambda e: e.config.budget),
        "purpose": Column("figure, sweep, or of which study", lambda e: e.config.purpose),
        "n_images": Column("images looked at", lambda e: e.result.n_images),
        "attacked": Column("of them, right at first and so attacked", lambda e: e.result.clean_correct),
        "fooled_images": Column("fooled within the budget", lambda e: e.result.fooled),
        **share_columns("fooled", "`fooled_images` of `attacked`", lambda e: e.result.success),
        "mean_queries": Column("of the images that were fooled", lambda e: e.result.mean_queries),
        "median_queries": Column("of the images that were fooled", lambda e: e.result.median_queries),
        "median_loss_queries": Column("the same without success checks", lambda e: e.result.median_loss_queries),
        "flat_share": Column("of the gradient estimates, zero everywhere", lambda e: e.result.flat_share),
        "unconfirmed": Column("successes withdrawn", lambda e: e.result.unconfirmed),
        "forwards_per_second": Column("images through the network", lambda e: e.result.forwards_per_second),
        "model_share": Column("of the wall time, the network's forward pass", lambda e: e.result.model_share),
    },
    line=lambda r: f"fooled {r.success_rate:.1%}",
)
CHOICE: Kind[ChoiceConfig, ChoiceResult] = Kind(
    "choice",
    ChoiceConfig,
    ChoiceResult,
    "choices",
    {
        "network": Column("name of the attacked network", lambda e: e.config.model),
        "attack": Column("whose setting is chosen", lambda e: e.config.attack),
        "parameter": Column("the setting", lambda e: e.config.parameter),
        "chosen": Column("its best value", lambda e: e.result.chosen),
        "query": Column("key of the attack with it", lambda e: e.result.key),
    },
    line=lambda r: f"{r.chosen:g}",
)
