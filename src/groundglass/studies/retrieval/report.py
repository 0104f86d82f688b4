"""What the retrieval study says: what U costs whoever holds the device, and what it is worth to an attacker."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import ceil
from typing import Any

import pandas as pd

from groundglass.adaptive.attackers import attacker, rank
from groundglass.core.statistics import Family, Proportion, as_good, differs
from groundglass.core.text import duration, listed
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, curves, save_curves, shares, spoken
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, DEFENDED, FAINT, PLAIN, Style, of_attacker
from groundglass.report.table import Amount, Row, Table, Value, amount
from groundglass.report.words import each, failed_checks, left, radius, strongest
from groundglass.results import Run
from groundglass.results.kinds import RETRIEVE, Entry
from groundglass.results.kinds.retrieve import RetrieveConfig, RetrieveResult

TITLE = "The price of the secret"
_EXACT, _BLURRED, _RETRIEVED = "exact", "exact-blurred", "bpda-retrieved"
#: Attackers that have a say.
_EXPECTED = ("dfa", "bpda-fit-linear", _RETRIEVED, _BLURRED, _EXACT)
#: As far as with the exact U: this share of the images more is left, at the most.
_MARGIN = 0.05
AS_FAR, SHORT, UNCLEAR = "as far", "clearly less", "cannot be told"

Retrieval = Entry[RetrieveConfig, RetrieveResult]


def _percent(share: float) -> str:
    """Of errors: "0.31%", "4.6%", "141%"."""
    value = 100 * share
    return f"{value:.2f}%" if value < 0.995 else f"{value:.2g}%" if value < 9.95 else f"{value:.0f}%"


def _times(one: Retrieval) -> str:
    """Frames, as "12 N"."""
    return f"{one.result.frames / one.config.in_features:.3g} N"


def _retrievals(run: Run, *purposes: str) -> list[Retrieval]:
    """Sizes rising, then frames."""
    found = [one for one in run.entries(RETRIEVE) if one.config.purpose in purposes]
    return sorted(found, key=lambda r: (r.config.in_features, r.config.out_features, r.result.frames, r.name))


_COLUMNS: dict[str, Callable[[Retrieval], Value]] = {
    "frames": lambda r: Amount(r.result.frames, "{:,.0f}".format, f" ({_times(r)})"),
    "median error of a row": lambda r: amount(r.result.error_median, _percent),
    "rows lost": lambda r: amount(r.result.failed_share, "{:.1%}".format),
    "rows the attacker finds wrong": lambda r: Amount(r.result.told_share, "{:.1%}".format),
    "held-out readings off by (grey levels)": lambda r: Amount(r.result.held_out.median, "{:.2g}".format),
    "with a wrong row": lambda r: Amount(r.result.held_out.chance, "{:.2g}".format),
    "at the device": lambda r: Amount(r.result.device_seconds, duration),
    "computing": lambda r: Amount(r.result.compute_seconds, duration),
    "threads": lambda r: Amount(r.result.threads, "{:.0f}".format),
    "needs": lambda r: "control of the exposure" if r.config.exposure_control else "inputs and readings",
}


_ERRORS = ("median error of a row", "rows lost")


def _table(
    title: str, head: str, columns: Iterable[str], rows: Iterable[tuple[str, Retrieval]], note: str = ""
) -> Table:
    return Table.of(title, head, {column: _COLUMNS[column] for column in columns}, rows, note)


def _attacks(run: Run) -> pd.DataFrame:
    """PGD with each U and without any, in the order of the tables.

    Columns beside those of `attacks`: `ball` and `name` in words; `error` of the attacker's U: 0 if exact, none without
    one, and none where the true U is not here to compare with; `period` between redraws; `frames` of the retrieval.
    """
    sources = {one.key: one for one in run.entries(RETRIEVE)}
    told = []
    for row in each(run.attacks):
        source = next((sources[key] for key in run.record(row.Index).inputs if key in sources), None)
        paper = f" (the paper's {row.radius_paper:.3g})" if pd.notna(row.radius_paper) else ""
        name, error, period, frames = attacker(row.rule).label, row.matrix_error, None, None
        if row.network != DEFENDED:
            name = f"{row.network} ← {name}"
        elif row.rule == _BLURRED:
            name = f"U wrong by {_percent(error)}"
        elif row.rule == _RETRIEVED and source:
            error, period, frames = source.result.error_median, source.config.period, source.result.frames
            name = f"retrieved from {_times(source)} frames" + (f", redraw every {period:g} s" if period else "")
        elif row.rule == _EXACT:
            error = 0.0
        kind = ("", _EXACT, _BLURRED, _RETRIEVED).index(row.rule if pd.notna(error) or frames else "")
        place = (row.network != BASELINE, kind, frames or (error if kind else rank(row.rule)), period or 0)
        told.append((f"ε = {radius(row.norm, row.radius)}{paper}", name, error, period, frames, place))
    columns = ["ball", "name", "error", "period", "frames", "place"]
    found = run.attacks.join(pd.DataFrame(told, columns=columns, index=run.attacks.index))
    # A retrieved U of which there is no record has no place in any table.
    known = found["frames"].notna() | (found["rule"] != _RETRIEVED)
    found = found[known & (found["radius"] > 0) & (found["rule"] != "none")]
    found = found.sort_values(["norm", "radius", "place"], ascending=[False, True, True], kind="stable")
    return strongest(found, by=("ball", "name"))


def tables(run: Run) -> list[Table]:
    """The prices of U; then what PGD leaves with each U, and without any."""
    prices = [
        (f"{_times(one)}, N = {one.config.in_features:,}, M = {one.config.out_features:,}", one)
        for one in _retrievals(run, "price")
    ]
    note = (
        "Lost: wrong by more than 10%; a guessed row is wrong by 141%. The paper names 72 minutes of computing for an "
        "error of 32% and 19 hours for 8%, at N of about 10,000 and M of about 100,000."
    )
    frame = _attacks(run)
    balls = tuple(frame["ball"].unique())
    found = {(row.ball, row.name): left(row) for row in each(frame)}
    names = frame.sort_values("place", kind="stable")["name"].unique()
    rows = tuple(Row(name, tuple(found.get((ball, name)) for ball in balls)) for name in names)
    made = [_table("The price of U", "frames", (*_ERRORS, "at the device", "computing"), prices, note)]
    made += [Table("Accuracy under PGD, %", "the attacker's U", balls, rows, "All on the same images.")]
    return [table for table in made if table.rows]


def _compared(run: Run, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The attacks on VGG-OPU with how each compares, on the same images; and how that was tested.

    Columns: `reach`, as far as with the exact U or not; `helps`: clearly further than the best without U; `tells`: clearly
    further than no attack.
    """
    frame = frame[frame["network"] == DEFENDED]
    right, pairs = {key: run.right_under([key]) for key in frame.index}, {}
    for _, own in frame.groupby("ball"):
        best = own[own["error"].isna() & (own["rule"] != _RETRIEVED)].nsmallest(1, "correct").index
        for exact in own.index[own["rule"] == _EXACT]:
            pairs[exact, "no attack"] = (right[exact], run.right_before(exact))
            pairs |= {(key, "exact"): (right[key], right[exact]) for key in own.index if key != exact}
        retrieved = own.index[own["rule"] == _RETRIEVED]
        pairs |= {(key, "best without"): (right[key], right[one]) for key in retrieved for one in best}
    name = "PGD with each U, against the exact one and the best attacker without"
    family = Family(name, {key: differs(*pair) for key, pair in pairs.items()})
    # Turned around: the exact U leaves at most the margin less.
    near = {
        key for (key, what), (one, exact) in pairs.items() if what == "exact" and as_good(exact, one, margin=_MARGIN)
    }
    frame = frame.assign(
        reach=[AS_FAR if k in near else SHORT if family.above((k, "exact")) else UNCLEAR for k in frame.index],
        helps=[family.below((k, "best without")) for k in frame.index],
        tells=[family.below((k, "no attack")) for k in frame.index],
    )
    return frame, f"{family.note}. As far: at most {100 * _MARGIN:.0f} points more left, with 95% confidence."


