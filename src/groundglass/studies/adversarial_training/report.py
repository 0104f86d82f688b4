"""What adversarial training is worth in the worst case, and what the layer adds to it: four networks, by their audits."""

from collections.abc import Mapping
from typing import Any

from groundglass.adaptive.attackers import attacker
from groundglass.core.statistics import Difference, Family, Proportion, differs
from groundglass.core.text import signed
from groundglass.report.audits import Audited, audits, verdict, where
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import DotRow, Series, save_dots
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, DEFENDED, OPEN, PLAIN, QUIET
from groundglass.report.table import Amount, Row, Table
from groundglass.report.words import clean_accuracies, corrected_p, radius
from groundglass.results import Run
from groundglass.results.kinds import TRAIN

TITLE = "Adversarial training"
_NETWORKS = (BASELINE, DEFENDED, "VGG-16 AT", "VGG-OPU AT")
_LAYER, _ALONE = "the layer, on top of adversarial training", "the layer, on top of nothing"
_TRAINING = ("adversarial training, without the layer", "adversarial training, with the layer")
#: A change, and the networks with it and without it.
_CHANGES = {
    _LAYER: ("VGG-OPU AT", "VGG-16 AT"),
    _ALONE: (DEFENDED, BASELINE),
    _TRAINING[0]: ("VGG-16 AT", BASELINE),
    _TRAINING[1]: ("VGG-OPU AT", DEFENDED),
}
_CLEAN = "clean accuracy"

#: In each ball, by its name and the smallest first, the audit of each network.
Balls = dict[str, dict[str, Audited]]


def _balls(run: Run) -> Balls:
    """Where one ball has two names, the paper's is told."""
    own = sorted(audits(run), key=lambda one: (one.config.norm, one.config.eps, one.config.eps_paper is None))
    names: dict[tuple[str, float], str] = {}
    found: Balls = {}
    for one in own:
        if one.config.model in _NETWORKS:
            name = names.setdefault((one.config.norm, round(one.config.eps, 9)), where(one))
            found.setdefault(name, {})[one.config.model] = one
    return found


def tables(run: Run) -> list[Table]:
    """The four networks: clean accuracy, as claimed, and in the worst case."""
    balls, clean, rows = _balls(run), clean_accuracies(run), []
    for name in _NETWORKS:
        results = [there[name].result if name in there else None for there in balls.values()]
        shares = [share for one in results for share in ((one.share_claimed, one.worst) if one else (None, None))]
        rows.append(Row(name, (clean.get(name), *shares)))
    columns = [f"{ball}: {what}" for ball in balls for what in ("claimed", "worst case")]
    note = (
        "Clean accuracy is on the whole test set, the rest on the audited images. Claimed: by the paper's attacks where "
        "there is a layer, else by PGD through the network's own gradient."
    )
    found = Table("", "network", ("clean accuracy", *columns), tuple(rows), note)
    return [found] if balls or clean.keys() & set(_NETWORKS) else []


def _compared(run: Run, balls: Balls) -> Family[tuple[str, str]]:
    """Each change, by clean accuracy and, on the same images, by the worst case in each ball."""
    clean = clean_accuracies(run)
    found: dict[tuple[str, str], Difference | None] = {}
    for change, pair in _CHANGES.items():
        if clean.keys() >= {*pair}:
            found[change, _CLEAN] = differs(*(clean[name] for name in pair))
        for ball, there in balls.items():
            if there.keys() >= {*pair}:
                found[change, ball] = differs(*(run.right_under([there[name].key]) for name in pair))
    return Family("What layer and training change, clean and in the worst case", found)


