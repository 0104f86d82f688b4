"""What the extraction study says: what is left of Figure 4 when the attacker's network has learned from the target's answers."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from groundglass.core.statistics import Difference, Family, Outcomes, Proportion, differs
from groundglass.core.text import duration, minus, signed
from groundglass.report import words
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import save_curves, shares
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, of_name
from groundglass.report.table import Amount, Row, Table, Value, amount
from groundglass.results import Run
from groundglass.results.kinds import CHECK, DISTIL, QUERY, TRANSFER, Entry
from groundglass.results.kinds.distil import DistilConfig, DistilResult
from groundglass.results.kinds.query import QueryConfig, QueryResult

TITLE = "Extraction"
_PAPER, _STRONG = "PGD", "MI-DI"
_OPUS = ("VGG-OPU lower", "VGG-OPU higher")
#: The networks that the features of each were trained in.
_FEATURES = {"VGG-OPU higher": "VGG-DFA", "VGG-OPU lower": "VGG-DFA lower"}
_ORDER = (BASELINE, *(name for pair in _FEATURES.items() for name in pair))
#: Shares of the budget of queries that a table shows.
_SPENT = (0.02, 0.1, 0.3, 1.0)


class Source(NamedTuple):
    """Where images were made: on a surrogate from so many answers of its target, or on the attacker's own network (0),
    which may have been tuned on them."""

    answers: str
    queries: int
    is_tuned: bool = False

    def __str__(self) -> str:
        tuned = "own network tuned on " if self.is_tuned else ""
        return f"{tuned}{self.queries:,} {self.answers}" if self.queries else "own network"


OWN = Source("", 0)
#: Network, where the images were made, the attack and the radius.
Tried = tuple[str, Source, str, float]


class Extraction:
    """What was extracted, and what it left.

    Attributes:
        surrogates: by the network's name.
        right: which of the common images stay right; `share`: how many.
        asked: attacks by queries, by their target and where they started; None: blind.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.surrogates: dict[str, Entry[DistilConfig, DistilResult]] = {one.name: one for one in run.entries(DISTIL)}
        self.right: dict[Tried, Outcomes] = {}
        paper: dict[float, float | None] = {}
        for one in run.entries(TRANSFER):
            eps = round(one.config.eps, 9)
            paper[eps] = one.config.eps_paper
            self.right[one.config.target, self._source(one.config.made_on), one.config.label, eps] = run.right(one.key)
        self.share = {key: Proportion(sum(right.values()), len(right)) for key, right in self.right.items()}
        self.heads = {
            eps: words.radius("linf", eps) + ("" if told is None else f" (ε {told:.3g})")
            for eps, told in sorted(paper.items())
        }
        there = {target for target, *_ in self.right}
        self.targets = [name for name in _ORDER if name in there] + sorted(there - {*_ORDER})
        self.sources = [OWN, *sorted({source for _, source, *_ in self.right} - {OWN})]
        self.asked: dict[tuple[str, Source | None], Entry[QueryConfig, QueryResult]] = {
            (one.config.model, None if one.config.start is None else self._source(one.config.start)): one
            for one in run.entries(QUERY)
        }

    def _source(self, name: str) -> Source:
        one = self.surrogates.get(name)
        return OWN if one is None else _source(one.config)

    @cached_property
    def above(self) -> Family[tuple[str, str, Source, str, float]]:
        """Each VGG-OPU beside VGG-16, and beside its features, each attacked from what was learned of it, or from the
        attacker's own network."""
        pairs = [(target, peer) for target in _OPUS for peer in (BASELINE, _FEATURES[target])]
        tests = {
            (target, peer, source, label, eps): differs(right, self.right[peer, source, label, eps])
            for target, peer in pairs
            for (name, source, label, eps), right in self.right.items()
            if name == target and (peer, source, label, eps) in self.right
        }
        return Family("Each VGG-OPU beside VGG-16 and beside its features, from its own surrogate", tests)

    @cached_property
    def beside_own(self) -> Family[Tried]:
        """What a surrogate leaves of its target, beside what the attacker's own network leaves."""
        tests = {
            key: differs(right, self.right[key[0], OWN, *key[2:]])
            for key, right in self.right.items()
            if key[1] != OWN and (key[0], OWN, *key[2:]) in self.right
        }
        return Family("Each surrogate beside the attacker's own network", tests)

    @cached_property
    def started(self) -> Family[tuple[str, Source, int]]:
        """Images fooled within so many queries: from where a transferred attack ended, beside blind."""
        tests = {
            (target, start, spent): differs(self.fooled(target, start, spent), self.fooled(target, None, spent))
            for (target, start) in self.asked
            if start is not None and (target, None) in self.asked
            for spent in self.marks(target)
        }
        return Family("Queries from a transferred image beside blind ones", tests)

    def marks(self, target: str) -> list[int]:
        """Queries that are reported."""
        budget = self.asked[target, None].config.budget
        return sorted({max(2, round(part * budget)) for part in _SPENT})

    def fooled(self, target: str, start: Source | None, queries: int) -> dict[int, bool]:
        """Which of the images attacked were fooled within so many queries, checks included."""

        def read(arrays: Mapping[str, Any]) -> dict[int, bool]:
            cost = arrays["loss_queries"].astype(int) + arrays["check_queries"].astype(int)
            hit = arrays["success"].astype(bool) & (cost <= queries)
            rows = zip(arrays["index"].tolist(), hit.tolist(), arrays["clean_correct"].tolist(), strict=True)
            return {i: bool(one) for i, one, right in rows if right}

        found: dict[int, bool] = self.run.per_image(self.asked[target, start].key, read)
        return found

    @property
    def most(self) -> list[Source]:
        """From most queries: a source a kind of answer."""
        found = [source for source in self.sources if source.queries]
        return [source for source in found if source.queries == max(one.queries for one in found)]

    def gain(self, target: str, source: Source, label: str, eps: float) -> Difference | None:
        """What a VGG-OPU keeps more than VGG-16."""
        return self.above.found.get((target, BASELINE, source, label, eps))

    @cached_property
    def judged(self) -> tuple[str, float] | None:
        """The VGG-OPU and the radius at which Figure 4's own attack finds the largest gain; None where it was not tried."""
        own = {
            (target, eps): one.points
            for (target, peer, source, label, eps), one in self.above.found.items()
            if one is not None and (peer, source, label) == (BASELINE, OWN, _PAPER)
            if any((target, source, _STRONG, eps) in self.right for source in self.most)
        }
        return max(own, key=lambda key: own[key]) if own else None


