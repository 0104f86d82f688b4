"""Redraws, retrieval, ablation, adversarial training, size, audits and cost as Markdown tables."""

from groundglass.old_report.ablation_reading import Column, Met, Threat, read_networks, read_threats, records
from groundglass.old_report.ablation_words import best_gradients
from groundglass.old_report.audit_reading import read_audits
from groundglass.old_report.audit_words import verdict_words
from groundglass.old_report.cells import norm_name
from groundglass.old_report.hardened_reading import read_hardened
from groundglass.old_report.markdown import Amount, Row, Table, Value
from groundglass.old_report.redraw_reading import read_redraws, read_survivals
from groundglass.old_report.retrieval_attacks import read_radii
from groundglass.old_report.retrieval_numbers import error_percent
from groundglass.old_report.retrieval_reading import read_retrievals
from groundglass.old_report.retrieval_tables import left_rows
from groundglass.old_report.scale_numbers import seconds, size
from groundglass.old_report.scale_reading import KINDS, Cost, Scale, read_scale
from groundglass.old_report.study import Study
from groundglass.old_report.work import WORK, Share, shares, total

_REDRAWN = ("before", "new U, old classifier", "tuned", "drawing and tuning")
_OUTLIVED = ("fooled the old network", "of these still fool, mean of the redraws")


def redraw(study: Study) -> list[Table]:
    """What each redraw does to the accuracy, and how many of the images made before still fool."""
    redraws = read_redraws(study)
    made = []
    for model in dict.fromkeys(one.model for one in redraws):
        own = [one for one in redraws if one.model == model]
        rows = [
            Row(one.name, (one.before, one.untuned, one.tuned, Amount(one.draw_seconds + one.tune_seconds, seconds)))
            for one in own
        ]
        made.append(Table(f"Right on the test set, {model}, %", "redraw", _REDRAWN, tuple(rows)))
        met = [Row(f"`{one.label}`, {one.ball}", (one.fooled_old, one.pooled)) for one in read_survivals(study, own)]
        if met:
            made.append(Table(f"Images made before a redraw of {model}, %", "made through", _OUTLIVED, tuple(met)))
    return made


def retrieval(study: Study) -> list[Table]:
    """The prices of U; then what PGD leaves with each U, and without any."""
    retrievals = read_retrievals(study)
    radii = read_radii(study, retrievals) if retrievals else []
    made = []
    prices = [one for one in retrievals if one.purpose == "price"]
    if prices:
        rows = [
            Row(
                f"{one.times_n}, N = {one.n:,}, M = {one.m:,}",
                (
                    None if one.median is None else Amount(one.median, error_percent),
                    None if one.failed is None else Amount(one.failed, lambda share: f"{100 * share:.1f}%"),
                    Amount(one.device_seconds, seconds),
                    Amount(one.compute_seconds, seconds),
                ),
            )
            for one in prices
        ]
        columns = ("median error of a row", "rows lost", "at the device", "computing")
        made.append(Table("The price of U", "frames", columns, tuple(rows)))
    if radii:
        left = [Row(row.name, row.left) for row in left_rows(radii)]
        made.append(Table("Right under PGD, %", "the attacker's U", tuple(r.name for r in radii), tuple(left)))
    return made


def ablation(study: Study) -> list[Table]:
    """A row a network: untouched, under its best gradient, under queries, and under transferred attacks."""
    if not records(study, "attack", "query", "transfer"):
        return []
    threats = read_threats(study)
    columns: dict[str, dict[str, Met]] = {}
    for threat in threats:
        if threat.name == "white-box":
            for met in sorted(best_gradients(threat), key=lambda met: (met.norm != "linf", met.eps)):
                columns.setdefault(f"best gradient, {met.ball}", {})[met.network] = met
        else:
            for column in threat.columns:
                there = {network: threat.mets.get((network, column)) for network in threat.networks}
                columns[_column(threat, column)] = {network: met for network, met in there.items() if met}
    rows = [
        Row(
            one.name, (one.clean, *(there[one.name].shown if one.name in there else None for there in columns.values()))
        )
        for one in read_networks(study, threats)
    ]
    title = "Right untouched and under attack; of query attacks the images fooled, %"
    return [Table(title, "network", ("untouched", *columns), tuple(rows))]


