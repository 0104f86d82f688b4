"""What the black-box study says: how many images attacks by queries fool, and what the layer changes about that."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from groundglass.adaptive.attackers import PAPER_QUERIES, QUERIES, attacker, rank
from groundglass.core.statistics import Family, Outcomes, Proportion, differs
from groundglass.core.text import duration, percent, signed
from groundglass.report import words
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import DotRow, Series, save_curves, save_dots, shares
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, DEFENDED, of_attacker, of_name
from groundglass.report.table import Amount, Row, Table, Value, amount
from groundglass.results import Run
from groundglass.results.kinds import CHECK, CHOICE, QUERY, Entry
from groundglass.results.kinds.query import QueryConfig, QueryResult, best_setting, right_within, success_curve

TITLE = "Attacks by queries"
_FEW = 1000  # queries, of the table beside the whole budget
_NEARLY_ALL = 0.9  # of the images that a network gets right, surely fooled: nothing is left of a claim
_FLAT = 0.01  # of an attack's gradient estimates zero everywhere: what it misses is no robustness
# Without the first two no success counts; the caveat has what the last one finds, for the settings that are shown.
_COUNTING, _FLAT_CHECK = {"queries within budget", "query successes confirmed"}, {"gradient estimates are not zero"}
# Figure 3: by how many points fewer images NES, bandits and the parsimonious attack fool. Of the last, the paper's code ran
# the hierarchical setting, which fools 100% of VGG-16's images, and 70% (CIFAR-100: 76%) of VGG-OPU's.
_PAPER = {
    "CIFAR-10": {"NES": 5, "Bandits": 10, "Hierarchical": 30},
    "CIFAR-100": {"NES": 1, "Bandits": 1, "Hierarchical": 24},
}
_TOGETHER = "all together"


@dataclass(frozen=True)
class _Ball:
    """What was tried in one ball."""

    run: Run
    name: str
    tried: list[Entry[QueryConfig, QueryResult]]  # of a sweep every setting
    shown: dict[tuple[str, str], Entry[QueryConfig, QueryResult]]  # by network and attack; of a sweep the best
    given: pd.DataFrame  # PGD with gradients, and noise, on the same images

    @property
    def networks(self) -> list[str]:
        return list(dict.fromkeys(network for network, _ in self.shown))

    @property
    def attacks(self) -> list[str]:
        return sorted({attack for _, attack in self.shown}, key=rank)

    @property
    def met_both(self) -> list[str]:
        """Attacks that both networks met, with one budget."""
        budgets = [{n: one.config.budget for (n, name), one in self.shown.items() if name == a} for a in self.attacks]
        return [a for a, b in zip(self.attacks, budgets, strict=True) if b.get(BASELINE, 0) == b.get(DEFENDED)]

    @property
    def marks(self) -> list[int]:
        """Numbers of queries at which every attack that is shown was counted."""
        counted = [{at for at, _ in one.result.success_at} for one in self.shown.values()]
        return sorted(set.intersection(*counted)) if counted else []

    def right(self, network: str, attacks: Collection[str], within: int | None = None) -> Outcomes:
        """Which of the images that the network got right stay right under every one of these attacks, each with its whole
        budget or `within` so many queries."""
        keys = [one.key for (n, a), one in self.shown.items() if n == network and a in attacks]
        if within is None or not keys or any(self.run.record(key).arrays is None for key in keys):
            return self.run.right_under(keys)
        each = [self.run.per_image(key, partial(right_within, queries=within)) for key in keys]
        return {i: all(one[i] for one in each) for i in sorted(set.intersection(*map(set, each)))}

    def fooled(self, network: str, attacks: Collection[str], within: int | None = None) -> Proportion | None:
        """What these attacks together fool of the images that the network got right."""
        right = self.right(network, attacks, within)
        return Proportion(len(right) - sum(right.values()), len(right)) if right else None

    def gains(self) -> Family[str]:
        """Each attack, and all together: right on VGG-OPU beside VGG-16, over the images that both get right."""
        groups = {name: [name] for name in self.met_both} | {_TOGETHER: self.met_both}
        tests = {name: differs(self.right(DEFENDED, own), self.right(BASELINE, own)) for name, own in groups.items()}
        return Family("VGG-OPU beside VGG-16, on images that both get right", tests)

    def together(self) -> Family[str]:
        """All attacks together, image by image, each with so many queries: right on VGG-OPU beside VGG-16."""
        tests = {
            f"{at:,} queries": differs(self.right(DEFENDED, self.met_both, at), self.right(BASELINE, self.met_both, at))
            for at in self.marks
        }
        return Family("Each attack may ask so often about an image; on images that both networks get right", tests)

    def beside(self) -> Family[str]:
        """All attacks by queries together beside gradients and noise, over the images that the network gets right."""
        asked = {network: self.right(network, self.attacks) for network in self.networks}
        tests = {
            f"{row.network} ← `{row.rule}`": differs(asked.get(row.network, {}), self.run.right_under([row.Index]))
            for row in words.each(self.given)
        }
        steps = max(self.given["steps"].dropna(), default=0)
        return Family(f"All queries together beside PGD of {steps:.0f} steps, and noise", tests)


def _balls(run: Run) -> list[_Ball]:
    """Every ball that was attacked by queries, L-inf first. Of an attack that was tried twice the stronger counts, and what was
    tried on other images, to choose a setting, is not shown."""
    found = [one for one in run.entries(QUERY) if one.config.purpose in ("figure", "sweep")]
    found.sort(key=lambda one: ((c := one.config).model != BASELINE, c.model, rank(c.attack), one.result.fooled))
    sweeps = [[one for one in found if one.key in choice.inputs] for choice in run.entries(CHOICE)]
    best = {own[best_setting([one.result for one in own])].key for own in sweeps if own}
    given, balls = words.in_order(words.strongest(run.attacks)), []
    for norm, eps in sorted({one.config.ball for one in found}, key=lambda ball: (ball[0] != "linf", ball)):
        tried = [one for one in found if one.config.ball == (norm, eps)]
        own = [one for one in tried if not one.config.first]
        shown = {(c.model, c.attack): one for one in own if (c := one.config).purpose == "figure" or one.key in best}
        beside = given[(given["norm"] == norm) & (given["radius"] == eps)]
        balls.append(_Ball(run, words.ball(norm, eps), tried, shown, beside))
    return balls


def _plainly_named(run: Run) -> Run:
    """The run, with the networks of Figure 3 called VGG-16 and VGG-OPU where they have names of their own."""
    config = run.manifest["config"]
    own = (config.get("black_box") or config) if isinstance(config, dict) else {}
    return run.without(str(own.get("ending", "")))


def tables(run: Run) -> list[Table]:
    """A ball's tables: what each attack fools of each network, what all do together, and what VGG-OPU gains."""
    found = []
    for ball in (one for one in _balls(_plainly_named(run)) if one.shown):
        found += [_fooled_table(ball)]
        if ball.met_both:
            found += [_together(ball), _gains(ball, ball.gains())]
    return found


