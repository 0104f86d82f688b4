"""What the study of noise says: what read noise and drift cost the defender, and what they cost an attacker."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groundglass.adaptive.attackers import attacker
from groundglass.core.statistics import Family, Outcomes, Proportion, as_good, differs
from groundglass.core.text import duration, percent
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, save_curves, shares
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BAD, GOOD, OPEN, PLAIN, Style, of_attacker
from groundglass.report.table import Amount, Row, Table, Value
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, DRIFT, QUERY, RANDOMISE, RETRIEVE, Entry
from groundglass.results.kinds.network import DriftConfig, DriftResult, RandomiseResult, counted
from groundglass.results.kinds.query import QueryConfig, QueryResult
from groundglass.results.kinds.retrieve import RetrieveConfig, RetrieveResult

TITLE = "Noise and drift"
#: A loss of accuracy that counts as none.
MARGIN = 0.05
_QUERIES = "Square"


@dataclass(frozen=True)
class _Level:
    """A network under one read noise.

    Attributes:
        noise: grey levels; 0: the network as it is.
        clean: with the classifier as it was, and with one fitted to the noise.
        asked: answers a question -> the attack by queries.
        rules: rule -> key of PGD with it.
    """

    noise: float
    clean: tuple[Proportion | None, Proportion | None]
    asked: Mapping[int, Entry[QueryConfig, QueryResult]]
    rules: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.noise:g} grey levels" if self.noise else "none"

    def right(self, run: Run) -> Outcomes:
        """Which images stay right under all attacks by queries."""
        return run.right_under([one.key for one in self.asked.values()])

    def fooled(self, run: Run) -> Proportion | None:
        """By any of the attacks by queries."""
        return _share({i: not ok for i, ok in self.right(run).items()})

    def left(self, run: Run, rule: str) -> Proportion | None:
        """Images right under PGD with a rule."""
        return _share(run.right(self.rules[rule])) if rule in self.rules else None


def _share(outcomes: Outcomes) -> Proportion | None:
    return Proportion(sum(outcomes.values()), len(outcomes)) if outcomes else None


def _levels(run: Run) -> list[_Level]:
    noisy = sorted(
        (one for one in run.entries(RANDOMISE) if one.config.same_matrix), key=lambda one: one.config.read_noise
    )
    if not noisy:
        return []
    queries = [one for one in run.entries(QUERY) if one.config.purpose == "noise"]
    attacks = [one for one in run.entries(ATTACK) if one.config.purpose == "noise"]
    attacks = [one for one in attacks if one.config.matrix_error is None and attacker(one.config.rule).possible]

    def level(noise: float, name: str, made: RandomiseResult) -> _Level:
        own = counted(made.before, made.n_test)
        return _Level(
            noise,
            (made.clean_untuned, made.clean) if noise else (own, own),
            {one.config.answers: one for one in queries if one.config.model == name},
            {one.config.rule: one.key for one in attacks if one.config.model == name},
        )

    first = noisy[0]
    return [
        level(0.0, first.config.model, first.result),
        *(level(one.config.read_noise, one.name, one.result) for one in noisy),
    ]


def _family(run: Run, levels: Sequence[_Level]) -> Family[tuple[float, str]]:
    """Each noise against none, on images that both get right: under all attacks by queries, and under each rule."""
    tests = {}
    for level in levels[1:]:
        if level.asked and levels[0].asked:
            tests[level.noise, _QUERIES] = differs(level.right(run), levels[0].right(run))
        for rule, key in level.rules.items():
            if rule in levels[0].rules:
                tests[level.noise, rule] = differs(run.right(key), run.right(levels[0].rules[rule]))
    return Family("Images right under attack, with noise against without", tests)


def _answers(levels: Sequence[_Level]) -> list[int]:
    return sorted({k for level in levels for k in level.asked})


def _rules(levels: Sequence[_Level]) -> list[str]:
    return list(dict.fromkeys(rule for level in levels for rule in level.rules))


def tables(run: Run) -> list[Table]:
    """What noise does to accuracy, attacks and retrieval, and what drift does to both sides."""
    levels = _levels(run)
    found = [_noise(run, levels), _retrieved(run), _drift(run), _ages(run), _worth(run)]
    return [table for table in found if table.rows]


def _noise(run: Run, levels: Sequence[_Level]) -> Table:
    answers, rules, family = _answers(levels), _rules(levels), _family(run, levels)
    rows = []
    for level in levels:
        asked = [level.asked[k].result.success if k in level.asked else None for k in answers]
        rules_left = (level.left(run, rule) for rule in rules)
        clear = family.above((level.noise, _QUERIES))
        told = ("" if not level.noise or not level.asked else "yes" if clear else "no",)
        rows.append(Row(level.name, (*level.clean, *asked, level.fooled(run), *told, *rules_left)))
    heads = (
        "clean, classifier as it was",
        "clean, fitted to the noise",
        *(f"fooled, {'one answer' if k == 1 else f'mean of {k}'}" for k in answers),
        "fooled by any",
        "clearly fewer",
        *(f"right under {attacker(rule).label}" for rule in rules),
    )
    note = (
        "Fooled: by queries, of the images that were right at first; every answer counts in the budget, and most of "
        f"repeated measurements must agree in the end. {family.note}."
    )
    return Table("Read noise, %", "read noise", heads, tuple(rows), note)


def _retrievals(run: Run, purpose: str) -> list[tuple[RetrieveConfig, RetrieveResult]]:
    return [(one.config, one.result) for one in run.entries(RETRIEVE) if one.config.purpose == purpose]


def _error(result: RetrieveResult | None) -> Value:
    return None if result is None else Amount(result.error.median, "{:.3f}".format)


def _retrieved(run: Run) -> Table:
    found = {(c.camera.read_noise, c.per_input): r for c, r in _retrievals(run, "noise")}
    counts = sorted({per_input for _, per_input in found})
    rows = [
        Row(f"{noise:g} grey levels" if noise else "none", tuple(_error(found.get((noise, k))) for k in counts))
        for noise in sorted({noise for noise, _ in found})
    ]
    note = "Median relative error of a row; sqrt(2) is chance. Noise averages out: with more frames U is known better."
    heads = tuple(f"{k:g} N frames" for k in counts)
    return Table("Retrieval of U against read noise", "read noise", heads, tuple(rows), note)


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
        return None if self.retrieved is None else 100 * max(0.0, 1 - self.retrieved.error.median**2 / 2)

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


def _drifts(run: Run) -> list[_Drift]:
    retrieved = {round(c.correlation / c.frames, 6): r for c, r in _retrievals(run, "drift") if c.correlation}
    every = [(one.config, one.result) for one in run.entries(DRIFT)]
    alone = next(((c, r) for c, r in every if not c.fit_images), None)
    fitted = {c.times: (c, r) for c, r in every if c.fit_images}
    return [_Drift(k, retrieved.get(k), fitted.get(k), alone) for k in sorted({*retrieved, *fitted})]


def _drift(run: Run) -> Table:
    rate = next((c.frame_rate for c, _ in _retrievals(run, "drift")), None)
    rows = []
    for one in _drifts(run):
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


def _ages(run: Run) -> Table:
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


def _worth(run: Run) -> Table:
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


def _enough(run: Run) -> float | None:
    """The largest error of a U that leaves no more images right than the exact one does, as far as can be told."""
    found = [one for one in run.entries(ATTACK) if one.config.purpose == "noise"]
    exact = next((one for one in found if one.config.rule == "exact"), None)
    if exact is None:
        return None
    errors = [(one.config.matrix_error, one) for one in found if one.config.matrix_error is not None]
    tests = {error: differs(run.right(one.key), run.right(exact.key)) for error, one in errors}
    family = Family("Images right under PGD, with a U that is off against the exact one", tests)
    return max((error for error, test in tests.items() if test and not family.above(error)), default=None)


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None where no network was put before a noisy camera."""
    levels = _levels(run)
    if not levels:
        return None
    family = _family(run, levels)
    attacked = [level for level in levels[1:] if level.asked]
    drifts = _drifts(run)
    facts = {
        "kept": _free(levels),
        "unshaken": [
            attacker(rule).label for rule in _rules(levels) if not any(family.above((n.noise, rule)) for n in levels)
        ],
        "drift": next(
            (one for one in drifts if one.agreement is not None and one.agreement < 50 and one.refitted), None
        ),
        "enough": _enough(run),
        "margin": 100 * MARGIN,
    }
    figures = (
        _against_noise(run, levels, drawings) if len(levels) > 1 else None,
        _against_drift(drifts, drawings) if len(drifts) > 1 else None,
    )
    return Section(TITLE, _judge(run, levels, attacked, family), figures, tables(run), facts, open_figures=2)


