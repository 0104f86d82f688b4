"""What the measurements of an audit say: the signs of a claim that is not true, each with its threshold and source."""

from collections.abc import Callable
from dataclasses import dataclass, field

from groundglass.audit.findings import Attempt, Check
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


def checks(found: Findings, ledger: Ledger) -> tuple[Check, ...]:
    """Every check, in the order of the list; what could not be run is "skipped", with the reason."""
    return tuple(check for make in _CHECKS for check in make(found, ledger))


def _check(name: str, passed: bool, measured: str, threshold: str, source: str, advice: str) -> Check:
    status = "passed" if passed else "failed"
    return Check(
        name=name,
        status=status,  # type: ignore[arg-type]
        measured=measured,
        threshold=threshold,
        source=source,
        advice="" if passed else advice,
    )


def _skip(name: str, why: str, threshold: str, source: str, advice: str = "") -> Check:
    return Check(name=name, status="skipped", measured=why, threshold=threshold, source=source, advice=advice)


def _few(share: float, of: int, limit: float) -> bool:
    """Whether a share of so many images is within the limit, or one image, which may be chance."""
    return share <= max(limit, 1 / max(1, of)) + 1e-9


def _slack(ledger: Ledger, share: float) -> float:
    """The larger of a share and two images."""
    return max(share, 2 / len(ledger.images))


def _handed_over(found: Findings, ledger: Ledger) -> list[Check]:
    assert found.answers is not None
    mode = "; it was handed over in train mode and audited in eval mode" if found.answers.training else ""
    kind = "probabilities" if found.answers.probabilities else "logits"
    return [
        _check(
            "inputs and outputs",
            not found.answers.probabilities,
            f"images in [0, 1], the model gives {kind}{mode}",
            "images in [0, 1], logits",
            _CARLINI,
            "return logits: a loss on probabilities has the gradient of a second softmax",
        )
    ]


def _same_answers(found: Findings, ledger: Ledger) -> list[Check]:
    assert found.answers is not None
    again, elsewhere = found.answers.again, found.answers.elsewhere
    return [
        _check(
            "same answer every time",
            _few(again, found.answers.images, _FEW),
            f"{again:.1%} of the images change class in five identical calls",
            "at most 1%",
            _ATHALYE,
            "the model draws lots: judge it by the mean of many passes, and attack it with gradients averaged over them (EOT)",
        ),
        _check(
            "same answer in any batch",
            _few(elsewhere, found.answers.images, _FEW),
            f"{elsewhere:.1%} of the others change class alone, or among other images",
            "at most 1%",
            _CARLINI,
            "an answer depends on the other images in the batch (BatchNorm in train mode, a threshold over the batch): make "
            "it a function of the image",
        ),
    ]


def _gradients(found: Findings, ledger: Ledger) -> list[Check]:
    claims = {a.mode for a in ledger.attempts if a.role == "claim"} or set(list(found.dead)[:1])
    dead = max(min((found.dead[m] for m in found.dead if m in claims), default=1.0), found.claim_zeros)
    best = max((found.agreement[m] for m in claims if m in found.agreement), default=0.0)
    each = ", ".join(f"{name} {value:.2f}" for name, value in found.agreement.items())
    return [
        _check(
            "gradients are there",
            dead <= _FEW and not ledger.not_finite,
            f"{dead:.1%} of the claim's gradients are zero, NaN or missing"
            + (f"; NaN or infinity ended {listed(ledger.not_finite)}" if ledger.not_finite else ""),
            "at most 1%",
            _ATHALYE,
            "a step without a derivative hides the gradient, or the loss is saturated: climb the margin or DLR loss; give a "
            "differentiable stand-in (`views`); attack by queries",
        ),
        _check(
            "gradient agrees with the loss",
            best >= _AGREES,
            f"cosine with finite differences: {each}",
            f"at least {_AGREES:g} for a gradient that the claim is made with",
            _OURS,
            "the claim's gradient is not the loss's: use one that is (BPDA with a fitted or retrieved stand-in), or averages",
        ),
        _check(
            "loss moves around the images",
            _few(found.flat, found.probed, 0.05),
            f"around {found.flat:.1%} of the images the loss is the same at 64 random points",
            "at most 5%",
            _CARLINI,
            "the loss is flat to rounding: climb the margin of the logits, in double precision, or with longer steps",
        ),
    ]


