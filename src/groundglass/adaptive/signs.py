"""Signs of what stands behind an access: each turns images into events that are rare of one thing, and frequent of another.

An event costs some queries about an image, or a pair of them. Nothing is known of the model but its answers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from groundglass.attacks import LabelAccess, ScoreAccess
from groundglass.core import generator, permutation, uniform
from groundglass.core.sequential import Chance
from groundglass.core.settings import Count, In, Positive, Settings

#: Images that events are of: [events, images an event takes, channels, height, width].
Groups = Float[Tensor, "k takes c h w"]
#: 1 where the event happened, 0 where it did not, -1 where nothing was learned.
Events = Int8[Tensor, "k"]
Digits = Annotated[int, In("[0, 6]", "decimals of a score")]
Halvings = Annotated[int, In("[2, 20]", "beyond 20 neighbouring float32 pixels are reached")]
# Of the last digit: differences of more are not made by rounding.
_UNITS = 3


@dataclass(frozen=True, kw_only=True)
class Sign(Settings, ABC):
    """Attributes:
    rare, often: the event happens at most so often of the one thing, and at least so often of the other.
    access: what it asks.
    takes: images of an event.
    question: what it decides: whether a layer like this is there, whether what lies above the bits is linear, whether
        there is noise.
    """

    rare: Chance
    often: Chance

    access: ClassVar[Literal["scores", "labels"]] = "scores"
    takes: ClassVar[int] = 1
    question: ClassVar[Literal["layer", "linear", "noise"]] = "layer"

    @abstractmethod
    def events(self, access: ScoreAccess | LabelAccess, groups: Groups, numbers: Sequence[int], seed: int) -> Events:
        """An event a group.

        Args:
            numbers: of the groups: owners of their queries, and streams of what is drawn.
        """


def _signs(like: Tensor, numbers: Sequence[int], seed: int, purpose: str) -> Tensor:
    """Random signs of images' form, from a stream an image."""
    drawn = [uniform(*like.shape[1:], generator=generator(seed, "sign", purpose, number)) for number in numbers]
    return torch.where(torch.stack(drawn) < 0.5, -1.0, 1.0).to(like.device, like.dtype)


def _moved(images: Tensor, by: Tensor) -> Tensor:
    return (images + by).clamp(0, 1)


class _Scores(Sign):
    """What asks for scores that are rounded to some digits."""

    digits: Digits

    def _apart(self, first: Tensor, second: Tensor) -> Tensor:
        """The largest difference of scores, an image, in units of the last digit."""
        return (first - second).abs().amax(1) * 10.0**self.digits

    def _coarse(self, scores: Tensor) -> Tensor:
        """Whose scores are numbers of 16 bits, as far as their digits show, and so have larger steps than the last digit."""
        found = []
        for kind in (torch.bfloat16, torch.float16):
            step = self._apart(scores, torch.zeros_like(scores)) * torch.finfo(kind).eps
            # Half a unit, and what float32 rounds.
            found.append((self._apart(scores, scores.to(kind).to(scores)) < 0.7) & (step > _UNITS))
        return torch.stack(found).any(0)


def _logits(access: ScoreAccess | LabelAccess, images: Tensor, numbers: Sequence[int]) -> Tensor:
    if not isinstance(access, ScoreAccess):
        raise TypeError(f"this sign asks for scores: give a ScoreAccess, not {type(access).__name__}")
    return access.logits(images, owners=numbers)


def _labels(access: ScoreAccess | LabelAccess, images: Tensor, numbers: Sequence[int]) -> Tensor:
    if not isinstance(access, LabelAccess):
        raise TypeError(f"this sign asks for labels: give a LabelAccess, not {type(access).__name__}")
    return access.labels(images, owners=numbers)


