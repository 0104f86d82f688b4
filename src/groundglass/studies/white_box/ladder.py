"""The access ladder: the accuracy that is left to a network by who has this much access, and all that is below it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from groundglass.adaptive.attackers import RUNGS, Needs, Rung, attacker
from groundglass.core.statistics import Family, Outcomes, Proportion, differs
from groundglass.core.text import duration
from groundglass.report import words
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import DotRow, Series, save_dots
from groundglass.report.style import BASELINE, DEFENDED, OPEN, PLAIN, QUIET, UNLAYERED
from groundglass.report.table import Amount, Row, Table, Value, amount
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, DRAWS, QUERY, RETRIEVE, Entry, Kind

#: Radii at which images are fooled: at none; at every one, as they were wrong at first.
_NEVER, _BEFORE = float("inf"), 0.0
# A point that is this little outside of a ball is in it, as for `Ball.contains`.
_ROUNDING = 1e-6
_PANELS = 3


@dataclass
class Tried:
    """One attack on one network, over radii.

    Attributes:
        label: in tables.
        fell: image -> the smallest radius at which it was fooled. An image that is fooled in a small ball is in a larger one.
        radii: at which it was made; for one that looks for the nearest point, the smallest.
        nearest: it is such a one: it tells of larger radii too.
        entries: its records.
    """

    label: str
    needs: Needs
    fell: dict[int, float] = field(default_factory=dict)
    radii: set[float] = field(default_factory=set)
    nearest: bool = False
    entries: list[Entry[Any, Any]] = field(default_factory=list)

    def tells_of(self, eps: float) -> bool:
        """Whether it was made at this radius."""
        return eps in self.radii or (self.nearest and eps >= min(self.radii))

    def right(self, eps: float, images: Sequence[int]) -> Outcomes:
        """Which of these images it leaves right at this radius."""
        return {i: self.fell[i] > eps for i in images}


@dataclass(frozen=True)
class Step:
    """A rung, the attacks that stand on it, and what is left by these and all before them: radius -> image -> right."""

    rung: Rung
    tried: Sequence[Tried]
    together: Mapping[float, Outcomes]

    @property
    def label(self) -> str:
        return self.rung.label

    @property
    def possible(self) -> bool:
        """Whether somebody who was not given the secret may stand here."""
        return self.rung.needs != "U"


class Ladder:
    """What the records of a run say of every rung, in L-inf's ball, on the images that all its attacks were tried on.

    Attributes:
        radii: those that every attack here was made at: at another an image would count that was not attacked there.
        steps: the rungs that were tried, in order; each leaves no more right than the one before, image by image, and no
            more at a larger radius.
        beside: network without the layer -> what backpropagation leaves: radius -> image -> right.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        found = _tried(run)
        beside = {name: found[name, "bp"] for name in (BASELINE, UNLAYERED) if (name, "bp") in found}
        own = [one for (model, _), one in found.items() if model == DEFENDED]
        every = [*own, *beside.values()]
        self.images: list[int] = sorted(set.intersection(*(set(one.fell) for one in every))) if every else []
        radii = sorted({eps for one in every for eps in one.radii})
        self.radii = [eps for eps in radii if all(one.tells_of(eps) for one in every)]
        self.beside = {name: {e: one.right(e, self.images) for e in self.radii} for name, one in beside.items()}
        self.clean = {i: own[0].fell[i] > _BEFORE for i in self.images} if own else {}
        self.steps: list[Step] = []
        standing = {eps: dict(self.clean) for eps in self.radii}
        for rung in RUNGS:
            tried = [one for one in own if one.needs == rung.needs]
            for eps, left in standing.items():
                standing[eps] = {i: ok and all(one.fell[i] > eps for one in tried) for i, ok in left.items()}
            if tried:
                self.steps.append(Step(rung, tried, dict(standing)))

    def alone(self, step: Step, eps: float) -> tuple[Tried, Proportion] | None:
        """The strongest single attack of a rung at a radius, and what it leaves."""
        each = [
            (one, share) for one in step.tried if one.tells_of(eps) and (share := _share(one.right(eps, self.images)))
        ]
        return min(each, key=lambda pair: pair[1].count, default=None)

    def strongest(self, step: Step) -> Tried:
        """The single attack of a rung that leaves least over all radii."""
        return min(step.tried, key=lambda one: sum(one.fell[i] > eps for eps in self.radii for i in self.images))

    def gains(self, eps: float) -> Family[str]:
        """What each rung leaves beside what backpropagation leaves of VGG-16 at this radius."""
        plain = self.beside.get(BASELINE, {}).get(eps, {})
        tests = {step.label: differs(step.together.get(eps, {}), plain) for step in self.steps}
        return Family(f"{DEFENDED} on each rung beside {BASELINE} under backpropagation", tests)

    def table(self) -> Table:
        """A row a rung: its strongest attack, accuracy by that alone and by all up to here, and what the attack took."""
        heads = {eps: _head(self.run, eps) for eps in self.radii}
        columns = ["strongest"]
        for head in heads.values():
            columns += [f"{head}: alone", f"{head}: with all above"]
        columns += list(_COSTS)
        bare = ((_share(self.clean), None) for _ in heads)
        rows = [Row("no attack", ("", *(v for pair in bare for v in pair), *_nothing))] if self.steps else []
        by_needs = {step.rung.needs: step for step in self.steps}
        for rung in RUNGS if self.steps else ():
            rows.append(self._row(by_needs[rung.needs]) if rung.needs in by_needs else _untried(rung, len(heads)))
        for name, left in self.beside.items() if self.steps else ():
            shares = (v for eps in heads for v in (_share(left[eps]), None))
            rows.append(Row(f"{name}, no layer", (attacker("bp").label, *shares, *_nothing)))
        return Table(
            "The access ladder: accuracy under attack in L-inf's ball, %",
            "access",
            tuple(columns),
            tuple(rows),
            self.note,
        )

    @property
    def note(self) -> str:
        """How the table is read."""
        return (
            f"The first {len(self.images):,} images that all attacks here were tried on. With all above: image by image, an "
            "image counts only when no attack of this rung or one above it has fooled it. Alone, too, what fell at a smaller "
            "radius has fallen. Of the strongest attack, over these radii: queries and gradients, an image; time, in all. "
            "Images: that it was fitted to. But for those of own head and bit flip, a gradient is a query too: the image goes "
            "through the deployed network."
        )

    def _row(self, step: Step) -> Row:
        best = self.strongest(step)
        values: list[Value] = [best.label]
        notes = [""]
        for eps in self.radii:
            alone = self.alone(step, eps)
            values += [alone[1] if alone else None, _share(step.together[eps])]
            notes += [alone[0].label if alone and alone[0] is not best else "", ""]
        return Row(step.label, (*values, *self._costs(best)), tuple(notes))

    def _costs(self, one: Tried) -> Sequence[Value]:
        """Queries and gradients an image, images that it was fitted to, frames of the device, time."""
        count = len(one.fell)
        entries = [entry for entry in one.entries if round(entry.config.eps, 9) in self.radii]
        needed = {key for entry in entries for key in entry.inputs}
        # Draws have the first of them beside them, which was made on more images.
        begun = {key for entry in entries if entry.kind is DRAWS for key in entry.inputs[:1]}
        first = [each for each in self.run.entries(ATTACK) if each.key in begun]
        retrieved = [each for each in self.run.entries(RETRIEVE) if each.key in needed]
        results = [entry.result for entry in entries]
        asked = sum(r.loss_queries + r.check_queries for r in results if hasattr(r, "loss_queries"))
        climbed = sum(r.gradients for r in results if hasattr(r, "gradients")) / count
        climbed += sum(each.result.gradients_per_image for each in first)
        fitted = max((r.fit.n_images for r in results if getattr(r, "fit", None)), default=None)
        frames = sum(each.result.frames for each in retrieved)
        seconds = sum(each.record.seconds for each in (*entries, *retrieved))
        seconds += sum(each.record.seconds * count / each.result.n_images for each in first)
        per_image = "{:,.0f}".format
        return (
            Amount(asked / count, per_image) if asked else None,
            Amount(climbed, per_image) if climbed else None,
            amount(fitted),
            Amount(frames) if frames else None,
            Amount(seconds, duration),
        )

    def figure(self, drawings: Folder) -> Drawing | None:
        """Every rung at up to three radii: by all up to it, and by its strongest attack alone."""
        if not self.steps or not self.images or not self.radii:
            return None
        radii = self.radii if len(self.radii) <= _PANELS else [*self.radii[: _PANELS - 1], self.radii[-1]]
        series = (Series("with all above", PLAIN), Series("strongest alone", OPEN), Series("no layer, BP", QUIET))
        both, alone, bare = (one.name for one in series)

        def panel(step: Step, eps: float) -> tuple[tuple[str, Proportion], ...]:
            found = self.alone(step, eps)
            shown = [(both, _share(step.together[eps])), (alone, found[1] if found else None)]
            return tuple((name, share) for name, share in shown if share is not None)

        rows = [DotRow(step.label, tuple(panel(step, eps) for eps in radii)) for step in self.steps]
        for k, (name, left) in enumerate(self.beside.items()):
            dots = tuple(((bare, share),) if (share := _share(left[eps])) else () for eps in radii)
            rows.append(DotRow(name, dots, rule_above=not k))
        clean = _share(self.clean)
        caption = (
            f"The access ladder of {DEFENDED}: accuracy against an attacker who has this much, and all that is above it, with "
            f"95% Wilson intervals, on {len(self.images):,} images; without an attack {clean.share:.0%} are right."
            if clean
            else ""
        )
        titles = [f"ε = {words.radius('linf', eps)}" for eps in radii]
        x = "accuracy under attack (%), L∞"
        return save_dots(drawings, "white-box-ladder", rows, series, x=x, titles=titles, caption=caption)


