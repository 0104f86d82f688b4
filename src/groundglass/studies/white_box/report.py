"""What the white-box study says: accuracy against radius for every attacker, and what becomes of the paper's gain."""

from collections.abc import Sequence

import pandas as pd

from groundglass.adaptive.attackers import attacker, needing
from groundglass.core.statistics import Family, Outcomes, Proportion, differs, right_within
from groundglass.core.text import duration, percent
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, DotRow, Series, curves, dots, shares, spoken
from groundglass.report.section import Section
from groundglass.report.style import BASELINE, DEFENDED, UNLAYERED, of_attacker
from groundglass.report.table import Amount, Row, Table, Value
from groundglass.report.verdict import Finding, Verdict
from groundglass.report.words import (
    channel_note,
    clean_accuracies,
    each,
    in_order,
    left,
    method,
    norm_name,
    paper_axis,
    radius,
    radius_axis,
    strongest,
)
from groundglass.results import Run

TITLE = "White-box attacks"
#: The paper's claim: what the attacks of its published code leave.
_CLAIM = ("dfa-fresh", "fa")
_CONTROLS = ("FGSM", "RandomNoise", "CW")


def _compared(run: Run) -> pd.DataFrame:
    """The attacks of the figure: each rule at the same radii on the same images."""
    found = run.attacks
    return in_order(strongest(found[(found["purpose"] != "control") & ~found["attack"].isin(_CONTROLS)]))


def _controls(run: Run) -> pd.DataFrame:
    found = run.attacks
    return in_order(found[(found["purpose"] == "control") | found["attack"].isin(_CONTROLS)])


def tables(run: Run, *, distances: bool = False) -> list[Table]:
    """A table a norm: a row an attacker; below it the worst cases of the defended network.

    Args:
        distances: with C&W, whose few images are others than the rest's.
    """
    compared, found = _compared(run), _controls(run)
    extra = found[(found["attack"] == "CW") & distances]
    norms = [norm for norm in ("linf", "l2") if (compared["norm"] == norm).any()]
    return [_accuracies(run, compared[compared["norm"] == n], extra[extra["norm"] == n]) for n in norms]


def _accuracies(run: Run, frame: pd.DataFrame, distances: pd.DataFrame) -> Table:
    norm, radii, clean = str(frame["norm"].iloc[0]), sorted(frame["radius"].unique()), clean_accuracies(run)
    papers = frame.dropna(subset=["radius_paper"]).drop_duplicates("radius").set_index("radius")["radius_paper"]
    columns = [radius(norm, eps) + (f" (ε {papers[eps]:.3g})" if eps in papers else "") for eps in radii]
    rows: list[Row] = []
    for (network, rule, attack), own in _lines(pd.concat([frame, distances])):
        values: list[Value]
        if attack == "CW":  # one attack that looks for the smallest change gives every radius
            values = [right_within(run.arrays(own.index[0]), eps) for eps in radii]
        else:
            at = {row.radius: left(row) for row in each(own)}
            values = [at.get(eps) for eps in radii]
        how = "" if attack == "PGD" else f", {method(attack)} ({own['n_images'].iloc[0]} images)"
        first = clean.get(network) if all(not row.name.startswith(f"{network} ←") for row in rows) else None
        rows.append(Row(f"{network} ← `{rule}`{how}", (first, *values)))
    own = frame[frame["network"] == DEFENDED]
    possible = own[[attacker(rule).possible for rule in own["rule"]]]
    if not possible.empty:
        best = [possible[possible["radius"] == eps].nsmallest(1, "accuracy_under_attack") for eps in radii]
        notes = tuple("" if one.empty else attacker(str(one["rule"].iloc[0])).label for one in best)
        worst = tuple(None if one.empty else left(each(one)[0]) for one in best)
        rows.append(Row(f"{DEFENDED}: strongest without U", (None, *worst), ("", *notes), strong=True))
        rows += _together(run, f"{DEFENDED}: all of those together", possible, radii)
    if len(own) > len(possible):
        rows += _together(run, f"{DEFENDED}: all, with exact U", own, radii)
    title = f"Right under attack, {norm_name(norm)}{', in brackets on the paper’s axis' if len(papers) else ''}, %"
    note = (
        "Together: image by image, an image counts only when it was right before and none of these attacks fooled it."
    )
    title = title.replace("’", "'")
    return Table(
        title, "network ← attacker", ("untouched", *columns), tuple(rows), f"{note} {channel_note(frame)}".strip()
    )