@dataclass(frozen=True, kw_only=True)
class Flat(_Scores):
    """Scores stay exactly as they were when an image moves by next to nothing, and jump when it moves further the same way.

    The scores of an ordinary network change with every image; those of a layer of bits do not, until a bit flips. A few values
    of pixels move by one 8-bit level towards the middle, so a service that rounds images to 8 bits sees the step. If nothing
    changes they move by `levels`. The event: none first, and then more than `times` as much as rounding can hide of a smooth
    network, a unit of the last digit a level. If less changes then, nothing is learned: of an ordinary network such
    answers are rounded away, as a sure class's probabilities are. Two queries an event, three where the scores stayed.

    Nothing is learned either of scores that are numbers of 16 bits. It takes for such a layer a network that rounds inside, as
    one of whole numbers (int8) does: that is a layer of coarse numbers.

    Attributes:
        values: of pixels that move, drawn for each image.
        levels: of 255, of the larger step.
        digits: decimals of the scores as they are shown. Fewer than that are safe, more are not.
    """

    rare: Chance = 0.05
    often: Chance = 0.5
    values: Count = 4
    levels: Annotated[int, In("[2, 127]", "levels of 255 that keep every pixel in [0, 1]")] = 32
    times: Positive = 8.0
    digits: Digits = 5

    def events(self, access: ScoreAccess | LabelAccess, groups: Groups, numbers: Sequence[int], seed: int) -> Events:
        images = groups[:, 0]
        there = _logits(access, images, numbers)
        small = self._apart(there, _logits(access, self._moved(images, 1, numbers, seed), numbers))
        found = torch.where(small < 0.5, -1, 0).to(torch.int8)
        rows = (found < 0).nonzero()[:, 0]
        if len(rows):
            own = [numbers[row] for row in rows.tolist()]
            moved = _logits(access, self._moved(images[rows], self.levels, own, seed), own)
            found[rows[self._apart(there[rows], moved) > self.times * self.levels]] = 1
        found[self._coarse(there)] = -1
        return found

    def _moved(self, images: Tensor, levels: int, numbers: Sequence[int], seed: int) -> Tensor:
        """The same values of an image at every number of levels."""
        moved = images.flatten(1).clone()
        count = min(self.values, moved.shape[1])
        places = torch.stack(
            [permutation(moved.shape[1], generator=generator(seed, "flat", k))[:count] for k in numbers]
        )
        places = places.to(images.device)
        chosen = moved.gather(1, places)
        moved.scatter_(1, places, chosen + torch.where(chosen < 0.5, levels, -levels) / 255)
        return moved.reshape(images.shape)


@dataclass(frozen=True, kw_only=True)
class Jump(_Scores):
    """Between two images scores change at once, however near the two come: a bit flips there. For scores of few digits.

    The way between two images is halved again and again, and the half kept over which scores change more. Of an ordinary
    network the change shrinks with the way; where a bit flips it stays. The event: over `last` halvings, the last
    after which more was left than rounding makes, less than half of the change was lost. 2 queries an event and one a halving.

    Where the service rounds images to 8 bits an ordinary network jumps too, from one level to the next. So nothing is learned
    of a jump between images that 8 bits tell apart, as such a service shows no other; nor of scores that are numbers of 16 bits.

    Attributes:
        last: halvings over which the change is looked at. It is neither kept nor lost if it falls to less than half, but to
            more than 4 / 2^last: nothing is learned then.
        least: nothing is learned where the change is lost in rounding before so many halvings: a single flip may be smaller.
    """

    rare: Chance = 0.05
    often: Chance = 0.5
    halvings: Halvings = 20
    last: Annotated[int, In("[3, 20]")] = 5
    least: Count = 10
    digits: Digits = 3

    takes = 2

    def events(self, access: ScoreAccess | LabelAccess, groups: Groups, numbers: Sequence[int], seed: int) -> Events:
        ends = [groups[:, 0].clone(), groups[:, 1].clone()]
        scores = [_logits(access, end, numbers) for end in ends]
        changes, alike = [self._apart(*scores)], [_alike(*ends)]
        for _ in range(self.halvings):
            middle = (ends[0] + ends[1]) / 2
            found = _logits(access, middle, numbers)
            first = self._apart(scores[0], found) >= self._apart(found, scores[1])
            _keep(ends, middle, first)
            _keep(scores, found, first)
            changes.append(self._apart(*scores))
            alike.append(_alike(*ends))
        change = torch.stack(changes, 1)
        # The last that rounding does not make; of few units it may keep half alone.
        seen = (change > _UNITS).long().cumprod(1).sum(1) - 1
        at = torch.stack([(seen - self.last).clamp_min(0), seen.clamp_min(0)], 1)
        before, after = change.gather(1, at).unbind(1)
        # Of a smooth function the change falls to about 1 / 2^last; where it falls less, some flips may have been told apart.
        kept = after >= before / 2
        fine = torch.stack(alike, 1).gather(1, seen.clamp_min(0)[:, None])[:, 0]
        fine &= ~self._coarse(scores[0])
        known = (kept & fine) | (after <= before * 4 / 2**self.last)
        known &= seen >= max(self.least, self.last)
        return torch.where(known, kept.long(), -1).to(torch.int8)