def _judge(frame: pd.DataFrame) -> Verdict:
    """What U is worth, at the radius where the secret looks best, and whether a retrieval takes that away."""
    untried = tuple(attacker(rule).label for rule in _EXPECTED if rule not in set(frame["rule"]))
    exact = frame[frame["rule"] == _EXACT].set_index("ball")
    telling = exact.index[exact["tells"].astype(bool)]
    least = frame[frame["error"].isna()].groupby("ball", sort=False)["accuracy_under_attack"].min()
    worth = (least - exact["accuracy_under_attack"]).dropna()
    worth = worth[worth.index.isin(telling)]
    if worth.empty:
        why = "exact" if exact.empty else "without" if len(telling) else "blind"
        seen = [(left(row), Proportion(row.clean_correct, row.n_images)) for row in each(exact.iloc[-1:])]
        return Verdict(Finding.OPEN, {"why": why, "seen": seen}, untried)
    free = set(frame[frame["error"].isna() & (frame["reach"] == AS_FAR)]["ball"])
    ball = max(worth.index, key=lambda ball: (ball not in free, worth[ball]))
    here = frame[frame["ball"] == ball]
    without, retrieved, blurred = here[here["error"].isna()], *(here[here["rule"] == r] for r in (_RETRIEVED, _BLURRED))
    equals = without[without["reach"] == AS_FAR]
    far = frame[(frame["rule"] == _RETRIEVED) & (frame["reach"] == AS_FAR) & frame["ball"].isin(telling)]
    enough = far[far.groupby("name")["ball"].transform("size") == len(telling)].sort_values("frames")[:1]
    if len(equals):
        finding = Finding.NOTHING
    elif (without["reach"] == UNCLEAR).any() or retrieved.empty:
        finding = Finding.OPEN
    elif len(enough):
        finding = Finding.FALLS
    else:
        part = retrieved["helps"].any() or (retrieved["reach"] == AS_FAR).any()
        finding = Finding.PART if part else Finding.HOLDS
    best = each((equals if len(equals) else without).nsmallest(1, "correct"))[0]
    reasons = {
        "why": "retrieved" if retrieved.empty else "unclear",
        "ball": ball,
        "without": list(equals["name"]) or [best.name],
        "only_dfa": set(equals["rule"]) == {"dfa"},
        "left": left(best),
        "exact": left(each(here[here["rule"] == _EXACT])[0]),
        "retrieved": [left(row) for row in each(retrieved.nsmallest(1, "correct"))],
        "enough": [row.name for row in each(enough)],
        "precise": [
            _percent(e) for e in blurred.loc[(blurred["reach"] == AS_FAR).cumprod().astype(bool), "error"][-1:]
        ],
        "wrong": [_percent(e) for e in blurred.loc[blurred["reach"] == SHORT, "error"][:1]],
    }
    return Verdict(finding, reasons, untried, int(best.n_images))


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None while nothing was retrieved. The figure of the verdict's radius comes first."""
    if not run.entries(RETRIEVE):
        return None
    frame = _attacks(run)
    compared, note = _compared(run, frame)
    verdict = _judge(compared)
    balls = list(frame["ball"].unique())
    first = sorted(enumerate(balls, 1), key=lambda one: one[1] != verdict.reasons.get("ball"))
    figures = [_curve(frame[frame["ball"] == ball], f"retrieval-price-{i}", drawings) for i, ball in first]
    figures += _efforts(run, drawings)
    reach = {(row.name, row.ball): row.reach for row in each(compared[compared["rule"] != _EXACT])}
    rows = tuple(Row(n, tuple(reach.get((n, b)) for b in balls)) for n in dict.fromkeys(name for name, _ in reach))
    found = [*tables(run), Table("As far as with the exact U?", "the attacker's U", tuple(balls), rows, note)]
    found += [_periods(run, compared), *_more(run)]
    facts = {
        "margin": 100 * _MARGIN,
        "failed": failed_checks(run),
        "ended": [f"{one.name} ({one.result.note})" for one in run.entries(RETRIEVE) if not one.result.complete],
    }
    return Section(TITLE, verdict, figures, found, facts)


