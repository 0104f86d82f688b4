"""What the study of size says: what devices cost as they grow, whether they are what they stand for, what size buys."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pandas as pd

from groundglass.adaptive.attackers import attacker, rank
from groundglass.core.statistics import Family, Outcomes, Proportion, as_good, differs
from groundglass.core.text import duration, power_of_two, size
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, DotRow, Series, curves, save_dots
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, FAINT, PLAIN, QUIET, Style, of_attacker, of_name
from groundglass.report.table import Amount, Row, Table, amount
from groundglass.report.words import ball, channel_note, clean_accuracies, each, left, strongest
from groundglass.results import Run
from groundglass.results.kinds import FIDELITY, FIT

TITLE = "Size: what it costs, and what it buys"
#: A gain below this share of the images is called none.
MARGIN = 0.05
_MILLION, _COMPLEX64 = 10**6, 8
_TOGETHER, _EVERYONE = "all of them", "all attackers"
_PUBLISHED, _DECISIVE = attacker("dfa-fresh"), ("dfa", "bpda-fit-linear")
_STORED = Style(FAINT, "", dash=(0, (1, 2)))
_GROWS = {"square": "N = M", "outputs": "M", "inputs": "N"}

Columns = dict[str, tuple[str, Callable[[float], str]]]
_COSTS: Columns = {
    "one measurement": ("one_seconds", duration),
    "each of a batch": ("each_seconds", duration),
    "held": ("held_bytes", lambda held: size(held) if held else "nothing"),
    "peak memory": ("peak_bytes", size),
}


def _amounts(title: str, head: str, frame: pd.DataFrame, columns: Columns, note: str) -> Table:
    """A row for each of a frame, named by its column `name`."""
    rows = [
        Row(row["name"], tuple(amount(row[column], write) for column, write in columns.values()))
        for _, row in frame.iterrows()
    ]
    return Table(title, head, tuple(columns), tuple(rows), note)


def tables(run: Run) -> list[Table]:
    """The largest device of each kind, and what size buys a network."""
    costs = _costs(run)
    largest = costs[costs["sweep"] == "square"].groupby("simulation").tail(1)
    names = [f"{c.inputs:,} {c.simulation}" + (", projected" if c.projected else "") for c in each(largest)]
    note = (
        f"A stored matrix of a million by a million takes {size(_COMPLEX64 * _MILLION**2)} as complex64. "
        "Projected: the time of a block of outputs, times the blocks there are."
    )
    devices = _amounts("The largest device of each kind", "N = M, kind", largest.assign(name=names), _COSTS, note)
    return [*([devices] if names else []), *(_left_table(run, here) for here in _balls(run) if len(_networks(run)))]


def _costs(run: Run) -> pd.DataFrame:
    """By kind, N = M first, from the smallest."""
    return run.costs.sort_values(["simulation", "sweep", "inputs", "outputs"], ascending=[True, False, True, True])


def _sized(n: float, m: float, kind: str) -> str:
    """ "512 × 8,000", and the kind where it is not dense."""
    return f"{n:,.0f} × {m:,.0f}" + ("" if kind == "dense" else f" {kind}")


def _networks(run: Run) -> pd.DataFrame:
    """VGG-16, then the networks with a device by its kind and size."""
    names = {"device_inputs": "inputs", "device_outputs": "outputs", "device_simulation": "simulation"}
    found = run.networks.rename(columns=names).set_index("network")
    found = found[found["inputs"].notna() | (found.index == BASELINE)].fillna(
        {"inputs": 0, "outputs": 0, "simulation": ""}
    )
    label = [_sized(one.inputs, one.outputs, one.simulation) if one.inputs else one.Index for one in each(found)]
    found = found.assign(label=label, entries=found["inputs"] * found["outputs"])
    return found.sort_values(["simulation", "entries", "inputs"])


def _balls(run: Run) -> list[pd.DataFrame]:
    """The attacks, ball by ball."""
    return [here for _, here in strongest(run.attacks).groupby(["norm", "radius"])]


def _ball(here: pd.DataFrame) -> str:
    return ball(here["norm"].iloc[0], here["radius"].iloc[0])


def _kept(run: Run, here: pd.DataFrame, network: str) -> dict[str, Proportion]:
    """Accuracy under each rule, and image by image under all; without the images, the least that one of them leaves."""
    own = here[here["network"] == network].sort_values("rule", key=lambda rules: rules.map(rank))
    by = {row.rule: left(row) for row in each(own)}
    return {**by, _TOGETHER: run.together(list(own.index)) or min(by.values(), key=attrgetter("share"))} if by else {}


def _left_table(run: Run, here: pd.DataFrame) -> Table:
    columns = [*sorted(set(here.loc[here["network"] != BASELINE, "rule"]), key=rank), _TOGETHER]
    clean, rows = clean_accuracies(run), []
    for one in each(_networks(run)):
        rows.append(Row(one.label, (clean[one.Index], *map(_kept(run, here, one.Index).get, columns))))
    note = (
        f"PGD, {here['steps'].max():.0f} steps. All of them: right after every one of these attacks, image by image; VGG-16 "
        "has BP alone. A dash: not tried. Networks of one N have the same features: only device and classifier differ. "
    )
    paper = "" if here["radius_paper"].isna().any() else f" (the paper's {here['radius_paper'].iloc[0]:.3g})"
    heads = ("clean accuracy", *(f"`{rule}`" for rule in columns[:-1]), _TOGETHER)
    return Table(
        f"Accuracy under attack, {_ball(here)}{paper}, %", "N × M", heads, tuple(rows), note + channel_note(here)
    )


def _grown(networks: pd.DataFrame, here: pd.DataFrame) -> list[tuple[str, Any, Any]]:
    """ "inputs" and "outputs": the smallest network, and the largest that differs from it in that alone.

    They are of one kind, and attacked by as many rules as any: a worst case over fewer rules is another.
    """
    own = networks[networks["inputs"] > 0].assign(rules=here.groupby("network").size()).dropna(subset=["rules"])
    own = own[(own["simulation"] == own["simulation"].min()) & (own["rules"] == own["rules"].max())]
    sides = (("inputs", "outputs"), ("outputs", "inputs")) if len(own) else ()
    lines = [(side, each(own[own[fixed] == own[fixed].iloc[0]].sort_values(side))) for side, fixed in sides]
    return [(side, line[0], line[-1]) for side, line in lines if len(line) > 1]


def _judge(run: Run) -> tuple[Verdict, Table]:
    """Whether a larger device keeps more under every attacker; and all the comparisons that were made."""
    networks = _networks(run)
    pairs: dict[tuple[str, str, str, str], tuple[Outcomes, Outcomes]] = {}
    spans = {}

    def compare(attacks: pd.DataFrame, who: str, one: Any, other: Any) -> None:
        keys = [list(attacks.index[attacks["network"] == network.Index]) for network in (one, other)]
        pairs[_ball(attacks), who, one.label, other.label] = run.right_under(keys[0]), run.right_under(keys[1])

    for here in _balls(run):
        published = here[here["rule"] == _PUBLISHED.name]
        for side, small, large in _grown(networks, here):
            spans[side] = (int(getattr(small, side)), int(getattr(large, side)))
            compare(here, _EVERYONE, large, small)
            if len(published):
                compare(published, _PUBLISHED.label, large, small)
        for plain in each(networks[networks.index == BASELINE]):
            for one in each(networks[networks["inputs"] > 0]):
                compare(here, _EVERYONE, one, plain)
    tests = {key: test for key, both in pairs.items() if (test := differs(*both)) is not None}
    family = Family("Sizes with each other and with VGG-16", tests)
    rows = []
    for key, test in tests.items():
        points, p = Amount(test.points, "{:+.1f}".format), Amount(family.corrected[key], "{:.2g}".format)
        rows.append(Row(f"{key[2]} against {key[3]}, {key[1]}, {key[0]}", (test.first, test.second, points, p)))
    columns = ("the first", "the second", "points between", "corrected p")
    table = Table("What differs, on the same images, %", "networks", columns, tuple(rows), f"{family.note}.")

    sizes = [key for key in tests if key[1] == _EVERYONE and key[3] != BASELINE]
    more, less = [key[2] for key in sizes if family.above(key)], [key[2] for key in sizes if family.below(key)]
    reasons = {
        "more": more,
        "less": less,
        "spans": spans,
        "margin": 100 * MARGIN,
        "within": all(as_good(*reversed(pairs[key]), margin=MARGIN) for key in sizes),
        "above": [family.above(key) for key in tests if key[3] == BASELINE],
        "published": [key[2] for key in tests if key[1] == _PUBLISHED.label and family.above(key)],
    }
    finding = Finding.OPEN if not sizes else Finding.FALLS if not more else Finding.PART if less else Finding.HOLDS
    untried = tuple(attacker(rule).label for rule in _DECISIVE if rule not in set(run.attacks["rule"]))
    return Verdict(finding, reasons, untried, n_images=tests[sizes[0]].first.total if sizes else 0), table


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None where the run has no costs, laws, retrieved rows or attacks."""
    rows, costs, laws = run.frame("rows").assign(projected=False), _costs(run), run.frame("laws")
    verdict, compared = _judge(run)
    square = costs[costs["sweep"] == "square"]
    figures = [
        _curves(drawings, "scale-each", square, "each_seconds", "each of a batch, N = M", duration),
        _networks_figure(run, drawings),
        _curves(drawings, "scale-memory", square, "peak_bytes", "peak memory, N = M", size),
        _curves(drawings, "scale-retrieval", rows, "row_seconds", "computing a row of U", duration),
    ]
    found = [*tables(run), compared, _every_cost(costs), _exponents(run), _laws(run), _retrieval(run)]
    facts = {
        "passing": list(laws.loc[laws["standin"] & (laws["holding"] == laws["of"]), "medium"]),
        "naive": int(laws["standin"].sum()),
    }
    shown = Section(TITLE, verdict, figures, found, facts, open_figures=2)
    return shown if shown.tables else None