def _source(config: DistilConfig) -> Source:
    return Source(config.answers, config.queries, config.begin is not None)


def _judge(found: Extraction) -> Verdict:
    """What stands of Figure 4's gain where the attacker learned from the target's answers."""
    if found.judged is None:
        return Verdict(Finding.OPEN, untried=("the paper's PGD and a surrogate of most queries",))
    target, eps = found.judged
    own = found.gain(target, OWN, _PAPER, eps)
    left = {source: one for source in found.most if (one := found.gain(target, source, _STRONG, eps)) is not None}
    wanting = [f"{source} of {BASELINE}" for source in found.most if source not in left]
    failed = words.failed_checks(found.run)
    unchecked = ["the checks"] * (not found.run.entries(CHECK))
    assert own is not None
    if not left:
        return Verdict(Finding.OPEN, untried=tuple(wanting))
    worst = min(left, key=lambda source: found.share[target, source, _STRONG, eps].share)
    is_lower = found.beside_own.below((target, worst, _STRONG, eps))
    if not found.above.above((target, BASELINE, OWN, _PAPER, eps)):
        finding = Finding.NOTHING
    elif not found.above.above((target, BASELINE, worst, _STRONG, eps)):
        finding = Finding.FALLS
    elif is_lower:
        finding = Finding.PART
    elif failed or unchecked or wanting:
        finding = Finding.OPEN
    else:
        finding = Finding.HOLDS
    reasons = {
        "radius": words.radius("linf", eps),
        "target": target,
        "own": own,
        "strong": found.gain(target, OWN, _STRONG, eps),
        "left": [
            (str(source), one, one.points / own.points if own.points > 0 else None) for source, one in left.items()
        ],
        "worst": str(worst),
        "kept": [
            (str(s), found.share[target, s, _STRONG, eps])
            for s in (OWN, worst)
            if (target, s, _STRONG, eps) in found.share
        ],
        "agreement": next(
            (
                one.result.agreement
                for one in found.surrogates.values()
                if (one.config.target, _source(one.config)) == (target, worst)
            ),
            None,
        ),
        "family": found.above,
        "failed": failed,
    }
    return Verdict(finding, reasons, (*wanting, *unchecked), own.first.total)