def _settled(found: Findings, ledger: Ledger) -> list[Check]:
    best, last = "best iterate is the last", "attack has settled"
    lost = "at most 10% of the fooled images are right again at the last step"
    rising = "at most 10% of the images that stand have a loss that still gains a tenth in the last tenth of the steps"
    made = [
        _check(
            best,
            _few(found.broken.lost, found.broken.fooled, 0.1),
            f"{found.broken.lost:.1%} of {found.broken.fooled} are",
            lost,
            _CARLINI,
            "the path wavers: keep the best iterate, not the last (groundglass does), and use shorter steps",
        )
        if found.broken
        else _skip(best, "the claim's attack fooled too few images to look at", lost, _CARLINI)
    ]
    if found.standing:
        made.append(
            _check(
                last,
                _few(found.standing.rising, found.standing.images, 0.1),
                f"{found.standing.rising:.1%} of {found.standing.images} images still climb",
                rising,
                _CARLINI,
                "give the attack more steps, or longer ones",
            )
        )
    elif found.after_claim:
        made.append(_skip(last, "the claim's gradients cannot be followed", rising, _CARLINI))
    else:
        made.append(_check(last, True, "no image is left to climb", rising, _CARLINI, ""))
    return made


def _radii(found: Findings, ledger: Ledger) -> list[Check]:
    left = found.unbounded / max(1, found.unbounded_of)
    return [
        _check(
            "unbounded attack fools all",
            _few(left, found.unbounded_of, 0.05),
            f"{found.unbounded} of {found.unbounded_of} images stand when any image is allowed",
            "at most 5%",
            _ATHALYE,
            "the claim's attack cannot find what must be there: its gradient is bad, or it has too few steps",
        ),
        _check(
            "accuracy falls with the radius",
            found.at_twice <= found.at_once + max(2, 0.02 * found.twice_of),
            f"of {found.twice_of} images {found.at_once} stand at the radius, {found.at_twice} at twice that",
            "no more stand in a larger ball",
            _CARLINI,
            "the attack does not use the room it has: scale its steps with the radius",
        ),
    ]


def _weaker(found: Findings, ledger: Ledger) -> list[Check]:
    """What should not beat a claim: chance, a single step, queries, other models' images."""
    made = []
    limit = _slack(ledger, SLACK)
    controls = [a for a in ledger.attempts if a.role == "control"]
    broke = ledger.share(sum(a.broke for a in controls))
    made.append(
        _check(
            "stronger than noise and one step",
            broke <= limit,
            f"they break {broke:.1%} of all images beyond the claim's attack",
            f"at most {limit:.1%}",
            _CARLINI,
            "the claim's attack is weaker than chance or FGSM: look at its gradient, its step size and its start",
        )
    )
    asked = [a for a in ledger.attempts if a.role == "queries"]
    # What they break of those that they were tried on, for all that stood before.
    left = 1.0
    for kind in {a.attack for a in asked}:
        tried = sum(a.tried for a in asked if a.attack == kind)
        left *= 1 - sum(a.broke for a in asked if a.attack == kind) / max(1, tried)
    beyond = ledger.share(round((1 - left) * found.before_queries))
    made.append(
        _check(
            "gradients no weaker than queries",
            beyond <= limit,
            f"{_told(asked)}: {beyond:.1%} of all images beyond every gradient",
            f"at most {limit:.1%}",
            _ATHALYE,
            "attacks without a gradient get further than those with one: the gradients here are masked",
        )
    )
    carried = [a for a in ledger.attempts if a.role == "transfer"]
    name, threshold = "gradients no weaker than transfer", f"at most {limit:.1%}"
    if carried:
        beyond = ledger.share(sum(a.broke for a in carried))
        measured = f"{_told(carried)}: {beyond:.1%} of all images beyond every gradient"
        made.append(
            _check(
                name,
                beyond <= limit,
                measured,
                threshold,
                _ATHALYE,
                "other models' images get further: masked gradients",
            )
        )
    else:
        made.append(
            _skip(name, found.skipped.get("transfer", "not run"), threshold, _ATHALYE, "give a surrogate model")
        )
    return made


