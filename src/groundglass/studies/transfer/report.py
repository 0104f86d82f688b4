"""What the transfer study says: the paper's Figure 4, and what stronger attacks and the features alone leave of its gain."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from groundglass.adaptive.attackers import TRANSFERS, attacker, rank
from groundglass.core.statistics import Family, Proportion, differs
from groundglass.core.text import duration, minus
from groundglass.report import words
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import DotRow, Series, save_curves, save_dots, shares
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, of_attacker, of_name
from groundglass.report.table import Amount, Row, Table
from groundglass.results import Run
from groundglass.results.kinds import CHECK, COMMON

TITLE = "Transferred attacks"
#: An ordinary network, trained as short as the lower VGG-OPU: what a short training alone buys.
_CONTROL = "VGG-16 lower"
#: The networks that the features were trained in: all of each VGG-OPU but the layer.
_FEATURES = {"VGG-OPU higher": "VGG-DFA", "VGG-OPU lower": "VGG-DFA lower"}
_ORDER = [BASELINE, _CONTROL, *(name for target, features in _FEATURES.items() for name in (features, target))]
#: The paper's attack by its label, and the strongest attack of two kinds.
_PAPER, _BEST, _WHITE = "PGD", "strongest transfer", "white-box"
_KINDS = {_PAPER: "the paper's PGD", _BEST: _BEST, _WHITE: _WHITE}
_CLEAN = "clean accuracy, all test images"
#: Points that the paper reports the layer to gain, section 3.2.2.
_REPORTED = {"cifar10": "The paper reports +15 to +45 points. ", "cifar100": "The paper reports +3 to +10 points. "}

Pair = tuple[str, str]


class Trial:
    """Attacks on the images that every network gets right: transferred ones, and by attackers who hold the weights.

    Attributes:
        tried: a row an attack, network and radius: `right` says which images stay right, `share` how many. `moved`: of
            these the transferred ones.
        at: the same by network, radius and attacker; the strongest are there by the name of their kind too.
        heads: radius -> how it is written, with the paper's in brackets.
        families: pair of networks -> the comparisons that are corrected together: every attack at every radius.
        met: the radii at which the paper's attack was tried on VGG-16 and on a VGG-OPU.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.tried = _tried(run)
        self.moved = moved = self.tried[~self.tried["white"]]
        split = ((_BEST, moved), (_WHITE, self.tried[self.tried["white"]]))
        best = {kind: words.strongest(some, ("network", "radius")) for kind, some in split}
        self.at = {(row.network, row.radius, row.who): row for row in words.each(moved)}
        self.at |= {(row.network, row.radius, kind): row for kind, some in best.items() for row in words.each(some)}
        self.targets = list(moved["network"].unique())
        self.defended = [t for t in self.targets if t not in (BASELINE, _CONTROL, *_FEATURES.values())]
        radii = moved[["radius", "radius_paper"]].sort_values("radius").itertuples(index=False)
        self.heads = {
            e: words.radius("linf", e) + ("" if pd.isna(paper) else f" (ε {paper:.3g})") for e, paper in radii
        }
        above = [(target, BASELINE) for target in self.targets if target != BASELINE]
        beside = [(t, self.peer(t)) for t in self.defended if self.peer(t) != BASELINE]
        self.families = {
            **self._family("Each network against VGG-16", above),
            **self._family("Each VGG-OPU against its features without the layer", beside),
        }
        self.met = [eps for eps in self.heads if any(self.gain((t, BASELINE), eps, _PAPER) for t in self.defended)]

    def peer(self, target: str) -> str:
        """What a network is judged beside: its features without the layer, or VGG-16 where those were not tried."""
        return next((name for name in [_FEATURES.get(target, "")] if name in self.targets), BASELINE)

    def _family(self, name: str, pairs: Sequence[Pair]) -> dict[Pair, Family[tuple[str, str, str, float]]]:
        tests = {
            (*pair, who, eps): differs(row.right, self.at[pair[1], eps, who].right)
            for pair in pairs
            for (network, eps, who), row in self.at.items()
            if network == pair[0] and who == row.who and (pair[1], eps, who) in self.at
        }
        return dict.fromkeys(pairs, Family(name, tests))

    def left(self, network: str, eps: float) -> dict[str, Proportion | None]:
        """What the paper's attack leaves, the strongest transferred one, and the strongest with the weights."""
        return {kind: row.share if (row := self.at.get((network, eps, kind))) else None for kind in _KINDS}

    def gain(self, pair: Pair, eps: float, who: str) -> tuple[float, float | None] | None:
        """Points that the first keeps more than the second, and p, corrected.

        With each under the strongest attack on it: what keeps more under the attack that is strongest on it keeps more
        under the strongest on words.each, so that is tested.
        """
        first, second = (self.at.get((network, eps, who)) for network in pair)
        if first is None or second is None:
            return None
        points = 100 * (first.share.share - second.share.share)
        family, key = self.families[pair], (*pair, (first if points >= 0 else second).who, eps)
        test = family.found.get(key)
        return points, None if test is None else family.corrected[key] if test.points * points >= 0 else 1.0

    def above(self, pair: Pair, eps: float, who: str) -> bool:
        """Whether the first keeps more than the second, by more than chance."""
        points, p = self.gain(pair, eps, who) or (0.0, None)
        return points > 0 and p is not None and p < self.families[pair].level

    @property
    def two(self) -> list[float]:
        """The largest radius that the paper's attack met and others too, which is judged at; before it one of half or less."""
        more = [eps for eps in self.met if any(e == eps and who not in (_PAPER, _BEST) for _, e, who in self.at)]
        chosen = more or self.met or list(self.heads)[-1:]
        return [*[eps for eps in chosen if eps <= chosen[-1] / 2 + 1e-9][-1:], chosen[-1]]