def tables(run: Run) -> list[Table]:
    """What is left of each target, from each source; and how well each surrogate agrees."""
    if not len(run.entries(TRANSFER)):
        return []
    found = Extraction(run)
    return [_left(found), _surrogates(found)]


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None while no surrogate was tried."""
    if not len(run.entries(TRANSFER)):
        return None
    found = Extraction(run)
    figures = [_figure(found, answers, drawings) for answers in dict.fromkeys(s.answers for s in found.most)]
    shown = (_left(found), _surrogates(found), _gains(found), _every(found), _asked(found))
    return Section(TITLE, _judge(found), figures, shown, open_figures=2, open_tables=2)


def _shown_radius(found: Extraction) -> float:
    return list(found.heads)[-1] if found.judged is None else found.judged[1]


def _left(found: Extraction) -> Table:
    """A row a target at the judged radius: under the paper's attack, and under MI-DI from every source."""
    eps, clean = _shown_radius(found), words.clean_accuracies(found.run)
    columns = [(OWN, _PAPER), *((source, _STRONG) for source in found.sources)]
    rows = [
        Row(target, (clean.get(target), *(found.share.get((target, *column, eps)) for column in columns)))
        for target in found.targets
    ]
    for target in _OPUS:
        gains = [_points(found, (target, BASELINE, *column, eps)) for column in columns]
        if any(gains):
            rows.append(Row(f"points of {target} above {BASELINE}", (None, *gains)))
    images = max((one.total for one in found.share.values()), default=0)
    title = f"Accuracy under attack, {found.heads[eps]}, {images:,} images that all get right, %"
    names = ("clean accuracy", *(f"{source}: {label}" for source, label in columns))
    note = f"{found.above.note}. Each network is attacked from what was learned of it. {_channels(found)}".strip()
    return Table(title, "network", names, tuple(rows), note)


def _points(found: Extraction, key: tuple[str, str, Source, str, float]) -> Amount | None:
    one = found.above.found.get(key)
    if one is None:
        return None
    return Amount(one.points, lambda value: minus(f"{value:+.1f}"), f" ({words.corrected_p(found.above, key)})")


def _surrogates(found: Extraction) -> Table:
    columns = {
        "of": lambda one: one.config.target,
        "agreement": lambda one: one.result.agreement,
        "clean accuracy": lambda one: one.result.clean,
        "queries": lambda one: Amount(one.config.queries),
        "time": lambda one: Amount(one.result.train_seconds, duration),
    }
    rows = [(name, one) for name, one in found.surrogates.items()]
    note = (
        "Agreement: the class that its target says, on all test images. An augmented image has its original's answer."
    )
    return Table.of("Surrogates, %", "surrogate", columns, rows, note)