def _gains(ball: _Ball, gains: Family[str]) -> Table:
    title = f"Images fooled, of those that both networks get right, {ball.name}, %"
    return _compared(title, (BASELINE, DEFENDED, "points fewer"), gains, _PAPER.get(ball.run.data, {}))


def _together(ball: _Ball) -> Table:
    title = f"Images fooled by all attackers together, image by image, {ball.name}, %"
    return _compared(title, (BASELINE, DEFENDED, "points fewer"), ball.together(), {})


def _fooled_table(ball: _Ball) -> Table:
    budgets = {one.config.budget for one in ball.shown.values()}
    whole = f"{max(budgets):,} queries" if len(budgets) == 1 else "whole budget"
    columns: dict[str, Callable[[QueryResult], Value]] = {
        f"{_FEW:,} queries": lambda one: one.success_within(_FEW),
        whole: lambda one: one.success,
        "median queries": lambda one: amount(one.median_queries),
    }
    if max(budgets) < _FEW:
        columns.pop(f"{_FEW:,} queries")
    rows = []
    for name in ball.attacks:
        own = [ball.shown.get((network, name)) for network in ball.networks]
        values = (read(one.result) if one else None for one in own for read in columns.values())
        rows.append(Row(f"`{name}`", tuple(values)))
    whole_budget = [(n, at) for n in ball.networks for at in (_FEW, None, 0) if at != _FEW or max(budgets) >= _FEW]
    every = (None if at == 0 else ball.fooled(n, ball.attacks, at) for n, at in whole_budget)
    rows.append(Row(_TOGETHER, tuple(every), strong=True))
    heads = tuple(f"{network}: {name}" for network in ball.networks for name in columns)
    note = "Of the images that the network got right. Success checks are queries too. Median: of the images fooled."
    return Table(f"Images fooled, {ball.name}, %", "attacker", heads, tuple(rows), note)


def _compared(title: str, columns: tuple[str, str, str], family: Family[str], papers: Mapping[str, int]) -> Table:
    """What the second and the first of each comparison fool, the difference, its corrected p, the paper's difference."""
    rows = []
    for name, one in family.found.items():
        if one is not None:
            fooled = (Proportion(share.total - share.count, share.total) for share in (one.second, one.first))
            paper = (amount(papers.get(name)),) if papers else ()
            p = Amount(family.corrected[name], lambda p: words.chance(p).removeprefix("p").removeprefix(" =").strip())
            rows.append(Row(name, (*fooled, Amount(one.points, signed), p, *paper), strong=name == _TOGETHER))
    heads = (*columns, "p", *(("the paper",) if papers else ()))
    return Table(title, "attack", heads, tuple(rows), f"{family.note}.")


