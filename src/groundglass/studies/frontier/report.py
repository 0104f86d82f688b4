"""Test accuracy against the core-seconds of each training, and which trainings no other beats in both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from groundglass.core.phases import undisturbed
from groundglass.core.statistics import Proportion
from groundglass.core.text import duration
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, save_curves
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, DEFENDED, of_name
from groundglass.report.table import Amount, Row, Table
from groundglass.results import Run
from groundglass.results.kinds import TRAIN, Entry
from groundglass.results.kinds.network import Epoch, TrainConfig, TrainResult

TITLE = "What an accuracy costs"
#: Ticks of an axis of minutes.
_MINUTES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


@dataclass(frozen=True)
class Trained:
    """A training that was tried.

    Attributes:
        network: "VGG-16" or "VGG-OPU".
        label: what was other than in the study's own.
        clean: accuracy on the test set.
        core_seconds: of training, with that of the features that it has.
        width, epochs: of it, or of these features.
        on_front: no training of this network was as good for as little.
    """

    network: str
    label: str
    clean: Proportion
    core_seconds: float
    width: float
    epochs: int
    on_front: bool = False


def trained(run: Run) -> list[Trained]:
    """The trainings of a run of this study, network by network, each in the order of the plan."""
    if run.manifest.get("study") != "frontier":
        return []
    entries = run.entries(TRAIN)
    known = {one.key: one for one in entries}
    below = {key for one in entries for key in one.inputs}
    threads = int(run.manifest.get("machine", {}).get("threads") or 1)
    found = []
    for network in (BASELINE, DEFENDED):
        own = [one for one in entries if one.name.startswith(f"{network} ") and one.key not in below]
        points = [_of(one, network, known, threads) for one in own]
        found += [replace(one, on_front=one in front(points)) for one in points]
    return found


def _of(one: Entry[TrainConfig, TrainResult], network: str, known: Mapping[str, Any], threads: int) -> Trained:
    made = [one, *(known[key] for key in one.inputs if key in known)]
    seconds = sum(
        undisturbed(each.config.training, [_core(epoch, threads) for epoch in each.result.epochs]) for each in made
    )
    longest = made[-1].config
    width = float(longest.model.get("width", 1.0))
    label = one.name.removeprefix(f"{network} ")
    return Trained(network, label, one.result.clean, seconds, width, longest.epochs)


def _core(epoch: Epoch, threads: int) -> float:
    """Seconds of all cores: those that its process had, or as many as there were threads. Threads that wait for each other count
    as if they worked."""
    most = threads * epoch.seconds
    return min(most, epoch.core_seconds or most)


def front(points: Sequence[Trained]) -> list[Trained]:
    """Those that none is better than for as little or less, the cheapest first."""
    best, found = -1.0, []
    for one in sorted(points, key=lambda one: (one.core_seconds, -one.clean.share)):
        if one.clean.share > best:
            best = one.clean.share
            found.append(one)
    return found


def tables(run: Run) -> list[Table]:
    """A row a training, the cheapest first."""
    found = sorted(trained(run), key=lambda one: (one.network, one.core_seconds))
    rows = [
        Row(
            f"{one.network} {one.label}",
            (
                one.clean,
                Amount(one.core_seconds, duration),
                Amount(one.width, "{:g}".format),
                Amount(one.epochs),
                "yes" if one.on_front else "",
            ),
            strong=one.on_front,
        )
        for one in found
    ]
    note = (
        "Accuracy is on the whole test set, of one training each. Core time is what all cores together spent, if every "
        "epoch took as little as that with images of its size which took least; with that of features. "
        "On the front: no training of the same network that was tried is better for as little."
    )
    columns = ("test accuracy", "core time", "width", "epochs", "on the front")
    return [Table("", "training", columns, tuple(rows), note)] if rows else []


def _judge(found: Sequence[Trained], goal: float) -> Verdict:
    """Which training of each network reached the goal for least."""
    enough: dict[str, Trained] = {}
    for one in sorted(found, key=lambda one: one.core_seconds):
        if one.clean.share >= goal:
            enough.setdefault(one.network, one)
    networks = list(dict.fromkeys(one.network for one in found))
    best = {name: max((o for o in found if o.network == name), key=lambda o: o.clean.share) for name in networks}
    finding = {len(networks): Finding.HOLDS, 0: Finding.FALLS}.get(len(enough), Finding.PART)
    reasons = {
        "goal": goal,
        "enough": list(enough.values()),
        "short": [best[name] for name in networks if name not in enough],
        "trainings": len(found),
    }
    return Verdict(finding, reasons, n_images=min(one.clean.total for one in found))


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None where nothing was trained."""
    found = trained(run)
    if not found:
        return None
    goal = float(run.manifest.get("config", {}).get("goal", 1.0))
    return Section(TITLE, _judge(found, goal), (_figure(found, goal, drawings),), tables(run))


def _figure(found: Sequence[Trained], goal: float, drawings: Folder) -> Drawing:
    """A line through each network's front; what is not on it is hollow."""
    lines = []
    for network in dict.fromkeys(one.network for one in found):
        own = [one for one in found if one.network == network]
        for on_front in (False, True):
            points = sorted((one.core_seconds / 60, 100 * one.clean.share) for one in own if one.on_front is on_front)
            if points:
                x, y = zip(*points, strict=True)
                style = of_name(network) if on_front else replace(of_name(network, hollow=True), dash="none")
                lines.append(Curve(network if on_front else "", x, y, style))
    every = [value for line in lines for value in line.x]
    low, high = min(every), max(every)
    ticks = {float(at): f"{at:g}" for at in _MINUTES if low <= at <= high} or {low: f"{low:.2g}"}
    lowest = min([100 * goal, *(value for line in lines for value in line.y)])
    return save_curves(
        drawings,
        "frontier",
        lines,
        x="core time of training (minutes)",
        y="test accuracy (%)",
        x_log=True,
        x_ticks=ticks,
        y_range=(max(0, 10 * ((lowest - 1) // 10)), 100),
        level=(f"{goal:.0%}", 100 * goal),
        caption="Test accuracy against the core time of training, a point a training. A line joins those that no other training "
        "of the same network beats for as little: the Pareto front. Hollow: the others.",
        said="{:.3g} core minutes",
    )