def _curve(frame: pd.DataFrame, name: str, drawings: Folder) -> Drawing | None:
    """Accuracy under PGD against the error of the attacker's U. Who has no such error is a line across."""
    errors = [100 * error for error in frame["error"].dropna() if error > 0]
    if not errors:
        return None
    lines = []
    for row in each(frame[~frame["rule"].isin((_BLURRED, _RETRIEVED))]):
        style, y = of_attacker(row.rule, hollow=row.network != DEFENDED), 100 * left(row).share
        lines.append(Curve(row.name, (min(errors), max(errors)), (y, y), style))
    for rule, dash in ((_BLURRED, "-"), (_RETRIEVED, "")):
        points = {row.error: left(row) for row in each(frame[(frame["rule"] == rule) & frame["error"].notna()])}
        style = replace(of_attacker(rule), dash=dash)
        lines += [shares(attacker(rule).label, points, style, scale=100)] if points else []
    top = 10 * ceil(max(10 * left(row).interval[1] for row in each(frame)))
    error, accuracy = "relative error of U (%, logarithmic)", "accuracy under attack (%)"
    return drawings.save(
        name,
        lambda: curves(lines, x=error, y=accuracy, y_range=(0, top), x_log=True),
        alt=spoken([(row.name, [("", 100 * left(row).share)]) for row in each(frame)]),
        caption=f"{frame['ball'].iloc[0]}: what PGD leaves with a U that is wrong by so much. Every attack is in it. Lines "
        "across: without U, or with the exact one. Bands: 95% Wilson intervals.",
    )


