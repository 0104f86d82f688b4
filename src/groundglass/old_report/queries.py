"""Records of query attacks as the report reads them: an attack's outcome, and the curve of its successes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import BASELINE, norm_name, radius
from groundglass.old_report.query_attackers import query_rank
from groundglass.results.records import Record


@dataclass(frozen=True)
class QueryCell:
    """One query attack on one network.

    Attributes:
        eps: pixel units, images in [0, 1].
        budget: queries an image may cost, success checks included.
        attacked: images that were right at first. Every rate is a share of these; there may be none.
        wrong_before: images that were wrong at first, and never attacked.
        success: images fooled within the budget; None when no image was right at first.
        success_at: the same after so many queries; the last is the budget.
        mean, median: queries of the images that were fooled, or None when there are none.
        mean_loss, median_loss: the same without the success checks, as the originals count.
        flat: share of the gradient estimates that were exactly zero; None where the attack makes none.
        model_share: of the wall time, what the model's forward pass took.
        unconfirmed: successes withdrawn because a fresh pass did not confirm them.
        purpose: "figure", or "sweep" for a setting that was tried.
    """

    record: Record
    model: str
    attack: str
    access: str
    norm: str
    eps: float
    budget: int
    attacked: int
    wrong_before: int
    success: Proportion | None
    success_at: tuple[tuple[int, Proportion | None], ...]
    mean: float | None
    median: float | None
    mean_loss: float | None
    median_loss: float | None
    loss_queries: int
    check_queries: int
    flat: float | None
    forwards_per_second: float | None
    model_share: float | None
    unconfirmed: int
    purpose: str
    settings: Mapping[str, Any]

    @classmethod
    def from_record(cls, record: Record) -> "QueryCell":
        """Read a record of kind "query".

        Raises:
            DamagedFileError: a field is missing, or a count is impossible; names the record.
        """
        config, result = record.config, record.result
        try:
            total, attacked = int(result["n_images"]), int(result["clean_correct"])
            if not 0 <= int(result["fooled"]) <= attacked <= total:
                raise ValueError(f"{result['fooled']} fooled of {attacked} right of {total} images")
            budget = int(config["budget"])
            counts = {int(at): int(count) for at, count in result["success_at"] if at < budget}
            counts[budget] = int(result["fooled"])
            return cls(
                record=record,
                model=str(config["model"]),
                attack=str(config["attack"]),
                access=str(config["access"]),
                norm=str(config["norm"]),
                eps=round(float(config["eps"]), 9),
                budget=budget,
                attacked=attacked,
                wrong_before=total - attacked,
                success=share_of(counts[budget], attacked),
                success_at=tuple((at, share_of(counts[at], attacked)) for at in sorted(counts)),
                mean=_number(result["mean_queries"]),
                median=_number(result["median_queries"]),
                mean_loss=_number(result["mean_loss_queries"]),
                median_loss=_number(result["median_loss_queries"]),
                loss_queries=int(result["loss_queries"]),
                check_queries=int(result["check_queries"]),
                flat=_number(result.get("flat_share")),
                forwards_per_second=_number(result.get("forwards_per_second")),
                model_share=_number(result.get("model_share")),
                unconfirmed=int(result.get("unconfirmed") or 0),
                purpose=str(config.get("purpose", "figure")),
                settings=dict(config.get("settings") or {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(
                f"the record {record.key} ({record.name}) is no query attack as this version writes it: "
                f"{type(error).__name__} {error}. Rebuild the page with the version that ran the study"
            ) from error

    @property
    def ball(self) -> tuple[str, float]:
        return self.norm, self.eps

    @property
    def name(self) -> str:
        return f"{self.model} ← {self.attack}"


@dataclass(frozen=True)
class Choice:
    """The setting of an attack that did best on a network: its record is the attack's curve."""

    model: str
    attack: str
    parameter: str
    chosen: Any
    key: str

    @classmethod
    def from_record(cls, record: Record) -> "Choice":
        """Read a record of kind "choice".

        Raises:
            DamagedFileError: a field is missing; names the record.
        """
        try:
            config, result = record.config, record.result
            return cls(config["model"], config["attack"], config["parameter"], result["chosen"], result["key"])
        except KeyError as error:
            raise DamagedFileError(
                f"the record {record.key} ({record.name}) is no choice as this version writes it: it lacks {error}. "
                "Rebuild the page with the version that ran the study"
            ) from error


@dataclass(frozen=True)
class SuccessCurve:
    """How many images were fooled within so many queries each.

    Attributes:
        queries: rising; from 0 to the budget. Between two of them nothing changes.
        fooled: images fooled within that many queries, of `total`.
        total: images that were right at first.
    """

    queries: tuple[int, ...]
    fooled: tuple[int, ...]
    total: int

    def at(self, queries: int) -> int:
        """Images fooled within `queries` queries each."""
        return self.fooled[int(np.searchsorted(self.queries, queries, side="right")) - 1]


def success_curve(arrays: Mapping[str, np.ndarray], budget: int) -> SuccessCurve:
    """The cumulative success of a query attack.

    Args:
        arrays: `success`, `clean_correct` (bool), `loss_queries` and `check_queries` (int), one entry an image.
        budget: queries an image; a success that cost more is none.
    """
    right = arrays["clean_correct"].astype(bool)
    cost = arrays["loss_queries"].astype(np.int64) + arrays["check_queries"].astype(np.int64)
    spent = cost[right & arrays["success"].astype(bool) & (cost <= budget)]
    at, counts = np.unique(spent, return_counts=True)
    fooled = dict(zip(at.tolist(), np.cumsum(counts).tolist(), strict=True))
    points = {0: 0, **fooled, budget: len(spent)}
    return SuccessCurve(tuple(points), tuple(points.values()), int(right.sum()))


def share_of(count: int, total: int) -> Proportion | None:
    """A share; None of nothing."""
    return Proportion(count, total) if total else None


def ordered(cells: Iterable[QueryCell]) -> list[QueryCell]:
    """The order used everywhere: baseline first, then by attack."""
    return sorted(cells, key=lambda c: (c.model != BASELINE, c.model, query_rank(c.attack), c.attack))


def ball_name(norm: str, eps: float) -> str:
    """ "L∞ ε = 8/256": the paper's radius in the paper's words, others as everywhere."""
    whole = eps * 256
    written = f"{whole:.0f}/256" if norm == "linf" and eps < 1 and whole == round(whole) else radius(norm, eps)
    return f"{norm_name(norm)} ε = {written}"


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