def _column(threat: Threat, column: Column) -> str:
    where = f"{norm_name(column.norm)} ε = {column.radius}"
    if threat.name == "transfer":
        return f"transfer, `{column.series}`, {where}"
    return f"fooled by `{column.series}`, {where}, {column.budget:,} queries"


def adversarial_training(study: Study) -> list[Table]:
    """The four networks: untouched, as claimed, and in the worst case."""
    found = read_hardened(study)
    if found is None:
        return []
    columns = [f"{ball.name}: {what}" for ball in found.balls for what in ("claimed", "worst case")]
    rows = []
    for network in found.networks:
        values: list[Value] = [network.clean]
        for ball in found.balls:
            there = network.at(ball)
            values += [there.claimed, there.worst] if there else [None, None]
        rows.append(Row(network.name, tuple(values)))
    return [Table("", "network", ("untouched", *columns), tuple(rows))]


def scale(study: Study) -> list[Table]:
    """The largest device of each kind, and what size buys a network."""
    found = read_scale(study)
    if found is None:
        return []
    largest = [costs[-1] for kind in KINDS if (costs := found.of("square", kind))]
    columns = ("one measurement", "each of a batch", "held", "peak memory")
    devices = Table("The largest device of each kind", "N = M, kind", columns, tuple(map(_cost, largest)))
    return [*([devices] if largest else []), *_networks(found)]


def _cost(cost: Cost) -> Row:
    name = f"{cost.n:,} {cost.kind}" + (", projected" if cost.projected else "")
    peak = None if cost.peak is None else Amount(cost.peak, size)
    held = Amount(cost.held, lambda held: size(held) if held else "nothing")
    return Row(name, (Amount(cost.one, seconds), Amount(cost.each, seconds), held, peak))


def _networks(found: Scale) -> list[Table]:
    made = []
    for ball in found.balls:
        rules = [rule for rule in found.rules if any(one.by(ball, rule) for one in found.networks)]
        there = [*([found.baseline] if found.baseline else []), *found.networks]
        rows = [Row(one.label, (one.clean, *(one.by(ball, r) for r in rules), one.worst(ball))) for one in there]
        columns = ("untouched", *(f"`{rule}`" for rule in rules), "all of them")
        made.append(Table(f"Right under attack, {ball.name}, %", "N × M", columns, tuple(rows)))
    return made


def audit(study: Study) -> list[Table]:
    """Each audit: untouched, as claimed, in the worst case, and the verdict."""
    rows = []
    for one in read_audits(study):
        shares_ = (one.found.clean, one.found.claimed, one.found.worst) if one.found else (None, None, None)
        took = Amount(one.record.seconds, seconds)
        rows.append(Row(f"{one.model}, {one.ball}", (*shares_, verdict_words(one), took)))
    columns = ("untouched", "claimed", "worst case", "verdict", "time")
    return [Table("", "network", columns, tuple(rows))] if rows else []


def cost(study: Study) -> list[Table]:
    """The work of each part, and the most memory that its process held."""
    parts, whole = shares(study), total(study)
    if not parts:
        return []
    known = whole.memory is not None
    columns = (*WORK, "work", *(("peak memory",) if known else ()))
    rows = [_share(one, known) for one in (*parts, *([whole] if len(parts) > 1 else []))]
    return [Table("", "part", columns, tuple(rows))]


def _share(share: Share, known: bool) -> Row:
    spent = [Amount(one, seconds) if one else None for one in (*share.seconds, share.total)]
    memory = None if share.memory is None else Amount(share.memory, size)
    return Row(share.part, (*spent, *((memory,) if known else ())))
