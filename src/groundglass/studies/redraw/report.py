"""What the redraw study says: what a new U costs, and whether it undoes the attacks that were made before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from groundglass.adaptive.attackers import attacker
from groundglass.core.statistics import Family, Outcomes, Proportion, Repeated, as_good, differs
from groundglass.core.text import duration, listed
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import DotRow, Series, save_dots
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BAD, OPEN, PLAIN, Style
from groundglass.report.table import Amount, Row, Table
from groundglass.report.words import each, norm_name, radius
from groundglass.results import Run
from groundglass.results.kinds import REDRAW
from groundglass.results.kinds.network import counted

TITLE = "A new matrix"
#: Attacks without U that a redraw must face: with the training's B, with bits and logits, with scores.
_EXPECTED = ("dfa", "bpda-fit-linear", "Square")


@dataclass(frozen=True)
class _Made:
    """Images made before the redraws of a network.

    Attributes:
        name, label, rule: in tables, in the figure, in the registry of attackers.
        old, new: which images the old network gets right, and each redrawn one by its name.
        again: what is right when the same attack is made on a redrawn network itself, the strongest; or empty.
    """

    name: str
    label: str
    rule: str
    old: Outcomes
    new: Mapping[str, Outcomes]
    again: Outcomes

    @property
    def still(self) -> list[Proportion | None]:
        """Of the images that fool the old network, those that fool each redrawn one too."""
        fooled = [i for i, right in self.old.items() if not right]
        return [_fooled({i: new[i] for i in fooled if i in new}) for new in self.new.values()]


def _made(run: Run, redraws: pd.DataFrame) -> list[_Made]:
    model, names = redraws["of_network"].iloc[0], list(redraws["network"])
    met, attacks, made = run.transfers, run.attacks[run.attacks["network"].isin(names)], []
    met = met[met["network"].isin([model, *names])].sort_values(["norm", "radius"], kind="stable")
    for (label, norm, eps), own in met.groupby(["attacker", "norm", "radius"], sort=False):
        first = each(own)[0]
        rule = first.attacker if first.rules == "none" else first.rules
        keys = dict(zip(own["network"], own.index, strict=True))
        right = {name: run.right_under([keys[name]]) if name in keys else {} for name in (model, *names)}
        same = (attacks["rule"] == rule) & (attacks["norm"] == norm) & (attacks["radius"] == eps)
        anew = attacks[same & (first.sources == model)].sort_values("correct", kind="stable")
        again = run.right_under(list(anew.index[:1]))
        name = f"`{label}`, {norm_name(first.norm)} ε = {radius(first.norm, first.radius)}"
        short = attacker(rule).label + ("" if first.sources == model else f" on {first.sources}")
        made.append(_Made(name, short, rule, right.pop(model), right, again))
    return made


def _fooled(right: Outcomes) -> Proportion | None:
    return Proportion(sum(not ok for ok in right.values()), len(right)) if right else None


def _mean(shares: Sequence[Proportion | None]) -> Proportion | None:
    """Over the redraws. They meet the same images: the interval is that of so many images, not of all trials."""
    known = [one for one in shares if one]
    return Repeated(sum(p.count for p in known), sum(p.total for p in known), len(known)) if known else None


def tables(run: Run) -> list[Table]:
    """What each redraw does to the accuracy, and how many of the images made before still fool."""
    found = []
    for model, redraws in run.redraws.sort_values("redraw", kind="stable").groupby("of_network"):
        accuracies = []
        for row in each(redraws):
            shares = (counted(share, row.n_test) for share in (row.before, row.untuned, row.tuned))
            accuracies.append(Row(row.network, (*shares, Amount(row.draw_seconds + row.tune_seconds, duration))))
        heads = ("before", "new U, old classifier", "tuned", "drawing and tuning")
        found.append(Table(f"Clean accuracy of {model}, %", "redraw", heads, tuple(accuracies)))
        rows = tuple(Row(one.name, (_fooled(one.old), _mean(one.still))) for one in _made(run, redraws))
        columns = ("fooled the old network", "of these still fool, mean of the redraws")
        note = "On images that all networks get right. All redraws meet them: the interval is that of one redraw."
        found.append(Table(f"Images made before a redraw of {model}, %", "made through", columns, rows, note))
    return [table for table in found if table.rows]


def _together(made: Sequence[_Made]) -> _Made:
    """The worst case image by image: right under every attack without U that met all these networks."""
    whole = [one for one in made if attacker(one.rule).possible and one.old and all(one.new.values())]

    def all_of(outcomes: Sequence[Outcomes]) -> Outcomes:
        shared = set.intersection(*map(set, outcomes)) if outcomes else ()
        return {i: all(one[i] for one in outcomes) for i in shared}

    new = {network: all_of([one.new[network] for one in whole]) for network in (whole[0].new if whole else ())}
    return _Made("all without U, together", "all without U", "", all_of([one.old for one in whole]), new, {})


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None while nothing was redrawn. Its verdict is about one network; a study has no more."""
    redraws = run.redraws.sort_values(["of_network", "redraw"], kind="stable")
    if redraws.empty:
        return None
    redraws = redraws[redraws["of_network"] == redraws["of_network"].iloc[0]]
    made = _made(run, redraws)
    worst = _together(made)
    every = [*made, *([worst] if worst.new else [])]
    tests = {(one.name, network): differs(new, one.old) for one in every for network, new in one.new.items()}
    family = Family("Accuracy on a redrawn network against the old one, by attack and redraw", tests)
    clear = {one.name: [network for network in one.new if family.above((one.name, network))] for one in every}
    again = [(one.label, p) for one in made if (p := _fooled(one.again)) and attacker(one.rule).possible]
    facts = {
        "model": redraws["of_network"].iloc[0],
        "lost": 100 * float((redraws["before"] - redraws["tuned"]).max()),
        "took": float((redraws["draw_seconds"] + redraws["tune_seconds"]).max()),
        "weakened": [one.label for one in made if len(clear[one.name]) == len(redraws)],
        "again": sorted(again, key=lambda found: -found[1].share)[:1],
    }
    found = [*tables(run), *([_detail(every, clear, family.note)] if made else []), _efforts(run)]
    found.sort(key=lambda table: not table.title.startswith("Images"))
    figures = (_survivors(every, drawings),) if any(one.old for one in made) else ()
    return Section(TITLE, _judge(worst, family, made), figures, found, facts)