def _stands(found: Findings, ledger: Ledger) -> list[Check]:
    """Whether the figure stands against attackers who know the defence, and against more effort."""
    limit = _slack(ledger, _STRONGER)
    adaptive = [a for a in ledger.attempts if a.role == "adaptive"]
    stronger = [a for a in ledger.attempts if a.role == "stronger"]
    given = [a for a in ledger.attempts if a.role == "given"]
    notes = [
        f"{name} not run, {why}" for name, why in found.skipped.items() if name not in ("transfer", "labels alone")
    ]
    notes += [f"{name} not needed, no image was left" for name in found.unneeded]
    made = []
    name, threshold = "adaptive attacks get no further", f"at most {limit:.1%} of all images"
    if adaptive or found.unneeded:
        beyond = ledger.share(sum(a.broke for a in adaptive))
        told = "; ".join([f"{_told(adaptive)}: {beyond:.1%} beyond the claim", *notes])
        advice = "report the figure under the attacker who knows the defence"
        made.append(_check(name, beyond <= limit, told, threshold, _TRAMER, advice))
    else:
        why = "; ".join(notes) or "the model's own gradient is all there is to adapt"
        made.append(_skip(name, why, threshold, _TRAMER, "give a differentiable stand-in (`views`)"))
    name, threshold = "more effort gets no further", f"at most {limit:.1%} of all images"
    if any(a.tried for a in (*stronger, *given)) or not found.before_queries:
        beyond = ledger.share(sum(a.broke for a in (*stronger, *given)))
        measured = f"{_told([*stronger, *given])}: {beyond:.1%} beyond"
        advice = "report the figure under the stronger attack; raise steps, restarts and losses until it settles"
        made.append(_check(name, beyond <= limit, measured, threshold, _CARLINI, advice))
    else:
        made.append(
            _skip(
                name, "no gradient here can be climbed", threshold, _CARLINI, "give a differentiable stand-in (`views`)"
            )
        )
    overall = ledger.share(found.after_claim - len(ledger.standing))
    made.append(
        _check(
            "claim stands",
            overall <= 2 * limit,
            f"all attacks together take {100 * overall:.1f} points off the claim",
            f"at most {200 * limit:.1f} points",
            _TRAMER,
            "report the worst case",
        )
    )
    if found.stated is not None:
        worst = ledger.share(len(ledger.standing))
        made.append(
            _check(
                "stated figure is borne out",
                found.stated <= worst + limit,
                f"{found.stated:.1%} is stated, {worst:.1%} is left",
                f"no more than {100 * limit:.1f} points above what is left",
                _TRAMER,
                "state the worst case",
            )
        )
    return made


def _images(found: Findings, ledger: Ledger) -> list[Check]:
    share = ledger.withdrawn / max(1, ledger.claims)
    bad = ledger.outside or ledger.miscounted
    return [
        _check(
            "adversarial images hold",
            share <= _FEW and not bad,
            f"of {ledger.claims} successes {ledger.withdrawn} did not fool a fresh pass, and do not count; {ledger.outside} "
            f"images outside the ball or [0, 1]; {ledger.miscounted} passes counted wrongly",
            "at most 1% withdrawn, none outside, every pass counted",
            _CARLINI,
            "a success that a fresh pass does not see is chance, or rounding at a threshold: judge by fresh passes",
        )
    ]


def _told(attempts: list[Attempt]) -> str:
    each = [f"{a.name}{_fit(a)} broke {a.broke} of {a.tried}" for a in attempts if a.tried]
    return listed(each) if each else "no image was left"


def _fit(attempt: Attempt) -> str:
    return f" (fitted on {attempt.fit['n_images']:,} natural images)" if attempt.fit else ""


_CHECKS: tuple[Callable[[Findings, Ledger], list[Check]], ...] = (
    _handed_over,
    _same_answers,
    _gradients,
    _settled,
    _radii,
    _weaker,
    _stands,
    _images,
)
