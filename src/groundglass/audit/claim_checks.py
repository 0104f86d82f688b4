"""The signs of a claim that is not true, each with its threshold and source.

A function for each check says what was measured; the tables at the end have the rest. Every image is told by the first
attack that broke it; of a claim, those count that its own attacks leave.
"""

from collections.abc import Callable

import torch

from groundglass.audit.findings import Attempt, Check
from groundglass.audit.ledger import Ledger
from groundglass.audit.signs import (
    ATHALYE,
    CARLINI,
    FEW,
    OURS,
    SLACK,
    STRONGER,
    TRAMER,
    Evidence,
    Findings,
    Listed,
    Measured,
    broken,
    few,
    limit,
    made,
    told,
)
from groundglass.core.text import listed

# Cosine of a gradient with finite differences: trained networks have .95 and more; good rules behind a binarisation about half,
# unrelated ones -.4 to .2 (docs/log.md).
_AGREES = 0.3


def claim_checks(claim: Evidence, found: Findings, ledger: Ledger) -> tuple[Check, ...]:
    """Every check of a claim, in the order of the list; what could not be run is "skipped", with the reason."""
    weaker, stronger = limit(ledger, SLACK), limit(ledger, STRONGER)
    limits = {"weaker": f"{weaker:.1%}", "stronger": f"{stronger:.1%}"}
    limits |= {"points": f"{100 * stronger:.1f}", "twice": f"{200 * stronger:.1f}"}
    rows = _STATED if claim.stated is not None else _CHECKS
    return tuple(
        made(
            name,
            _weighed(measure, claim, found, ledger),
            threshold.format(**limits),
            source,
            _ADVICE[name],
            _TO_RUN.get(name, ""),
        )
        for name, measure, threshold, source in rows
    )