def _judge(balls: Balls, family: Family[tuple[str, str]]) -> Verdict:
    """What the layer adds to adversarial training; in the ball where that is clearest."""
    audited = {name for there in balls.values() for name, one in there.items() if one.result.worst}
    untried = tuple(f"an audit of {name}" for name in _NETWORKS if name not in audited)
    known = {ball: one for ball in balls if (one := family.found.get((_LAYER, ball))) is not None}
    if not known:
        return Verdict(Finding.OPEN, untried=untried)
    adds, takes = (any(way((_LAYER, ball)) for ball in known) for way in (family.above, family.below))
    ball = max(known, key=lambda b: (family.stands((_LAYER, b)), abs(known[b].points)))
    reasons = {
        "ball": ball,
        "layer": known[ball],
        "hardens": any(family.above((change, b)) for change in _TRAINING for b in balls),
        "costs": any(family.below((change, _CLEAN)) for change in _TRAINING),
        "alone": any(family.above((_ALONE, b)) for b in balls),
    }
    findings = {(True, True): Finding.PART, (True, False): Finding.HOLDS, (False, True): Finding.FALLS}
    images = min(one.first.total for one in known.values())
    return Verdict(findings.get((adds, takes), Finding.NOTHING), reasons, untried, images)


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None where there is none of its networks."""
    found, balls = tables(run), _balls(run)
    if not found:
        return None
    family = _compared(run, balls)
    shown = (*found, _changes(balls, family), _trainings(run, balls))
    return Section(TITLE, _judge(balls, family), (_figure(found[0], balls, drawings),), shown)


def _figure(table: Table, balls: Balls, drawings: Folder) -> Drawing:
    """A row a network: clean accuracy, then in each ball the claim and the worst case."""
    titles, rows = ["clean", *(ball.partition(" (")[0].partition(" ")[2] for ball in balls)], []
    for row in table.rows:
        named = zip(("clean", *("claimed", "worst case") * len(balls)), row.values, strict=True)
        dot = [((what, share),) if isinstance(share, Proportion) else () for what, share in named]
        panels = (dot[0], *(dot[i] + dot[i + 1] for i in range(1, len(dot), 2)))
        rows.append(DotRow(row.name, panels, rule_above=row.name == _NETWORKS[2]))
    series = (Series("clean", QUIET), Series("claimed", OPEN), Series("worst case", PLAIN))
    caption = "Clean accuracy, and at each radius the claim and the worst case, with 95% Wilson intervals."
    return save_dots(drawings, "adversarial-training", rows, series, x="accuracy (%)", titles=titles, caption=caption)


def _changes(balls: Balls, family: Family[tuple[str, str]]) -> Table:
    """Points that each change gives or takes, with the corrected p."""
    keys, rows = (_CLEAN, *balls), []
    for change, networks in _CHANGES.items():
        found = [family.found.get((change, key)) for key in keys]
        values = (Amount(one.points, signed) if one else None for one in found)
        ps = (corrected_p(family, (change, key)) for key in keys)
        rows.append(Row(change, (" beside ".join(networks), *values), ("", *ps)))
    columns = ("networks", _CLEAN, *(f"{ball}: worst case" for ball in balls))
    return Table("What each change gives or takes, points", "change", columns, tuple(rows), f"{family.note}.")


def _trainings(run: Run, balls: Balls) -> Table:
    """The attack inside each training, or inside that of the features it keeps, and how each audit ended."""
    trained, rows = {one.key: one for one in run.entries(TRAIN)}, []
    for name in _NETWORKS:
        own = [one for one in trained.values() if one.name == name]
        below = [trained[key] for one in own for key in one.inputs if key in trained]
        inside = [found for one in (*own, *below) if (found := one.config.training.get("adversarial"))]
        attack = _attack(inside[0]) if inside else "none" if own else None
        rows.append(Row(name, (attack, *(verdict(there[name]) if name in there else None for there in balls.values()))))
    title = "How they were trained, and how each audit ended"
    return Table(title, "network", ("attack in its training", *balls), tuple(rows))


def _attack(settings: Mapping[str, Any]) -> str:
    """ "7-step PGD within 8/255, gradients by DFA"."""
    kind, within = str(settings["kind"]).removesuffix("Training"), radius("linf", settings["eps"])
    return f"{settings['steps']}-step {kind} within {within}, gradients by {attacker(str(settings['rule'])).label}"
