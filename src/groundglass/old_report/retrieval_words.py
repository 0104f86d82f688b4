"""The price of the secret in sentences. Each claims no more than intervals that are apart allow."""

from collections.abc import Sequence

from groundglass.old_report.cells import BASELINE, DEFENDED
from groundglass.old_report.retrieval_attacks import Attacked, Radius
from groundglass.old_report.retrieval_judging import (
    PART,
    WHOLE,
    best_price,
    cheapest,
    has_found,
    reach,
    unaided,
    worth,
)
from groundglass.old_report.retrieval_numbers import CHANCE, error_percent, spoken_time
from groundglass.old_report.retrieval_reading import FAILED, Retrieval
from groundglass.old_report.verdict import listed, percent


def device_words(retrievals: Sequence[Retrieval]) -> list[str]:
    """What the network's own device gives away, for how many frames and how much computing."""
    best = best_price(retrievals)
    if best is None or best.median is None or best.failed is None:
        return ["U has not been retrieved from the network's own device yet."]
    rows = f"{best.rows:,} of {best.m:,} rows" if best.rows < best.m else f"{best.m:,} rows"
    price = (
        f"{best.times_n} = {best.frames:,} frames, which take {spoken_time(best.device_seconds)} at "
        f"{best.frame_rate:,.0f} frames a second, and {spoken_time(best.compute_seconds)} of computing "
        f"({_threads(best.threads)})"
    )
    outcome = (
        f"the median error of a row is {error_percent(best.median)}, and {percent(best.failed)} of the {rows} fail "
        f"(an error above {100 * FAILED:.0f}%)"
    )
    if has_found(best):
        said = [
            f"Whoever may put inputs of their choice into the device has its secret matrix U after {price}: {outcome}."
        ]
    elif best.median <= FAILED:
        said = [f"The retrieval found a part of the secret matrix U. The best took {price}: {outcome}."]
    else:
        said = [
            f"The retrieval failed. The best took {price}: {outcome}. A row that is only guessed has an error of "
            f"{error_percent(CHANCE)}."
        ]
    fewer = [
        one for one in retrievals if one.purpose == "price" and one.frames < best.frames and one.failed is not None
    ]
    if fewer:
        each = [
            f"with {r.times_n} ({spoken_time(r.device_seconds)}) {percent(r.failed or 0.0)} of the rows" for r in fewer
        ]
        said.append(f"Fewer frames give less: {listed(each)} fail.")
    return said


def attack_words(radius: Radius, retrievals: Sequence[Retrieval]) -> list[str]:
    """What PGD leaves with each U, and without any."""
    told = best_price(retrievals)  # the one that was spoken of
    best = None if told is None else radius.of(told)
    best = best or min(radius.retrieved, key=lambda a: a.matrix_error or 0.0, default=None)
    with_u = []
    if best is not None and best.retrieval is not None:
        with_u.append(f"{_left(best)} with the U retrieved from {best.retrieval.times_n} frames")
    if radius.exact is not None:
        with_u.append(f"{_left(radius.exact)} with the exact U")
    without = [f"{_left(one)} by {one.label}" for one in radius.without]
    said = []
    if with_u:
        said.append(f"At {radius.name} PGD leaves {DEFENDED} right on {listed(with_u)}.")
    if without:
        start = (
            "Without any U it leaves" if with_u else f"At {radius.name} PGD without any U leaves {DEFENDED} right on"
        )
        said.append(f"{start} {listed(without)}.")
    if radius.baseline is not None and said:
        said.append(f"{BASELINE}, which has no device, keeps {_left(radius.baseline)}.")
    return said


def need_words(radius: Radius | None, radii: Sequence[Radius]) -> list[str]:
    """Whether a retrieval was needed at all, and what it bought."""
    if radius is None:
        return ["No attack with or without U has been recorded yet, so nothing can be said about what U is worth."]
    if radius.exact is None:
        return ["What U is worth cannot be said yet: PGD with the exact U has not been recorded."]
    if not radius.tells:
        return [
            "With the exact U PGD is not clearly stronger than no attack at any of these radii, so they cannot tell "
            "what U is worth."
        ]
    if not radius.without:
        return ["What U is worth cannot be said yet: no attack without it has been recorded."]
    same = unaided(radius)
    return _unneeded(radius, radii, same) if same else _needed(radius, radii)


def _unneeded(radius: Radius, radii: Sequence[Radius], same: Sequence[Attacked]) -> list[str]:
    get = "gets" if len(same) == 1 else "get"
    others = [one for one in radii if one is not radius and one.tells and one.without]
    everywhere = f", and so does an attacker without U at {_each(others)}" if others else ""
    holds = all(unaided(one) for one in others)
    said = [
        f"So no retrieval was needed: without U, {listed([one.label for one in same])} {get} as far as the exact U, as "
        f"far as {radius.exact.robust.total if radius.exact else 0:,} images can tell{everywhere if holds else ''}."
    ]
    if not holds:
        said.append(f"That does not hold at {listed([one.short for one in others if not unaided(one)])}.")
    said.append("Against these attackers the secret of U was worth nothing clear, whatever its price.")
    if all(one.cell.rule == "dfa" for one in same):
        said.append("This attacker needs the training's B; prediction does not, so a defender can destroy it.")
    return said


def _each(others: Sequence[Radius]) -> str:
    return f"the other radius, {others[0].short}" if len(others) == 1 else f"each of the other {len(others)} radii"


def _needed(radius: Radius, radii: Sequence[Radius]) -> list[str]:
    best = radius.best_without
    assert best is not None
    said = [
        f"So U was worth something: the best attacker without it, {best.label}, leaves {worth(radius):.0f} points more "
        "than the one with the exact U."
    ]
    free = [one for one in radii if one is not radius and one.tells and unaided(one)]
    if free:
        said.append(f"At {listed([one.short for one in free])} an attacker without U gets as far as the exact one.")
    if not radius.retrieved:
        return [*said, "PGD with a retrieved U has not been recorded yet, so these records cannot say what that costs."]
    one = cheapest(radii)
    if one is not None:
        said.append(
            f"That is all the secret bought, and it has a price: {one.times_n} = {one.frames:,} frames "
            f"({spoken_time(one.device_seconds)} at the device) and {spoken_time(one.compute_seconds)} of computing get "
            "as far as the exact U."
        )
        return said
    strongest = min(radius.retrieved, key=lambda a: a.robust.share)
    if any(reach(one, radius) == WHOLE for one in radius.retrieved):
        said.append(
            f"A retrieved U gets as far here ({_left(strongest)} left), but none of those tried does so at every radius."
        )
    elif any(reach(one, radius) == PART for one in radius.retrieved):
        said.append(
            f"A retrieved U brings a part of that: it leaves {_left(strongest)}, clearly less than without U and clearly "
            "more than with the exact one."
        )
    else:
        said.append(
            f"No retrieval that was tried took it away: with a retrieved U PGD leaves {_left(strongest)}, not clearly "
            "less than without U. Here the secret held, against these retrievals."
        )
    return said


def _left(one: Attacked) -> str:
    return percent(one.robust.share)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
