"""More of the price of the secret in sentences: how exact U must be, which redraw keeps it, what the attacker knows."""

from collections.abc import Sequence

from groundglass.old_report.retrieval_attacks import Attacked, Radius
from groundglass.old_report.retrieval_judging import (
    NOTHING,
    PART,
    WHOLE,
    Kept,
    Precision,
    best_price,
    periods_kept,
    precision,
    unaided,
)
from groundglass.old_report.retrieval_numbers import CHANCE, error_percent, spoken_time
from groundglass.old_report.retrieval_reading import Retrieval
from groundglass.old_report.verdict import listed, percent
from groundglass.results.records import Record

# What the paper says of retrieving U, at N about 1e4 and M about 1e5: error, and the time it takes.
_PAPER = ((0.32, "72 minutes"), (0.08, "19 hours"))


def precision_words(radius: Radius) -> list[str]:
    """How exact a U must be to be as good as the true one, and whether the paper's figures would do."""
    found = precision(radius)
    if found is None or not radius.tells:
        return []
    where = f"At {radius.short}"
    if found.enough is None:
        assert found.short is not None
        first = error_percent(found.short.matrix_error or 0.0)
        return [
            f"{where} even the smallest error tried, {first}, weakens the attack clearly: U must be known better than that.",
            *_paper_words(found),
        ]
    enough = error_percent(found.enough)
    if found.short is None:
        guess = ", which is as wrong as a guess" if found.enough >= 0.99 * CHANCE else ""
        said = [
            f"{where} a U that is wrong by {enough}{guess} does as well as the exact one: no larger error was tried."
        ]
    else:
        said = [
            f"{where} a U that is wrong by up to {enough} does as well as the exact one; at "
            f"{error_percent(found.short.matrix_error or 0.0)} the attack is clearly weaker ({_left(found.short)} left)."
        ]
    return [*said, *_paper_words(found)]


def _paper_words(found: Precision) -> list[str]:
    """Whether the errors that the paper names would have done; nothing where that lies between two errors tried."""
    enough = [entry for entry in _PAPER if found.enough is not None and entry[0] <= found.enough]
    first = None if found.short is None else found.short.matrix_error
    if enough:
        error, time = enough[0]
        return [
            f"So the {error_percent(error)} that the paper gives for {time} of computing (at N about 10,000) would have "
            "been enough."
        ]
    if first is not None and all(error >= first for error, _ in _PAPER):
        return ["By that, neither of the errors that the paper names (32% and 8%) would have been enough."]
    return []


def period_words(radius: Radius | None, retrievals: Sequence[Retrieval], too_few: Sequence[float]) -> list[str]:
    """Which redraw period keeps the retrieval out.

    Args:
        radius: where to judge.
        retrievals: all of them; those of the purpose "period" are told of.
        too_few: the periods that allow fewer frames than a retrieval needs.
    """
    tried = [one for one in retrievals if one.purpose == "period"]
    if not tried and not too_few:
        return []
    said = []
    if too_few:
        allow = "allows" if len(too_few) == 1 else "allow"
        said.append(f"A redraw every {_spoken(too_few)} {allow} too few frames for this retrieval to be tried.")
    kept = periods_kept(radius) if radius is not None and radius.exact is not None and radius.tells else []
    if not kept:
        return [*said, *([] if not tried else ["What PGD does with the U of a redraw period cannot be judged yet."])]
    by = {what: [one for one in kept if one.reach == what] for what in (NOTHING, PART, WHOLE)}
    if by[NOTHING]:
        said.append(
            f"A redraw every {_periods(by[NOTHING])} keeps the retrieval out: what it yields is no help to PGD."
        )
    if by[PART]:
        said.append(
            f"Every {_periods(by[PART])} keeps out a part: the attack is helped, but not as far as by the exact U."
        )
    if by[WHOLE]:
        late = "is" if len(by[WHOLE]) == 1 else "are"
        said.append(f"Every {_periods(by[WHOLE])} {late} too slow: PGD gets as far as with the exact U.")
    if not by[NOTHING] and not too_few:
        said.append("So none of the periods tried would have kept the retrieval out altogether.")
    assert radius is not None
    free = unaided(radius)
    if free and (by[NOTHING] or by[PART] or too_few):
        said.append(
            f"No period keeps out {listed([one.label for one in free])}: without U they get as far."
            if len(free) > 1
            else f"No period keeps out {free[0].label}, which needs no U and gets as far."
        )
    return said


def told_words(retrievals: Sequence[Retrieval]) -> list[str]:
    """Whether the attacker can see for himself how good his matrix is."""
    one = best_price(retrievals)
    if one is None or one.readings is None or one.told is None or one.failed is None:
        return []
    seen = one.readings
    off = (
        f"From {one.times_n} frames the attacker predicts readings that were held back to within {seen.off:.2g} grey "
        f"levels; with a wrong row it would be {seen.chance:.2g}."
    )
    said = [off]
    pairs = [r for r in retrievals if r.purpose == "price" and r.told is not None and r.failed is not None]
    widest = max(pairs, key=lambda r: abs((r.told or 0.0) - (r.failed or 0.0)))
    if abs((widest.told or 0.0) - (widest.failed or 0.0)) <= 0.05:
        said.append(
            "So it is known without the true U which rows went wrong: the attacker's count is within 5 points of the true one."
        )
    else:
        said.append(
            f"Yet that misjudges the rows: from {widest.times_n} frames the attacker takes {percent(widest.told or 0.0)} "
            f"of them for wrong, in truth it is {percent(widest.failed or 0.0)}."
        )
    return said


def note_words(retrievals: Sequence[Retrieval], checks: Sequence[Record]) -> list[str]:
    """The retrievals that were cut short, and why; the checks that failed."""
    failed = [
        f"The check “{check.name}” failed: {check.result.get('note') or check.result.get('expected')}. What is said here "
        "must not be relied on until it passes."
        for check in checks
        if not check.result["passed"]
    ]
    return failed + [
        f"{one.name} was ended early" + (f": {one.note.rstrip('.')}." if one.note else ".")
        for one in retrievals
        if not one.complete
    ]


def _spoken(periods: Sequence[float]) -> str:
    return listed([spoken_time(period) for period in periods])


def _periods(kept: Sequence[Kept]) -> str:
    return listed([f"{spoken_time(one.period)} ({one.frames:,} frames)" for one in kept])


def _left(one: Attacked) -> str:
    return percent(one.robust.share)