def _tried(run: Run) -> pd.DataFrame:
    moved, white = run.transfers.rename(columns={"attacker": "who"}), run.attacks.rename(columns={"rule": "who"})
    found = words.strongest(
        pd.concat([moved, white], keys=[False, True], names=["white"]).reset_index("white"),
        ("network", "white", "who", "radius"),
    )
    right = {key: run.right_under([key]) for key in found.index}
    common = {i for key in found.index[~found["white"]] for i in right[key]}
    kept = [{i: ok for i, ok in right[key].items() if i in common} for key in found.index]
    found = found.assign(right=pd.Series(kept, found.index, object))[[bool(some) for some in kept]]
    found["share"] = found["right"].map(lambda some: Proportion(sum(some.values()), len(some)))
    found["accuracy_under_attack"] = [row.share.share for row in words.each(found)]
    found["name"] = ["white-box, " * row.white + attacker(row.who).label for row in words.each(found)]
    found["place"] = [_ORDER.index(name) if name in _ORDER else len(_ORDER) for name in found["network"]]
    found["rank"] = [rank(who) for who in found["who"]]
    return found.sort_values(["place", "network", "white", "rank", "radius"])


def tables(run: Run) -> list[Table]:
    """Each target at two radii, under the paper's attack, the strongest and a white-box one; then the gains."""
    return [_table(Trial(run))] if len(run.transfers) else []


def _table(trial: Trial) -> Table:
    clean, radii = words.clean_accuracies(trial.run), trial.two
    rows = [Row(t, (clean.get(t), *(v for eps in radii for v in trial.left(t, eps).values()))) for t in trial.targets]
    for pair in trial.families:
        gains = [None if who == _WHITE else _cell(trial, pair, eps, who) for eps in radii for who in _KINDS]
        rows.append(Row(f"points of {pair[0]} above {pair[1]}", (None, *gains)))
    columns = ("clean accuracy", *(f"{trial.heads[eps]}: {kind}" for eps in radii for kind in _KINDS.values()))
    title = "Accuracy under attack on the common images, L∞, %; clean accuracy: of the test set"
    return Table(title, "network", columns, tuple(rows), _note(trial))


def _cell(trial: Trial, pair: Pair, eps: float, who: str) -> Amount | None:
    if (found := trial.gain(pair, eps, who)) is None:
        return None
    points, p = found
    return Amount(points, lambda value: minus(f"{value:+.1f}"), "" if p is None else f" ({words.chance(p)})")


def _note(trial: Trial) -> str:
    notes = dict.fromkeys(f"{family.note}." for family in trial.families.values())
    how = "Strongest: each under the attack that leaves it least; p is of the one strongest on the network that keeps more."
    return " ".join([*notes, how, words.channel_note(trial.run.transfers)]).strip()