def _keep(ends: list[Tensor], middle: Tensor, first: Tensor) -> None:
    """Put the middle in the place of one end: of the second where the first half is kept."""
    where = first.reshape(-1, *(1 for _ in middle.shape[1:]))
    ends[0], ends[1] = torch.where(where, ends[0], middle), torch.where(where, middle, ends[1])


def _alike(first: Tensor, second: Tensor) -> Tensor:
    """Whether two images are one when their pixels are rounded to 8 bits."""
    return ((255 * first).round() == (255 * second).round()).flatten(1).all(1)


@dataclass(frozen=True, kw_only=True)
class Border(Sign):
    """Where the class changes the border is rough: from a point on it, both ways of many a direction lead to one class.

    Near a point on the border of an ordinary network it is nearly a plane, and opposite steps of a random direction end on its
    two sides. A border of bits has a corner wherever one flips. The event: of at least `share` of the directions both steps give
    one class. Of a pair of one class nothing is learned. 2 queries an event, one a halving, and two a direction.

    Where the service rounds images to 8 bits every border is rough. So nothing is learned, and no direction asked, where 8 bits
    tell the two sides of the border apart, as such a service shows no other.

    Of two ordinary networks on CIFAR-10 it happens at 1 of 18 pairs, of two with a layer of bits at 11 of 18; an attacker can
    measure what is rare on ordinary networks of their own.

    Attributes:
        reach: of the steps, each pixel, up or down at random. Smaller, no other bit flips; larger, any border is curved.
    """

    rare: Chance = 0.15
    often: Chance = 0.45
    halvings: Halvings = 20
    directions: Count = 16
    reach: Positive = 0.25 / 255
    share: Chance = 0.25

    access = "labels"
    takes = 2

    def events(self, access: ScoreAccess | LabelAccess, groups: Groups, numbers: Sequence[int], seed: int) -> Events:
        same = self.same(access, groups, numbers, seed)
        return torch.where(same < 0, -1, (same >= self.share).long()).to(torch.int8)

    def same(self, access: ScoreAccess | LabelAccess, groups: Groups, numbers: Sequence[int], seed: int) -> Tensor:
        """The share of directions of which both steps give one class, a group; -1 where nothing is learned."""
        ends = [groups[:, 0], groups[:, 1]]
        classes = [_labels(access, end, numbers) for end in ends]
        found = torch.full((len(groups),), -1.0, dtype=torch.float64, device=groups.device)
        rows = (classes[0] != classes[1]).nonzero()[:, 0]
        if not len(rows):
            return found
        ends, start = [end[rows] for end in ends], classes[0][rows]
        own = [numbers[row] for row in rows.tolist()]
        for _ in range(self.halvings):
            middle = (ends[0] + ends[1]) / 2
            _keep(ends, middle, _labels(access, middle, own) != start)
        fine = _alike(*ends)
        rows, ends, start = rows[fine], [end[fine] for end in ends], start[fine]
        own = [numbers[row] for row in rows.tolist()]
        if not len(rows):
            return found
        point, both = (ends[0] + ends[1]) / 2, torch.zeros(len(rows), dtype=torch.float64, device=groups.device)
        for k in range(self.directions):
            step = self.reach * _signs(point, own, seed, f"border {k}")
            one, other = (_labels(access, _moved(point, way), own) for way in (step, -step))
            both += ((one == start) == (other == start)).double()
        found[rows] = both / self.directions
        return found


