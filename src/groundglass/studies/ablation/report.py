"""The layer in parts: what each leaves right against every attacker, and which gains hold under the best gradient."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from groundglass.adaptive.attackers import attacker, rank
from groundglass.core.statistics import Family, Proportion, differs
from groundglass.core.text import percent, signed
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import DotRow, Series, save_dots
from groundglass.report.section import FEWEST, Finding, Section, Verdict
from groundglass.report.style import BASELINE, PLAIN, of_attacker
from groundglass.report.table import Amount, Row, Table
from groundglass.report.words import ball, channel_note, corrected_p, each, left, strongest
from groundglass.results import Run
from groundglass.results.kinds import TRAIN, Entry
from groundglass.results.kinds.network import TrainConfig, TrainResult

TITLE = "The layer in parts"
PAPER = ("DFA", "BIN", "RP", "OPU")
#: OPU trained whole, and its classifier fitted again: what variants on its features are compared with.
_REFITTED = "OPU refitted"
_FIRST = (BASELINE, *PAPER, _REFITTED)
#: A part, by the network without it and the network with it.
_LAYER = {("DFA", "BIN"): "the binarisation", ("DFA", "RP"): "the random projection", ("DFA", "OPU"): "the whole layer"}
_PARTS = {(BASELINE, "DFA"): "training by DFA", **_LAYER}
#: Rules that are the right gradient of some head; each fits some of the networks, so alone it compares nothing.
_FITTING = ("bp", "ste", "exact")
_BEST = "best gradient"
_ENCODINGS = {
    "bits": "threshold per image",
    "bits-batch": "threshold of the batch",
    "bits-zero": "above zero",
    "float": "none",
}


class Change(NamedTuple):
    """The network without a part and the one with it, under one attacker in one column of the tables."""

    part: tuple[str, str]
    series: str
    threat: str
    column: str
    ball: str


def _outcomes(run: Run) -> pd.DataFrame:
    """A row an attack on a network, in the order of the tables' columns.

    The best gradient of a network is, at each radius, the rule that leaves least, where one that fits its head was tried.
    """
    rules = run.attacks.assign(threat="gradients", series=run.attacks["rule"])
    places = ["network", "norm", "radius"]
    fits = rules["rule"].isin(_FITTING).groupby([rules[place] for place in places]).transform("any")
    best = strongest(rules[fits.astype(bool)], by=places).assign(series=_BEST)
    asked = run.queries[(run.queries["attacked"] > 0) & (run.queries["purpose"] != "sweep")]
    asked = asked.assign(threat="queries", series=asked["attack"], n_images=asked["attacked"])
    asked = asked.assign(correct=asked["attacked"] - asked["fooled_images"], accuracy_under_attack=1 - asked["fooled"])
    moved = run.transfers.assign(threat="transfer", series=run.transfers["attacker"])
    found = pd.concat([best, rules, asked, moved]).reset_index()
    found = found.assign(
        network=found["network"].replace(_part_names(run)),
        ball=[ball(row.norm, row.radius) for row in each(found)],
        column=[_column(row) for row in each(found)],
        _rank=[-1 if series == _BEST else rank(series) for series in found["series"]],
    )
    found = strongest(found, by=("network", "column"))
    return found.sort_values(["threat", "_rank", "radius", "budget_queries"], kind="stable")


def _column(row: Any) -> str:
    where = ball(row.norm, row.radius)
    if row.threat == "transfer":
        return f"transfer, `{row.series}`, {where}"
    if row.threat == "queries":
        return f"fooled by `{row.series}`, {where}, {row.budget_queries:,.0f} queries"
    return f"{_BEST}, {where}" if row.series == _BEST else f"`{row.series}`, {where}"


def _part_names(run: Run) -> dict[str, str]:
    """The part that a network is, where its name is another: DFA may be another study's network."""
    config = run.manifest["config"]
    own = (config.get("ablation") or config) if isinstance(config, dict) else {}
    return {own.get("features", "DFA"): "DFA"}


def _trained(run: Run) -> dict[str, Entry[TrainConfig, TrainResult]]:
    part = _part_names(run)
    return {part.get(one.name, one.name): one for one in run.entries(TRAIN)}


def _networks(run: Run, found: pd.DataFrame) -> list[str]:
    """The networks that were attacked: VGG-16, the paper's four, then the others in the order of their training."""
    attacked = list(dict.fromkeys(found["network"]))
    names = dict.fromkeys([*(name for name in _trained(run) if name in attacked), *attacked])
    return sorted(names, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))


