"""What noise and drift do to U: how well it is retrieved, how long a classifier lasts, what a U that is off is worth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from groundglass.adaptive.attackers import attacker
from groundglass.core.statistics import Proportion, as_good
from groundglass.core.text import duration, percent
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, save_curves, shares
from groundglass.report.style import BAD, GOOD, OPEN, Style
from groundglass.report.table import Amount, Row, Table, Value, amount
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, DEVICE, DRIFT, RETRIEVE
from groundglass.results.kinds.network import DriftConfig, DriftResult
from groundglass.results.kinds.retrieve import RetrieveConfig, RetrieveResult

#: A loss of accuracy that counts as none.
MARGIN = 0.05


def _retrievals(run: Run, purpose: str) -> list[tuple[RetrieveConfig, RetrieveResult]]:
    return [(one.config, one.result) for one in run.entries(RETRIEVE) if one.config.purpose == purpose]


def _error(result: RetrieveResult | None) -> Value:
    return None if result is None else amount(result.error_median, "{:.3f}".format)


def retrieved_table(run: Run) -> Table:
    every = _retrievals(run, "noise")
    found = {(c.camera.read_noise, c.per_input): r for c, r in every}
    counts, most = sorted({per_input for _, per_input in found}), enough(run)
    rows = []
    for noise in sorted({noise for noise, _ in found}):
        by = _by(found, noise, most)
        told = ("none of these", None) if by is None else (f"by {by:g} N", _seconds(run, by))
        errors = tuple(_error(found.get((noise, k))) for k in counts)
        rows.append(Row(f"{noise:g} grey levels" if noise else "none", (*errors, *(() if most is None else told))))
    heads = tuple(f"{k:g} N frames" for k in counts)
    note = "Median relative error of a row; sqrt(2) is chance. Noise averages out: with more frames U is known better."
    if most is not None:
        heads += ("a redraw is needed", "that is every")
        note += (
            f" A redraw is needed before the error is {most:g}: up to there an attack by gradients leaves at most "
            f"{percent(MARGIN)} points more images right than with the exact U. By so many frames it is, of those tried; the "
            "time is that of so many frames for the network's own device."
        )
    return Table("Retrieval of U against read noise", "read noise", heads, tuple(rows), note)


def _by(found: Mapping[tuple[float, float], RetrieveResult], noise: float, most: float | None) -> float | None:
    """The fewest frames an input, of those tried, from which U is retrieved well enough."""
    known = [k for (at, k), one in found.items() if most is not None and at == noise and one.error_median <= most]
    return min(known, default=None)


def _seconds(run: Run, per_input: float) -> Value:
    """That the frames for the network's own device take: of those in the run the one that no retrieval study owns."""
    inputs = next((one.config.in_features for one in run.entries(DEVICE) if not one.config.owner), None)
    rate = next((c.frame_rate for c, _ in _retrievals(run, "noise")), None)
    return None if inputs is None or rate is None else Amount(per_input * inputs / rate, duration)


@dataclass(frozen=True)
class _Drift:
    """One correlation time, in units of the frames of a retrieval."""

    times: float
    retrieved: RetrieveResult | None
    fitted: tuple[DriftConfig, DriftResult] | None
    alone: tuple[DriftConfig, DriftResult] | None

    @property
    def agreement(self) -> float | None:
        """Correlation of the retrieved rows with those of U after the last frame, in percent: 1 - error^2 / 2, 0 at chance."""
        return None if self.retrieved is None else 100 * max(0.0, 1 - self.retrieved.error_median**2 / 2)

    @property
    def left_alone(self) -> Proportion | None:
        """Clean accuracy of a classifier that is as old as a retrieval takes."""
        return None if self.alone is None else self.alone[1].at(1 / self.times)

    @property
    def refitted(self) -> Proportion | None:
        """Clean accuracy of one just fitted to frames taken while U drifted."""
        return None if self.fitted is None else self.fitted[1].clean

    @property
    def frames(self) -> float | None:
        """That a classifier lasts."""
        if self.alone is None or self.fitted is None:
            return None
        return self.alone[1].lasts(MARGIN) * self.fitted[0].correlation


def drifts_of(run: Run) -> list[_Drift]:
    retrieved = {round(c.correlation / c.frames, 6): r for c, r in _retrievals(run, "drift") if c.correlation}
    every = [(one.config, one.result) for one in run.entries(DRIFT)]
    alone = next(((c, r) for c, r in every if not c.fit_images), None)
    fitted = {c.times: (c, r) for c, r in every if c.fit_images}
    return [_Drift(k, retrieved.get(k), fitted.get(k), alone) for k in sorted({*retrieved, *fitted})]


