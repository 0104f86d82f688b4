"""What read noise does to extraction: an attacker who learns from the answers of a network with a noisy camera."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.core.statistics import Family, Outcomes, Proportion, as_good, differs
from groundglass.core.text import signed
from groundglass.report import words
from groundglass.report.section import FEWEST
from groundglass.report.table import Amount, Row, Table
from groundglass.results import Run
from groundglass.results.kinds import DISTIL, RANDOMISE, TRANSFER, Entry
from groundglass.results.kinds.distil import DistilConfig, DistilResult
from groundglass.studies.noise.matrix import MARGIN

#: Noise, and what is compared: the same attacker with noise and without, or asking with not asking.
_TUNED, _OWN, _ASKING = "tuned", "own", "asking"


@dataclass(frozen=True)
class _Extracted:
    """One network that was asked.

    Attributes:
        noise: grey levels; 0: none.
        surrogate: the attacker's own network, tuned on its answers.
        own, tuned: which images it gets right that were made on that network as it was, and tuned.
    """

    noise: float
    surrogate: Entry[DistilConfig, DistilResult]
    own: Outcomes
    tuned: Outcomes


def _extracted(run: Run) -> list[_Extracted]:
    """By noise, rising; none where the network without noise was not attacked, with which the others are compared."""
    noises = {one.name: one.config.read_noise for one in run.entries(RANDOMISE) if one.config.same_matrix}
    right = {(one.config.target, one.config.made_on): run.right(one.key) for one in run.entries(TRANSFER)}
    found = [
        _Extracted(
            noises.get(asked.config.target, 0.0),
            asked,
            right.get((asked.config.target, str(asked.config.begin)), {}),
            right[asked.config.target, asked.name],
        )
        for asked in run.entries(DISTIL)
        if (asked.config.target, asked.name) in right
    ]
    found.sort(key=lambda one: one.noise)
    return found if found and not found[0].noise else []


def _family(found: Sequence[_Extracted]) -> Family[tuple[float, str]]:
    tests = {(one.noise, _ASKING): differs(one.tuned, one.own) for one in found}
    for one in found[1:]:
        tests[one.noise, _TUNED] = differs(one.tuned, found[0].tuned)
        tests[one.noise, _OWN] = differs(one.own, found[0].own)
    return Family(
        "Images right under transfer, with noise against without, and from a tuned network against untuned", tests
    )


def surrogates_table(run: Run) -> Table:
    """A row a noise: the surrogate, what it leaves of the network that it learned from, and what noise adds to that."""
    found = _extracted(run)
    family = _family(found)

    def points(noise: float, what: str) -> Amount | None:
        one = family.found.get((noise, what))
        p = words.corrected_p(family, (noise, what))
        return None if one is None else Amount(one.points, signed, f" ({p})")

    rows = [
        Row(
            f"{one.noise:g} grey levels" if one.noise else "none",
            (
                one.surrogate.result.agreement,
                one.surrogate.result.clean,
                _share(one.own),
                _share(one.tuned),
                points(one.noise, _OWN),
                points(one.noise, _TUNED),
                points(one.noise, _ASKING),
            ),
        )
        for one in found
    ]
    heads = (
        "tuned network agrees",
        "its clean accuracy",
        "right, own network",
        "right, tuned network",
        "own: points above no noise",
        "tuned: points above no noise",
        "points of tuned above own",
    )
    note = (
        "Agreement: the class that one answer of the network says, on all test images. Right: of the images that all get right, "
        "made by MI-DI on the attacker's own network, or on it tuned on the network's answers to natural images, one of each; "
        f"most of repeated answers decide. {family.note}."
    )
    asked = found[0].surrogate.config if found else None
    told = "" if asked is None else f" by {asked.queries:,} {asked.answers}, {_radius(run)}"
    return Table(f"Extraction under read noise{told}, %", "read noise", heads, tuple(rows), note)


def extracted_fact(run: Run) -> dict[str, Any] | None:
    """What the page says of it; None where it was not tried.

    `outcome`: "clear", noise leaves more; "none", at most `MARGIN` more at any noise; "open", neither can be said; "few", the
    images are too few. `noise`: where it leaves most, of those that clearly do if any does.
    """
    found = _extracted(run)
    if len(found) < 2:
        return None
    plain, noisy, family = found[0], found[1:], _family(found)
    worst = max(noisy, key=lambda one: (family.above((one.noise, _TUNED)), sum(one.tuned.values())))
    if len(plain.tuned) < FEWEST:
        outcome = "few"
    elif family.above((worst.noise, _TUNED)):
        outcome = "clear"
    else:
        small = all(as_good(plain.tuned, one.tuned, margin=MARGIN) for one in noisy)
        outcome = "none" if small else "open"
    return {
        "outcome": outcome,
        "noise": worst.noise,
        "noisy": _share(worst.tuned),
        "plain": _share(plain.tuned),
        "own": _share(plain.own),
        "asking_helps": family.below((0.0, _ASKING)),
        "queries": plain.surrogate.config.queries,
        "answers": plain.surrogate.config.answers,
        "radius": _radius(run),
        "failed": words.failed_checks(run),
    }


def _radius(run: Run) -> str:
    return next((words.radius("linf", one.config.eps) for one in run.entries(TRANSFER)), "")


def _share(outcomes: Outcomes) -> Proportion | None:
    return Proportion(sum(outcomes.values()), len(outcomes)) if outcomes else None