def _every_cost(costs: pd.DataFrame) -> Table:
    names = [
        f"{c.simulation}, {_GROWS[c.sweep]}: {c.inputs:,} × {c.outputs:,}"
        + (f", from {c.block:,} outputs" if c.projected else "")
        for c in each(costs)
    ]
    columns: Columns = {"making it": ("make_seconds", duration), **_COSTS}
    note = "Each in a process of its own, the median of its turns. Peak memory: above what the bare process takes."
    return _amounts("What each device costs", "kind, what grows: N × M", costs.assign(name=names), columns, note)


def _exponents(run: Run) -> Table:
    """cost = a · size^b: b."""
    laws = pd.DataFrame([law for entry in run.entries(FIT) for law in entry.result.fits])
    if len(laws):
        laws = laws.pivot(index=["device_kind", "sweep", "smallest", "largest"], columns="quantity", values="exponent")
        laws = laws.sort_index(ascending=[True, False, True, True]).reset_index()
    names = [f"{law.device_kind}: {_GROWS[law.sweep]}, {law.smallest:,} to {law.largest:,}" for law in each(laws)]
    heads = {**{column: head for head, (column, _) in _COSTS.items()}, "row_seconds": "computing a row of U"}
    columns: Columns = {head: (column, "{:.2f}".format) for column, head in heads.items() if column in laws}
    note = "Cost = a · size^b: b by least squares on the logarithms of the largest sizes that were measured whole."
    return _amounts("How costs grow: exponents", "kind, what grows", laws.assign(name=names), columns, note)