def _weighed(measure: Callable[..., Measured], claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    """A check's outcome. A sign of a weak attack says nothing against a figure that a good attack finds as well.

    A good one has another gradient, which agrees with the loss, or without a bound fools nearly all; that a gradient does not
    agree, it may be itself: behind a binarisation the loss is too flat to tell. And nothing at all gets further.
    """
    passed, said = measure(claim, found, ledger)
    if passed is not False or measure not in _SIGNS or _beyond(claim, ledger) > limit(ledger, STRONGER):
        return passed, said
    works = {*claim.works, *(name for name, value in found.agreement.items() if value >= _AGREES)}
    good = sorted(works if measure is _agreement else works - {*claim.gradients})
    return (True, f"{said}; but {listed(good)} and all other attacks get no further") if good else (passed, said)


def _beyond(claim: Evidence, ledger: Ledger) -> float:
    """Of all images, the share that the claim leaves and that does not stand."""
    return ledger.share(int(claim.left.sum()) - len(ledger.standing))


_NO_GRADIENT = (None, "the claim is made with an attack, not with a gradient")


def _gradients(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    if not claim.gradients:
        return _NO_GRADIENT
    dead = max(min(found.dead[name] for name in claim.gradients), claim.zeros)
    names = [ledger.attempts[i].name for i in (*claim.own, *claim.controls)]
    not_finite = [name for name in names if name in ledger.not_finite]
    ended = f"; NaN or infinity ended {listed(not_finite)}" if not_finite else ""
    return dead <= FEW and not not_finite, f"{dead:.1%} of the claim's gradients are zero, NaN or missing{ended}"


def _agreement(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    if not claim.gradients:
        return _NO_GRADIENT
    best = max(found.agreement[name] for name in claim.gradients)
    each = ", ".join(f"{name} {value:.2f}" for name, value in found.agreement.items())
    return best >= _AGREES, f"cosine with finite differences: {each}"


def _best_is_last(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    if not claim.gradients:
        return _NO_GRADIENT
    if claim.broken is None:
        return None, "the claim's attack fooled too few images to look at"
    lost, fooled = claim.broken.lost, claim.broken.fooled
    return few(lost, fooled, 0.1), f"{lost:.1%} of {fooled} are"


def _settled(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    if not claim.gradients:
        return _NO_GRADIENT
    standing = claim.standing
    if standing is not None:
        return few(
            standing.rising, standing.images, 0.1
        ), f"{standing.rising:.1%} of {standing.images} images still climb"
    if bool(claim.left.any()):
        return None, "the claim's gradients cannot be followed"
    return True, "no image is left to climb"


def _unbounded(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    if not claim.gradients:
        return _NO_GRADIENT
    left = claim.unbounded / max(1, claim.unbounded_of)
    said = f"{claim.unbounded} of {claim.unbounded_of} images stand when any image is allowed"
    return few(left, claim.unbounded_of, 0.05), said


def _radius(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    if not claim.gradients:
        return _NO_GRADIENT
    said = f"of {claim.twice_of} images {claim.at_once} stand at the radius, {claim.at_twice} at twice that"
    return claim.at_twice <= claim.at_once + max(2, 0.02 * claim.twice_of), said


def _of(claim: Evidence, ledger: Ledger, *roles: str) -> tuple[list[Attempt], float]:
    """The attempts in these roles that are not of the claim, and the share of all images that they broke of what it leaves."""
    found = [(i, a) for role in roles for i, a in enumerate(ledger.attempts) if a.role == role]
    # What another claim brings is named only where it broke something.
    places = [i for i, a in found if i not in {*claim.own, *claim.controls} and (a.role != "claim" or a.broke)]
    return [ledger.attempts[i] for i in places], broken(ledger, claim.left, places)


def _controls(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    if not claim.controls:
        return None, "not run beside this claim"
    fooled = ledger.fooled[claim.controls[0]].clone()
    for place in claim.controls[1:]:
        fooled |= ledger.fooled[place]
    share = ledger.share(int((fooled & claim.left).sum()))
    return share <= limit(ledger, SLACK), f"they break {share:.1%} of all images beyond the claim's attack"


def _queries(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    assert found.before_queries is not None
    asked = [i for i, a in enumerate(ledger.attempts) if a.role == "queries"]
    # What they break of those that they were tried on, for all that stood before.
    stood, left = claim.left & found.before_queries, 1.0
    for kind in dict.fromkeys(ledger.attempts[i].attack for i in asked):
        places = [i for i in asked if ledger.attempts[i].attack == kind]
        tried, fooled = (
            torch.stack([rows[i] for i in places]).any(0) & stood for rows in (ledger.asked, ledger.fooled)
        )
        left *= 1 - int(fooled.sum()) / max(1, int(tried.sum()))
    beyond = ledger.share(round((1 - left) * int(stood.sum())))
    said = f"{told([ledger.attempts[i] for i in asked])}: {beyond:.1%} of all images beyond every gradient"
    return beyond <= limit(ledger, SLACK), said


def _transfer(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    carried, beyond = _of(claim, ledger, "transfer")
    if not carried:
        return None, found.skipped.get("transfer", "not run")
    return beyond <= limit(ledger, SLACK), f"{told(carried)}: {beyond:.1%} of all images beyond every gradient"


def _adaptive(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    others, beyond = _of(claim, ledger, "base", "adaptive", "claim")
    skipped = {name: why for name, why in found.skipped.items() if name not in ("transfer", "labels alone")}
    notes = [f"{name} not run, {why}" for name, why in skipped.items()]
    notes += [f"{name} not needed, no image was left" for name in found.unneeded]
    if not others and not found.unneeded:
        return None, "; ".join(notes) or "the model's own gradient is all there is to adapt"
    said = "; ".join([f"{told(others)}: {beyond:.1%} beyond the claim", *notes])
    return beyond <= limit(ledger, STRONGER), said


def _effort(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    attempts, beyond = _of(claim, ledger, "stronger", "given")
    assert found.before_queries is not None
    if bool(found.before_queries.any()) and not any(a.tried for a in attempts):
        return None, "no gradient here can be climbed"
    return beyond <= limit(ledger, STRONGER), f"{told(attempts)}: {beyond:.1%} beyond"


def _stands(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    overall, figure = _beyond(claim, ledger), ledger.share(int(claim.left.sum()))
    said = f"all attacks together take {100 * overall:.1f} points off the claim of {100 * figure:.1f}"
    return overall <= _loss(figure, 2 * limit(ledger, STRONGER), ledger), said


def _loss(figure: float, most: float, ledger: Ledger) -> float:
    """What a claim may lose: so many points, but not more than half of it: of a small one nothing at all would be left."""
    return max(min(most, figure / 2), 2 / len(ledger.images)) + 1e-9


def _stated(claim: Evidence, found: Findings, ledger: Ledger) -> Measured:
    assert claim.stated is not None
    worst = ledger.share(len(ledger.standing))
    said = f"{claim.stated:.1%} is stated, {worst:.1%} is left"
    return claim.stated - worst <= _loss(claim.stated, limit(ledger, STRONGER), ledger), said


#: The checks: name, what is measured, what a claim that can be believed shows, and where the check is from.
_CHECKS: Listed = (
    ("gradients are there", _gradients, "at most 1%", ATHALYE),
    (
        "gradient agrees with the loss",
        _agreement,
        f"at least {_AGREES:g} for a gradient that the claim is made with",
        OURS,
    ),
    (
        "best iterate is the last",
        _best_is_last,
        "at most 10% of the fooled images are right again at the last step",
        CARLINI,
    ),
    (
        "attack has settled",
        _settled,
        "at most 10% of the images that stand have a loss that still gains a tenth in the last tenth of the steps",
        CARLINI,
    ),
    ("unbounded attack fools all", _unbounded, "at most 5%", ATHALYE),
    ("accuracy falls with the radius", _radius, "no more stand in a larger ball", CARLINI),
    ("stronger than noise and one step", _controls, "at most {weaker}", CARLINI),
    ("gradients no weaker than queries", _queries, "at most {weaker}", ATHALYE),
    ("gradients no weaker than transfer", _transfer, "at most {weaker}", ATHALYE),
    ("adaptive attacks get no further", _adaptive, "at most {stronger} of all images", TRAMER),
    ("more effort gets no further", _effort, "at most {stronger} of all images", CARLINI),
    ("claim stands", _stands, "at most {twice} points, and at most half of the claim", TRAMER),
)
#: Signs that the claim's attack is weak.
_SIGNS = (_gradients, _agreement, _best_is_last, _settled, _unbounded, _radius)
#: Of a figure that somebody states nothing is known but the figure.
_STATED: Listed = (
    (
        "stated figure is borne out",
        _stated,
        "at most {points} points and half of it above what is left",
        TRAMER,
    ),
)

#: What to try where a check fails.
_ADVICE = {
    "gradients are there": "a step without a derivative hides the gradient, or the loss is saturated: climb the margin or "
    "DLR loss; give a differentiable stand-in (`views`); attack by queries",
    "gradient agrees with the loss": "the claim's gradient is not the loss's: use one that is (BPDA with a fitted or "
    "retrieved stand-in), or averages",
    "best iterate is the last": "the path wavers: keep the best iterate, not the last (groundglass does), and use shorter "
    "steps",
    "attack has settled": "give the attack more steps, or longer ones",
    "unbounded attack fools all": "the claim's attack cannot find what must be there: its gradient is bad, or it has too "
    "few steps",
    "accuracy falls with the radius": "the attack does not use the room it has: scale its steps with the radius",
    "stronger than noise and one step": "the claim's attack is weaker than chance or FGSM: look at its gradient, its step "
    "size and its start",
    "gradients no weaker than queries": "attacks without a gradient get further than those with one: the gradients here are "
    "masked",
    "gradients no weaker than transfer": "other models' images get further: masked gradients",
    "adaptive attacks get no further": "report the figure under the attacker who knows the defence",
    "more effort gets no further": "report the figure under the stronger attack; raise steps, restarts and losses until it "
    "settles",
    "claim stands": "report the worst case",
    "stated figure is borne out": "state the worst case",
}

#: What would let a check be run that was not.
_TO_RUN = {
    "gradients no weaker than transfer": "give a surrogate model",
    "adaptive attacks get no further": "give a differentiable stand-in (`views`)",
    "more effort gets no further": "give a differentiable stand-in (`views`)",
}