def _lines(frame: pd.DataFrame) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Each network, rule and attack with its rows, in the order used everywhere."""
    grouped = in_order(frame).groupby(["network", "rule", "attack"], sort=False)
    return [((str(n), str(r), str(a)), rows) for (n, r, a), rows in grouped]


def _together(run: Run, name: str, frame: pd.DataFrame, radii: Sequence[float]) -> list[Row]:
    tried = [list(frame.index[frame["radius"] == eps]) for eps in radii]
    values = [run.together(keys) if len(keys) > 1 else None for keys in tried]
    return [Row(name, (None, *values), strong=True)] if any(values) else []


def _judge(run: Run, compared: pd.DataFrame) -> Verdict:
    """What becomes of the paper's gain, at the radius where it is largest: that is the claim at its strongest."""
    linf = compared[(compared["norm"] == "linf") & (compared["attack"] == "PGD")]
    claims = [rule for rule in _CLAIM if ((linf["network"] == DEFENDED) & (linf["rule"] == rule)).any()] or ["dfa"]

    def outcome(network: str, rules: Sequence[str], eps: float) -> Outcomes:
        found = linf[(linf["network"] == network) & linf["rule"].isin(rules) & (linf["radius"] == eps)]
        return run.right_under(list(found.index))

    others = [r for r in linf["rule"].unique() if attacker(r).possible and r not in claims and r != "bp"]
    radii = sorted(linf["radius"].unique())
    at = {eps: {"claim": outcome(DEFENDED, claims, eps), "plain": outcome(BASELINE, ["bp"], eps)} for eps in radii}
    for eps, found in at.items():
        found["worst"] = outcome(DEFENDED, [*claims, *others], eps)
        found["bare"] = outcome(UNLAYERED, ["bp"], eps)
    pairs = (("claim", "plain"), ("worst", "plain"), ("worst", "claim"), ("worst", "bare"))
    tests = {(eps, *pair): differs(at[eps][pair[0]], at[eps][pair[1]]) for eps in radii for pair in pairs}
    family = Family("What VGG-OPU keeps, at every radius", tests)
    known = [eps for eps in radii if tests[eps, "claim", "plain"] is not None]
    if not known:
        return Verdict(Finding.OPEN, untried=("an attack on both networks",))
    eps = max(known, key=lambda e: (d.points if (d := tests[e, "claim", "plain"]) else 0.0, e))
    worst = tests[eps, "worst", "plain"]
    own = linf[(linf["network"] == DEFENDED) & (linf["radius"] == eps) & linf["rule"].isin([*claims, *others])]
    if not family.above((eps, "claim", "plain")):
        finding = Finding.NOTHING
    elif not others:
        finding = Finding.OPEN
    elif not family.above((eps, "worst", "plain")):
        finding = Finding.FALLS
    else:
        finding = Finding.PART if family.below((eps, "worst", "claim")) else Finding.HOLDS
    papers = linf.loc[linf["radius"] == eps, "radius_paper"].dropna()
    bare = tests[eps, "worst", "bare"]
    return Verdict(
        finding,
        {
            "eps": eps,
            "radius": radius("linf", eps),
            "paper": f"{papers.iloc[0]:.3g}" if len(papers) else "",
            "claims": [attacker(rule).label for rule in claims],
            "claim": tests[eps, "claim", "plain"],
            "worst": worst,
            "best": attacker(str(own.nsmallest(1, "accuracy_under_attack")["rule"].iloc[0])).label,
            "bare": bare if bare is not None else None,
            "layer_gains": family.above((eps, "worst", "bare")),
            "family": family.note,
        },
        untried=tuple(
            attacker(r).label for r in needing(("dfa", "bpda-fit-linear"), "B", "bits and logits") if r not in others
        ),
        n_images=worst.first.total if worst else 0,
    )


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None while nothing was attacked."""
    compared = _compared(run)
    if compared.empty:
        return None
    verdict = _judge(run, compared)
    figures = [_leaves(run, compared, drawings, verdict.reasons.get("eps"))]
    figures += [
        _curves(run, compared[compared["norm"] == n], drawings) for n in ("linf", "l2") if (compared["norm"] == n).any()
    ]
    found = [*tables(run, distances=True), _control_table(run, compared), _efforts(run, compared)]
    return Section(TITLE, verdict, tuple(f for f in figures if f), tuple(t for t in found if t.rows), open_figures=2)


def _leaves(run: Run, compared: pd.DataFrame, drawings: Folder, eps: float | None) -> Drawing | None:
    """What each attacker leaves at the radius of the verdict."""
    here = compared[(compared["norm"] == "linf") & (compared["radius"] == eps)]
    if here.empty:
        return None
    rows, series = [], []
    for row in each(here):
        name = f"{row.network} ← {attacker(row.rule).label}"
        series.append(Series(name, of_attacker(row.rule, hollow=row.network != DEFENDED)))
        rows.append(DotRow(name, (((name, left(row)),),)))
    return drawings.save(
        "white-box-attackers",
        dots(rows, series, x=f"accuracy under attack (%), L∞ ε = {radius('linf', float(eps or 0))}", key=False),
        alt=spoken([(r.name, [("", 100 * r.panels[0][0][1].share)]) for r in rows]),
        caption="What each attacker leaves at the radius where the paper's gain is largest, with 95% Wilson intervals.",
    )


def _curves(run: Run, frame: pd.DataFrame, drawings: Folder) -> Drawing:
    """Accuracy against radius; one control, noise, for the eye."""
    norm = str(frame["norm"].iloc[0])
    label, scale = radius_axis(norm)
    noise = _controls(run)
    noise = noise[
        (noise["attack"] == "RandomNoise")
        & (noise["network"] == DEFENDED)
        & (noise["norm"] == norm)
        & noise["radius"].isin(frame["radius"])
    ]
    lines: list[Curve] = []
    for (network, rule, _), own in _lines(pd.concat([frame, noise])):
        first = each(own)[0]
        points = {0.0: Proportion(int(first.clean_correct), int(first.n_images))}
        points |= {row.radius: left(row) for row in each(own)}
        short = attacker(rule).label if network == DEFENDED else f"{network} ← {attacker(rule).label}"
        lines.append(shares(short, points, of_attacker(rule, hollow=network != DEFENDED), scale=scale))
    chance = ("chance", 100 / len(run.classes)) if run.classes else None
    figure = curves(lines, x=label, y="accuracy under attack (%)", above=paper_axis(frame, scale), level=chance)
    return drawings.save(
        f"white-box-{norm}",
        figure,
        alt=spoken([(line.name, [(f"at {line.x[-1]:.3g}", line.y[-1])]) for line in lines]),
        caption="PGD against the radius. Solid: VGG-OPU; dashed and hollow: without the layer. Bands: 95% Wilson intervals.",
    )


def _control_table(run: Run, compared: pd.DataFrame) -> Table:
    """One step, noise, no bound, smallest distance; each beside PGD of the figure at the same radius."""
    beside = {(r.network, r.rule, r.norm, r.radius): left(r) for r in each(compared)}
    rows = []
    for row in each(_controls(run)):
        how = "" if attacker(row.rule).is_control else f", {method(row.attack)}"
        distance = Amount(row.median_distance, "{:.3g}".format) if row.attack == "CW" else None
        rows.append(
            Row(
                f"{row.network} ← {attacker(row.rule).label}{how}",
                (
                    f"{norm_name(row.norm)} {radius(row.norm, row.radius)}",
                    left(row),
                    Amount(row.n_images, "{:,.0f}".format),
                    beside.get((row.network, row.rule, row.norm, row.radius)),
                    distance,
                ),
            )
        )
    note = "Many steps must leave no more than one step or noise does; without a bound next to nothing must be left."
    columns = ("ball", "accuracy under attack", "images", "PGD there", "median distance")
    return Table("Controls: one step, noise, no bound, smallest distance, %", "attack", columns, tuple(rows), note)


def _efforts(run: Run, compared: pd.DataFrame) -> Table:
    """Settings, gradients, fit and time of each attack, over its radii."""
    rows = []
    for norm in ("linf", "l2"):
        for (network, rule, attack), own in _lines(compared[compared["norm"] == norm]):
            fitted = own.dropna(subset=["fit_images"])
            fit = (
                f"{fitted['fit_images'].iloc[0]:,.0f} images, R² {fitted['fit_r2'].iloc[0]:.2f}"
                if len(fitted)
                else None
            )
            rows.append(
                Row(
                    f"{network} ← {attacker(rule).label}, {method(attack)}, {norm_name(norm)}",
                    (
                        Amount(own["gradients_per_image"].mean(), "{:.1f}".format),
                        f"{percent(own['zero_gradient_share'].max())}%",
                        fit,
                        Amount(own["seconds"].sum(), duration),
                    ),
                )
            )
    note = (
        "Gradients: the mean over radii; an image that is fooled takes no more. Zero gradients: the most at any radius."
    )
    columns = ("gradients an image", "zero gradients", "fitted on", "time")
    return Table("What each attack took", "attack", columns, tuple(rows), note)