def _choices(run: Run) -> Table:
    """The setting of each attack that was chosen for each network, and what every setting fooled where it was chosen."""
    rows = []
    for one in run.entries(CHOICE):
        tried = QUERY.config_of(run.record(one.inputs[0]))
        values = ", ".join(f"{value:g}: {percent(rate)}" for value, rate, _ in one.result.table)
        where = "other images" if tried.first else "images that are reported"
        chosen = f"{one.config.parameter} {one.result.chosen:g}"
        said = (chosen, values, f"{tried.n_images} {where}, {tried.budget:,} queries")
        rows.append(Row(f"{one.config.model} <- {one.config.attack}", said))
    heads = ("chosen", "fooled with each, %", "chosen on")
    note = "The setting that fools most; of equals the one with fewer zero estimates, then with fewer queries."
    return Table("Settings chosen", "attack", heads, tuple(rows), note)


def _details(ball: _Ball) -> Table:
    """Every attack, and of a sweep every setting: what it reached, and what it took."""
    marks = sorted({at for one in ball.tried for at, _ in one.result.success_at})
    columns: dict[str, Callable[[Entry[QueryConfig, QueryResult]], Value]] = {
        **{f"{at:,}": lambda one, at=at: one.result.success_within(at) for at in marks},  # type: ignore[misc]
        "shown": lambda one: "✓" if one in ball.shown.values() else None,
        "zero estimates": lambda one: amount(one.result.flat_share, "{:.1%}".format),
        "mean queries": lambda one: amount(one.result.mean_queries),
        "median": lambda one: amount(one.result.median_queries),
        "without checks": lambda one: amount(one.result.median_loss_queries),
        "steps lead, radii": lambda one: amount(_reach(one), "{:.3g}".format),
        "first image": lambda one: Amount(one.config.first),
        "attacked": lambda one: Amount(one.result.clean_correct),
        "wrong before": lambda one: Amount(one.result.n_images - one.result.clean_correct),
        "loss queries": lambda one: Amount(one.result.loss_queries),
        "success checks": lambda one: Amount(one.result.check_queries),
        "successes withdrawn": lambda one: Amount(one.result.unconfirmed),
        "forwards/s": lambda one: amount(one.result.forwards_per_second),
        "time in the network": lambda one: amount(one.result.model_share, "{:.1%}".format),
        "time": lambda one: Amount(one.record.seconds, duration),
        "settings": lambda one: ", ".join(f"{name} {value}" for name, value in _settings(one).items()),
    }
    note = "Shown: the setting that fools most; of equals the one with fewer zero estimates, then with fewer queries."
    title = f"Every setting: images fooled within so many queries, {ball.name}, %"
    return Table.of(title, "attack", columns, [(one.name, one) for one in ball.tried], note)


def _reach(one: Entry[QueryConfig, QueryResult]) -> float | None:
    return None if one.result.reach is None or not one.config.eps else one.result.reach / one.config.eps


def _settings(one: Entry[QueryConfig, QueryResult]) -> dict[str, Any]:
    value = one.result.chosen
    chosen = {one.config.choice: f"{value:g} (chosen)"} if one.config.choice and value is not None else {}
    return {**one.config.settings, **chosen}


