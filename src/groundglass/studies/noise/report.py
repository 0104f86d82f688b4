"""What the study of noise says: what read noise and drift cost the defender, and what they cost an attacker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groundglass.adaptive.attackers import attacker
from groundglass.core.statistics import Family, Outcomes, Proportion, as_good, differs
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import save_curves, shares
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import PLAIN, Style, of_attacker
from groundglass.report.table import Row, Table
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, QUERY, RANDOMISE, Entry
from groundglass.results.kinds.network import RandomiseResult, counted
from groundglass.results.kinds.query import QueryConfig, QueryResult
from groundglass.studies.noise.matrix import (
    MARGIN,
    against_drift,
    ages_table,
    drift_table,
    drifts_of,
    enough,
    retrieved_table,
    worth_table,
)
from groundglass.studies.noise.surrogates import extracted_fact, surrogates_table

TITLE = "Noise and drift"
_QUERIES = "Square"


@dataclass(frozen=True, order=True)
class _Asker:
    """Who attacks by queries: takes the mean of so many answers, confirms a success by so many more, climbs this loss."""

    answers: int
    rechecks: int
    loss: str

    @classmethod
    def of(cls, config: QueryConfig) -> "_Asker":
        return cls(config.answers, config.rechecks, config.settings.get("loss", "margin"))

    @property
    def name(self) -> str:
        said = "one answer" if self.answers == 1 else f"mean of {self.answers}"
        said += "" if self.loss == "margin" else ", cross-entropy"
        return said + (", confirms" if self.rechecks else "")


@dataclass(frozen=True)
class _Level:
    """A network under one read noise.

    Attributes:
        noise: grey levels; 0: the network as it is.
        clean: with the classifier as it was, and with one fitted to the noise.
        asked: who asks -> the attack by queries.
        rules: rule -> key of PGD with it.
    """

    noise: float
    clean: tuple[Proportion | None, Proportion | None]
    asked: Mapping["_Asker", Entry[QueryConfig, QueryResult]]
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
    queries = [e for e in run.entries(QUERY) if e.config.purpose == "noise" and e.config.correlation is None]
    attacks = [one for one in run.entries(ATTACK) if one.config.purpose == "noise"]
    attacks = [one for one in attacks if one.config.matrix_error is None and attacker(one.config.rule).possible]

    def level(noise: float, name: str, made: RandomiseResult) -> _Level:
        own = counted(made.before, made.n_test)
        return _Level(
            noise,
            (made.clean_untuned, made.clean) if noise else (own, own),
            {_Asker.of(one.config): one for one in queries if one.config.model == name},
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


def _askers(levels: Sequence[_Level]) -> list[_Asker]:
    return sorted({k for level in levels for k in level.asked})


def _rules(levels: Sequence[_Level]) -> list[str]:
    return list(dict.fromkeys(rule for level in levels for rule in level.rules))


def tables(run: Run) -> list[Table]:
    """What noise does to accuracy, attacks and retrieval, and what drift does to both sides."""
    levels = _levels(run)
    found = [
        _noise(run, levels),
        surrogates_table(run),
        retrieved_table(run),
        drift_table(run),
        _moving(run),
        ages_table(run),
        worth_table(run),
    ]
    return [table for table in found if table.rows]


def _noise(run: Run, levels: Sequence[_Level]) -> Table:
    askers, rules, family = _askers(levels), _rules(levels), _family(run, levels)
    rows = []
    for level in levels:
        asked = [level.asked[k].result.success if k in level.asked else None for k in askers]
        rules_left = (level.left(run, rule) for rule in rules)
        clear = family.above((level.noise, _QUERIES))
        told = ("" if not level.noise or not level.asked else "yes" if clear else "no",)
        rows.append(Row(level.name, (*level.clean, *asked, level.fooled(run), *told, *rules_left)))
    heads = (
        "clean, classifier as it was",
        "clean, fitted to the noise",
        *(f"fooled, {one.name}" for one in askers),
        "fooled by any",
        "clearly fewer",
        *(f"right under {attacker(rule).label}" for rule in rules),
    )
    note = (
        "Fooled: by queries, of the images that were right at first; every answer counts in the budget, and most of "
        f"repeated measurements must agree in the end. Who confirms measures a success again before the attack ends, others stop "
        f"at the first, chance or not. {family.note}."
    )
    return Table("Read noise, %", "read noise", heads, tuple(rows), note)


def _moving(run: Run) -> Table:
    """Attacks by queries while U drifts, and the same while it stands still."""
    found = [e for e in run.entries(QUERY) if e.config.purpose == "noise"]
    moving = sorted((e for e in found if e.config.correlation), key=lambda e: e.config.correlation or 0.0)
    like = [] if not moving else [moving[0].config.model, _Asker.of(moving[0].config)]
    still = [e for e in found if not e.config.correlation and [e.config.model, _Asker.of(e.config)] == like]
    rows = []
    for one in (*moving, *still):
        asked = one.result.loss_queries + one.result.check_queries
        times = one.config.correlation and one.config.correlation / asked
        name = "U stands still" if times is None else f"{times:.3g} attacks"
        rows.append(Row(name, (one.result.claimed, one.result.success)))
    heads = ("fooled when found", "fooled in the end too")
    note = (
        "Correlation time of U, in units of all frames of the attack. Who is found early has its U drift on until the last image "
        "is done; what drift alone costs the classifier is in the tables beside."
    )
    return Table("Attacks by queries while U drifts, %", "correlation time", heads, tuple(rows if moving else ()), note)


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None where no network was put before a noisy camera."""
    levels = _levels(run)
    if not levels:
        return None
    family = _family(run, levels)
    attacked = [level for level in levels[1:] if level.asked]
    drifts = drifts_of(run)
    facts = {
        "kept": _free(levels),
        "unshaken": [
            attacker(rule).label for rule in _rules(levels) if not any(family.above((n.noise, rule)) for n in levels)
        ],
        "drift": next(
            (one for one in drifts if one.agreement is not None and one.agreement < 50 and one.refitted), None
        ),
        "enough": enough(run),
        "extracted": extracted_fact(run),
        "margin": 100 * MARGIN,
    }
    figures = (
        _against_noise(run, levels, drawings) if len(levels) > 1 else None,
        against_drift(drifts, drawings) if len(drifts) > 1 else None,
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
    best, test = max(tests, key=lambda item: (family.above((item[0].noise, _QUERIES)), item[1].points))
    reasons = {"noise": best.noise, "noisy": best.fooled(run), "plain": levels[0].fooled(run), "best": test}
    # Who ends at the first answer that says fooled may have been told so by noise.
    lacking = {
        "the mean of several answers": not any(one.answers > 1 for one in best.asked),
        "an attacker who confirms a success before it ends": not any(one.rechecks for one in best.asked),
    }
    untried = tuple(name for name, is_lacking in lacking.items() if is_lacking)
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
    askers = [one for one in _askers(levels) if one.loss == "margin"]
    for k, dash in zip(askers, dashes, strict=False):
        # Without noise the mean of several answers is the answer, and a success stays one.
        plain = levels[0].asked.get(_Asker(1, 0, "margin"))
        points = {n.noise: n.asked[k].result.success for n in levels if k in n.asked}
        points |= {0.0: plain.result.success} if plain is not None else {}
        known = {noise: one for noise, one in points.items() if one}
        style = of_attacker(_QUERIES)
        lines.append(shares(f"fooled, {k.name}", known, Style(style.ink, style.marker, k != askers[0], dash)))
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