def tables(run: Run) -> list[Table]:
    """A row a network: clean accuracy, under its best gradient, under queries, and under transferred attacks."""
    found = _outcomes(run)
    if found.empty:
        return []
    chosen = found[(found["threat"] != "gradients") | (found["series"] == _BEST)]
    title = "Clean accuracy, accuracy under attack, and images fooled by queries, %"
    return [_table(run, title, chosen, _networks(run, found), effort=True)]


def _table(run: Run, title: str, found: pd.DataFrame, networks: Sequence[str], effort: bool = False) -> Table:
    columns, trained, rows = list(dict.fromkeys(found["column"])), _trained(run), []
    at = {(row.network, row.column): row for row in each(found)}
    for name in networks:
        there = [at.get((name, column)) for column in columns]
        clean = trained[name].result.clean if name in trained else None
        notes = (_note(row, effort) if row else "" for row in there)
        rows.append(Row(name, (clean, *(_shown(row) if row else None for row in there)), ("", *notes)))
    note = "Best gradient: the rule that leaves least. Fooled: of the images right at first. Transfer: of those all get right."
    return Table(title, "network", ("clean accuracy", *columns), tuple(rows), f"{note} {channel_note(found)}".strip())


def _shown(row: Any) -> Proportion:
    """Images that stay right, or that queries fool."""
    return left(row) if row.threat != "queries" else Proportion(int(row.fooled_images), int(row.attacked))


def _note(row: Any, effort: bool) -> str:
    """Median queries, the setting that was chosen, and gradient estimates that were exactly zero, which stops nobody but who
    estimates gradients."""
    queries = effort and row.threat == "queries"
    told = [f"median {row.median_queries:,.0f}"] if queries and row.fooled_images else []
    told += [f"{row.choice} {row.chosen:g}"] if queries and isinstance(row.choice, str) else []
    told += [f"{percent(row.flat_share)}% zero estimates"] if queries and (row.flat_share or 0) > 0 else []
    return ", ".join([*told, *(["too few images"] if row.n_images < FEWEST else [])])


def _telling(found: pd.DataFrame) -> pd.DataFrame:
    """Of each threat the attacks at the radius where they leave nearest to half of the images: most can be told there."""
    far = (found.groupby(["threat", "ball"])["accuracy_under_attack"].transform("mean") - 0.5).abs()
    return found[far == far.groupby(found["threat"]).transform("min")]


def _compared(run: Run, found: pd.DataFrame, networks: Sequence[str]) -> Family[Change]:
    """What stays right with a part and without it, on the same images; of a variant, beside OPU fitted as it was itself."""
    fitted = [name for name, one in _trained(run).items() if one.result.features and _REFITTED in networks]
    variants = [name for name in networks if name not in (BASELINE, *PAPER)]
    parts = [*_PARTS, *((_REFITTED if n in fitted and n != _REFITTED else "OPU", n) for n in variants)]
    right = {key: run.right(key) for key in found["key"].unique()}
    tests = {}
    for _, own in found.groupby(["series", "column"], sort=False):
        rows = {row.network: row for row in each(own)}
        for one, row in ((rows[a], rows[b]) for a, b in parts if {a, b} <= rows.keys()):
            key = Change((one.network, row.network), row.series, row.threat, row.column, row.ball)
            tests[key] = differs(right[row.key], right[one.key])
    return Family("What each part changes, against every attacker at every radius", tests)


