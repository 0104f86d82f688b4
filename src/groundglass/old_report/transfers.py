"""Records of transferred attacks as the report reads them: images made on some networks, tried on others."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import BASELINE, radius
from groundglass.old_report.pairing import clearly_fewer, stands
from groundglass.old_report.queries import share_of
from groundglass.old_report.study import Study
from groundglass.old_report.style import transfer_style
from groundglass.results.records import Record

PAPER = "PGD"
HIGHER, LOWER = "VGG-OPU higher", "VGG-OPU lower"
# An undefended network, trained as short as LOWER: what that alone buys.
CONTROL = "VGG-16 lower"
# Target -> the network that its features were trained in: all of it but the layer.
FEATURES = {HIGHER: "VGG-DFA", LOWER: "VGG-DFA lower"}
UNDEFENDED = (BASELINE, CONTROL, *FEATURES.values())
_LABELS = (PAPER, "MI-FGSM", "MI-DI-TI", "Ensemble", "Own VGG-OPU")
_TARGETS = (BASELINE, CONTROL, FEATURES[HIGHER], HIGHER, FEATURES[LOWER], LOWER)


def target_style(name: str) -> str:
    """The colour of a target. Features without the layer have that of the network with it, and dashed lines."""
    return transfer_style(next((target for target, features in FEATURES.items() if features == name), name))


@dataclass(frozen=True)
class Common:
    """The images that every source and target gets right: `share` of the test images. `right`: network -> how many."""

    record: Record
    models: tuple[str, ...]
    share: Proportion
    right: Mapping[str, int]

    @classmethod
    def from_record(cls, record: Record) -> "Common":
        """Read a record of kind "common".

        Raises:
            DamagedFileError: a field is missing, or a count is impossible; names the record.
        """
        with _Reading(record, "set of common images"):
            share = Proportion(int(record.result["common"]), int(record.result["n_images"]))
            right = {str(name): int(count) for name, count in record.result["right"]}
            if any(not share.count <= count <= share.total for count in right.values()):
                raise ValueError(f"{share.count} common images of {right} right of {share.total}")
            return cls(record, tuple(map(str, record.config["models"])), share, right)


@dataclass(frozen=True)
class Crafted:
    """Adversarial images, made on networks of the attacker's own.

    Attributes:
        label: the attack's name on the page; `attack` is its class.
        sources, rules: the networks, and by whose gradient each was differentiated ("none": by queries).
        eps: pixel units, images in [0, 1]; the largest channel's. `eps_paper`: in the paper's units, or None.
        budget: queries an image, or None.
        fooled: images that fool their own sources.
        gradients: per image, the mean.
        purpose: "transfer", "redraw" or "ablation".
    """

    record: Record
    label: str
    sources: tuple[str, ...]
    rules: tuple[str, ...]
    attack: str
    settings: Mapping[str, Any]
    norm: str
    eps: float
    eps_paper: float | None
    budget: int | None
    fooled: Proportion
    gradients: float
    purpose: str

    @classmethod
    def from_record(cls, record: Record) -> "Crafted":
        """Read a record of kind "craft".

        Raises:
            DamagedFileError: a field is missing, or a count is impossible; names the record.
        """
        config, result = record.config, record.result
        with _Reading(record, "set of adversarial images"):
            fooled = Proportion(int(result["fooled"]), int(result["n_images"]))
            sources = tuple(map(str, config["sources"]))
            rules = tuple(map(str, config["rules"]))
            if not sources or len(sources) != len(rules):
                raise ValueError(f"sources {sources} with rules {rules}")
            budget = config.get("budget")
            return cls(
                record=record,
                label=str(config["label"]),
                sources=sources,
                rules=rules,
                attack=str(config["attack"]),
                settings=dict(config.get("settings") or {}),
                norm=str(config["norm"]),
                eps=round(float(config["eps"]), 9),
                eps_paper=_rounded(config.get("eps_paper")),
                budget=None if budget is None else int(budget),
                fooled=fooled,
                gradients=int(result["gradients"]) / fooled.total,
                purpose=str(config["purpose"]),
            )

    @property
    def radius(self) -> str:
        return radius(self.norm, self.eps)


@dataclass(frozen=True)
class Transferred:
    """Adversarial images of one attack, tried on one network.

    Attributes:
        label, sources, rules, attack, norm, eps, eps_paper, purpose: as of the `Crafted` they come from.
        target: the network they were tried on.
        correct: adversarial images that the target gets right.
        fooled_source: images that fool their own sources.
        also_fooled: of those, the ones that fool the target too; None when no image fools its own source.
        stands: index of each image -> whether the target gets it right; empty where the record has no arrays.
    """

    record: Record
    label: str
    sources: tuple[str, ...]
    rules: tuple[str, ...]
    target: str
    attack: str
    norm: str
    eps: float
    eps_paper: float | None
    correct: Proportion
    fooled_source: Proportion
    also_fooled: Proportion | None
    purpose: str
    stands: Mapping[int, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_record(cls, record: Record) -> "Transferred":
        """Read a record of kind "transfer".

        Raises:
            DamagedFileError: a field is missing, or a count is impossible; names the record.
        """
        config, result = record.config, record.result
        with _Reading(record, "transferred attack"):
            total, right = int(result["n_images"]), int(result["correct"])
            fooled, also = int(result["fooled_source"]), int(result["also_fooled"])
            if not 0 <= also <= total - right or fooled - also > right:
                raise ValueError(f"{right} right of {total}, {fooled} fool the source, {also} of them the target too")
            return cls(
                record=record,
                label=str(config["label"]),
                sources=tuple(map(str, config["sources"])),
                rules=tuple(map(str, config["rules"])),
                target=str(config["target"]),
                attack=str(config["attack"]),
                norm=str(config["norm"]),
                eps=round(float(config["eps"]), 9),
                eps_paper=_rounded(config.get("eps_paper")),
                correct=Proportion(right, total),
                fooled_source=Proportion(fooled, total),
                also_fooled=share_of(also, fooled),
                purpose=str(config["purpose"]),
            )

    @property
    def radius(self) -> str:
        return radius(self.norm, self.eps)

    def clearly_below(self, other: "Transferred") -> bool:
        """Whether fewer images are right here, by those that one loses and the other keeps; never without arrays."""
        return clearly_fewer(self.stands, other.stands)


@dataclass(frozen=True)
class TransferCurve:
    """Accuracy on the common images against the radius: one attack, one target; points in the order of eps."""

    label: str
    target: str
    norm: str
    points: tuple[Transferred, ...]

    @property
    def series(self) -> list[tuple[float, Proportion]]:
        """(eps, right) from eps = 0 on, where by construction every image is right."""
        points = [(point.eps, point.correct) for point in self.points]
        total = self.points[0].correct.total
        return points if points[0][0] == 0 else [(0.0, Proportion(total, total)), *points]

    def at(self, eps: float) -> Transferred | None:
        return next((point for point in self.points if point.eps == eps), None)


def transfer_curves(cells: Iterable[Transferred], *, norm: str) -> list[TransferCurve]:
    """The curves of a norm, target by target, the paper's attack first.

    Where a radius was tried twice (more steps, say) the stronger attempt counts.
    """
    best: dict[tuple[str, str], dict[float, Transferred]] = {}
    for cell in cells:
        if cell.norm == norm:
            points = best.setdefault((cell.target, cell.label), {})
            if cell.eps not in points or cell.correct.share < points[cell.eps].correct.share:
                points[cell.eps] = cell
    return [
        TransferCurve(label, target, norm, tuple(best[target, label][eps] for eps in sorted(best[target, label])))
        for target, label in sorted(best, key=lambda who: (target_rank(who[0]), who[0], label_rank(who[1]), who[1]))
    ]


def read_crafted(study: Study, purpose: str) -> list[Crafted]:
    """The adversarial images made for a purpose, in the order of labels and radii.

    Raises:
        DamagedFileError: a record that cannot be read, or whose arrays tell other numbers.
    """
    records = (record for record in study.of_kind("craft") if record.config.get("purpose") == purpose)
    made = [Crafted.from_record(record) for record in records]
    for one in made:
        counts = {"success": one.fooled.count}
        _compare(study, one.record, one.fooled.total, counts, lambda arrays: {"success": arrays["success"]})
    return sorted(made, key=lambda c: (label_rank(c.label), c.label, c.norm, c.eps))


def read_transferred(study: Study, purpose: str) -> list[Transferred]:
    """What came of them on each target, for a purpose.

    Raises:
        DamagedFileError: a record that cannot be read, or whose arrays tell other numbers.
    """
    records = (record for record in study.of_kind("transfer") if record.config.get("purpose") == purpose)
    found = [Transferred.from_record(record) for record in records]
    for cell in found:
        counts = {
            "correct": cell.correct.count,
            "fooled_source": cell.fooled_source.count,
            "also_fooled": cell.also_fooled.count if cell.also_fooled else 0,
        }
        _compare(study, cell.record, cell.correct.total, counts, _told)
    return [replace(cell, stands=stands(study, cell.record)) if cell.record.arrays else cell for cell in found]


def label_rank(label: str) -> int:
    """Position in the order used everywhere: the paper's attack first."""
    return _LABELS.index(label) if label in _LABELS else len(_LABELS)