def _efforts(run: Run, drawings: Folder) -> list[Drawing]:
    """Error, and rows lost, against the frames: a line for each size of device, and the network's own."""
    frame = run.retrievals[run.retrievals["purpose"].isin(("queries", "price"))].sort_values("frames", kind="stable")
    drawn = []
    for name, what, log in (("error_median", "median error of a row", True), ("failed_share", "rows lost", False)):
        lines = []
        measured = frame[frame[name].notna()].astype({name: float})
        for i, ((purpose, n), own) in enumerate(measured.groupby(["purpose", "inputs"])):
            label = f"N = {n:,}" + (", VGG-OPU's" if purpose == "price" else "")
            style = PLAIN if purpose == "price" else Style(FAINT, "s^Dv"[i % 4], hollow=True)
            lines.append(Curve(label, list(own["frames"] / own["inputs"]), list(100 * own[name]), style))
        if lines:
            y: dict[str, Any] = {"y": f"{what} (%{', logarithmic' if log else ''})", "y_log": log}
            y["y_range"] = None if log else (0.0, 100.0)
            told = {"caption": f"By frames: {what}.", "said": "from {:.3g} N"}
            place = f"retrieval-{name.split('_')[0]}"
            drawn.append(save_curves(drawings, place, lines, x="frames for each input bit", **y, **told))
    return drawn


def _periods(run: Run, frame: pd.DataFrame) -> Table:
    """What fits between two redraws: those of the records, and those that the config names without a record."""
    tried, own = {one.config.period: one for one in _retrievals(run, "period")}, _retrievals(run, "price", "period")
    planned = run.manifest["config"].get("retrieval", run.manifest["config"]).get("periods", ())
    late = run.progress.missing if run.progress else ()
    rows = []
    for period in sorted({*tried, *planned}) if own else ():
        one = tried.get(period)
        frames = one.result.frames if one else round(own[0].config.frame_rate * period)
        waits = any(name.endswith(f"redrawn every {period:g} s") for name in late)
        waits |= frames >= min(r.result.frames for r in own)
        reach = listed(list(frame[frame["period"] == period]["reach"].unique()))
        why = (reach or None) if one else "not done yet" if waits else "too few frames"
        values = (_COLUMNS[column](one) if one else None for column in _ERRORS)
        rows.append(Row(f"{period:g} s", (Amount(frames), *values, why)))
    note = "An attacker who measures from one redraw to the next, all the time. Each redraw also needs a fit of the classifier."
    head = ("frames", *_ERRORS, "PGD gets, compared with the exact U")
    return Table("What fits between two redraws", "redraw every", head, tuple(rows), note)


def _more(run: Run) -> list[Table]:
    """What the attacker can see, what a camera takes away, and other methods."""
    seen = ("held-out readings off by (grey levels)", "with a wrong row")
    told = (*seen, "rows the attacker finds wrong", "rows lost", "threads")
    prices = [(_times(one), one) for one in _retrievals(run, "price")]
    varied = {}
    for one in (one for kind in ("noise", "bits", "exposure") for one in _retrievals(run, kind)):
        camera, depth = one.config.camera, f"{one.config.camera.bits} bits" if one.config.camera.bits else "float"
        name = f"{depth}, read noise {camera.read_noise:g}, {100 * camera.saturation:g}% of readings at the top"
        varied[-(camera.bits or 99), camera.read_noise, camera.saturation] = (name, one)
    columns = ("frames", *_ERRORS, *seen, "computing", "needs")
    methods = [(one.config.method, one) for one in _retrievals(run, "method")]
    return [
        _table("What the attacker sees without the true U", "frames", told, prices),
        _table("What a camera takes away", "camera", _ERRORS, [varied[key] for key in sorted(varied)]),
        _table("Ways to retrieve U, on one device", "method", columns, methods),
    ]
