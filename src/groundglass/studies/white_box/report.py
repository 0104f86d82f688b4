"""What the white-box study says: accuracy against radius for every attacker, and what becomes of the paper's gain."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from groundglass.adaptive.attackers import attacker, needing
from groundglass.core.statistics import Family, Outcomes, Proportion, differs, right_within
from groundglass.core.text import duration, percent
from groundglass.report import words
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, DotRow, Series, save_curves, save_dots, shares
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, DEFENDED, UNLAYERED, of_attacker
from groundglass.report.table import Amount, Row, Table
from groundglass.results import Run

TITLE = "White-box attacks"
#: The paper's claim: what the attacks of its published code leave.
_CLAIM = ("dfa-fresh", "fa")
_CONTROLS = ("FGSM", "RandomNoise", "CW")


def _split(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The attacks of the figure, each rule at the same radii on the same images; and the controls."""
    found = run.attacks
    control = (found["purpose"] == "control") | found["attack"].isin(_CONTROLS)
    return words.in_order(words.strongest(found[~control])), words.in_order(found[control])


def _by_norm(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """L-inf first."""
    return [own for norm in ("linf", "l2") if len(own := frame[frame["norm"] == norm])]


def tables(run: Run, *, distances: bool = False) -> list[Table]:
    """A table a norm: a row an attacker; below it the worst cases of the defended network.

    Args:
        distances: with C&W, whose few images are others than the rest's.
    """
    compared, controls = _split(run)
    extra = controls[(controls["attack"] == "CW") & distances]
    return [_accuracies(run, own, extra[extra["norm"] == own["norm"].iloc[0]]) for own in _by_norm(compared)]


def _accuracies(run: Run, frame: pd.DataFrame, distances: pd.DataFrame) -> Table:
    norm, radii, clean = str(frame["norm"].iloc[0]), sorted(frame["radius"].unique()), words.clean_accuracies(run)
    papers = frame.dropna(subset=["radius_paper"]).drop_duplicates("radius").set_index("radius")["radius_paper"]
    columns = [words.radius(norm, eps) + (f" (ε {papers[eps]:.3g})" if eps in papers else "") for eps in radii]
    rows: list[Row] = []
    for first, own in _lines(pd.concat([frame, distances])):
        at = {row.radius: words.left(row) for row in words.each(own)}
        how = "" if first.attack == "PGD" else f", {words.method(first.attack)} ({first.n_images} images)"
        if first.attack == "CW":  # one attack that looks for the smallest change gives every radius
            at = {eps: right_within(run.arrays(first.Index), eps) for eps in radii}
        # Once a network.
        unattacked = clean.pop(first.network, None)
        rows.append(Row(f"{first.network} ← `{first.rule}`{how}", (unattacked, *map(at.get, radii))))
    own = frame[frame["network"] == DEFENDED]
    possible = own[[attacker(rule).possible for rule in own["rule"]]]
    if not possible.empty:
        best = [possible[possible["radius"] == eps].nsmallest(1, "accuracy_under_attack") for eps in radii]
        notes = tuple("" if one.empty else attacker(str(one["rule"].iloc[0])).label for one in best)
        worst = tuple(None if one.empty else words.left(words.each(one)[0]) for one in best)
        rows.append(Row(f"{DEFENDED}: strongest without U", (None, *worst), ("", *notes), strong=True))
        rows += _together(run, f"{DEFENDED}: all of those together", possible, radii)
    if len(own) > len(possible):
        rows += _together(run, f"{DEFENDED}: all, with exact U", own, radii)
    axis = ", in brackets on the paper's axis" if len(papers) else ""
    note = (
        "Together: image by image, an image counts only when it was right before and none of these attacks fooled it. "
        + words.channel_note(frame)
    ).strip()
    title = f"Accuracy under attack, {words.norm_name(norm)}{axis}, %"
    return Table(title, "network ← attacker", ("clean accuracy", *columns), tuple(rows), note)


def _lines(frame: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    """Each network, rule and attack in the order used everywhere: its first row, and all of them."""
    grouped = words.in_order(frame).groupby(["network", "rule", "attack"], sort=False)
    return [(words.each(rows)[0], rows) for _, rows in grouped]


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
    sides = {
        "claim": (DEFENDED, claims),
        "worst": (DEFENDED, [*claims, *others]),
        "plain": (BASELINE, ["bp"]),
        "bare": (UNLAYERED, ["bp"]),
    }
    pairs = (("claim", "plain"), ("worst", "plain"), ("worst", "claim"), ("worst", "bare"))
    tests = {
        (eps, *pair): differs(*(outcome(*sides[side], eps) for side in pair))
        for eps in sorted(linf["radius"].unique())
        for pair in pairs
    }
    family = Family("What VGG-OPU keeps, at every radius", tests)
    gains = {eps: test.points for (eps, *pair), test in tests.items() if test and pair == ["claim", "plain"]}
    if not gains:
        return Verdict(Finding.OPEN, untried=("an attack on both networks",))
    eps = max(gains, key=lambda eps: (gains[eps], eps))
    worst = tests[eps, "worst", "plain"]
    own = linf[(linf["network"] == DEFENDED) & (linf["radius"] == eps) & linf["rule"].isin(sides["worst"][1])]
    if not family.above((eps, "claim", "plain")):
        finding = Finding.NOTHING
    elif not others:
        finding = Finding.OPEN
    elif not family.above((eps, "worst", "plain")):
        finding = Finding.FALLS
    else:
        finding = Finding.PART if family.below((eps, "worst", "claim")) else Finding.HOLDS
    papers = linf.loc[linf["radius"] == eps, "radius_paper"].dropna()
    return Verdict(
        finding,
        {
            "eps": eps,
            "radius": words.radius("linf", eps),
            "paper": f"{papers.iloc[0]:.3g}" if len(papers) else "",
            "claims": [attacker(rule).label for rule in claims],
            "claim": tests[eps, "claim", "plain"],
            "worst": worst,
            "best": attacker(str(own.nsmallest(1, "accuracy_under_attack")["rule"].iloc[0])).label,
            "bare": tests[eps, "worst", "bare"],
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
    compared, controls = _split(run)
    if compared.empty:
        return None
    verdict, norms = _judge(run, compared), _by_norm(compared)
    figures = [_leaves(compared, drawings, verdict.reasons.get("eps"))]
    figures += [_curves(run, own, controls, drawings) for own in norms]
    found = [*tables(run, distances=True), _control_table(controls, compared), _efforts(norms)]
    return Section(TITLE, verdict, figures, found, open_figures=2)


def _leaves(compared: pd.DataFrame, drawings: Folder, eps: float | None) -> Drawing | None:
    """What each attacker leaves at the radius of the verdict."""
    here = compared[(compared["norm"] == "linf") & (compared["radius"] == eps)]
    if here.empty:
        return None
    rows, series = [], []
    for row in words.each(here):
        name = f"{row.network} ← {attacker(row.rule).label}"
        series.append(Series(name, of_attacker(row.rule, hollow=row.network != DEFENDED)))
        rows.append(DotRow(name, (((name, words.left(row)),),)))
    caption = "What each attacker leaves at the radius where the paper's gain is largest, with 95% Wilson intervals."
    x = f"accuracy under attack (%), L∞ ε = {words.radius('linf', float(eps or 0))}"
    return save_dots(drawings, "white-box-attackers", rows, series, x=x, key=False, caption=caption)


def _curves(run: Run, frame: pd.DataFrame, controls: pd.DataFrame, drawings: Folder) -> Drawing:
    """Accuracy against radius; one control, noise, for the eye."""
    norm = str(frame["norm"].iloc[0])
    label, scale = words.radius_axis(norm)
    noise = controls[(controls["attack"] == "RandomNoise") & (controls["network"] == DEFENDED)]
    noise = noise[(noise["norm"] == norm) & noise["radius"].isin(frame["radius"])]
    lines: list[Curve] = []
    for first, own in _lines(pd.concat([frame, noise])):
        points = {0.0: Proportion(int(first.clean_correct), int(first.n_images))}
        points |= {row.radius: words.left(row) for row in words.each(own)}
        bare = first.network != DEFENDED
        name = f"{first.network} ← " * bare + attacker(first.rule).label
        lines.append(shares(name, points, of_attacker(first.rule, hollow=bare), scale=scale))
    axes: dict[str, Any] = {"x": label, "y": "accuracy under attack (%)", "above": words.paper_axis(frame, scale)}
    level = ("chance", 100 / len(run.classes)) if run.classes else None
    caption = (
        "PGD against the radius. Solid: VGG-OPU; dashed and hollow: without the layer. Bands: 95% Wilson intervals."
    )
    return save_curves(drawings, f"white-box-{norm}", lines, caption=caption, level=level, **axes)


def _control_table(controls: pd.DataFrame, compared: pd.DataFrame) -> Table:
    """One step, noise, no bound, smallest distance; each beside PGD of the figure at the same radius."""
    beside = {(r.network, r.rule, r.norm, r.radius): words.left(r) for r in words.each(compared)}
    rows = []
    for row in words.each(controls):
        how = "" if attacker(row.rule).is_control else f", {words.method(row.attack)}"
        ball = f"{words.norm_name(row.norm)} {words.radius(row.norm, row.radius)}"
        there = beside.get((row.network, row.rule, row.norm, row.radius))
        distance = Amount(row.median_distance, "{:.3g}".format) if row.attack == "CW" else None
        name = f"{row.network} ← {attacker(row.rule).label}{how}"
        rows.append(Row(name, (ball, words.left(row), Amount(row.n_images), there, distance)))
    note = "Many steps must leave no more than one step or noise does; without a bound next to nothing must be left."
    columns = ("ball", "accuracy under attack", "images", "PGD there", "median distance")
    return Table("Controls: one step, noise, no bound, smallest distance, %", "attack", columns, tuple(rows), note)


def _efforts(norms: Sequence[pd.DataFrame]) -> Table:
    """Settings, gradients, fit and time of each attack, over its radii."""
    rows = []
    for first, own in (line for frame in norms for line in _lines(frame)):
        fitted = words.each(own.dropna(subset=["fit_images"]))
        fit = f"{fitted[0].fit_images:,.0f} images, R² {fitted[0].fit_r2:.2f}" if fitted else None
        mean, zero = own["gradients_per_image"].mean(), f"{percent(own['zero_gradient_share'].max())}%"
        values = (Amount(mean, "{:.1f}".format), zero, fit, Amount(own["seconds"].sum(), duration))
        name = f"{attacker(first.rule).label}, {words.method(first.attack)}, {words.norm_name(first.norm)}"
        rows.append(Row(f"{first.network} ← {name}", values))
    note = (
        "Gradients: the mean over radii; an image that is fooled takes no more. Zero gradients: the most at any radius."
    )
    columns = ("gradients an image", "zero gradients", "fitted on", "time")
    return Table("What each attack took", "attack", columns, tuple(rows), note)