def _laws(run: Run) -> Table:
    """Every law, medium by medium."""
    media = run.entries(FIDELITY)
    by_name = [{law.name: law for law in one.result.laws} for one in media]
    rows = [Row("laws that hold", tuple(f"{one.result.holding} of {one.result.of}" for one in media), strong=True)]
    for name in dict.fromkeys(name for found in by_name for name in found):
        laws = [found.get(name) for found in by_name]
        said = [f"{o.measured:.3g} ({o.score:+.1f} σ{'' if o.holds else ', fails'})" if o else None for o in laws]
        allowed = ", which a structured medium may fail" if any(one and one.expected_to_differ for one in laws) else ""
        rows.append(Row(name + allowed, tuple(said)))
    told = [(one.config, ", a stand-in" if one.config.standin else "") for one in media]
    heads = [f"{c.medium}, {c.in_features:,} × {c.out_features:,}{standin}" for c, standin in told]
    note = (
        "What was measured, and how many standard deviations that is from an i.i.d. complex Gaussian matrix; a law holds "
        "within 4.5. A structured device is not i.i.d. even where every law holds: its secret is 3 bytes an input or output."
    )
    return Table("Laws of i.i.d. complex Gaussian matrices", "law", tuple(heads), tuple(rows) if media else (), note)


