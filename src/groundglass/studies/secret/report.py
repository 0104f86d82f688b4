"""What the study of a secret says: accuracy under attack against bits of it, and how soon an attacker knows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from groundglass.adaptive.attackers import attacker
from groundglass.adaptive.information import gaussian_bits, uniform_bits
from groundglass.core.statistics import Difference, Family, Proportion, as_good, differs
from groundglass.report import words
from groundglass.report.drawing import Folder
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.style import BASELINE, DEFENDED
from groundglass.report.table import Row, Table, amount
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, DEVICE, RETRIEVE, TRAIN, Entry
from groundglass.results.kinds.attack import AttackConfig, AttackResult
from groundglass.studies.secret.picture import Line, picture
from groundglass.studies.secret.soon import evidence, facts, soon_table, which_table

TITLE = "What the secret is worth"
#: A loss of accuracy that counts as none.
MARGIN = 0.05
# Of fewer labels the held-out tenth is too small to tell an accuracy.
_LABELS_TO_TELL = 1000

Attack = Entry[AttackConfig, AttackResult]


@dataclass(frozen=True)
class Known:
    """What an attacker knows of the secret, and the attacks with it, by radius.

    Attributes:
        of: "U" or "B".
        bits: of all entries together; 0: none, infinite: all.
        an_entry: bits of one.
    """

    of: str
    name: str
    bits: float
    an_entry: float
    attacks: Mapping[float, Attack]


def attacks_of(run: Run, model: str = DEFENDED) -> list[Attack]:
    """The attacks of this study, and those of the study of retrieval, which are the same: but for wrong matrices with the true
    lengths of their rows, whose bits are not counted."""
    found = [one for one in run.entries(ATTACK) if one.config.model == model and one.config.norm == "linf"]
    found = [one for one in found if one.config.purpose in ("secret", "retrieval") and one.config.attack == "PGD"]
    return [one for one in found if one.config.matrix_error is None or one.config.error_scale == "law"]


def radii(run: Run) -> list[float]:
    """At which a head of the attacker's own was tried, rising."""
    return sorted({one.config.eps for one in attacks_of(run) if one.config.rule == "own-head"})


def known(run: Run) -> list[Known]:
    """What attackers knew of U, then of B; bits rising."""
    device = next((one.config for one in run.entries(DEVICE) if not one.config.owner), None)
    # A network in two stages has the classes of its features, which are another entry.
    classes = next(
        (int(one.config.model["classes"]) for one in run.entries(TRAIN) if "classes" in one.config.model), None
    )
    if device is None or classes is None:
        return []
    sizes = {"U": device.in_features * device.out_features, "B": device.in_features * classes}
    errors = {one.key: one.result.error for one in run.entries(RETRIEVE)}
    found: dict[tuple[str, str], Known] = {}
    for one in attacks_of(run):
        told = _told(one, errors)
        if told is None or one.config.eps not in radii(run):
            continue
        of, name, error = told
        each = gaussian_bits(error) if of == "U" else uniform_bits(error)
        earlier = found.get((of, name))
        by_radius = {**(earlier.attacks if earlier else {}), one.config.eps: one}
        found[of, name] = Known(of, name, each * sizes[of], each, by_radius)
    return sorted(found.values(), key=lambda one: ("UB".index(one.of), one.bits))


def _told(one: Attack, errors: Mapping[str, Any]) -> tuple[str, str, float] | None:
    """Of which part of the secret an attack knows something, how it is said, and the relative error."""
    rule, error = one.config.rule, one.config.matrix_error
    if rule == "bpda-drawn":
        return "U", "no U: one drawn at random", math.sqrt(2)
    if rule == "dfa-fresh":
        return "B", "no B: one drawn at random", math.sqrt(2)
    if rule == "exact":
        return "U", "U", 0.0
    if rule == "dfa" and error is None:
        return "B", "B", 0.0
    if rule == "bpda-retrieved":
        rows = next((errors[key] for key in one.record.inputs if errors.get(key) is not None), None)
        return None if rows is None else ("U", f"U retrieved, wrong by {100 * rows.median:.2g}%", rows.median)
    if error is None:
        return None
    return (
        ("U" if rule == "exact-blurred" else "B"),
        f"{'U' if rule == 'exact-blurred' else 'B'} wrong by {error:g}",
        error,
    )


def _share(one: Attack | None) -> Proportion | None:
    return None if one is None else one.result.robust


def _bits(value: float) -> str:
    """ "4.7 Mbit"."""
    if not value or math.isinf(value):
        return "none" if not value else "all"
    size, unit = next((s, u) for s, u in ((1e6, "Mbit"), (1e3, "kbit"), (1.0, "bit")) if value >= s or s == 1.0)
    return f"{value / size:.3g} {unit}"