def _gains(found: Extraction) -> Table:
    """Every comparison of targets, and of surrogates with the attacker's own network."""
    rows = []
    for target, peer, source, label in dict.fromkeys(key[:4] for key in found.above.found):
        values = tuple(_points(found, (target, peer, source, label, eps)) for eps in found.heads)
        rows.append(Row(f"{target} above {peer}: {label}, {source}", values))
    for target, source, label in dict.fromkeys(key[:3] for key in found.beside_own.found):
        cells: list[Value] = []
        for eps in found.heads:
            one = found.beside_own.found.get((target, source, label, eps))
            p = words.corrected_p(found.beside_own, (target, source, label, eps))
            cells.append(None if one is None else Amount(one.points, signed, f" ({p})"))
        rows.append(Row(f"{target}: {label}, {source} beside own network", tuple(cells)))
    note = f"{found.above.note}. {found.beside_own.note}."
    return Table("Points kept more", "networks, attack", tuple(found.heads.values()), tuple(rows), note)


def _every(found: Extraction) -> Table:
    keys = sorted(dict.fromkeys(key[:3] for key in found.share), key=lambda key: found.targets.index(key[0]))
    rows = [
        Row(
            f"{target} ← {label}, {source}", tuple(found.share.get((target, source, label, eps)) for eps in found.heads)
        )
        for target, source, label in keys
    ]
    title = "Accuracy on the common images, every attack, %"
    return Table(
        title, "network ← attack, where it was made", tuple(found.heads.values()), tuple(rows), _channels(found)
    )


def _asked(found: Extraction) -> Table:
    """Images fooled by queries within parts of the budget, blind and from a transferred image."""
    blind = [target for target, start in found.asked if start is None]
    rows, marks = [], found.marks(blind[0]) if blind else []
    for target in blind:
        # On the same images: those that every search attacked.
        each = [start for name, start in found.asked if name == target]
        images = set.intersection(*(set(found.fooled(target, start, 1)) for start in each))
        for start in each:
            hits = {spent: found.fooled(target, start, spent) for spent in marks}
            cells: list[Value] = [
                Proportion(sum(hit[i] for i in images), len(images)) if images else None for hit in hits.values()
            ]
            ps = [words.corrected_p(found.started, (target, start, m)) if start is not None else "" for m in marks]
            name = "blind" if start is None else f"from {_STRONG}, {start}"
            median = amount(found.asked[target, start].result.median_queries)
            rows.append(Row(f"{target} ← {name}", (*cells, median), (*ps, "")))
    attack = found.asked[blind[0], None].config if blind else None
    title = "" if attack is None else f"Fooled by {attack.attack}, {words.ball('linf', attack.eps)}, %"
    columns = (*(f"{mark:,} queries" for mark in marks), "median queries")
    note = f"Success checks are queries too. Median: of the images fooled. {found.started.note}."
    return Table(title, "network ← start of the search", columns, tuple(rows), note)


def _channels(found: Extraction) -> str:
    return words.channel_note(found.run.transfers)


def _figure(found: Extraction, answers: str, drawings: Folder) -> Drawing | None:
    """Accuracy of each target against the number of queries; dashed: what the attacker's own network leaves."""
    eps, lines = _shown_radius(found), []
    is_tuned = any(source.is_tuned for source in found.sources)
    at = sorted(s.queries for s in found.sources if (s.answers, s.is_tuned) == (answers, is_tuned))
    for target in found.targets:
        points = {
            float(q): share
            for q in at
            if (share := found.share.get((target, Source(answers, q, is_tuned), _STRONG, eps))) is not None
        }
        own = found.share.get((target, OWN, _STRONG, eps))
        if points and target in (BASELINE, *_OPUS):
            lines.append(shares(target, points, of_name(target)))
            if own is not None:
                lines.append(shares("", dict.fromkeys(points, own), of_name(target, hollow=True)))
    if not lines:
        return None
    caption = f"{_STRONG} from surrogates that learned {answers}. Dashed: from the attacker's own network, which asks nothing."
    look: dict[str, Any] = {
        "x": f"queries for {answers}",
        "y": f"accuracy under attack (%), L∞ ε = {words.radius('linf', eps)}",
        "x_log": True,
        "x_ticks": {float(q): f"{q:,}" for q in at},
    }
    return save_curves(drawings, f"extraction-{answers}", lines, caption=caption, said="at {:,.0f} queries", **look)
