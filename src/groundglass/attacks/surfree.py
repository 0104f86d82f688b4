"""SurFree: along the boundary without an estimate of its direction, by circles in random planes."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from groundglass.attacks.balls import L2
from groundglass.attacks.boundary import BoundarySearch, between, guess, length, nobody, pick, put, slots_of
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.tensors import Flags, Images, PerImage, per_image
from groundglass.core.reading import free_to_read
from groundglass.core.settings import Count, In, Positive

# What a slot asks about: noise; a point four fifths of the way to it; one on that way; a first angle; an angle between two; its
# opposite.
_START, _NEARER, _BACK, _TRY, _ANGLE, _OPPOSITE = range(6)
_FIRST_SHARE = 0.8
# Of the noise that it begins with, pixel units.
_NOISE = 0.5
# Degrees, where the circle is back at the image.
_LARGEST = 90.0


@dataclass(frozen=True, kw_only=True)
class SurFree(BoundarySearch):
    """SurFree (Maho, Furon and Le Merrer 2021, "SurFree: a fast surrogate-free black-box attack"), in L2, from labels
    alone.

    From an iterate x at the boundary a circle leads to the image, through every point where the boundary could be nearer. Its
    plane holds x and a random direction, of low frequencies and orthogonal to those before it. Angles up to `angle` are tried on
    either side; the first that fools is made larger by a binary search, and its point is the next iterate. A direction that does
    not help makes the next angles smaller, one that does larger. A step asks one query.

    Without a ball the whole budget goes into a smaller distance, `norm` of the result. In one the work ends with the first
    query inside it that fools the model.

    Differences from the original:
        - Iterations go on until the budget is spent, and the queries that find the first point count.
        - The nearest image that was asked about and fooled is kept, and no search on the line to the image comes at the end.
        - Images are not rounded to 256 levels.
        - Where noise does not fool the model, large squares may. A targeted attack begins there too, or at `start`.

    Attributes:
        angle: the first largest angle, degrees (the paper's theta_max).
        tries: angles on either side (T).
        change: of the largest angle: times this after a direction without success, over it after one (rho).
        memory: directions to which a new one is orthogonal (L); an image of float32 each.
        frequencies: the share of the low frequencies of the image's cosine transform in a direction.
        precision: a search ends where its angles' cosines differ by less.
        refinements: the most steps of a search.
    """

    angle: Annotated[float, In("(0, 90]", "degrees")] = 30.0
    tries: Count = 3
    change: Annotated[float, In("(0, 1]", "a factor")] = 0.98
    memory: Count = 100
    frequencies: Annotated[float, In("(0, 1]", "a share")] = 0.5
    precision: Positive = 0.01
    refinements: Count = 10
    norm = "L2"
    kinds = (L2,)
    usual_batch: ClassVar[int] = 64  # of slots with a memory

    def begin(self, live: Live) -> State:
        number, whole, image = live.original.new_zeros(len(live)), torch.zeros_like(live.step), live.original
        return {
            "phase": torch.full_like(whole, _START),
            "x": image,  # the iterate; in the first search, where it began
            "low": number,  # shares of the way, then angles in degrees; this one fools
            "high": number,
            "opposite": torch.zeros_like(whole, dtype=torch.bool),  # the angle on the other side may fool too
            "here": torch.zeros_like(whole, dtype=torch.bool),  # the last angle fooled
            "asked": whole,  # steps of this search, or angles of this direction
            "angle": torch.full_like(number, self.angle),
            "way": torch.zeros_like(image),  # the direction
            "known": image.new_zeros(len(live), self.memory + 1, *image.shape[1:]),
            "directions": whole,
            "spectrum": _transformed(image, back=False).tanh(),
        }

    def step(self, live: Live, state: State, ask: Ask) -> State:
        phase, x = state["phase"], state["x"]
        middle = (state["low"] + state["high"]) / 2
        turned = pick(phase - _TRY, lambda: self._first_angles(state), lambda: middle, lambda: -middle)
        asked = pick(
            phase,
            lambda: self._guess(live, phase),
            lambda: between(live, x, torch.full_like(middle, _FIRST_SHARE)),
            lambda: between(live, x, middle),
            lambda: _turned(live, x, state["way"], turned),
        ).clamp(0, 1)
        fooled = self.fooled(live, asked, ask)
        # Of the phase that each was in; whoever is done with it goes on to the next.
        home, state = self._approached(live, state, asked, middle, fooled)
        missed, state = self._tried(state, phase, turned, fooled)
        done, state = self._narrowed(live, state, phase, middle, fooled)
        return self._with_direction(live, state, home, home | missed | done)

    def _guess(self, live: Live, phase: Tensor) -> Images:
        """The image with normal noise, or what stands in its place."""
        slots, original = slots_of(phase == _START), live.original
        normal = live.normal(*original.shape[1:], path="surfree", slots=slots)
        noise = put(original, live, slots, original[live.at(slots)] + _NOISE * normal)
        return guess(live, noise, slots, "surfree")

    def _first_angles(self, state: State) -> PerImage:
        """The next of the angles on either side, the largest first."""
        share = 1 - (state["asked"] // 2).to(state["angle"]) / self.tries
        return torch.where(state["asked"] % 2 == 0, share, -share) * state["angle"]

    def _approached(
        self, live: Live, state: State, asked: Images, middle: PerImage, fooled: Flags
    ) -> tuple[Flags, State]:
        """The first point, and the search on the line from it to the image. Who has come to the boundary."""
        phase, x, low, high = state["phase"], state["x"], state["low"], state["high"]
        found, nearer, back = (phase == _START) & fooled, phase == _NEARER, phase == _BACK
        if nobody(phase <= _BACK):
            return back, state
        share = torch.full_like(low, _FIRST_SHARE)
        low = torch.where(nearer, torch.where(fooled, 0, share), torch.where(back & ~fooled, middle, low))
        high = torch.where(nearer, torch.where(fooled, share, 1), torch.where(back & fooled, middle, high))
        steps = torch.where(nearer, 0, state["asked"] + back)
        home = back & ((steps >= self.refinements) | (high - low <= self.precision / x[0].numel() ** 1.5))
        x = torch.where(per_image(found), asked, torch.where(per_image(home), between(live, x, high), x))
        phase = phase + (found | nearer)
        return home, {**state, "phase": phase, "x": x, "low": low, "high": high, "asked": steps}

    def _tried(self, state: State, phase: Tensor, turned: PerImage, fooled: Flags) -> tuple[Flags, State]:
        """A first angle that fools opens a search. Whose direction has none."""
        trying = phase == _TRY
        if nobody(trying):
            return trying, state
        opens, steps = trying & fooled, state["asked"] + trying
        missed = trying & ~fooled & (steps == 2 * self.tries)
        angle = torch.where(missed, state["angle"] * self.change, state["angle"])
        angle = torch.where(opens, (angle / self.change).clamp_max(_LARGEST), angle)
        return missed, {
            **state,
            "phase": torch.where(opens, _ANGLE, state["phase"]),
            "angle": angle,
            "low": torch.where(opens, turned, state["low"]),
            "high": torch.where(opens, turned + turned.sign() * angle / self.tries, state["high"]),
            "opposite": torch.where(opens, turned > 0, state["opposite"]),
            "asked": torch.where(opens, 0, steps),
        }

    def _narrowed(
        self, live: Live, state: State, phase: Tensor, middle: PerImage, fooled: Flags
    ) -> tuple[Flags, State]:
        """The search for the largest angle that fools; at first on both sides. Who is done with it."""
        low, high, opposite = state["low"], state["high"], state["opposite"]
        first, second = phase == _ANGLE, phase == _OPPOSITE
        if nobody((state["phase"] == _ANGLE) | second):
            return second, state
        waits = first & opposite  # for what the other side says
        judged = (first & ~opposite) | second
        here = torch.where(second, state["here"], fooled)  # the angle itself fools
        there = second & ~here & fooled  # its opposite alone does
        low = torch.where(judged & here, middle, torch.where(there, -middle, low))
        high = torch.where(judged & ~here, torch.where(there, -high, middle), high)
        steps = state["asked"] + judged
        close = (_cosine(high) - _cosine(low)).abs() <= self.precision
        searching = (state["phase"] == _ANGLE) | second
        done = searching & ~waits & (close | (steps >= self.refinements))
        x = state["x"]
        found = _turned(live, x, state["way"], low).clamp(0, 1)
        nearer = done & (length(live, found) < length(live, x))
        return done, {
            **state,
            "phase": torch.where(waits, _OPPOSITE, torch.where(second, _ANGLE, state["phase"])),
            "x": torch.where(per_image(nearer), found, x),
            "low": low,
            "high": high,
            "here": torch.where(waits, fooled, state["here"]),
            "opposite": torch.where(second, here & fooled, opposite),
            "asked": steps,
        }

    def _with_direction(self, live: Live, state: State, home: Flags, who: Flags) -> State:
        """These get a new direction; those that have just come to the boundary know that from the image first."""
        state = {
            **state,
            "phase": torch.where(who, _TRY, state["phase"]),
            "asked": torch.where(who, 0, state["asked"]),
        }
        slots = slots_of(who)
        if not slots:
            return state
        at, original = live.at(slots), live.original
        known, number = state["known"][at], state["directions"][at]
        start = _unit((state["x"] - original)[at])
        known[:, 0] = torch.where(per_image(home[at]), start, known[:, 0])
        # -1, 0 or 1 times each frequency of the image.
        signs = live.integers(3, *original.shape[1:], path=("surfree", "direction"), slots=slots) - 1
        way = _transformed(
            state["spectrum"][at] * signs * _low(original.shape[2:], self.frequencies).to(original), back=True
        )
        # One by one, so that a slot's sum has one order in any batch.
        filled = 1 + (min(int(number.max()), self.memory) if free_to_read(number) else self.memory)
        for other in known[:, :filled].unbind(1):
            way = way - per_image((way * other).flatten(1).sum(1)) * other
        way = _unit(way)
        # Not one_hot, which looks at its numbers: a card would be waited for.
        places = torch.arange(self.memory + 1, dtype=number.dtype, device=number.device)
        place = places == (1 + number % self.memory)[:, None]
        known = torch.where(place[:, :, None, None, None], way[:, None], known)
        chosen = who[at]
        return {
            **state,
            "way": put(state["way"], live, slots, torch.where(per_image(chosen), way, state["way"][at])),
            "known": put(
                state["known"], live, slots, torch.where(chosen[:, None, None, None, None], known, state["known"][at])
            ),
            "directions": state["directions"] + who,
        }


def _turned(live: Live, x: Images, way: Images, degrees: PerImage) -> Images:
    """The point of the circle at this angle from `x`; at 90 degrees the image itself."""
    angle = degrees.double() * (math.pi / 180)
    cosine, sine = (per_image(one.float()) for one in (angle.cos(), angle.sin()))
    delta = x - live.original
    far = per_image(length(live, x))
    return live.original + (cosine * delta + sine * far * way) * cosine


def _cosine(degrees: PerImage) -> Tensor:
    return (degrees.double() * (math.pi / 180)).cos()


def _unit(images: Images) -> Images:
    return images / per_image(torch.linalg.vector_norm(images.flatten(1), dim=1).clamp_min(1e-12))


def _transformed(images: Images, *, back: bool) -> Images:
    """The cosine transform of rows and columns (DCT-II, not normalised, as the original's), or the way back from it."""
    # In float64: what float32 rounds may depend on the batch.
    rows, columns = ((_from_cosines if back else _cosines)(side).to(images.device) for side in images.shape[2:])
    return (rows @ images.double() @ columns.T).to(images.dtype)


@lru_cache(maxsize=8)
def _cosines(side: int) -> Tensor:
    """2 cos(pi (2n + 1) k / 2N) for frequency k and place n, float64. Do not change it."""
    places = torch.arange(side, dtype=torch.float64, device="cpu")
    return 2 * torch.cos(math.pi / (2 * side) * (2 * places + 1) * places[:, None])


@lru_cache(maxsize=8)
def _from_cosines(side: int) -> Tensor:
    """The inverse of `_cosines`, made once: on a card each would be waited for. Do not change it."""
    return torch.linalg.inv(_cosines(side))


@lru_cache(maxsize=8)
def _low(shape: torch.Size, share: float) -> Tensor:
    """Ones at the low frequencies, in the order in which JPEG counts them. Do not change it."""
    height, width = shape
    cells = [(row, column) for row in range(height) for column in range(width)]
    cells.sort(key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))
    mask = torch.zeros(height, width, dtype=torch.float32, device="cpu")
    for at in cells[: max(1, int(share * len(cells)))]:
        mask[at] = 1
    return mask
