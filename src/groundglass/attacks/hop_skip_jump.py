"""HopSkipJump: along the boundary, by a direction that is estimated from labels alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from groundglass.attacks.balls import L2, Linf
from groundglass.attacks.boundary import BoundarySearch, between, guess, length, nobody, pick, put, slots_of, uniform
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.tensors import Flags, Images, PerImage, per_image
from groundglass.core.settings import Count, Positive

# What a slot asks about: noise; a point between noise and image; one between the iterate and the image; a probe; a step.
_START, _BLEND, _RETURN, _PROBE, _STEP = range(5)
# The first point is known to this share of the way.
_BLENDED = 1e-3
# The length of the first probes, pixel units. Later ones are as long as what the search before them can tell.
_FIRST_PROBE = 0.1
# Two points cannot come much nearer to each other in float32.
_NEAREST = 1e-7


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(BoundarySearch):
    """HopSkipJump (Chen, Jordan and Wainwright 2020, "HopSkipJumpAttack: a query-efficient decision-based attack", Algorithm 2),
    in L2 or L-inf, from labels alone.

    From noise that fools the model a binary search goes back to the boundary. There probes at random, fooled or not, give the
    direction in which the model is fooled. A step along it, halved until it fools, and the next search follow. Iteration t has
    `probes` sqrt(t) probes, and its first step is the distance over sqrt(t). A step of the scheduler asks one query.

    Without a ball the whole budget goes into a smaller distance, `norm` of the result. In one the work ends with the first
    query inside it that fools the model, whatever it was asked for.

    Differences from the original:
        - Iterations go on until the budget is spent, and may end anywhere; the original's number is set separately.
        - The nearest image that was asked about and fooled is kept; the original keeps its last iterate.
        - A targeted attack begins at noise, as an untargeted one does, unless it is given a `start` of the target's class; the
          original begins at an image of that class. Where noise does not fool the model, large squares may; else the budget
          goes into looking.
        - A box that differs by channel is searched in units of its widths.

    Attributes:
        norm: in which distances are measured where there is no ball, "L2" or "Linf"; with one leave it out.
        probes: of the first iteration.
        most_probes: of any.
        gamma: a search ends at gamma / d^1.5 of the way, in L-inf at gamma / d^2 of the distance, of d numbers in an image.
            Probes are gamma / d of the distance. ART's gamma is 0.01 d: where the answer changes in steps, short probes see
            nothing.
    """

    norm: Literal["L2", "Linf"] | None = None
    probes: Count = 100
    most_probes: Count = 10_000
    gamma: Positive = 1.0
    kinds = (L2, Linf)

    def begin(self, live: Live) -> State:
        number, whole, image = live.original.new_zeros(len(live)), torch.zeros_like(live.step), live.original
        return {
            "phase": torch.full_like(whole, _START),
            "x": image,  # the iterate; in a search, where it began
            "low": number,
            "high": number,
            "size": number,  # of a probe or a step
            "iteration": whole,
            "asked": whole,  # probes of this iteration
            "fooling": whole,  # how many of them fooled
            "all": torch.zeros_like(image),  # the sum of the probes
            "fooled": torch.zeros_like(image),  # of those that fooled
            "way": torch.zeros_like(image),  # that the step takes
        }

    def step(self, live: Live, state: State, ask: Ask) -> State:
        phase, x = state["phase"], state["x"]
        middle, size = (state["low"] + state["high"]) / 2, per_image(state["size"])
        asked = pick(
            phase,
            lambda: self._guess(live, phase),
            lambda: between(live, x, middle),
            lambda: self._back(live, x, middle),
            lambda: x + size * self._noise(live, phase),
            lambda: x + size * state["way"],
        ).clamp(0, 1)
        fooled = self.fooled(live, asked, ask)

        state = self._probed(state, phase == _PROBE, asked - x, fooled)
        searching = (phase == _BLEND) | (phase == _RETURN)
        low = torch.where(searching & ~fooled, middle, state["low"])
        high = torch.where(searching & fooled, middle, state["high"])
        shorter = torch.where((phase == _STEP) & ~fooled, state["size"] / 2, state["size"])
        state = {**state, "low": low, "high": high, "size": shorter}

        # Whoever is done with a phase begins the next.
        state = self._begin_blend(state, (phase == _START) & fooled, asked)
        blended = (phase == _BLEND) & (high - low <= _BLENDED)
        state = self._begin_return(live, state, blended, lambda: between(live, x, high))
        state = self._begin_return(live, state, (phase == _STEP) & fooled, lambda: asked)
        home = (phase == _RETURN) & (high - low <= self._threshold(live, x))
        state = self._begin_probes(live, state, home, x, high)
        wanted = (self.probes * state["iteration"].double().sqrt()).long().clamp_max(self.most_probes)
        return self._begin_step(live, state, (state["phase"] == _PROBE) & (state["asked"] >= wanted))

    # --- what is asked about ---

    def _guess(self, live: Live, phase: Tensor) -> Images:
        """Uniform noise, or what stands in its place."""
        slots = slots_of(phase == _START)
        if not slots:
            return live.original
        noise = put(live.original, live, slots, uniform(live, slots, "hop-skip-jump"))
        return guess(live, noise, slots, "hop-skip-jump")

    def _noise(self, live: Live, phase: Tensor) -> Images:
        """Of Euclidean length 1 for whoever probes: normal, or uniform in a box."""
        slots, shape = slots_of(phase == _PROBE), live.original.shape[1:]
        if not slots:
            return live.original
        if _boxed(live):
            drawn = 2 * uniform(live, slots, "hop-skip-jump") - 1
        else:
            drawn = live.normal(*shape, path="hop-skip-jump", slots=slots)
        drawn = drawn / per_image(torch.linalg.vector_norm(drawn.flatten(1), dim=1).clamp_min(1e-12))
        noise = put(live.original, live, slots, drawn)
        return noise * live.ball.step(torch.ones_like(noise), 1.0) if _boxed(live) else noise

    def _back(self, live: Live, x: Images, high: PerImage) -> Images:
        """`x`, nearer to the image: in L2 by a share of the way, in a box by cutting off what is more than that."""
        if not _boxed(live):
            return between(live, x, high)
        most = live.ball.step(torch.ones_like(x), high)
        return torch.minimum(torch.maximum(x, live.original - most), live.original + most)

    # --- what comes next ---

    def _probed(self, state: State, probing: Flags, moved: Images, fooled: Flags) -> State:
        """A probe's move and answer, added to those before it."""
        if nobody(probing):
            return state
        yes = probing & fooled
        return {
            **state,
            "asked": state["asked"] + probing,
            "fooling": state["fooling"] + yes,
            "all": torch.where(per_image(probing), state["all"] + moved, state["all"]),
            "fooled": torch.where(per_image(yes), state["fooled"] + moved, state["fooled"]),
        }

    def _begin_blend(self, state: State, who: Flags, x: Images) -> State:
        """These have something that fools."""
        return state if nobody(who) else _searching(state, who, x, torch.ones_like(state["high"]), _BLEND)

    def _begin_return(self, live: Live, state: State, who: Flags, make: Callable[[], Images]) -> State:
        """These go back to the boundary from what `make` gives."""
        if nobody(who):
            return state
        x = make()
        return _searching(state, who, x, length(live, x) if _boxed(live) else torch.ones_like(state["high"]), _RETURN)

    def _begin_probes(self, live: Live, state: State, who: Flags, x: Images, high: PerImage) -> State:
        """These begin an iteration where the search from `x` has ended."""
        if nobody(who):
            return state
        first = who & (state["iteration"] == 0)
        # By how far the search began from the image, as in the original's code.
        size = torch.where(first, _FIRST_PROBE, self.gamma / x[0].numel() * length(live, x))
        return {
            **state,
            "phase": torch.where(who, _PROBE, state["phase"]),
            "x": torch.where(per_image(who), self._back(live, x, high), state["x"]),
            "size": torch.where(who, size, state["size"]),
            "iteration": state["iteration"] + who,
            **{name: torch.where(who, 0, state[name]) for name in ("asked", "fooling")},
            **{name: torch.where(per_image(who), 0, state[name]) for name in ("all", "fooled")},
        }

    def _begin_step(self, live: Live, state: State, who: Flags) -> State:
        """These know the direction: how the probes that fooled differ from the mean of all."""
        if nobody(who):
            return state
        share = state["fooling"].double() / state["asked"].clamp_min(1)
        some, sign = (share > 0) & (share < 1), torch.where(share > 0, 1, -1)
        differ = state["fooled"] - per_image(share.float()) * state["all"]
        towards = torch.where(per_image(some), differ, per_image(sign) * state["all"])
        size = length(live, state["x"]) / state["iteration"].clamp_min(1).double().sqrt().float()
        return {
            **state,
            "phase": torch.where(who, _STEP, state["phase"]),
            "way": torch.where(per_image(who), live.ball.step(towards, 1.0), state["way"]),
            "size": torch.where(who, size, state["size"]),
        }

    def _threshold(self, live: Live, x: Images) -> PerImage:
        """To which a search knows the boundary."""
        numbers = x[0].numel()
        if not _boxed(live):
            return torch.full_like(x[:, 0, 0, 0], max(self.gamma / numbers**1.5, _NEAREST))
        return (length(live, x).clamp_max(1) * (self.gamma / numbers**2)).clamp_min(_NEAREST)


def _searching(state: State, who: Flags, x: Images, high: PerImage, phase: int) -> State:
    """These begin a binary search between the image and `x`."""
    return {
        **state,
        "phase": torch.where(who, phase, state["phase"]),
        "x": torch.where(per_image(who), x, state["x"]),
        "low": torch.where(who, 0, state["low"]),
        "high": torch.where(who, high, state["high"]),
    }


def _boxed(live: Live) -> bool:
    return live.ball.kind is Linf
