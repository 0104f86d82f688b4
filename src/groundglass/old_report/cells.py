"""Records as the report reads them: an attack's outcome, and the curves that they make."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, right_within
from groundglass.old_report.threat_models import attacker, rank
from groundglass.results.records import Record

BASELINE = "VGG-16"
DEFENDED = "VGG-OPU"
# What the features of a VGG-OPU in two stages were trained in: all of it but the layer.
UNLAYERED = "VGG-DFA"


@dataclass(frozen=True)
class AttackCell:
    """One attack at one radius.

    Attributes:
        eps: pixel units, images in [0, 1].
        eps_paper: the same radius in the paper's normalised units, where it has one.
        robust, clean: images right after and before the attack.
        gradients: per image, the mean.
        zero_gradients: share of input gradients that were exactly zero, or None.
        fit: {"n_images", "held_out_r2"} of a fitted surrogate, or None.
        purpose: "figure", or "control" for what only shows whether the figure can be believed.
    """

    record: Record
    model: str
    rule: str
    attack: str
    norm: str
    eps: float
    eps_paper: float | None
    robust: Proportion
    clean: Proportion
    gradients: float
    zero_gradients: float | None
    fit: dict[str, Any] | None
    purpose: str

    @classmethod
    def from_record(cls, record: Record) -> "AttackCell":
        """Read a record of kind "attack".

        Raises:
            DamagedFileError: a field is missing, or a count is impossible; names the record.
        """
        config, result = record.config, record.result
        try:
            total = int(result["n_images"])
            eps_paper = config.get("eps_paper")
            return cls(
                record=record,
                model=str(config["model"]),
                rule=str(config["rule"]),
                attack=str(config["attack"]),
                norm=str(config["norm"]),
                eps=round(float(config["eps"]), 9),
                eps_paper=None if eps_paper is None else round(float(eps_paper), 9),
                robust=Proportion(int(result["correct"]), total),
                clean=Proportion(int(result["clean_correct"]), total),
                gradients=float(result["gradients"]) / total,
                zero_gradients=result.get("zero_gradient_share"),
                fit=result.get("fit"),
                purpose=str(config.get("purpose", "figure")),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise DamagedFileError(
                f"the record {record.key} ({record.name}) is no attack as this version writes it: "
                f"{type(error).__name__} {error}. Rebuild the page with the version that ran the study"
            ) from error

    @property
    def is_control(self) -> bool:
        """Not to be compared with the attacks of the figure: one step, noise, another radius or fewer images."""
        return self.purpose == "control" or self.attack in ("FGSM", "RandomNoise", "CW")

    @property
    def radius(self) -> str:
        """In the words of its norm: "6.38/255", or "0.5" for L2."""
        return radius(self.norm, self.eps)


@dataclass(frozen=True)
class Curve:
    """Accuracy against radius of one attack, by one rule, on one network; `points` are in the order of eps."""

    model: str
    rule: str
    attack: str
    norm: str
    points: tuple[AttackCell, ...]

    @property
    def clean(self) -> Proportion:
        """Accuracy at eps = 0, on the same images."""
        return self.points[0].clean

    @property
    def name(self) -> str:
        """In the paper's notation: model <- gradients."""
        how = f", {method(self.attack)}" if self.attack not in ("PGD", "RandomNoise") else ""
        return f"{self.model} ← {attacker(self.rule).label}{how}"

    def at(self, eps: float) -> AttackCell | None:
        return next((point for point in self.points if point.eps == eps), None)


def curves(cells: Iterable[AttackCell], *, norm: str) -> list[Curve]:
    """The curves of a norm, in the order used everywhere: baseline first, then by attacker.

    Where a radius was attacked twice (more steps, say) the stronger attack counts: robust accuracy is a worst case.
    """
    best: dict[tuple[str, str, str], dict[float, AttackCell]] = {}
    for cell in cells:
        if cell.norm == norm:
            points = best.setdefault((cell.model, cell.rule, cell.attack), {})
            if cell.eps not in points or cell.robust.share < points[cell.eps].robust.share:
                points[cell.eps] = cell
    made = [
        Curve(model, rule, attack, norm, tuple(points[eps] for eps in sorted(points)))
        for (model, rule, attack), points in best.items()
    ]
    attacks = ["PGD", "CW", "FGSM", "RandomNoise"]
    return sorted(
        made,
        key=lambda c: (
            c.model != BASELINE,
            c.model,
            rank(c.rule),
            attacks.index(c.attack) if c.attack in attacks else len(attacks),
            c.attack,
        ),
    )


def of_distances(cell: AttackCell, arrays: Mapping[str, np.ndarray], radii: Sequence[float]) -> Curve:
    """The curve of an attack that looks for the smallest perturbation: one attack, every radius.

    Args:
        arrays: of the attack's record; see `right_within`.
        radii: pixel units, rising; at least one.
    """
    points = tuple(replace(cell, eps=eps, eps_paper=None, robust=right_within(arrays, eps)) for eps in radii)
    return Curve(cell.model, cell.rule, cell.attack, cell.norm, points)


def radius(norm: str, eps: float) -> str:
    if norm == "linf" and eps >= 1:
        return "any image"
    return f"{eps * 255:.3g}/255" if norm == "linf" else f"{eps:.3g}"


def data_name(data: str) -> str:
    return {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}.get(data, data)


def method(attack: str) -> str:
    return {"CW": "C&W", "RandomNoise": "random noise"}.get(attack, attack)


def norm_name(norm: str) -> str:
    return {"linf": "L∞", "l2": "L2"}.get(norm, norm)