def _judge(trial: Trial) -> Verdict:
    """What becomes of the paper's gain: each VGG-OPU beside its peer, each under the strongest attack on it."""
    if not trial.met:
        return Verdict(Finding.OPEN, untried=(f"{_PAPER} on {BASELINE} and a VGG-OPU",))
    eps = trial.two[-1]
    gains = {t: found[0] for t in trial.defended if (found := trial.gain((t, BASELINE), eps, _PAPER))}
    helped = [t for t in gains if trial.above((t, trial.peer(t)), eps, _BEST)]
    target = max(helped or gains, key=lambda t: gains[t])
    peer = trial.peer(target)
    here = trial.moved[trial.moved["radius"] == eps]
    every = here["who"].unique()
    networks = dict.fromkeys((BASELINE, *map(trial.peer, gains), *gains))
    lacking = [f"{attacker(who).label} on {n}" for n in networks for who in every if (n, eps, who) not in trial.at]
    is_even = not lacking
    white = [share for t in gains if (share := trial.left(t, eps)[_WHITE])]
    failed = words.failed_checks(trial.run)
    lacking += ["attacks with the weights"] * (len(white) < len(gains))
    lacking += ["the checks"] * (not trial.run.entries(CHECK))
    if not any(trial.above((t, BASELINE), e, _PAPER) for t in gains for e in trial.met):
        finding = Finding.NOTHING
    elif is_even and not helped:
        finding = Finding.FALLS
    elif lacking or failed or len(every) < 2:
        finding = Finding.OPEN  # no network is called harder to transfer to before all is there
    elif peer != BASELINE and trial.above((peer, BASELINE), eps, _BEST):
        finding = Finding.PART
    else:
        finding = Finding.HOLDS
    family = trial.families[target, peer]
    reasons = {
        "radius": words.radius("linf", eps),
        "target": target,
        "peer": "" if peer == BASELINE else peer,
        "kept": [trial.left(n, eps) for n in (target, peer, BASELINE)],
        "white": max(white, key=lambda share: share.share, default=None),
        "family": family,
        "standing": [
            (key, attacker(key[2]).label, words.radius("linf", key[3])) for key in family.found if family.stands(key)
        ],
        "failed": failed,
    }
    others = [one.label for one in TRANSFERS if one.name not in every]
    others += ["its features without the layer"] * (peer == BASELINE)
    return Verdict(finding, reasons, (*others, *lacking), min(share.total for share in here["share"]))


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None while no transferred attack was tried."""
    if not len(run.transfers):
        return None
    trial, clean = Trial(run), words.clean_accuracies(run)
    eps = trial.two[-1]
    rows = tuple(Row(t, (*trial.left(t, eps).values(), clean.get(t))) for t in trial.targets)
    images = f"the {trial.moved['n_images'].max():,} images that every network gets right"
    title = f"Accuracy under attack on {images}, {trial.heads[eps]}, %"
    note = f"White-box: with the weights of the network. {words.channel_note(trial.moved)}".strip()
    first = Table(title, "network", (*_KINDS.values(), _CLEAN), rows, note)
    found = [first, _table(trial), _every_attack(trial), _gains(trial), _networks(trial), _efforts(trial)]
    drawn = {"figure-4": trial.moved[trial.moved["who"] == _PAPER]}
    drawn |= {
        f"transfer-{t.lower().replace(' ', '-')}": trial.tried[trial.tried["network"] == t] for t in trial.targets
    }
    figures = [_figure(trial, name, rows, drawings) for name, rows in drawn.items() if len(rows)]
    return Section(TITLE, _judge(trial), (_leaves(trial, drawings), *figures), found, open_figures=2)


def _leaves(trial: Trial, drawings: Folder) -> Drawing:
    """What is left of each network at the radius of the open table."""
    eps = trial.two[-1]
    left = {t: trial.left(t, eps).items() for t in trial.targets}
    rows = [DotRow(t, tuple(((t, share),) if share else () for _, share in some)) for t, some in left.items()]
    series = [Series(t, of_name(t, hollow=t not in trial.defended)) for t in left]
    titles, caption = (
        list(_KINDS.values()),
        "What three kinds of attack leave of each network. Hollow: without the layer.",
    )
    look: dict[str, Any] = {
        "x": f"accuracy under attack (%), L∞ ε = {words.radius('linf', eps)}",
        "titles": titles,
        "key": False,
    }
    return save_dots(drawings, "transfer-networks", rows, series, caption=caption, **look)


def _figure(trial: Trial, name: str, rows: pd.DataFrame, drawings: Folder) -> Drawing:
    """The paper's Figure 4, a curve a network; or a curve an attack on one."""
    drawn, (label, scale), is_paper = [], words.radius_axis("linf"), name == "figure-4"
    for first, points in _lines(rows):
        bare = first.network not in trial.defended
        style = of_attacker(first.who, hollow=first.white, dotted=first.white)
        style = of_name(first.network, hollow=bare) if is_paper else style
        start = Proportion(first.share.total, first.share.total)
        drawn.append(shares(first.network if is_paper else first.name, {0.0: start, **points}, style, scale=scale))
    told = "The paper's Figure 4: PGD made on another VGG-16. Dashed: without the layer."
    caption = told if is_paper else f"Every attack on {rows['network'].iloc[0]}. Dotted: with its weights."
    axes: dict[str, Any] = {
        "x": label,
        "y": "accuracy on the common images (%)",
        "above": words.paper_axis(trial.moved, scale),
    }
    return save_curves(drawings, name, drawn, caption=caption, **axes)