def target_rank(target: str) -> int:
    """Position in the order used everywhere: baseline first."""
    return _TARGETS.index(target) if target in _TARGETS else len(_TARGETS)


def _told(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    right, fooled = arrays["correct"].astype(bool), arrays["fooled_source"].astype(bool)
    return {"correct": right, "fooled_source": fooled, "also_fooled": fooled & ~right}


def _compare(
    study: Study,
    record: Record,
    total: int,
    counts: Mapping[str, int],
    told: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
) -> None:
    """Refuse arrays that tell other numbers than their record; a record without arrays is taken at its word."""
    arrays = study.store.arrays(record)
    if not arrays:
        return
    where, advice = f"{record.arrays} ({record.name})", "rebuild the page with the version that ran the study"
    try:
        masks = told(arrays)
    except KeyError as error:
        raise DamagedFileError(f"{where} lacks {error}: {advice}") from error
    found = {name: int(mask.astype(bool).sum()) for name, mask in masks.items()}
    lengths = {len(mask) for mask in masks.values()}
    if lengths != {total} or found != dict(counts):
        raise DamagedFileError(
            f"{where} tells {found} of {sorted(lengths)}, its record {dict(counts)} of {total}: {advice}"
        )


class _Reading:
    """Turns what goes wrong while a record is read into a DamagedFileError that names it."""

    def __init__(self, record: Record, what: str) -> None:
        self._record, self._what = record, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        if isinstance(error, KeyError | TypeError | ValueError):
            raise DamagedFileError(
                f"the record {self._record.key} ({self._record.name}) is no {self._what} as this version writes it: "
                f"{type(error).__name__} {error}. Rebuild the page with the version that ran the study"
            ) from error


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 9)