def _judge(ball: _Ball, gains: Family[str], beside: Family[str]) -> Verdict:
    """What becomes of the gain of Figure 3, over all attacks that both networks met."""
    checks = ball.run.entries(CHECK)
    failed = set(words.failed_checks(ball.run))
    own = {a: one for (n, a), one in ball.shown.items() if n == DEFENDED and one.result.success}
    flat = [name for name, one in own.items() if (one.result.flat_share or 0) > _FLAT]
    hindered = [name for name in ball.met_both if gains.above(name) and name not in flat]
    rules = [rule for rule in ball.given.loc[ball.given["network"] == DEFENDED, "rule"] if rule != "none"]
    gradients = {attacker(rule).label: f"{DEFENDED} ← `{rule}`" for rule in rules}
    missing = [f"PGD with {attacker(rule).label}" for rule in ("dfa", "exact") if rule not in rules]
    further = [label for label, key in gradients.items() if beside.above(key)]
    worst, fooled = gains.found[_TOGETHER], ball.fooled(DEFENDED, own)
    nearly_all = fooled is not None and fooled.interval[0] >= _NEARLY_ALL
    if worst is None or _COUNTING & failed:
        finding = Finding.OPEN
    elif nearly_all or (hindered and not gains.above(_TOGETHER)):
        finding = Finding.FALLS
    elif not hindered:
        finding = Finding.NOTHING
    elif missing or not checks or failed - _FLAT_CHECK:
        finding = Finding.OPEN
    else:
        finding = Finding.PART if further else Finding.HOLDS
    reasons = {
        "nearly_all": nearly_all,
        "best": max(own.values(), key=lambda x: (x.result.fooled, -(x.result.median_queries or 0)), default=None),
        "fooled": fooled,
        "plain": ball.fooled(BASELINE, ball.attacks),
        "hindered": hindered,
        "eased": [name for name in ball.met_both if gains.below(name)],
        "flat": flat,
        "masked": [label for label, key in gradients.items() if beside.below(key)],
        "failed": sorted(failed - _FLAT_CHECK),
    }
    untried = (*(one.label for one in QUERIES if one.name not in own), *missing, *([] if checks else ["the checks"]))
    return Verdict(finding, reasons, untried, worst.first.total if worst else 0)


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None while nothing was asked."""
    balls = [(ball, ball.gains(), ball.beside()) for ball in _balls(_plainly_named(run))]
    if not balls:
        return None
    verdict, found = _judge(*balls[0]), []
    figures: list[Drawing | None] = []
    for i, (ball, gains, beside) in enumerate(balls):
        ending = f"-{i + 1}" if i else ""
        found.append(_gains(ball, gains))
        found += [_together(ball), _fooled_table(ball)] if ball.shown else []
        heads = ("fooled", "by queries, together", "points fewer by queries")
        found.append(_compared(f"Gradients and noise, {ball.name}, %", heads, beside, {}))
        found += [_choices(ball.run)] if not i and run.entries(CHOICE) else []
        found.append(_details(ball))
        if any(one.result.success for one in ball.shown.values()):
            figures.append(_attackers(ball, drawings, f"black-box-attackers{ending}"))
            figures.append(_curves(ball, drawings, f"figure-3{ending}", PAPER_QUERIES))
            figures.append(_curves(ball, drawings, f"black-box{ending}", ball.attacks, early=True))
    return Section(TITLE, verdict, figures, found, open_figures=0 if verdict.finding is Finding.FEW else 2)


def _attackers(ball: _Ball, drawings: Folder, name: str) -> Drawing:
    """What each attack fools of a network's own right images; below it, gradients and noise."""
    groups = {attacker(one).label: {n: ball.fooled(n, [one]) for n in ball.networks} for one in ball.attacks}
    groups[_TOGETHER] = {n: ball.fooled(n, ball.attacks) for n in ball.networks}
    for row in sorted(words.each(ball.given[ball.given["clean_correct"] > 0]), key=lambda row: rank(row.rule)):
        label = ("" if attacker(row.rule).is_control else "PGD, ") + attacker(row.rule).label
        fooled = Proportion(row.clean_correct - row.correct, row.clean_correct)
        groups.setdefault(label, {})[row.network] = fooled
    found = [(label, tuple((n, p) for n in ball.networks if (p := own.get(n)))) for label, own in groups.items()]
    dots = [DotRow(label, (own,), rule_above=i == len(ball.attacks) + 1) for i, (label, own) in enumerate(found)]
    series = [Series(n, of_name(n, hollow=n == BASELINE)) for n in ball.networks]
    caption = "Of the images that the network gets right, with 95% Wilson intervals. Below the line: no queries."
    return save_dots(drawings, name, dots, series, x=f"images fooled (%), {ball.name}", caption=caption)


def _curves(ball: _Ball, drawings: Folder, name: str, attacks: Collection[str], early: bool = False) -> Drawing | None:
    """Images fooled against queries. `early`: on a logarithmic axis, where the first hundred can be seen, without bands."""
    lines = []
    for (network, attack), one in ball.shown.items():
        if attack in attacks and one.result.success and one.record.arrays:
            points = ball.run.per_image(one.key, partial(success_curve, config=one.config, result=one.result))
            bare = network != DEFENDED
            points = {max(float(early), q): p for q, p in points.items()}
            label = attacker(attack).label + f" ({network})" * bare
            line = shares(label, points, of_attacker(attack, hollow=bare))
            lines.append(replace(line, steps=True, low=() if early else line.low))
    if not lines:
        return None
    which = "Every attack by queries" if early else "The attacks of the paper's Figure 3, with 95% Wilson intervals"
    whose = f"{ball.name}, of the images that the network gets right. Solid: {DEFENDED}; dashed: {BASELINE}."
    axes = {"x": "queries an image", "y": "images fooled (%)", "x_log": early}
    return save_curves(drawings, name, lines, caption=f"{which}, {whose}", said="within {:,.0f} queries", **axes)