def _retrieval(run: Run) -> Table:
    """What U costs an attacker who holds the device, by network; and, extrapolated, at a million by a million."""
    rows = run.frame("rows")
    found = rows.merge(_networks(run)[["inputs", "outputs", "simulation"]], how="left", on=["inputs", "simulation"])
    found = found.sort_values(["simulation", "inputs", "outputs"])
    found["name"] = [_sized(one.inputs, one.outputs, one.simulation).replace(" × nan", "") for one in each(found)]
    for law in (law for entry in run.entries(FIT) for law in entry.result.fits):
        if law.quantity == "row_seconds" and len(rows):
            far = dict(rows[["frames", "device_seconds"]].iloc[0] * _MILLION / rows["inputs"].iloc[0])
            far |= {"row_seconds": law.factor * _MILLION**law.exponent, "inputs": _MILLION, "outputs": _MILLION}
            far["name"] = f"a million by a million, extrapolated: a row as N^{law.exponent:.2f}"
            found = pd.concat([found, pd.DataFrame([far])])
    found["readings"], found["computing"] = found["frames"] * found["outputs"], found["row_seconds"] * found["outputs"]
    found["stored"] = _COMPLEX64 * found["inputs"] * found["outputs"]
    columns: Columns = {
        "frames": ("frames", "{:,.0f}".format),
        "at the device": ("device_seconds", duration),
        "readings": ("readings", size),
        "computing a row": ("row_seconds", duration),
        "computing U": ("computing", duration),
        "U retrieved": ("stored", size),
        "median error of a row": ("error_median", lambda share: f"{100 * share:.2g}%"),
        "rows that fail": ("failed_rows", "{:.0f}".format),
    }
    note = (
        f"{rows['rows'].max():.0f} rows of each were retrieved; U is projected from them. Frames serve all rows at once. "
        "A reading is a byte. A row fails with an error above 10%. A structured device may be cheaper to break than this."
    )
    return _amounts("Retrieving U, by size", "device", found, columns, note)


def _curves(
    drawings: Folder, name: str, frame: pd.DataFrame, quantity: str, what: str, write: Callable[[float], str]
) -> Drawing | None:
    """A cost against N, both logarithmic, a line a kind of device. None with fewer than two N."""
    frame = frame[frame[quantity].notna() & (frame[quantity] > 0)].sort_values("inputs")
    ticks = {at: power_of_two(at) for at in sorted(set(frame["inputs"]))}
    if len(ticks) < 2:
        return None
    lines = []
    for kind, own in frame.groupby("simulation"):
        whole, rest = own[~own["projected"]], own[own["projected"]]
        # What is projected goes on, hollow and dashed, from the last that was measured whole.
        parts = [(f"{kind}, projected", pd.concat([whole.tail(1), rest]), True)] if len(rest) else []
        for label, part, hollow in (*parts, ("" if parts else str(kind), whole, False)) if len(whole) else parts:
            style = of_name(str(kind), hollow=hollow)
            lines.append(Curve(label, part["inputs"].tolist(), part[quantity].tolist(), style))
    if quantity == "peak_bytes":
        lines.append(Curve("a stored matrix", list(ticks), [_COMPLEX64 * n * n for n in ticks], _STORED))
    axes: dict[str, Any] = {"x": "N (logarithmic)", "y": f"{what} (logarithmic)", "x_ticks": ticks, "y_write": write}
    axes |= {"y_range": None, "x_log": True, "y_log": True, "left": 0.21, "right": 0.7}
    said = [f"{one.simulation} {one.inputs:,} {write(getattr(one, quantity))}" for one in each(frame)]
    caption = f"Against N: {what}." + " Hollow: projected from a block of outputs." * any(frame["projected"])
    return drawings.save(name, lambda: curves(lines, **axes), alt=f"{what}: {', '.join(said)}.", caption=caption)


def _networks_figure(run: Run, drawings: Folder) -> Drawing | None:
    """Accuracy of each network: clean, by attacker, and under all of them."""
    networks, balls, clean = _networks(run), _balls(run), clean_accuracies(run)
    if not balls or networks.empty:
        return None
    rows = []
    for one in each(networks):
        kept = [_kept(run, here, one.Index).items() for here in balls]
        panels = [tuple((attacker(rule).label, share) for rule, share in shares) for shares in kept]
        rows.append(DotRow(one.label, ((("clean", clean[one.Index]),), *panels)))
    rules = sorted(set(run.attacks["rule"]), key=rank)
    series = [Series("clean", QUIET), *(Series(attacker(rule).label, of_attacker(rule)) for rule in rules)]
    caption = "Accuracy under PGD by the attacker's gradient, and under all, image by image, with 95% Wilson intervals."
    look = {"x": "accuracy (%)", "titles": ["clean", *map(_ball, balls)]}
    return save_dots(drawings, "scale-networks", rows, [*series, Series(_TOGETHER, PLAIN)], caption=caption, **look)