#: Kinds of records that count, and what they are for.
_COUNT: tuple[tuple[Kind[Any, Any], tuple[str, ...]], ...] = (
    (ATTACK, ("figure", "ladder")),
    (DRAWS, ("figure", "ladder")),
    (QUERY, ("ladder",)),
)
_COSTS = ("queries", "gradients", "images", "frames", "time")
_nothing: tuple[Value, ...] = (None,) * len(_COSTS)


def _untried(rung: Rung, radii: int) -> Row:
    return Row(rung.label, ("not tried", *((None,) * 2 * radii), *_nothing))


def _share(outcomes: Outcomes) -> Proportion | None:
    return Proportion(sum(outcomes.values()), len(outcomes)) if outcomes else None


def _head(run: Run, eps: float) -> str:
    frame = run.attacks
    papers = frame.loc[frame["radius"] == eps, "radius_paper"].dropna()
    return words.radius("linf", eps) + (f" (ε {papers.iloc[0]:.3g})" if len(papers) else "")


def _tried(run: Run) -> dict[tuple[str, str], Tried]:
    """Every attack of the figure and of the ladder in L-inf's ball, by network and name."""
    found: dict[tuple[str, str], Tried] = {}
    for kind, purposes in _COUNT:
        for one in run.entries(kind):
            config = one.config
            usual = (
                config.norm == "linf" and config.purpose in purposes and (kind is not ATTACK or config.attack == "PGD")
            )
            if not usual or one.record.arrays is None:
                continue
            name = config.attack if kind is QUERY else config.rule
            who = attacker(name)
            label = f"{who.label}, {config.draws} draws" if kind is DRAWS else who.label
            eps = round(config.eps, 9)
            own = found.setdefault((config.model, name if kind is not DRAWS else label), Tried(label, who.needs))
            for i, radius in run.per_image(one.key, partial(_fell, eps=eps)).items():
                own.fell[i] = min(radius, own.fell.get(i, _NEVER))
            own.radii.add(eps)
            own.nearest |= getattr(config, "nearest", False)
            own.entries.append(one)
    return found


def _fell(arrays: Mapping[str, np.ndarray], eps: float) -> dict[int, float]:
    """Image -> the radius at which a record has it fooled."""
    if "nearest" in arrays:
        # Rounded down by what may be rounding, but never to that of an image that was wrong at first.
        radius = np.maximum(arrays["nearest"].astype(float) - _ROUNDING, np.finfo(float).tiny)
    else:
        radius = np.where(arrays["success"].astype(bool), eps, _NEVER)
    radius = np.where(arrays["clean_correct"].astype(bool), radius, _BEFORE)
    return dict(zip(arrays["index"].tolist(), radius.tolist(), strict=True))