def tables(run: Run) -> list[Table]:
    """Accuracy by bits of the secret, by images instead, and queries until an attacker is sure."""
    return [table for table in (_worth(run), _images(run), soon_table(run), which_table(run)) if table.rows]


def _heads(run: Run) -> tuple[str, ...]:
    return tuple(words.radius("linf", eps) for eps in radii(run))


def _worth(run: Run) -> Table:
    at = radii(run)
    rows = []
    for one in known(run):
        each = "–" if not one.bits or math.isinf(one.bits) else f"{one.an_entry:.3g}"
        rows.append(Row(one.name, (_bits(one.bits), each, *(_share(one.attacks.get(eps)) for eps in at))))
    for name, by_radius in _without(run).items():
        rows.append(
            Row(name, ("none", "–", *(_share(by_radius.get(eps)) for eps in at)), strong=name == _best_name(run))
        )
    plain = {one.config.eps: one for one in attacks_of(run, BASELINE)}
    if rows and plain:
        rows.append(Row(f"{BASELINE}, no layer: BP", ("–", "–", *(_share(plain.get(eps)) for eps in at))))
    note = (
        "Bits: the mutual information of what the attacker has and of all entries of U, or of B, at this error, relative to the "
        "length that a row has by its law; sqrt(2) is chance. Of independent entries, as a medium has them: a U or a B that a "
        "seed draws is worth no more than the bits of its seed. The phase of a row, which no reading shows, counts too: one "
        "number a row. One draw of each: who draws again leaves fewer. PGD on the same images."
    )
    return Table(
        "Accuracy under attack by what is known of the secret, %",
        "known",
        ("bits", "an entry", *_heads(run)),
        tuple(rows),
        note,
    )


def _heads_of(run: Run) -> dict[int, dict[float, Attack]]:
    """Attacks through a head of the attacker's own: labels -> radius -> attack."""
    found: dict[int, dict[float, Attack]] = {}
    for one in attacks_of(run):
        if one.config.rule == "own-head":
            found.setdefault(one.config.labels or 0, {})[one.config.eps] = one
    return dict(sorted(found.items()))


def _fits_of(run: Run) -> dict[int, dict[float, Attack]]:
    found: dict[int, dict[float, Attack]] = {}
    for one in attacks_of(run):
        if one.config.rule == "bpda-fit-linear" and one.config.eps in radii(run):
            found.setdefault(one.config.fit_images or 0, {})[one.config.eps] = one
    return dict(sorted(found.items()))


def _best_name(run: Run) -> str:
    found = _heads_of(run)
    return f"no U, no B: {attacker('own-head').label}, {max(found):,} labels" if found else ""


def _without(run: Run) -> dict[str, dict[float, Attack]]:
    """Attacks that know nothing of the secret, and draw no matrix."""
    found: dict[str, dict[float, Attack]] = {}
    for one in attacks_of(run):
        if one.config.rule == "bit-flip":
            found.setdefault(f"no U, no B: {attacker('bit-flip').label}", {})[one.config.eps] = one
    heads = _heads_of(run)
    return found | ({_best_name(run): heads[max(heads)]} if heads else {})


def _images(run: Run) -> Table:
    at = radii(run)

    def row(name: str, by_radius: Mapping[float, Attack]) -> Row:
        fit = next((one.result.fit for one in by_radius.values() if one.result.fit), None)
        told = fit if fit is not None and fit.n_images >= _LABELS_TO_TELL else None
        right = None if told is None else amount(told.held_out_accuracy, "{:.1%}".format)
        r2 = None if fit is None else amount(fit.held_out_r2, "{:.2f}".format)
        return Row(name, (*(_share(by_radius.get(eps)) for eps in at), right, r2))

    rows = [row(f"own head, {count:,} labels", one) for count, one in _heads_of(run).items()]
    rows += [row(f"linear fit, {count:,} images", one) for count, one in _fits_of(run).items()]
    note = (
        "An own head needs the weights below the layer and public labelled images: no bit of the secret. A linear fit is made to "
        "the bits and logits of images that the network has seen, and learns something of what is above the layer; how "
        "many bits is not known, at most those of the logits. Accuracy of the head: on the tenth of its images that was held "
        f"out, which also chose its ridge; of fewer than {_LABELS_TO_TELL:,} labels it would be one of too few images."
    )
    heads = (*_heads(run), "accuracy of the head", "R² of the fit")
    return Table("Images instead of bits: accuracy under attack, %", "fitted to", heads, tuple(rows), note)


