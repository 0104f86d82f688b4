"""What every page has beside its studies: the networks, the checks, and where the run was made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groundglass.core.text import duration, listed
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, save_curves
from groundglass.report.style import BASELINE, DEFENDED, UNLAYERED, of_name
from groundglass.report.table import Amount, Row, Table, Value
from groundglass.results import Run
from groundglass.results.kinds import CHECK, DEVICE, TRAIN, Entry
from groundglass.results.kinds.network import TrainConfig, TrainResult
from groundglass.results.manifest import unasked

_CREDIT = {
    "bp": "backpropagation",
    "hybrid-dfa": "hybrid: backpropagation and DFA",
    "direct-feedback": "DFA at every layer",
    "feedback-alignment": "feedback alignment",
    "sign-symmetry": "sign-symmetry",
    "estimated-derivative": "backpropagation, through an estimate of the device's derivative",
    "classifier": "classifier alone, on frozen features",
}


def networks(run: Run) -> list[Table]:
    """Each network: clean accuracy, and what training it took."""
    columns: dict[str, Callable[[Entry[TrainConfig, TrainResult]], Value]] = {
        "clean accuracy": lambda one: one.result.clean,
        "training": _trained,
        "device": lambda one: one.result.device.said if one.result.device else None,
        "parameters": lambda one: Amount(one.result.parameters),
        "epochs": lambda one: Amount(one.config.epochs),
        "time": lambda one: Amount(one.result.train_seconds, duration),
    }
    rows = [(one.name, one) for one in run.entries(TRAIN)]
    return [Table.of("Networks, %", "network", columns, rows)] if rows else []


def _trained(one: Entry[TrainConfig, TrainResult]) -> str:
    features, credit = one.result.features, one.config.credit
    on = "" if credit == "classifier" else ", on the frozen convolutions"
    return _CREDIT.get(credit, credit) + (f"{on} of {features.name}" if features else "")


def training(run: Run, drawings: Folder) -> Drawing | None:
    """Accuracy in each epoch of the networks that the page is about; not the fits of a classifier, which take seconds."""
    lines = []
    for one in run.entries(TRAIN):
        if one.name not in (BASELINE, DEFENDED, UNLAYERED) or one.config.training["credit"] == "classifier":
            continue
        points = [(e.epoch, 100 * e.train_accuracy) for e in one.result.epochs]
        if len(points) > 1:
            x, y = zip(*points, strict=True)
            lines.append(Curve(one.name, x, y, of_name(one.name, hollow=one.name == BASELINE)))
    if not lines:
        return None
    axes = {"x": "epoch", "y": "accuracy on training images (%)"}
    caption = "Accuracy in each epoch, on training images as they were learned."
    return save_curves(drawings, "training", lines, caption=caption, said="at the end", **axes)


def checks(run: Run) -> list[Table]:
    """Signs of a claim that is not true, looked for in the records of each study."""
    rows = []
    for one in sorted(run.entries(CHECK), key=lambda one: one.result.passed):
        passed = "✓ passed" if one.result.passed else "✗ failed"
        found = (passed, _said(one.result.value) or None, one.result.expected, listed(sorted(run.studies(one.key))))
        rows.append(Row(one.config.check, found))
    return [Table("Checks", "check", ("", "found", "expected", "study"), tuple(rows))] if rows else []


def _said(value: Any) -> str:
    """What a check found: shares in per cent, as everywhere on the page."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return f"{100 * value:.1f}%"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_said(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return " and ".join(_said(entry) for entry in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def provenance(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Where the run was made: headings, each with names and values."""
    told = run.manifest
    facts = [(name, str(told[name])) for name in ("study", "recipe", "data", "seed", "started")]
    facts += [("not the recipe's", line) for line in told.get("changed", ())]
    if "optical_device" in told:
        facts.append(("device, given", told["optical_device"]["fingerprint"]))
    facts.append(("results", f"{len(run.records)}, {duration(sum(record.seconds for record in run.records))} of work"))
    parts = [("", facts), ("Versions", _pairs(told["versions"])), ("Machine", _pairs(told["machine"]))]
    for note in told.get("continued", ()):
        parts.append((f"Continued {note['started']}", _pairs(note["versions"]) + _pairs(note["machine"])))
    for grown in told.get("grown", ()):
        counts = f"{grown['new']} new, {grown['kept']} kept, {grown['left']} no longer in the plan and not shown"
        changed = [("changed", line) for line in grown["settings"]]
        parts.append((f"Plan changed {grown['when']}", [*changed, ("results", counts)]))
    return [*parts, ("Configuration", _pairs(told["config"]))]


def public_seed(run: Run) -> bool:
    """Whether the seed of a device was given, as far as the folder says: folders of earlier versions do not say."""
    return bool(run.manifest.get("public_seed")) or any(one.result.public_seed for one in run.entries(DEVICE))


@dataclass(frozen=True)
class GivenDevice:
    """What a study did with a device that somebody else holds.

    Attributes:
        frames: that it took of the device.
        why: there are results that the study has of a device of its own, and not of this one.
        left_out: their names.
    """

    frames: int
    why: str
    left_out: tuple[str, ...]


def given_device(run: Run) -> GivenDevice | None:
    """None where the study has made its devices."""
    frames = sum(record.frames or 0 for record in run.records)
    if "optical_device" not in run.manifest and not frames:
        return None
    left = run.manifest.get("left_out", ())
    why = unasked((one["kind"], one["why"]) for one in left)
    return GivenDevice(frames, why, tuple(one["name"] for one in left))


def _pairs(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Plain JSON as names and values."""
    if isinstance(value, dict):
        return [pair for key, entry in value.items() for pair in _pairs(entry, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list) and not any(isinstance(entry, dict | list) for entry in value):
        return [(path, ", ".join(map(str, value)))]
    if isinstance(value, list):
        return [pair for i, entry in enumerate(value) for pair in _pairs(entry, f"{path}[{i}]")]
    return [(path, "none" if value is None else str(value))]