def _free(levels: Sequence[_Level]) -> _Level | None:
    """The most noise that costs at most `MARGIN` of clean accuracy, with a classifier fitted to it."""
    before = levels[0].clean[1]
    cheap = [n for n in levels[1:] if n.clean[1] and before and n.clean[1].share >= before.share - MARGIN]
    return cheap[-1] if cheap else None


def _judge(
    run: Run, levels: Sequence[_Level], attacked: Sequence[_Level], family: Family[tuple[float, str]]
) -> Verdict:
    """Whether read noise defends against queries, whatever number of answers the attacker averages."""
    tests = [(level, one) for level in attacked if (one := family.found.get((level.noise, _QUERIES)))]
    if not tests:
        return Verdict(Finding.OPEN)
    best, test = max(tests, key=lambda item: item[1].points)
    reasons = {"noise": best.noise, "noisy": best.fooled(run), "plain": levels[0].fooled(run), "best": test}
    untried = () if any(k > 1 for k in best.asked) else ("the mean of several answers",)
    if not any(not ok for ok in levels[0].right(run).values()):
        finding = Finding.NOTHING
    elif not any(family.above((level.noise, _QUERIES)) for level, _ in tests):
        finding = Finding.FALLS
    else:
        right = best.right(run)
        finding = Finding.HOLDS if as_good(right, dict.fromkeys(right, True), margin=MARGIN) else Finding.PART
    return Verdict(finding, reasons, untried, test.first.total)


