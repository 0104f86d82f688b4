"""The study of size in sentences. Each claims no more than intervals that are apart allow, and says what is projected."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.old_report.query_words import spoken
from groundglass.old_report.scale_numbers import seconds, size
from groundglass.old_report.scale_reading import KINDS, Ball, Cost, Medium, Network, Scale
from groundglass.old_report.threat_models import attacker
from groundglass.old_report.verdict import listed

#: Of the paper: a million inputs, a million outputs.
MILLION = 10**6
BUYS_NOTHING = "size buys no robustness that these images can show"
BUYS = "what the strongest attackers leave changes with size here"
_SOME = 3


@dataclass(frozen=True)
class Judgement:
    """What size buys, in a phrase, and the reasons; `tone` as of a verdict's box."""

    text: str
    tone: str
    reasons: tuple[str, ...]


def arithmetic_words() -> str:
    """What a stored matrix of the paper's largest device would take."""
    entries = MILLION**2
    return (
        f"The paper's device has up to a million inputs and outputs, {entries:.0e} entries: {size(8 * entries)} as complex64, "
        f"8 bytes each; {size(2 * entries)} as the dense device here holds them, 2 bytes each."
    ).replace("1e+12", "10¹²")


def cost_words(scale: Scale) -> list[str]:
    """The largest size of N = M that was measured, and how costs grow."""
    said = [arithmetic_words()]
    square = [one for one in scale.costs if one.sweep == "square"]
    if square:
        n = max(one.n for one in square)
        at = [one for one in square if one.n == n]
        said.append(
            f"At N = M = {n:,}, where a stored matrix takes {size(8 * n * n)} in complex64: "
            + "; ".join(_cost_at(one) for one in at)
            + "."
        )
    grows = [
        f"{kind} as N^{fit.exponent:.2f} (N = M, {fit.low:,} to {fit.high:,})"
        for kind in KINDS
        if (fit := scale.fit(kind, "square", "each_seconds")) is not None
    ]
    if grows:
        said.append(f"Time for each measurement of a batch grows: {'; '.join(grows)}.")
    return said


def _cost_at(one: Cost) -> str:
    measured = f", projected from {one.block:,} of the outputs" if one.projected else ""
    held = "nothing" if one.held == 0 else size(one.held)
    peak = "" if one.peak is None else f", {size(one.peak)} at most while measuring"
    return (
        f"the {one.kind} device holds {held}{peak}; one measurement takes {seconds(one.one)}, each of a batch of "
        f"{one.batch} {seconds(one.each)}{measured}"
    )


def law_words(scale: Scale) -> list[str]:
    """Which media pass for an i.i.d. complex Gaussian matrix, and where the structured one does not."""
    ours = [one for one in scale.media if not one.standin]
    naive = [one for one in scale.media if one.standin]
    said = []
    for one in ours:
        failing = one.failing
        if not failing:
            said.append(f"{_named(one)}: all {len(one.laws)} laws hold.")
            continue
        words = [
            f"{law.name} ({law.measured:.3g} where an i.i.d. matrix has {law.expected:.3g}"
            + (", a known difference)" if law.allowed else ", not a known difference)")
            for law in failing
        ]
        said.append(
            f"{_named(one)} differs from an i.i.d. matrix in {len(failing)} of {len(one.laws)} laws: {listed(words)}."
        )
    if naive:
        passing = [one.name for one in naive if not one.failing]
        said.append(
            f"The controls: {'none' if not passing else listed(passing)} of the {len(naive)} naive stand-ins "
            f"{'passes' if len(passing) < 2 else 'pass'} every law"
            + (
                ", so that the table can tell them."
                if not passing
                else ": the table cannot tell these, and so proves less."
            )
        )
    return said


def _named(one: Medium) -> str:
    return f"{one.name.capitalize()} ({one.n:,} × {one.m:,})"


def failing_words(one: Medium) -> str:
    """The laws that a medium fails, the first few by name."""
    names = [law.name for law in one.failing]
    if not names:
        return "none"
    more = len(names) - _SOME
    return "; ".join(names[:_SOME]) + (f"; and {more} more" if more > 0 else "")


def retrieval_words(scale: Scale) -> list[str]:
    """What size adds to the price of U."""
    # Of one kind: a structured device may be cheaper to break than row by row.
    priced = [one for one in scale.networks if one.rows is not None and one.kind == scale.networks[0].kind]
    if not priced:
        return []
    said = [
        "Frames serve all outputs at once, so their number grows with N alone. Computing grows with the rows, one by one: "
        f"that of all M rows is projected from the {scale.rows[0].rows:,} that were retrieved."
    ]
    said += [_dearer(grows, least, most) for grows, least, most in scale.grown(priced)]
    worst = max(scale.rows, key=lambda one: one.error)
    said.append(
        f"The rows come out right at every size: the median error is at most {100 * worst.error:.2g}%."
        if worst.error < 0.1 and not any(one.failed for one in scale.rows)
        else _failed_rows(scale)
        if worst.error < 0.1
        else f"Not every retrieval succeeds: at N = {worst.n:,} the median error of a row is {100 * worst.error:.0f}%."
    )
    fit = scale.fit("dense", "inputs", "row_seconds")
    if fit is not None:
        some = next(one for one in scale.rows if one.kind == "dense")
        frames = round(some.frames / some.n * MILLION)
        said.append(
            f"A row takes as N^{fit.exponent:.2f} (N = {fit.low:,} to {fit.high:,}). Extrapolated, far past what was "
            f"measured, to a million by a million: {seconds(frames * some.seconds / some.frames)} of frames, "
            f"{size(frames * MILLION)} of readings, {seconds(fit.factor * MILLION**fit.exponent * MILLION)} of computing on "
            f"{some.threads} thread{'' if some.threads == 1 else 's'}, rows being independent of one another."
        )
    return said