def _judge(worst: _Made, family: Family[tuple[str, str]], made: Sequence[_Made]) -> Verdict:
    """Whether a redraw helps against all that was made before it without U: wholly, if 5 points or less are missing."""
    untried = tuple(attacker(rule).label for rule in _EXPECTED if rule not in {one.rule for one in made})
    tests = {network: one for network in worst.new if (one := family.found[worst.name, network])}
    if not tests:
        return Verdict(Finding.OPEN, untried=untried)
    best = max(tests.values(), key=lambda one: one.points)
    if all(worst.old.values()):
        finding = Finding.NOTHING
    elif not any(family.above((worst.name, network)) for network in tests):
        finding = Finding.FALLS
    else:
        undone = all(as_good(new, dict.fromkeys(new, True), margin=0.05) for new in worst.new.values())
        finding = Finding.HOLDS if undone else Finding.PART
    return Verdict(finding, {"best": best}, untried, best.first.total)


def _detail(made: Sequence[_Made], clear: Mapping[str, Sequence[str]], note: str) -> Table:
    columns = (*made[0].new, "made afresh", "clearly weaker after")
    rows = tuple(Row(one.name, (*one.still, _fooled(one.again), listed(clear[one.name]) or "none")) for one in made)
    note += (
        ". Made afresh: of all images, those fooled when the same attack is made on a redrawn network. An attack by queries "
        "stops as soon as it fools: its images lie at the border of the old network's decision."
    )
    return Table("Of what fooled the old network, still fools, %", "made through", columns, rows, note)


def _efforts(run: Run) -> Table:
    rows = []
    for name, one in ((entry.name, entry.result) for entry in run.entries(REDRAW)):
        features = "kept" if one.features_cached else Amount(one.feature_seconds, duration)
        times = (Amount(one.draw_seconds, duration), Amount(one.tune_seconds, duration))
        rows.append(Row(name, (features, *times, Amount(one.n_train), f"`{one.fingerprint[:12]}`")))
    columns = ("features", "drawing", "tuning", "images to tune on", "fingerprint of the new U")
    note = "Kept: the features were computed for an earlier redraw, and no redraw changes them."
    return Table("What each redraw took", "redraw", columns, tuple(rows), note)


def _survivors(made: Sequence[_Made], drawings: Folder) -> Drawing:
    """The images that fool the old network, the redrawn ones (the mean), and a redrawn one when the attack is made again."""
    series = (Series("old network", OPEN), Series("redrawn", PLAIN), Series("made afresh", Style(BAD, "D")))
    rows = []
    for one in made:
        shares = (_fooled(one.old), _mean([_fooled(new) for new in one.new.values()]), _fooled(one.again))
        rows.append(DotRow(one.label, (tuple((s.name, p) for s, p in zip(series, shares, strict=True) if p),)))
    caption = (
        "Images that all networks get right, attacked before the redraws, and again after one. With 95% intervals."
    )
    return save_dots(drawings, "redraw-survivors", rows, series, x="images that fool the network (%)", caption=caption)