def _judge(found: pd.DataFrame, family: Family[Change]) -> Verdict:
    """Whether what a part of the layer gains against some attacker is there under the best gradient too."""
    best = found[found["series"] == _BEST]
    enough = [key for key, one in family.found.items() if one and one.first.total >= FEWEST]
    untried = [f"a gradient that fits {name}" for name in PAPER if name not in {*best["network"]}]
    missing = {"gradients", "queries", "transfer"} - {key.threat for key in enough}
    untried += [f"{threat} on {FEWEST} images or more" for threat in sorted(missing)]
    gains = [key for key in enough if family.above(key)]
    kept = list(dict.fromkeys(key.part for key in gains if key.series == _BEST))
    lost = [key for key in gains if key.part in _LAYER and key.part not in kept]
    fitted = [key for key in family.found if key.series == _BEST and key.part in _LAYER]
    if not {key.part for key in lost} <= {key.part for key in fitted} or not fitted:
        return Verdict(Finding.OPEN, untried=tuple(untried))
    at, order = _telling(best)["column"].iloc[0], list(_LAYER)
    key = max(fitted, key=lambda one: (one.column == at, order.index(one.part)))
    shown, held = family.found[key], [_LAYER[part] for part in kept if part in _LAYER]
    reasons = {
        "held": held,
        "lost": {_LAYER[p]: [attacker(one.series).label for one in lost if one.part == p] for p in _LAYER},
        "others": [_PARTS.get(part, part[1]) for part in kept if part not in _LAYER],
        "shown": shown,
        "key": key,
    }
    finding = (Finding.PART if lost else Finding.HOLDS) if held else Finding.FALLS if lost else Finding.NOTHING
    return Verdict(finding, reasons, tuple(untried), shown.first.total if shown else 0)


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None while nothing was attacked."""
    every = _outcomes(run)
    if every.empty:
        return None
    networks, found = _networks(run, every), every[~every["series"].isin(_FITTING)]
    family, telling = _compared(run, found, networks), _telling(found)
    paper = [name for name in networks if name in (BASELINE, *PAPER)] or networks
    own = telling[telling["network"] == paper[-1]]
    least = own.loc[own.groupby("threat")["accuracy_under_attack"].idxmin(), "column"]
    figures = [_figure(telling, paper, "ablation", drawings)]
    figures += [_figure(telling, networks, "ablation-variants", drawings)] if networks != paper else []
    by_rule = every[(every["threat"] == "gradients") & (every["series"] != _BEST)]
    of_kind = telling[telling["column"].isin(least)]
    shown = (
        _table(run, "Each part under the strongest attacker of its kind, %", of_kind, paper),
        _changes(family),
        _parts(run, networks),
        *tables(run),
        _table(run, "Accuracy under each gradient, %", by_rule, networks),
    )
    return Section(TITLE, _judge(found, family), tuple(figures), shown)


def _figure(telling: pd.DataFrame, networks: Sequence[str], name: str, drawings: Folder) -> Drawing:
    """A row a network, a panel a kind of attack, a dot an attacker."""
    balls = dict(zip(telling["threat"], telling["ball"], strict=True))
    labels = {series: series if series == _BEST else attacker(series).label for series in telling["series"]}
    rows: list[DotRow] = []
    for network in networks:
        own = each(telling[telling["network"] == network])
        panels = (tuple((labels[r.series], left(r)) for r in own if r.threat == threat) for threat in balls)
        above = network not in _FIRST and any(row.name in _FIRST for row in rows[-1:])
        rows.append(DotRow(network, tuple(panels), rule_above=above))
    series = [Series(label, PLAIN if one == _BEST else of_attacker(one)) for one, label in labels.items()]
    titles = [f"{threat}, {where.partition(' ')[2]}" for threat, where in balls.items()]
    caption = "At the radius where attacks of a kind leave nearest to half of the images, with 95% Wilson intervals."
    return save_dots(drawings, name, rows, series, x="accuracy under attack (%)", titles=titles, caption=caption)


def _changes(family: Family[Change]) -> Table:
    """Points that each part gives or takes, under each attacker at the radius where that is clearest."""
    known = {key: one for key, one in family.found.items() if one}
    clearest = {(key.part, key.series): key for key in sorted(known, key=lambda key: known[key].p, reverse=True)}
    attackers, rows = list(dict.fromkeys(key.series for key in known)), []
    for part in dict.fromkeys(key.part for key in known):
        there = [clearest.get((part, series)) for series in attackers]
        values = (Amount(known[key].points, signed) if key else None for key in there)
        notes = (
            f"{corrected_p(family, key)}, {known[key].first.total} images, {key.ball}" if key else "" for key in there
        )
        name = f"{_PARTS[part]}: {part[1]}" if part in _PARTS else part[1]
        rows.append(Row(f"{name} beside {part[0]}", tuple(values), tuple(notes)))
    heads = tuple(series if series == _BEST else attacker(series).label for series in attackers)
    title = "What each part gives or takes, points of accuracy under attack"
    note = (
        f"{family.note}. Each at the radius where the difference is clearest; fewer than {FEWEST} images do not count."
    )
    return Table(title, "part", heads, tuple(rows), note)


def _parts(run: Run, networks: Sequence[str]) -> Table:
    """What each network is made of."""
    rows, trained = [], _trained(run)
    for name in (one for one in networks if one in trained):
        spec, device = trained[name].config.model, trained[name].result.device
        hidden, encoding = spec.get("linear_hidden"), spec.get("encoding") or ("bits" if device else "float")
        layer = device.said if device else f"linear, N = {hidden:,}" if hidden else "none"
        rows.append(Row(name, (_ENCODINGS.get(str(encoding), str(encoding)), layer)))
    note = (
        "With the threshold of a batch answers depend on the other images: what fools in one batch may not in another."
    )
    return Table("What each network is made of", "network", ("binarisation", "layer"), tuple(rows), note)