def gains(run: Run) -> Family[tuple[str, float]]:
    """What all of U, or of B, leaves beside the attacker's own head, which knows nothing of them: (U or B, radius) -> own head
    less that."""
    heads, wholes = _heads_of(run), _wholes(run)
    best = heads[max(heads)] if heads else {}
    tests: dict[tuple[str, float], Difference | None] = {
        (of, eps): differs(run.right(best[eps].key), run.right(whole[eps].key))
        for of, whole in wholes.items()
        for eps in radii(run)
        if eps in whole and eps in best
    }
    return Family("An own head against all of U, and all of B", tests)


def _wholes(run: Run) -> dict[str, Mapping[float, Attack]]:
    """Attacks with all of U, and with all of B."""
    return {one.of: one.attacks for one in known(run) if math.isinf(one.bits)}


def section(run: Run, drawings: Folder) -> Section | None:
    """The section; None where no head of the attacker's own was tried."""
    if not radii(run):
        return None
    told = facts(run)
    told |= {"failed": words.failed_checks(run), "margin": 100 * MARGIN}
    figures = (
        picture(lines(run), [words.radius("linf", eps) for eps in radii(run)], drawings),
        evidence(run, drawings),
    )
    return Section(TITLE, _judge(run), figures, tables(run), told, open_figures=2, open_tables=3)


def _judge(run: Run) -> Verdict:
    """Whether the secret buys accuracy: does who has all of U leave fewer right than who has nothing of it?"""
    family, wholes, heads = gains(run), _wholes(run), _heads_of(run)
    if not family.found:
        return Verdict(Finding.OPEN)
    best = heads[max(heads)]
    bought = {key: one for key, one in family.found.items() if one is not None and family.above(key)}
    every = all(as_good(run.right(wholes[of][e].key), run.right(best[e].key), margin=MARGIN) for of, e in family.found)
    small, large = (Finding.PART, Finding.HOLDS) if bought else (Finding.FALLS, Finding.OPEN)
    # Where it buys most; nothing anywhere: at the largest radius.
    most = max(bought, key=lambda key: bought[key].points, default=None)
    eps = max(e for _, e in family.found) if most is None else most[1]
    enough = {of: _enough(run, of) for of in "UB"}
    reasons = {
        "radius": words.radius("linf", eps),
        "labels": max(heads),
        "none": best[eps].result.robust,
        "all": {of: whole[eps].result.robust for of, whole in wholes.items() if eps in whole},
        "test": None if most is None else bought[most],
        "enough": {of: _bits(one.bits) for of, one in enough.items() if one is not None},
        "drawn": next((_share(one.attacks.get(eps)) for one in known(run) if one.of == "U" and not one.bits), None),
        "family": family,
    }
    return Verdict(small if every else large, reasons, (), best[eps].result.n_images)


def _enough(run: Run, of: str) -> Known | None:
    """The fewest bits of U, or of B, from which on an attack leaves at most `MARGIN` more right than with all of it, at every
    radius."""
    mine = sorted((one for one in known(run) if one.of == of), key=lambda one: -one.bits)
    if not mine or not math.isinf(mine[0].bits):
        return None
    whole = mine[0].attacks

    def good(one: Known) -> bool:
        pairs = ((whole[eps].key, one.attacks[eps].key) for eps in whole if eps in one.attacks)
        return whole.keys() == one.attacks.keys() and all(
            as_good(run.right(first), run.right(second), margin=MARGIN) for first, second in pairs
        )

    found = list(takewhile(good, mine[1:]))
    return found[-1] if found else None


def lines(run: Run) -> list[Line]:
    """The curves of the picture: against bits those of U and of B, against images those of heads and of fits."""
    at = radii(run)
    found = []
    for of, rule in (("U", "exact"), ("B", "dfa")):
        mine = [one for one in known(run) if one.of == of]
        for k, eps in enumerate(at):
            points = {one.bits: share for one in mine if (share := _share(one.attacks.get(eps)))}
            found.append(Line(of, rule, "bits", k, points))
    counts: Sequence[tuple[str, str, Mapping[int, Mapping[float, Attack]]]] = (
        ("own head", "own-head", _heads_of(run)),
        ("linear fit", "bpda-fit-linear", _fits_of(run)),
    )
    for name, rule, by_count in counts:
        for k, eps in enumerate(at):
            points = {float(n): share for n, one in by_count.items() if (share := _share(one.get(eps)))}
            found.append(Line(name, rule, "images", k, points))
    return [one for one in found if one.points]
