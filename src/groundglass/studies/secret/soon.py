"""How soon an attacker knows: tables and figure of the sequential tests."""

import math
from collections.abc import Sequence
from typing import Any

from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import Curve, curves
from groundglass.report.style import BASELINE, DEFENDED, QUIET, Style, of_attacker, of_name
from groundglass.report.table import Amount, Row, Table, Value
from groundglass.results import Run
from groundglass.results.kinds import DETECT, Entry
from groundglass.results.kinds.detect import DetectConfig, DetectResult

Test = Entry[DetectConfig, DetectResult]
_SUBJECTS = {"own-head": "its lower weights, linear head", "bits-head": "its bits, linear head"}
_SIGNS = {
    "Flat": "scores that stay as they are",
    "Jump": "scores that jump",
    "Border": "a rough border between classes",
    "Again": "the same jump elsewhere",
    "Repeat": "other scores when asked again",
}
_QUESTIONS = {
    "layer": "is a layer of bits there?",
    "linear": "is what is above the bits linear?",
    "noise": "is there noise?",
}


def tests_of(run: Run, **chosen: Any) -> list[Test]:
    """The sequential tests whose Config has these values."""
    found = run.entries(DETECT)
    return [one for one in found if all(getattr(one.config, name) == value for name, value in chosen.items())]


def _who(one: Test) -> str:
    return (
        one.config.model if one.config.subject == "itself" else f"{one.config.model}: {_SUBJECTS[one.config.subject]}"
    )


def _seen(one: Test) -> str:
    digits = one.config.digits
    return "classes" if digits is None else f"scores, {digits} digit{'s' if digits != 1 else ''}"


def _queries(one: Test) -> Value:
    r = one.result
    if r.median is None:
        return "not sure"
    spread = "" if r.low is None or r.high is None else f" ({r.low:,.0f}–{r.high:,.0f})"
    return Amount(r.median, "{:,.0f}".format, spread)


def soon_table(run: Run) -> Table:
    """A row a test of one network."""
    rows = []
    found = [one for one in run.entries(DETECT) if one.config.question != "which"]
    for one in sorted(found, key=lambda one: list(_QUESTIONS).index(one.config.question)):
        r = one.result
        truth = "yes" if one.config.there else "no"
        counts = (Amount(r.right), Amount(r.wrong), Amount(r.undecided))
        name = f"{_QUESTIONS[one.config.question]} {_who(one)}"
        rows.append(
            Row(
                name, (_SIGNS.get(one.config.sign, one.config.sign), _seen(one), truth, *counts, _queries(one), r.event)
            )
        )
    bound = max((one.config.alpha for one in found), default=0.0)
    budget = max((one.config.budget for one in found), default=0)
    note = (
        f"Sequential tests, each wrong with a chance of at most {bound:g} while its premise holds: where noise or few digits "
        f"hide what is looked for it does not. Streams of at most {budget:,} queries. Queries: median, in brackets nine of ten "
        "of the streams that were sure. All streams are of the same points, each in another order: no independent samples. "
        "Last column: how often what is looked for was seen, of the points that tell something."
        " Where there is noise, jumps and a rough border may be its own: an ordinary network under noise would have them too."
    )
    heads = ("looks at", "sees", "in truth", "right", "wrong", "not sure", "queries until sure", "seen at")
    return Table("How soon an attacker knows what is there", "question, and what is asked", heads, tuple(rows), note)


def which_table(run: Run) -> Table:
    """A row an error of the attacker's U: which of several devices is it?"""
    rows = []
    found = tests_of(run, question="which")
    for one in found:
        r, s = one.result, one.config.settings
        counts = (Amount(r.right), Amount(r.wrong), Amount(r.undecided))
        name = "U" if not s["matrix_error"] else f"U wrong by {s['matrix_error']:g}"
        told = () if r.accuracies is None else (r.accuracies[0], max(r.accuracies[1:]))
        shares: list[Value] = [Amount(share, "{:.1%}".format) for share in told] or [None, None]
        rows.append(Row(f"{name}, {one.config.access}", (*counts, _queries(one), r.event, *shares)))
    count = max((one.config.settings["candidates"] for one in found), default=0)
    note = (
        f"The attacker has the weights and {count} matrices, one of which is the true one or near it, the others drawn at "
        "random. Agrees: answers with the true one's class, or with scores that are off by no more than half their length. The "
        "test takes at most 5% disagreement for granted: with a U that is farther off its bound does not hold, and the true one "
        "may be rejected with the others. It needs no query: the last two columns are accuracies on the same images, which are "
        "public and labelled. Of classifiers that are fitted anew to each device all would be accurate: that was not tried."
    )
    heads = ("right", "wrong", "not sure", "queries until sure", "agrees", "accuracy with it", "with the best other")
    return Table("Which of several devices it is", "of the true one the attacker has", heads, tuple(rows), note)


