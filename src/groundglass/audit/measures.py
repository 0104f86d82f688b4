"""What is measured of a claim, when the attacks have been made: what its own attacks leave, and whether they work at all."""

import math
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from groundglass.attacks import FGSM, GradientAccess, NonFiniteError
from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.audit.battery import NOISE, Battery
from groundglass.audit.claim_checks import claim_checks
from groundglass.audit.claims import Asked
from groundglass.audit.findings import Claim
from groundglass.audit.probes import Climb, climb
from groundglass.audit.signs import SLACK, Evidence, few
from groundglass.audit.subject import Mode
from groundglass.core.statistics import Proportion


def judge(asked: tuple[Asked, ...], battery: Battery) -> tuple[Claim, ...]:
    """Each claim with its checks. All of them are measured first: what one of them breaks is broken for all."""
    found = [_measured(one, battery) for one in asked]
    return tuple(_judged(one, each, battery) for one, each in zip(asked, found, strict=True))


def _judged(asked: Asked, found: Evidence, battery: Battery) -> Claim:
    figure, by = None, asked.by(battery.config.steps)
    if found.invalid:
        return Claim(name=asked.name, by=f"{by}, which is invalid: {found.invalid}", figure=None)
    if found.stated is None:
        figure = Proportion(int(found.left.sum()), len(found.left))
    checks = claim_checks(found, battery.findings, battery.ledger)
    return Claim(name=asked.name, by=by, figure=figure, stated=found.stated, checks=checks)


def _measured(asked: Asked, battery: Battery) -> Evidence:
    ledger = battery.ledger
    right = ledger.broken_by != -2
    if asked.stated is not None:
        return Evidence(asked.stated, (), right)
    if asked.attack is not None:
        at = len(ledger.attempts)
        name = f"claim {asked.name}"
        made = ledger.given(name, asked.attack, battery.own, battery.config.queries, "claim", ledger.right)
        return Evidence(None, (), ledger.left([at]), own=(at,), invalid=made.invalid)
    modes = [battery.modes[name] for name in asked.base]
    own = [i for i, a in enumerate(ledger.attempts) if a.role == "base" and a.mode in asked.base]
    controls = [i for i, a in enumerate(ledger.attempts) if a.role == "control" and a.mode in asked.base]
    controls += [i for i, a in enumerate(ledger.attempts) if a.name == NOISE]
    others = [replace(battery.modes.get(name) or make(), name=name) for name, make in asked.modes]
    for mode in [*others, asked.view] if asked.view else others:
        modes.append(mode)
        if mode.asks:
            battery.meet(mode)
        if not mode.asks or battery.alive(mode):
            _climbed(mode, own, controls, battery)
    left = ledger.left(own)
    found = Evidence(None, tuple(mode.name for mode in modes if mode.asks), left, tuple(own), tuple(controls))
    found.zeros = max((ledger.attempts[i].zero_gradient_share for i in own), default=0.0)
    _elsewhere(found, modes, battery)
    _settling(found, modes, battery)
    return found


def _climbed(mode: Mode, own: list[int], controls: list[int], battery: Battery) -> None:
    """PGD through a gradient that is none of the base's, and one step of it. Of one that is among the attacks, on what these did
    not try it on: so a claim breaks nothing but what it brings does."""
    ledger = battery.ledger
    tried = [i for i, a in enumerate(ledger.attempts) if (a.mode, a.role) == (mode.name, "adaptive")]
    fresh = ledger.left([])
    for place in tried:
        fresh = fresh & ~ledger.asked[place]
    places = [*tried, len(ledger.attempts)]
    own += places
    rows = fresh.nonzero().squeeze(1)
    ledger.climb(f"claim PGD, {mode.name}", mode.follow(battery.attack), mode, "claim", rows)
    controls.append(len(ledger.attempts))
    left = ledger.left(places) & (fresh if tried else True)
    ledger.climb(f"claim FGSM, {mode.name}", FGSM(), mode, "claim", left.nonzero().squeeze(1))


def _alive(modes: list[Mode], battery: Battery) -> list[Mode]:
    return [mode for mode in modes if mode.asks and battery.alive(mode)]


def _elsewhere(found: Evidence, modes: list[Mode], battery: Battery) -> None:
    """A few images without a bound, and in a ball of twice the radius."""
    rows = battery.ledger.right[: battery.config.probes]
    found.unbounded_of = found.twice_of = len(rows)
    found.unbounded = int(_left_in(math.inf, rows, modes, battery).sum())
    found.at_twice = int(_left_in(2 * battery.ball.radius, rows, modes, battery).sum())
    found.at_once = int(found.left[rows].sum())
    others = {mode.name: mode for mode in (*battery.who.base, *modes)}
    found.works = tuple(
        name
        for name, mode in others.items()
        if mode.asks and few(float(_left_in(math.inf, rows, [mode], battery).double().mean()), len(rows), SLACK)
    )


def _ball(battery: Battery, radius: float) -> Ball:
    """A ball of this radius, or as large as there is: that one leaves every image free."""
    if isinstance(battery.ball, L2):
        return L2(min(radius, battery.ledger.images[0].numel() ** 0.5))
    return Linf(min(radius, 1.0))


def _left_in(radius: float, rows: Tensor, modes: list[Mode], battery: Battery) -> Tensor:
    """Which of these rows PGD through all of these gradients leaves in another ball. Kept by gradient, as claims share them."""
    ledger, left = battery.ledger, torch.ones(len(rows), dtype=torch.bool, device="cpu")
    for mode in _alive(modes, battery):
        if (mode.name, radius) not in battery.elsewhere:
            images, labels = ledger.images[rows], ledger.labels[rows]
            access, ball, fooled = mode.access(mode.model), _ball(battery, radius), torch.zeros_like(left)
            with suppress(NonFiniteError):
                goal = ledger.criterion.at(rows)
                made = battery.attack(
                    access, images, labels, ball, seed=battery.seed, indices=rows.tolist(), criterion=goal
                )
                at = made.success.cpu().nonzero().squeeze(1)
                fooled[at] = ledger.wrong(made.adversarial[at], rows[at]).cpu() if len(at) else fooled[at]
            battery.elsewhere[mode.name, radius] = ~fooled
        left = left & battery.elsewhere[mode.name, radius]
    return left


def _settling(found: Evidence, modes: list[Mode], battery: Battery) -> None:
    """Every step of the claim's attack on a few images: does it settle, and where are its best iterates?"""
    alive = _alive(modes, battery)
    if not alive:
        return
    mode = max(alive, key=lambda m: battery.findings.agreement[m.name])
    fooled = (battery.ledger.broken_by != -2) & ~found.left
    found.standing = _climb(mode, found.left.nonzero().squeeze(1)[: battery.config.probes // 2], battery)
    found.broken = _climb(mode, fooled.nonzero().squeeze(1)[: battery.config.probes // 6], battery)


def _climb(mode: Mode, rows: Tensor, battery: Battery) -> Climb | None:
    """Every step of the claim's attack on some rows; None if there are none, or a gradient on the way is NaN."""
    if not len(rows):
        return None
    images, labels = battery.ledger.images[rows], battery.ledger.labels[rows]
    try:
        access, goal = GradientAccess(mode.model), battery.ledger.criterion.at(rows)
        return climb(access, images, labels, battery.ball, steps=battery.config.steps, criterion=goal)
    except NonFiniteError:
        return None