def _lines(frame: pd.DataFrame) -> list[tuple[Any, dict[float, Proportion]]]:
    """Each attack on each network: its first row, and what it leaves by radius."""
    lines = [own for _, own in frame.groupby(["network", "white", "who"], sort=False)]
    return [(words.each(own)[0], dict(zip(own["radius"], own["share"], strict=True))) for own in lines]


def _every_attack(trial: Trial) -> Table:
    rows = [
        Row(f"{first.network} ← {first.name}", tuple(map(left.get, trial.heads)), strong=first.white)
        for first, left in _lines(trial.tried)
    ]
    title = "Accuracy on the common images, every attack, %"
    return Table(title, "network ← attacker", tuple(trial.heads.values()), tuple(rows), words.channel_note(trial.moved))


def _gains(trial: Trial) -> Table:
    """Every comparison that was made."""
    rows = [
        Row(f"{one} above {other}, {attacker(who).label}", values)
        for one, other in trial.families
        for who in (*trial.moved["who"].unique(), _BEST)
        if any(values := tuple(_cell(trial, (one, other), eps, who) for eps in trial.heads))
    ]
    note = _REPORTED.get(trial.run.manifest["data"], "") + _note(trial)
    return Table("Points above another network", "networks, attack", tuple(trial.heads.values()), tuple(rows), note)


def _networks(trial: Trial) -> Table:
    clean, sets = words.clean_accuracies(trial.run), trial.run.entries(COMMON)
    right = {n: Proportion(count, one.result.n_images) for one in sets[:1] for n, count in one.result.right}
    role = dict.fromkeys(trial.targets, "target")
    role |= {n: "source" for names in trial.moved["sources"].unique() for n in names.split(" + ")}
    rows = tuple(Row(name, (role[name], clean.get(name), right.get(name))) for name in role)
    first = f"clean accuracy, the first {sets[0].result.n_images:,}" if sets else "clean accuracy, the first images"
    return Table("The networks without an attack, %", "network", ("role", _CLEAN, first), rows)


def _efforts(trial: Trial) -> Table:
    """What each attack took, and whether it fools the networks that it was made on."""
    rows = []
    for _, own in trial.run.frame("crafted").groupby("attacker", sort=False):
        counts = zip(own["fooled_source"], own["n_images"], strict=True)
        fooled = dict(zip(own["radius"], [Proportion(round(share * n), n) for share, n in counts], strict=True))
        made = f"{own['sources'].iloc[0]} ({own['rules'].iloc[0]})"
        took = (Amount(own["gradients_per_image"].mean(), "{:.1f}".format), Amount(own["seconds"].sum(), duration))
        rows.append(Row(attacker(own["attacker"].iloc[0]).label, (made, *took, *map(fooled.get, trial.heads))))
    columns = ("made on", "gradients an image", "time", *trial.heads.values())
    return Table("What each attack took, and images that fool its own source, %", "attack", columns, tuple(rows))