@dataclass(frozen=True, kw_only=True)
class Again(_Scores):
    """The same flip changes the scores in the same way elsewhere: what lies above the bits is linear, and no |Ux|^2.

    A flip is found between two images, as by `Jump`, and then again after all has moved a little, so that other bits have
    flipped meanwhile. Above a linear layer a bit adds what it adds; in |Ux|^2 it depends on all others. The event: the
    same change of the scores, to some units of the last digit. Nothing is learned where no flip was found, or where none
    happened meanwhile.

    Attributes:
        shift: of each pixel, up or down at random.
        window: around the place of the flip, on the way between the images, in multiples of the shift.
    """

    rare: Chance = 0.05
    often: Chance = 0.25
    halvings: Halvings = 16
    shift: Positive = 5e-4
    window: Positive = 4.0
    digits: Digits = 5

    takes = 2
    question = "linear"

    def events(self, access: ScoreAccess | LabelAccess, groups: Groups, numbers: Sequence[int], seed: int) -> Events:
        ends, scores = self._flip(access, [groups[:, 0], groups[:, 1]], numbers, None)
        jump = scores[1] - scores[0]
        way = ends[1] - ends[0]
        way = way / way.abs().flatten(1).amax(1).clamp_min(1e-12).reshape(-1, 1, 1, 1)
        shift = self.shift * _signs(way, numbers, seed, "again")
        middle = _moved((ends[0] + ends[1]) / 2, shift)
        around = [_moved(middle, side * self.window * self.shift * way) for side in (-1, 1)]
        _, others = self._flip(access, around, numbers, jump)
        again = others[1] - others[0]
        unchanged = torch.minimum(self._apart(others[0], scores[0]), self._apart(others[1], scores[1])) < 0.5
        small = jump.abs().amax(1) * 10.0**self.digits < 20
        happened = (again - jump).abs().amax(1) * 10.0**self.digits < 4
        return torch.where(small | unchanged, -1, happened.long()).to(torch.int8)

    def _flip(
        self, access: ScoreAccess | LabelAccess, ends: list[Tensor], numbers: Sequence[int], wanted: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Halve the way, and keep the half of the larger change, or the one that is nearer to the wanted one."""
        ends = list(ends)
        scores = [_logits(access, end, numbers) for end in ends]
        for _ in range(self.halvings):
            middle = (ends[0] + ends[1]) / 2
            found = _logits(access, middle, numbers)
            one, other = found - scores[0], scores[1] - found
            if wanted is None:
                first = one.abs().amax(1) >= other.abs().amax(1)
            else:
                first = (one - wanted).abs().amax(1) <= (other - wanted).abs().amax(1)
            _keep(ends, middle, first)
            _keep(scores, found, first)
        return ends, scores


@dataclass(frozen=True, kw_only=True)
class Repeat(_Scores):
    """The same image has other scores when it is asked again: there is noise behind them. Two queries an event."""

    rare: Chance = 0.01
    often: Chance = 0.5
    digits: Digits = 5

    question = "noise"

    def events(self, access: ScoreAccess | LabelAccess, groups: Groups, numbers: Sequence[int], seed: int) -> Events:
        one, other = (_logits(access, groups[:, 0], numbers) for _ in range(2))
        return (self._apart(one, other) > 0.5).to(torch.int8)
