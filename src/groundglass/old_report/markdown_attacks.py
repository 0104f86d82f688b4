"""White-box, query and transferred attacks as Markdown tables. Every number is of the readings behind the page."""

from collections.abc import Callable, Sequence

from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import BASELINE, Curve, curves, method, norm_name
from groundglass.old_report.contests import Contest, contests
from groundglass.old_report.markdown import Amount, Row, Table, Value
from groundglass.old_report.networks import read_network
from groundglass.old_report.queries import QueryCell
from groundglass.old_report.query_tables import success_table
from groundglass.old_report.study import Study
from groundglass.old_report.tables import accuracies
from groundglass.old_report.transfer_tables import untouched
from groundglass.old_report.transfer_trials import Gain, Trial, trials
from groundglass.old_report.transfers import PAPER

# Of the two numbers of queries that are told; the other is the budget.
_FEW = 1000


def white_box(study: Study) -> list[Table]:
    """A table a norm: a row an attacker; below it the worst cases of the defended network."""
    clean = {r.name: read_network(r).clean for r in study.networks_of(cell.record for cell in study.attacks)}
    found = ((norm, curves(study.compared, norm=norm)) for norm in ("linf", "l2"))
    return [_white_box(study, norm, lines, clean) for norm, lines in found if lines]


def _white_box(study: Study, norm: str, lines: Sequence[Curve], clean: dict[str, Proportion]) -> Table:
    table = accuracies(study, lines)
    level = "/255" if norm == "linf" else ""
    columns = [f"{at}{level}" + (f" (ε {paper})" if paper else "") for at, paper in table.columns]
    rows, seen = [], set()
    for line, row in zip(lines, table.rows, strict=True):
        how = "" if line.attack == "PGD" else f", {method(line.attack)}"
        first = None if line.model in seen else clean.get(line.model)
        rows.append(Row(f"{line.model} ← `{line.rule}`{how}", (first, *row.values)))
        seen.add(line.model)
    rows += [Row(row.name, (None, *row.values)) for row in table.worst]
    in_paper = ", in brackets on the paper's axis" if any(paper for _, paper in table.columns) else ""
    title = f"Right under attack, {norm_name(norm)}{in_paper}, %"
    return Table(title, "network ← attacker", ("untouched", *columns), tuple(rows))


def black_box(study: Study) -> list[Table]:
    """A table a ball: a row an attack; for each network the images fooled by few queries, by all, and the median."""
    return [_black_box(contest) for contest in contests(study)]


def _black_box(contest: Contest) -> Table:
    table = success_table(contest)
    budgets = {cell.budget for cell in contest.cells}
    whole = f"{max(budgets):,} queries" if len(budgets) == 1 else "whole budget"
    shares = {(cell.attack, cell.model): dict(zip(table.columns, found, strict=True)) for cell, found in table.rows}
    cells = {(cell.attack, cell.model): cell for cell in contest.cells}
    few = _FEW in table.columns and budgets != {_FEW}
    columns: list[str] = []
    for model in contest.models:
        columns += [f"{model}: {name}" for name in ([f"{_FEW:,} queries"] if few else []) + [whole, "median queries"]]
    rows = []
    for attack in dict.fromkeys(cell.attack for cell in contest.cells):
        values: list[Value] = []
        for model in contest.models:
            cell = cells.get((attack, model))
            values += [shares[attack, model].get(_FEW) if cell else None] if few else []
            values += [cell.success if cell else None, _median(cell)]
        rows.append(Row(f"`{attack}`", tuple(values)))
    return Table(f"Images fooled, {contest.ball}, %", "attacker", tuple(columns), tuple(rows))


def _median(cell: QueryCell | None) -> Amount | None:
    return None if cell is None or cell.median is None else Amount(cell.median, "{:,.0f}".format)


def transfer(study: Study) -> list[Table]:
    """A table a norm: each target at two radii, under the paper's attack, the strongest and a white-box one; then the gains.

    A gain has the p of an exact McNemar test with it, over the images that one of the two loses and the other keeps.
    """
    return [_transfer(study, trial) for trial in trials(study) if trial.curves]


def _transfer(study: Study, trial: Trial) -> Table:
    clean = {network.name: network.clean for network in untouched(study, trial)}
    radii = _two(trial)
    kinds: tuple[tuple[str, Callable[[str, float], Proportion | None]], ...] = (
        ("the paper's PGD", lambda target, eps: p.correct if (p := trial.at(target, PAPER, eps)) else None),
        ("strongest transfer", lambda target, eps: p.correct if (p := trial.strongest(target, eps)) else None),
        ("white-box", lambda target, eps: one.left if (one := trial.yardstick(target, eps)) else None),
    )
    papers = trial.paper_radii
    at = {eps: trial.written(eps) + (f" (ε {papers[eps]:.3g})" if eps in papers else "") for eps in radii}
    columns = [f"{at[eps]}: {name}" for eps in radii for name, _ in kinds]
    rows = [
        Row(target, (clean.get(target), *(read(target, eps) for eps in radii for _, read in kinds)))
        for target in trial.targets
    ]
    peers = [(target, BASELINE) for target in trial.compared]
    peers += [(target, peer) for target in trial.defended if (peer := trial.peer(target)) != BASELINE]
    for target, beside in peers:
        gains = [_gain(trial.gain(target, eps, label, beside=beside)) for eps in radii for label in (PAPER, None)]
        values = [value for i in range(0, len(gains), 2) for value in (gains[i], gains[i + 1], None)]
        rows.append(Row(f"points of {target} above {beside}", (None, *values)))
    title = f"Right on the common images, {norm_name(trial.norm)}, %; untouched: of the test set"
    return Table(title, "network", ("untouched", *columns), tuple(rows))


def _two(trial: Trial) -> list[float]:
    """The largest radius that the paper's attack and a white-box one met, or the one to judge at; and one of half or less."""
    white = {one.eps for one in trial.yardsticks}
    met = [eps for eps in trial.radii if any(trial.gain(target, eps) for target in trial.defended)]
    chosen = [eps for eps in met if eps in white] or met
    if not chosen:
        return list(trial.radii[-1:])
    half = [eps for eps in chosen if eps <= chosen[-1] / 2 + 1e-9]
    return [*half[-1:], chosen[-1]]


def _gain(gain: Gain | None) -> Amount | None:
    if gain is None:
        return None
    chance = "" if gain.p is None else " (p < 0.001)" if gain.p < 0.001 else f" (p = {gain.p:.2g})"
    return Amount(gain.points, lambda points: f"{points:+.1f}".replace("-", "−"), chance)
