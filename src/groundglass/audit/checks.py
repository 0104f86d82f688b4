"""What the measurements of an audit say: the signs of a claim that is not true, each with its threshold and source.

A function for each check says what was measured; the tables at the end have the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from groundglass.audit.findings import Attempt, Check, Status
from groundglass.audit.ledger import Ledger
from groundglass.audit.probes import Answers, Climb
from groundglass.core.text import listed

_ATHALYE = "Athalye, Carlini, Wagner 2018, section 3.1"
_CARLINI = "Carlini et al. 2019, section 5"
_TRAMER = "Tramèr et al. 2020"
_OURS = "measured on networks with known answers (tests of the audit)"

# Chance and rounding move so many images.
_FEW = 0.01
# What is weaker by rights may break so much more: PGD is not the optimum.
SLACK = 0.02
# What an honest claim by PGD loses to stronger attacks: 1 to 5 points in the field's leaderboards.
_STRONGER = 0.05
# Cosine of a gradient with finite differences: trained networks have .95 and more; good rules behind a binarisation about half,
# unrelated ones -.4 to .2 (docs/log.md).
_AGREES = 0.3


@dataclass
class Findings:
    """What an audit measured beside its attacks.

    Attributes:
        skipped: what could not be tried, and why.
        unneeded: gradients for which no image was left.
        answers: see `probes.answers`.
        flat, probed: share of images around which the loss does not move, of so many.
        dead: by gradient, the share of images where it is zero or not there.
        agreement: by gradient, its cosine with finite differences.
        after_claim: images that the claim's attack leaves.
        claim_zeros: share of its gradients that were zero.
        unbounded, unbounded_of: images that it leaves without a bound, of so many.
        at_once, at_twice, twice_of: images that it leaves at the radius and at twice that, of so many.
        standing, broken: see `probes.climb`, on images that stand and on others.
        before_queries: images left by every gradient.
        stated: the figure that somebody gave.
    """

    skipped: dict[str, str] = field(default_factory=dict)
    unneeded: list[str] = field(default_factory=list)
    answers: Answers | None = None
    flat: float = 0.0
    probed: int = 0
    dead: dict[str, float] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    after_claim: int = 0
    claim_zeros: float = 0.0
    unbounded: int = 0
    unbounded_of: int = 0
    at_once: int = 0
    at_twice: int = 0
    twice_of: int = 0
    standing: Climb | None = None
    broken: Climb | None = None
    before_queries: int = 0
    stated: float | None = None


#: Whether a check passed (None: it could not be run), and what was measured, or why not.
Measured = tuple[bool | None, str]


def checks(found: Findings, ledger: Ledger) -> tuple[Check, ...]:
    """Every check, in the order of the list; what could not be run is "skipped", with the reason."""
    weaker, stronger = _limit(ledger, SLACK), _limit(ledger, _STRONGER)
    limits = {"weaker": f"{weaker:.1%}", "stronger": f"{stronger:.1%}"}
    limits |= {"points": f"{100 * stronger:.1f}", "twice": f"{200 * stronger:.1f}"}
    made = []
    for name, measure, threshold, source in _CHECKS:
        if measure is _stated and found.stated is None:
            continue
        passed, measured = measure(found, ledger)
        status: Status = "skipped" if passed is None else "passed" if passed else "failed"
        advice = {"skipped": _TO_RUN.get(name, ""), "passed": "", "failed": _ADVICE[name]}[status]
        threshold = threshold.format(**limits)
        made.append(
            Check(name=name, status=status, measured=measured, threshold=threshold, source=source, advice=advice)
        )
    return tuple(made)


def _few(share: float, of: int, limit: float) -> bool:
    """Whether a share of so many images is within the limit, or one image, which may be chance."""
    return share <= max(limit, 1 / max(1, of)) + 1e-9


def _limit(ledger: Ledger, share: float) -> float:
    """The larger of a share and two images."""
    return max(share, 2 / len(ledger.images))


def _answers(found: Findings) -> Answers:
    assert found.answers is not None
    return found.answers


def _outputs(found: Findings, ledger: Ledger) -> Measured:
    answers = _answers(found)
    mode = "; it was handed over in train mode and audited in eval mode" if answers.training else ""
    kind = "probabilities" if answers.probabilities else "logits"
    return not answers.probabilities, f"images in [0, 1], the model gives {kind}{mode}"


def _every_time(found: Findings, ledger: Ledger) -> Measured:
    share = _answers(found).again
    told = f"{share:.1%} of the images change class in five identical calls"
    return _few(share, _answers(found).images, _FEW), told


def _any_batch(found: Findings, ledger: Ledger) -> Measured:
    share = _answers(found).elsewhere
    told = f"{share:.1%} of the others change class alone, or among other images"
    return _few(share, _answers(found).images, _FEW), told


def _claims(found: Findings, ledger: Ledger) -> set[str]:
    """The gradients that the claim was made with."""
    return {a.mode for a in ledger.attempts if a.role == "claim"} or set(list(found.dead)[:1])


def _gradients(found: Findings, ledger: Ledger) -> Measured:
    claims = _claims(found, ledger)
    dead = max(min((found.dead[m] for m in found.dead if m in claims), default=1.0), found.claim_zeros)
    ended = f"; NaN or infinity ended {listed(ledger.not_finite)}" if ledger.not_finite else ""
    told = f"{dead:.1%} of the claim's gradients are zero, NaN or missing{ended}"
    return dead <= _FEW and not ledger.not_finite, told


def _agreement(found: Findings, ledger: Ledger) -> Measured:
    claims = _claims(found, ledger)
    best = max((found.agreement[m] for m in claims if m in found.agreement), default=0.0)
    each = ", ".join(f"{name} {value:.2f}" for name, value in found.agreement.items())
    return best >= _AGREES, f"cosine with finite differences: {each}"


def _moves(found: Findings, ledger: Ledger) -> Measured:
    told = f"around {found.flat:.1%} of the images the loss is the same at 64 random points"
    return _few(found.flat, found.probed, 0.05), told


def _best_is_last(found: Findings, ledger: Ledger) -> Measured:
    broken = found.broken
    if broken is None:
        return None, "the claim's attack fooled too few images to look at"
    return _few(broken.lost, broken.fooled, 0.1), f"{broken.lost:.1%} of {broken.fooled} are"


def _settled(found: Findings, ledger: Ledger) -> Measured:
    standing = found.standing
    if standing is not None:
        told = f"{standing.rising:.1%} of {standing.images} images still climb"
        return _few(standing.rising, standing.images, 0.1), told
    if found.after_claim:
        return None, "the claim's gradients cannot be followed"
    return True, "no image is left to climb"


def _unbounded(found: Findings, ledger: Ledger) -> Measured:
    left = found.unbounded / max(1, found.unbounded_of)
    told = f"{found.unbounded} of {found.unbounded_of} images stand when any image is allowed"
    return _few(left, found.unbounded_of, 0.05), told


def _radius(found: Findings, ledger: Ledger) -> Measured:
    told = f"of {found.twice_of} images {found.at_once} stand at the radius, {found.at_twice} at twice that"
    return found.at_twice <= found.at_once + max(2, 0.02 * found.twice_of), told


def _of(ledger: Ledger, *roles: str) -> tuple[list[Attempt], float]:
    """The attempts in these roles, and the share of all images that they broke."""
    attempts = [a for role in roles for a in ledger.attempts if a.role == role]
    return attempts, ledger.share(sum(a.broke for a in attempts))


def _controls(found: Findings, ledger: Ledger) -> Measured:
    _, broke = _of(ledger, "control")
    return broke <= _limit(ledger, SLACK), f"they break {broke:.1%} of all images beyond the claim's attack"


def _queries(found: Findings, ledger: Ledger) -> Measured:
    asked, _ = _of(ledger, "queries")
    # What they break of those that they were tried on, for all that stood before.
    left = 1.0
    for kind in {a.attack for a in asked}:
        tried = sum(a.tried for a in asked if a.attack == kind)
        left *= 1 - sum(a.broke for a in asked if a.attack == kind) / max(1, tried)
    beyond = ledger.share(round((1 - left) * found.before_queries))
    return beyond <= _limit(ledger, SLACK), f"{_told(asked)}: {beyond:.1%} of all images beyond every gradient"


def _transfer(found: Findings, ledger: Ledger) -> Measured:
    carried, beyond = _of(ledger, "transfer")
    if not carried:
        return None, found.skipped.get("transfer", "not run")
    return beyond <= _limit(ledger, SLACK), f"{_told(carried)}: {beyond:.1%} of all images beyond every gradient"


def _adaptive(found: Findings, ledger: Ledger) -> Measured:
    adaptive, beyond = _of(ledger, "adaptive")
    skipped = {name: why for name, why in found.skipped.items() if name not in ("transfer", "labels alone")}
    notes = [f"{name} not run, {why}" for name, why in skipped.items()]
    notes += [f"{name} not needed, no image was left" for name in found.unneeded]
    if not adaptive and not found.unneeded:
        return None, "; ".join(notes) or "the model's own gradient is all there is to adapt"
    told = "; ".join([f"{_told(adaptive)}: {beyond:.1%} beyond the claim", *notes])
    return beyond <= _limit(ledger, _STRONGER), told


def _effort(found: Findings, ledger: Ledger) -> Measured:
    attempts, beyond = _of(ledger, "stronger", "given")
    if found.before_queries and not any(a.tried for a in attempts):
        return None, "no gradient here can be climbed"
    return beyond <= _limit(ledger, _STRONGER), f"{_told(attempts)}: {beyond:.1%} beyond"


def _stands(found: Findings, ledger: Ledger) -> Measured:
    overall = ledger.share(found.after_claim - len(ledger.standing))
    told = f"all attacks together take {100 * overall:.1f} points off the claim"
    return overall <= 2 * _limit(ledger, _STRONGER), told


def _stated(found: Findings, ledger: Ledger) -> Measured:
    assert found.stated is not None
    worst = ledger.share(len(ledger.standing))
    told = f"{found.stated:.1%} is stated, {worst:.1%} is left"
    return found.stated <= worst + _limit(ledger, _STRONGER), told


def _images(found: Findings, ledger: Ledger) -> Measured:
    share = ledger.withdrawn / max(1, ledger.claims)
    told = (
        f"of {ledger.claims} successes {ledger.withdrawn} did not fool a fresh pass, and do not count; {ledger.outside} "
        f"images outside the ball or [0, 1]; {ledger.miscounted} passes counted wrongly"
    )
    return share <= _FEW and not ledger.outside and not ledger.miscounted, told


def _told(attempts: list[Attempt]) -> str:
    each = [f"{a.name}{_fit(a)} broke {a.broke} of {a.tried}" for a in attempts if a.tried]
    return listed(each) if each else "no image was left"


def _fit(attempt: Attempt) -> str:
    return f" (fitted on {attempt.fit['n_images']:,} natural images)" if attempt.fit else ""


#: The checks: name, what is measured, what a claim that can be believed shows, and where the check is from.
_CHECKS: tuple[tuple[str, Callable[[Findings, Ledger], Measured], str, str], ...] = (
    ("inputs and outputs", _outputs, "images in [0, 1], logits", _CARLINI),
    ("same answer every time", _every_time, "at most 1%", _ATHALYE),
    ("same answer in any batch", _any_batch, "at most 1%", _CARLINI),
    ("gradients are there", _gradients, "at most 1%", _ATHALYE),
    (
        "gradient agrees with the loss",
        _agreement,
        f"at least {_AGREES:g} for a gradient that the claim is made with",
        _OURS,
    ),
    ("loss moves around the images", _moves, "at most 5%", _CARLINI),
    (
        "best iterate is the last",
        _best_is_last,
        "at most 10% of the fooled images are right again at the last step",
        _CARLINI,
    ),
    (
        "attack has settled",
        _settled,
        "at most 10% of the images that stand have a loss that still gains a tenth in the last tenth of the steps",
        _CARLINI,
    ),
    ("unbounded attack fools all", _unbounded, "at most 5%", _ATHALYE),
    ("accuracy falls with the radius", _radius, "no more stand in a larger ball", _CARLINI),
    ("stronger than noise and one step", _controls, "at most {weaker}", _CARLINI),
    ("gradients no weaker than queries", _queries, "at most {weaker}", _ATHALYE),
    ("gradients no weaker than transfer", _transfer, "at most {weaker}", _ATHALYE),
    ("adaptive attacks get no further", _adaptive, "at most {stronger} of all images", _TRAMER),
    ("more effort gets no further", _effort, "at most {stronger} of all images", _CARLINI),
    ("claim stands", _stands, "at most {twice} points", _TRAMER),
    ("stated figure is borne out", _stated, "no more than {points} points above what is left", _TRAMER),
    ("adversarial images hold", _images, "at most 1% withdrawn, none outside, every pass counted", _CARLINI),
)

#: What to try where a check fails.
_ADVICE = {
    "inputs and outputs": "return logits: a loss on probabilities has the gradient of a second softmax",
    "same answer every time": "the model draws lots: judge it by the mean of many passes, and attack it with gradients "
    "averaged over them (EOT)",
    "same answer in any batch": "an answer depends on the other images in the batch (BatchNorm in train mode, a threshold "
    "over the batch): make it a function of the image",
    "gradients are there": "a step without a derivative hides the gradient, or the loss is saturated: climb the margin or "
    "DLR loss; give a differentiable stand-in (`views`); attack by queries",
    "gradient agrees with the loss": "the claim's gradient is not the loss's: use one that is (BPDA with a fitted or "
    "retrieved stand-in), or averages",
    "loss moves around the images": "the loss is flat to rounding: climb the margin of the logits, in double precision, or "
    "with longer steps",
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
    "adversarial images hold": "a success that a fresh pass does not see is chance, or rounding at a threshold: judge by "
    "fresh passes",
}

#: What would let a check be run that was not.
_TO_RUN = {
    "gradients no weaker than transfer": "give a surrogate model",
    "adaptive attacks get no further": "give a differentiable stand-in (`views`)",
    "more effort gets no further": "give a differentiable stand-in (`views`)",
}