def drift_table(run: Run) -> Table:
    rate = next((c.frame_rate for c, _ in _retrievals(run, "drift")), None)
    rows = []
    for one in drifts_of(run):
        lasts = None if one.frames is None or rate is None else Amount(one.frames / rate, duration)
        needs = None if one.fitted is None or rate is None else Amount(one.fitted[0].fit_images / rate, duration)
        rows.append(Row(f"{one.times:g}", (_error(one.retrieved), one.left_alone, one.refitted, lasts, needs)))
    heads = (
        "error of the retrieved U",
        "clean, classifier as old as a retrieval, %",
        "clean, fitted while U drifts, %",
        "a classifier lasts",
        "frames for a new one take",
    )
    note = (
        "Correlation time of U, in retrievals: 1 is the time that the frames of one take. The error is that of U after the "
        f"last frame; sqrt(2) is chance. A classifier lasts while at most {percent(MARGIN)} points of clean accuracy are missing."
    )
    return Table("Drift of U", "correlation time", heads, tuple(rows), note)


def ages_table(run: Run) -> Table:
    alone = next((one.result for one in run.entries(DRIFT) if not one.config.fit_images), None)
    rows = [
        Row(f"{age:.3g}", (Amount(math.exp(-age), "{:.3f}".format), alone.at(age)))
        for age, _ in (alone.accuracies if alone is not None else ())
        if alone is not None
    ]
    note = "Age in correlation times of U. The classifier stays what it was at age 0."
    return Table(
        "A classifier that is left alone", "age", ("correlation of U with U then", "clean, %"), tuple(rows), note
    )


def worth_table(run: Run) -> Table:
    found = [one for one in run.entries(ATTACK) if one.config.purpose == "noise"]
    exact = [one for one in found if one.config.rule == "exact"]
    blurred = sorted(
        (one for one in found if one.config.matrix_error is not None), key=lambda one: one.config.matrix_error or 0.0
    )
    without = [one for one in found if one.config.model == (exact[0].config.model if exact else "")]
    without = [one for one in without if attacker(one.config.rule).possible and one.config.matrix_error is None]
    rows = [
        *(Row("exact U", (one.result.robust,)) for one in exact),
        *(Row(f"U with error {one.config.matrix_error:g}", (one.result.robust,)) for one in blurred),
        *(Row(f"no U: {attacker(one.config.rule).label}", (one.result.robust,)) for one in without),
    ]
    note = "PGD through a U that is so far off, on the network without noise and drift."
    return Table("What a U is worth that is not exact, %", "attacker has", ("right under attack",), tuple(rows), note)


def enough(run: Run) -> float | None:
    """The largest error of a U that leaves at most `MARGIN` more images right than the exact one does, with 95% confidence, as
    every smaller one does: that no difference was seen on few images would be no sign of it."""
    found = [one for one in run.entries(ATTACK) if one.config.purpose == "noise"]
    exact = next((one for one in found if one.config.rule == "exact"), None)
    if exact is None:
        return None
    known, errors = run.right(exact.key), {one.config.matrix_error: one for one in found if one.config.matrix_error}
    good = takewhile(lambda error: as_good(known, run.right(errors[error].key), margin=MARGIN), sorted(errors))
    return max(good, default=None)


def against_drift(drifts: Sequence[_Drift], drawings: Folder) -> Drawing:
    agreed = {one.times: one.agreement for one in drifts if one.agreement is not None}
    lines = [
        Curve("retrieved U:\nagreement", sorted(agreed), [agreed[x] for x in sorted(agreed)], Style(BAD, "D")),
        shares("accuracy,\nfitted anew", {d.times: d.refitted for d in drifts if d.refitted}, Style(GOOD, "o")),
        shares("accuracy,\nleft alone", {d.times: d.left_alone for d in drifts if d.left_alone}, OPEN),
    ]
    caption = (
        "The slower U drifts, the better it is retrieved, and the longer a classifier lasts. Agreement is the correlation of "
        "the retrieved rows with U after the last frame. Left alone: for as long as a retrieval takes."
    )
    return save_curves(
        drawings,
        "drift",
        [line for line in lines if line.x],
        x="correlation time of U, in retrievals",
        y="%",
        x_log=True,
        caption=caption,
        said="at {:.3g} retrievals",
    )