def facts(run: Run) -> dict[str, Any]:
    """For the sentence: queries until the layer is known by each access, and what noise and bits alone change."""
    mine = {
        one.config.sign: one for one in tests_of(run, question="layer", model=DEFENDED, subject="itself", digits=None)
    }
    scores = next(iter(tests_of(run, question="layer", model=DEFENDED, subject="itself", sign="Flat")), None)
    labels = mine.get("Border")
    null = tests_of(run, question="layer", there=False)
    which = [one for one in tests_of(run, question="which") if not one.config.settings["matrix_error"]]
    known = [one.result.accuracies for one in which]
    linear = next(iter(tests_of(run, question="linear", subject="itself")), None)
    noisy = [one for one in tests_of(run, question="layer", there=True) if "noise" in one.config.model]
    noise = next(iter(tests_of(run, question="noise", there=True)), None)
    return {
        "scores": _fact(scores),
        "labels": _fact(labels),
        "wrong": sum(one.result.wrong for one in null),
        "streams": sum(one.result.streams for one in null),
        "which": {one.config.access: _fact(one) for one in which},
        "candidates": which[0].config.settings["candidates"] if which else 0,
        "public": next(((one[0], max(one[1:])) for one in known if one), None),
        "linear": _fact(linear),
        "hidden": [
            _SIGNS.get(one.config.sign, one.config.sign) for one in noisy if one.result.right < one.result.streams / 2
        ],
        "noise": _fact(noise),
    }


def _fact(one: Test | None) -> dict[str, Any] | None:
    if one is None:
        return None
    r = one.result
    # Of streams that were sure, and right: who is sure of what is not so knows nothing.
    median = r.median if 2 * r.right > r.streams else None
    return {"median": median, "right": r.right, "wrong": r.wrong, "streams": r.streams, "alpha": one.config.alpha}


def evidence(run: Run, drawings: Folder) -> Drawing | None:
    """The likelihood ratio against queries, of the median stream: of the network, and of an ordinary one."""
    chosen: Sequence[tuple[str, str, Style]] = (
        (DEFENDED, "Flat", of_name(DEFENDED)),
        (DEFENDED, "Border", of_attacker("RayS")),
        (BASELINE, "Flat", QUIET),
        (BASELINE, "Border", of_attacker("RayS", hollow=True)),
    )
    lines = []
    alpha = 0.0
    for model, sign, style in chosen:
        one = next(iter(tests_of(run, model=model, sign=sign, subject="itself", question="layer")), None)
        if one is not None and len(one.result.path) > 1:
            alpha = one.config.alpha
            seen = "scores" if sign == "Flat" else "classes"
            x, y = ([point[k] for point in one.result.path] for k in (0, 1))
            lines.append(Curve(f"{model}, {seen}", x, y, style, steps=True))
    if not lines:
        return None
    told = [f"{one.name}: {one.y[-1]:.1f} after {one.x[-1]:,.0f} queries" for one in lines]
    look: dict[str, Any] = {"x": "queries (logarithmic)", "y": "likelihood ratio, decimal logarithm", "y_range": None}
    look |= {"x_log": True, "level": (f"sure: wrong once in {1 / alpha:,.0f}", -math.log10(alpha))}
    return drawings.save(
        "secret-soon",
        lambda: curves(lines, **look),
        alt="; ".join(told) + ".",
        caption="How soon an attacker is sure that a layer of bits is there, or that none is: the median stream of each test.",
    )