def judgement(scale: Scale) -> Judgement | None:
    """Whether size changes what the strongest attackers leave; None while no network was attacked."""
    reasons: list[str] = []
    changes = False
    for ball in scale.balls:
        for grows, small, large in scale.grown(_alike(scale, ball)):
            before, after = small.worst(ball), large.worst(ball)
            assert before is not None
            assert after is not None
            apart = before.clearly_below(after) or after.clearly_below(before)
            changes = changes or apart
            reasons.append(
                f"{ball.name}, {_growth(grows, small, large)}: all attackers together leave {spoken(before)} and "
                f"{spoken(after)}; the intervals {'are apart' if apart else 'overlap'}.{_by_paper(small, large, ball)}"
            )
        if reasons:
            reasons += _beside_baseline(scale, ball)
    if not reasons:
        return None
    return Judgement(BUYS if changes else BUYS_NOTHING, "open" if changes else "bad", tuple(reasons))


def _growth(grows: str, small: Network, large: Network) -> str:
    """ "N from 512 to 8,192 at M = 8,000"."""
    if grows == "N":
        return f"N from {small.n:,} to {large.n:,} at M = {small.m:,}"
    return f"M from {small.m:,} to {large.m:,} at N = {small.n:,}"


def _failed_rows(scale: Scale) -> str:
    told = [f"{one.failed} of {one.rows} at N = {one.n:,} ({one.kind})" for one in scale.rows if one.failed]
    return f"Some rows fail, with an error above 10%: {', '.join(told)}."


def _dearer(grows: str, least: Network, most: Network) -> str:
    assert least.rows is not None
    assert most.rows is not None
    frames = (
        f"{least.rows.frames:,} frames become {most.rows.frames:,} ({seconds(most.rows.seconds)} at the device)"
        if grows == "N"
        else f"it stays at {least.rows.frames:,} frames"
    )
    return (
        f"{_growth(grows, least, most)}: {frames}, and {seconds(least.computing)} of computing become "
        f"{seconds(most.computing)}, projected."
    )


def _alike(scale: Scale, ball: Ball) -> list[Network]:
    """Of the first network's kind, those that were attacked there by as many rules as any."""
    there = [one for one in scale.networks if one.worst(ball) is not None and one.kind == scale.networks[0].kind]
    most = max((len(_rules(one, ball)) for one in there), default=0)
    return [one for one in there if len(_rules(one, ball)) == most]


def _rules(one: Network, ball: Ball) -> set[str]:
    return set(one.left.get((ball.norm, ball.eps), {}))


def _beside_baseline(scale: Scale, ball: Ball) -> list[str]:
    plain = None if scale.baseline is None else scale.baseline.worst(ball)
    if plain is None:
        return []
    there = [(one, worst) for one in scale.networks if (worst := one.worst(ball)) is not None]
    above = [one.label for one, worst in there if plain.clearly_below(worst)]
    said = "no network is" if not above else f"{listed(above)} {'is' if len(above) == 1 else 'are'}"
    return [f"Undefended, VGG-16 keeps {spoken(plain)}: {said} clearly above it."]


def _by_paper(small: Network, large: Network, ball: Ball) -> str:
    """The paper's published attack, which draws its own B: does it take size for robustness?"""
    before, after = small.by(ball, "dfa-fresh"), large.by(ball, "dfa-fresh")
    if before is None or after is None:
        return ""
    does = "which is no clear difference"
    if before.clearly_below(after):
        does = "and so takes size for robustness"
    elif after.clearly_below(before):
        does = "and so does better on the larger one"
    label = attacker("dfa-fresh").label
    return f" {label}, the paper's published attack, leaves {spoken(before)} and {spoken(after)}, {does}."


def clean_words(networks: Sequence[Network]) -> str:
    """Untouched accuracy, from the least to the most; an empty string without networks."""
    if not networks:
        return ""
    least, most = (end(networks, key=lambda one: one.clean.share) for end in (min, max))
    if least is most:
        return f"Untouched, {least.label} gets {spoken(least.clean)} right."
    return f"Untouched, the networks get {spoken(least.clean)} ({least.label}) to {spoken(most.clean)} ({most.label}) right."