def _against_noise(run: Run, levels: Sequence[_Level], drawings: Folder) -> Drawing:
    at = [level for level in levels if level.clean[1] is not None]
    lines = [shares("clean accuracy", {n.noise: n.clean[1] for n in at if n.clean[1]}, PLAIN)]
    dashes = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (5, 2, 1, 2)))
    for k, dash in zip(_answers(levels), dashes, strict=False):
        # Without noise the mean of several answers is the answer.
        plain = levels[0].asked.get(1)
        points = {n.noise: n.asked[k].result.success for n in levels if k in n.asked}
        points |= {0.0: plain.result.success} if plain is not None else {}
        known = {noise: one for noise, one in points.items() if one}
        style = of_attacker(_QUERIES)
        name = "fooled by queries" if k == 1 else f"fooled, mean of {k}"
        lines.append(shares(name, known, Style(style.ink, style.marker, k > 1, dash)))
    for rule in _rules(levels):
        points = {n.noise: n.left(run, rule) for n in levels}
        lines.append(
            shares(f"right, {attacker(rule).label}", {x: p for x, p in points.items() if p}, of_attacker(rule))
        )
    caption = "Images against the read noise of the camera, the classifier fitted to it; with 95% intervals."
    return save_curves(
        drawings,
        "noise",
        [line for line in lines if line.x],
        x="read noise (grey levels)",
        y="images (%)",
        caption=caption,
        said="at {:.3g} grey levels",
    )


def _against_drift(drifts: Sequence[_Drift], drawings: Folder) -> Drawing:
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
