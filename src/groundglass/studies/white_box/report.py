"""What the white-box study says: accuracy against radius for every attacker, and what becomes of the paper's gain."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from groundglass.adaptive.attackers import RUNGS, attacker
from groundglass.core.statistics import Family, Outcomes, Proportion, differs, right_within
from groundglass.core.text import duration, percent
from groundglass.report import words
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, DotRow, Series, save_curves, save_dots, shares
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, DEFENDED, UNLAYERED, of_attacker
from groundglass.report.table import Amount, Row, Table
from groundglass.results import Run
from groundglass.studies.white_box.draws import heads, redraw_curves, redraws
from groundglass.studies.white_box.ladder import Ladder

TITLE = "White-box attacks"
#: The paper's claim: what the attacks of its published code leave.
_CLAIM = ("dfa-fresh", "fa")
_CONTROLS = ("FGSM", "RandomNoise", "CW")


def _split(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The attacks of the figure, each rule at the same radii on the same images; and the controls."""
    found = run.attacks
    control = (found["purpose"] == "control") | found["attack"].isin(_CONTROLS)
    apart = found["purpose"].isin(("ladder", "sweep"))
    return words.in_order(words.strongest(found[~control & ~apart])), words.in_order(found[control])


def _by_norm(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """L-inf first."""
    return [own for norm in ("linf", "l2") if len(own := frame[frame["norm"] == norm])]


def tables(run: Run, *, distances: bool = False) -> list[Table]:
    """The access ladder; a table a norm, a row an attacker, below it the worst cases of the defended network; fresh draws, heads.

    Args:
        distances: with C&W, whose few images are others than the rest's.
    """
    compared, controls = _split(run)
    extra = controls[(controls["attack"] == "CW") & distances]
    norms = [_accuracies(run, own, extra[extra["norm"] == own["norm"].iloc[0]]) for own in _by_norm(compared)]
    made = [Ladder(run).table(), *norms, redraws(run), heads(run)]
    return [table for table in made if table.rows]


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
    possible = own[own["rule"].isin([rule for rule in own["rule"] if attacker(rule).possible])]
    rows += _together(run, f"{DEFENDED}: all without U, together", possible, radii)
    if len(own) > len(possible):
        rows += _together(run, f"{DEFENDED}: all, with exact U, together", own, radii)
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


def _judge(run: Run, compared: pd.DataFrame, ladder: Ladder) -> Verdict:
    """What becomes of the paper's gain on each rung, at the radius where it is largest: that is the claim at its strongest.

    It falls where VGG-OPU keeps no more than VGG-16 under backpropagation does, on some rung short of U: `lost` is the lowest
    one. `kept`: of each rung its name, its strongest attack, what VGG-OPU keeps there beside VGG-16, and whether that is more.
    That a part of it or all holds is said only where every rung short of U was tried: one that was not might take it.
    """
    linf = compared[(compared["norm"] == "linf") & (compared["attack"] == "PGD")]
    claims = [rule for rule in _CLAIM if ((linf["network"] == DEFENDED) & (linf["rule"] == rule)).any()] or ["dfa"]

    def outcome(network: str, rules: Sequence[str], eps: float) -> Outcomes:
        found = linf[(linf["network"] == network) & linf["rule"].isin(rules) & (linf["radius"] == eps)]
        return run.right_under(list(found.index))

    tests = {
        (eps, "claim", "plain"): differs(outcome(DEFENDED, claims, eps), outcome(BASELINE, ["bp"], eps))
        for eps in sorted(linf["radius"].unique())
    }
    gains = {eps: test.points for (eps, *_), test in tests.items() if test}
    if not gains:
        return Verdict(Finding.OPEN, untried=("an attack on both networks",))
    steps = [step for step in ladder.steps if step.possible]
    for eps in ladder.radii:
        others = {name: left[eps] for name, left in ladder.beside.items()}
        sides = {"plain": others.get(BASELINE, {}), "bare": others.get(UNLAYERED, {})}
        sides["claim"] = outcome(DEFENDED, claims, eps)
        tests |= {(eps, "worst", name): differs(steps[-1].together[eps], other) for name, other in sides.items()}
    family = Family("What VGG-OPU keeps, at every radius", tests)
    eps = max([e for e in gains if e in ladder.radii] or gains, key=lambda eps: (gains[eps], eps))
    rungs = ladder.gains(eps)
    kept = [
        (step.rung.says, ladder.strongest(step).label, test, rungs.above(step.label))
        for step in steps
        if (test := rungs.found[step.label])
    ]
    lost = next((one for one in kept if not one[3]), None)
    rivals = {one.label for step in steps for one in step.tried} - {attacker(rule).label for rule in claims}
    untried = tuple(r.label for r in RUNGS if r.needs != "U" and r.needs not in {s.rung.needs for s in steps})
    if not family.above((eps, "claim", "plain")):
        finding = Finding.NOTHING
    elif not rivals:
        finding = Finding.OPEN
    elif lost is not None:
        finding = Finding.FALLS
    elif untried or len(kept) < len(steps):
        finding = Finding.OPEN
    else:
        finding = Finding.PART if family.below((eps, "worst", "claim")) else Finding.HOLDS
    papers = linf.loc[linf["radius"] == eps, "radius_paper"].dropna()
    worst = tests.get((eps, "worst", "plain"))
    return Verdict(
        finding,
        {
            "eps": eps,
            "radius": words.radius("linf", eps),
            "paper": f"{papers.iloc[0]:.3g}" if len(papers) else "",
            "claims": [attacker(rule).label for rule in claims],
            "claim": tests[eps, "claim", "plain"],
            "worst": worst,
            "kept": kept,
            "lost": lost,
            "bare": tests.get((eps, "worst", "bare")),
            "layer_gains": family.above((eps, "worst", "bare")),
            "family": family.note,
            "rungs": rungs.note,
        },
        untried=untried,
        n_images=worst.first.total if worst else 0,
    )


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None while nothing was attacked."""
    compared, controls = _split(run)
    if compared.empty:
        return None
    ladder, norms = Ladder(run), _by_norm(compared)
    verdict = _judge(run, compared, ladder)
    first, *rest = (_curves(run, own, controls, drawings) for own in norms)
    eps = verdict.reasons.get("eps")
    figures = [
        ladder.figure(drawings),
        first,
        _leaves(compared, drawings, eps),
        redraw_curves(run, drawings, eps),
        *rest,
    ]
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


def _fit(row: Any) -> str:
    """What a rule, or an attacker's own head, was fitted on, and how well it does on other images."""
    told = [f"{row.fit_images:,.0f} images"]
    told += [] if pd.isna(row.fit_r2) else [f"R² {row.fit_r2:.2f}"]
    told += [] if pd.isna(row.head_accuracy) else [f"{percent(row.head_accuracy)}% right"]
    return ", ".join(told)


def _efforts(norms: Sequence[pd.DataFrame]) -> Table:
    """Settings, gradients, fit and time of each attack, over its radii."""
    rows = []
    for first, own in (line for frame in norms for line in _lines(frame)):
        fitted = words.each(own.dropna(subset=["fit_images"]))
        fit = _fit(fitted[0]) if fitted else None
        mean, zero = own["gradients_per_image"].mean(), f"{percent(own['zero_gradient_share'].max())}%"
        values = (Amount(mean, "{:.1f}".format), zero, fit, Amount(own["seconds"].sum(), duration))
        name = f"{attacker(first.rule).label}, {words.method(first.attack)}, {words.norm_name(first.norm)}"
        rows.append(Row(f"{first.network} ← {name}", values))
    note = (
        "Gradients: the mean over radii; an image that is fooled takes no more. Zero gradients: the most at any radius."
    )
    columns = ("gradients an image", "zero gradients", "fitted on", "time")
    return Table("What each attack took", "attack", columns, tuple(rows), note)
