"""The tables of the transfer section: every accuracy, the gains, the sources, the networks, what each attack took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import BASELINE
from groundglass.old_report.networks import read_network
from groundglass.old_report.study import Study
from groundglass.old_report.style import transfer_style
from groundglass.old_report.transfer_trials import Gain, Trial
from groundglass.old_report.transfers import PAPER, Crafted, target_style


@dataclass(frozen=True)
class TransferRow:
    """A line of a table. `ink`: whose colour it has; `values`: one a radius, None where there is no record."""

    name: str
    ink: str
    values: tuple[Proportion | None, ...]


@dataclass(frozen=True)
class GainRow:
    """A target beside VGG-16, at each radius where both met the attack."""

    name: str
    ink: str
    values: tuple[Gain | None, ...]


@dataclass(frozen=True)
class TransferTable:
    """Attributes:
    columns: the radius in `unit`, and in the paper's or an empty string.
    groups: the rows of each target; the white-box attacks on it are the second of the pair.
    sources: images that fool their own source, an attack a row.
    """

    unit: str
    columns: tuple[tuple[str, str], ...]
    groups: tuple[tuple[tuple[TransferRow, ...], tuple[TransferRow, ...]], ...]
    gains: tuple[GainRow, ...]
    sources: tuple[TransferRow, ...]

    @property
    def has_paper(self) -> bool:
        return any(paper for _, paper in self.columns)


@dataclass(frozen=True)
class Untouched:
    """A network without any attack. `role`: "source", "target" or both."""

    name: str
    role: str
    clean: Proportion

    @property
    def ink(self) -> str:
        return target_style(self.name)


@dataclass(frozen=True)
class TransferEffort:
    """What an attack took over all its radii. `gradients`: per image, the mean over radii; `made_on`: in words."""

    label: str
    made_on: str
    settings: str
    gradients: float
    seconds: float

    @property
    def ink(self) -> str:
        return transfer_style(self.label)


def transfer_table(trial: Trial) -> TransferTable:
    paper = trial.paper_radii
    groups = []
    for target in trial.targets:
        rows = [
            TransferRow(
                f"{target} ← {curve.label}",
                transfer_style(curve.label),
                tuple(point.correct if (point := curve.at(eps)) else None for eps in trial.radii),
            )
            for curve in trial.curves
            if curve.target == target
        ]
        groups.append((tuple(rows), _white_box(trial, target)))
    return TransferTable(
        unit="pixel levels of 255" if trial.norm == "linf" else "pixel units",
        columns=tuple(
            (trial.written(eps).removesuffix("/255"), f"{paper[eps]:.3g}" if eps in paper else "")
            for eps in trial.radii
        ),
        groups=tuple(groups),
        gains=tuple(_gains(trial)),
        sources=tuple(
            TransferRow(
                f"{label} on {' and '.join(_first(trial, label).sources)}",
                transfer_style(label),
                tuple(one.fooled if (one := trial.craft(label, eps)) else None for eps in trial.radii),
            )
            for label in _labels(trial.crafted)
        ),
    )


def _white_box(trial: Trial, target: str) -> tuple[TransferRow, ...]:
    there = {(one.rule, one.eps): one for one in trial.yardsticks if one.target == target}
    rules = dict.fromkeys(rule for rule, _ in there)
    names = {rule: next(one.label for one in there.values() if one.rule == rule) for rule in rules}
    return tuple(
        TransferRow(
            f"{target} ← white-box, {names[rule]}",
            rule,
            tuple(one.left if (one := there.get((rule, eps))) else None for eps in trial.radii),
        )
        for rule in rules
    )


def _gains(trial: Trial) -> list[GainRow]:
    rows = []
    for target in trial.compared:
        for label, name in ((PAPER, "the paper's PGD"), (None, "the strongest on each")):
            # Where the paper's PGD alone was tried on either, the strongest attack is not known.
            values = tuple(
                None if label is None and min(len(trial.tried(who, eps)) for who in (BASELINE, target)) < 2 else gain
                for eps in trial.radii
                for gain in (trial.gain(target, eps, label),)
            )
            if any(values):
                rows.append(GainRow(f"{target}, {name}", target_style(target), values))
    return rows


def untouched(study: Study, trial: Trial) -> list[Untouched]:
    """Sources and targets with their clean accuracy, where their training is in the folder."""
    cells = [point.record for curve in trial.curves for point in curve.points]
    made = [one.record for one in trial.crafted]
    common = [trial.common.record] if trial.common else []
    sources = {name for one in trial.crafted for name in one.sources}
    found = []
    for network in map(read_network, study.networks_of([*common, *cells, *made])):
        roles = [role for role, names in (("source", sources), ("target", set(trial.targets))) if network.name in names]
        found.append(Untouched(network.name, " and ".join(roles) or "–", network.clean))
    return sorted(found, key=lambda one: ("target" not in one.role, one.name != BASELINE, one.name))


def efforts(trial: Trial) -> list[TransferEffort]:
    made = []
    for label in _labels(trial.crafted):
        ones = [one for one in trial.crafted if one.label == label]
        first = ones[0]
        made.append(
            TransferEffort(
                label,
                " and ".join(f"{source} ({rule})" for source, rule in zip(first.sources, first.rules, strict=True)),
                _settings(first),
                sum(one.gradients for one in ones) / len(ones),
                sum(one.record.seconds for one in ones),
            )
        )
    return made


def _settings(one: Crafted) -> str:
    parts = [one.attack, *(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in one.settings.items())]
    return ", ".join(parts + ([f"{one.budget:,} queries"] if one.budget is not None else []))


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list):
        return " ".join(_plain(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _first(trial: Trial, label: str) -> Crafted:
    return next(one for one in trial.crafted if one.label == label)


def _labels(crafted: Sequence[Crafted]) -> list[str]:
    return list(dict.fromkeys(one.label for one in crafted))
