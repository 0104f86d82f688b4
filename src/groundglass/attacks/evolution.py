"""Evolution strategies that are asked for a point and told its value, one for each image; all images at once."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from groundglass.attacks.questions import Live, State
from groundglass.attacks.tensors import Flags, PerImage

Points = Float[Tensor, "slots numbers"]


class Strategy(ABC):
    """A search for the highest value, of points of any numbers; 0 is where it begins, 1 how far it looks at first."""

    @abstractmethod
    def begin(self, zeros: Points) -> State:
        """What it remembers."""

    @abstractmethod
    def ask(self, live: Live, state: State) -> Points:
        """The next point of each image."""

    @abstractmethod
    def tell(self, live: Live, state: State, points: Points, values: PerImage) -> State:
        """What it remembers when it knows the values of these."""

    def _normal(self, live: Live, like: Points) -> Points:
        return live.normal(like.shape[-1], path="evolution")


class OnePlusOne(Strategy):
    """The (1+1)-ES with a rule of one fifth: normal steps from the best point; twice as long after one that is as good, .84 times
    as long after any other (nevergrad's `OnePlusOne`)."""

    def begin(self, zeros: Points) -> State:
        number = zeros.new_zeros(len(zeros))
        return {"parent": zeros, "value": torch.full_like(number, -torch.inf).double(), "sigma": number + 1}

    def ask(self, live: Live, state: State) -> Points:
        return state["parent"] + state["sigma"][:, None] * self._normal(live, state["parent"])

    def tell(self, live: Live, state: State, points: Points, values: PerImage) -> State:
        better = values >= state["value"]
        # The first has nothing to be better than.
        longer = torch.where(better, torch.where(state["value"].isinf(), 1.0, 2.0), 0.84).to(state["sigma"])
        return {
            "parent": torch.where(better[:, None], points, state["parent"]),
            "value": torch.where(better, values, state["value"]),
            "sigma": state["sigma"] * longer,
        }


class DifferentialEvolution(Strategy):
    """Differential evolution, current to best (Storn and Price 1997; nevergrad's `DE`): a member in its turn, moved by .8 times
    the difference of two others and .8 times that of the best from itself, in half of its numbers; the better stays."""

    MEMBERS: ClassVar[int] = 30
    WEIGHT: ClassVar[float] = 0.8

    def begin(self, zeros: Points) -> State:
        members = zeros[:, None].repeat(1, self.MEMBERS, 1)
        return {"members": members, "values": torch.full_like(members[..., 0], -torch.inf).double()}

    def ask(self, live: Live, state: State) -> Points:
        members, slots = state["members"], live.slots
        first = self._normal(live, members)
        dice = live.integers(2**20, 2 + members.shape[2], path=("evolution", "dice"))
        one, other = dice[:, 0] % self.MEMBERS, dice[:, 1] % self.MEMBERS
        own, best = members[slots, live.step % self.MEMBERS], members[slots, state["values"].argmax(1)]
        moved = own + self.WEIGHT * (members[slots, one] - members[slots, other]) + self.WEIGHT * (best - own)
        crossed = torch.where(dice[:, 2:] % 2 == 0, moved, own)
        return torch.where((live.step < self.MEMBERS)[:, None], first, crossed)

    def tell(self, live: Live, state: State, points: Points, values: PerImage) -> State:
        members, slots, turn = state["members"], live.slots, live.step % self.MEMBERS
        better = values >= state["values"][slots, turn]
        kept = torch.where(better[:, None], points, members[slots, turn])
        highest = torch.maximum(values, state["values"][slots, turn])
        return {
            "members": members.index_put((slots, turn), kept),
            "values": state["values"].index_put((slots, turn), highest),
        }


class DiagonalCMA(Strategy):
    """The CMA-ES with a diagonal covariance (Ros and Hansen 2008, "A simple modification in CMA-ES achieving linear time and
    space complexity"; nevergrad's `DiagonalCMA`), with the usual settings for so many numbers."""

    def begin(self, zeros: Points) -> State:
        members = zeros[:, None].repeat(1, self._members(zeros), 1)
        return {
            "mean": zeros,
            "sigma": zeros.new_ones(len(zeros)),
            "variance": torch.ones_like(zeros),
            "path": zeros,  # of the variance
            "sigma_path": zeros,
            "drawn": members,  # normal, of this generation
            "values": torch.full_like(members[..., 0], -torch.inf).double(),
            "told": torch.zeros(len(zeros), dtype=torch.int64, device=zeros.device),
        }

    def ask(self, live: Live, state: State) -> Points:
        drawn = self._normal(live, state["mean"])
        return state["mean"] + state["sigma"][:, None] * state["variance"].sqrt() * drawn

    def tell(self, live: Live, state: State, points: Points, values: PerImage) -> State:
        slots, members = live.slots, state["drawn"].shape[1]
        turn = state["told"] % members
        state = {
            **state,
            "drawn": state["drawn"].index_put((slots, turn), self._normal(live, state["mean"])),
            "values": state["values"].index_put((slots, turn), values),
            "told": state["told"] + 1,
        }
        return self._generation(state, state["told"] % members == 0)

    def _generation(self, state: State, whole: Flags) -> State:
        """Whose members are all told begins the next generation."""
        numbers, members = state["mean"].shape[1], state["drawn"].shape[1]
        half = members // 2
        raw = [math.log((members + 1) / 2) - math.log(i + 1) for i in range(half)]
        weights = [one / sum(raw) for one in raw]
        effective = 1 / sum(one**2 for one in weights)
        rate = (effective + 2) / (numbers + effective + 5)
        damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (numbers + 1)) - 1) + rate
        path_rate = (4 + effective / numbers) / (numbers + 4 + 2 * effective / numbers)
        # Of a diagonal more can be learned at once.
        faster = (numbers + 2) / 3
        one_rate = min(1.0, faster * 2 / ((numbers + 1.3) ** 2 + effective))
        many = 2 * (effective - 2 + 1 / effective) / ((numbers + 2) ** 2 + effective)
        many_rate = min(1 - one_rate, faster * many)
        length = math.sqrt(numbers) * (1 - 1 / (4 * numbers) + 1 / (21 * numbers**2))

        order = state["values"].argsort(dim=1, descending=True, stable=True)
        best = state["drawn"].gather(1, order[:, :half, None].expand(-1, -1, numbers))
        mean_draw, spread = torch.zeros_like(state["mean"]), torch.zeros_like(state["mean"])
        for place, weight in enumerate(weights):  # one by one: a slot's sum has one order in any batch
            mean_draw = mean_draw + weight * best[:, place]
            spread = spread + weight * best[:, place].square()
        variance, sigma = state["variance"], state["sigma"]
        generations = (state["told"] // members).double()
        sigma_path = (1 - rate) * state["sigma_path"] + math.sqrt(rate * (2 - rate) * effective) * mean_draw
        far = torch.linalg.vector_norm(sigma_path, dim=1)
        usual = (1 - (1 - rate) ** (2 * generations)).sqrt() * (1.4 + 2 / (numbers + 1)) * length
        straight = (far < usual)[:, None]
        step = variance.sqrt() * mean_draw
        path = (1 - path_rate) * state["path"] + straight * math.sqrt(path_rate * (2 - path_rate) * effective) * step
        kept = 1 - one_rate - many_rate + one_rate * path_rate * (2 - path_rate) * ~straight
        spread = kept * variance + one_rate * path.square() + many_rate * variance * spread
        longer = (rate / damping * (far.double() / length - 1)).clamp_max(1).exp().float()
        new = {
            "mean": state["mean"] + sigma[:, None] * step,
            "sigma": sigma * longer,
            "variance": spread,
            "path": path,
            "sigma_path": sigma_path,
        }
        now = whole[:, None]
        return state | {n: torch.where(now if v.ndim == 2 else whole, v, state[n]) for n, v in new.items()}

    @staticmethod
    def _members(zeros: Points) -> int:
        return 4 + int(3 * math.log(zeros.shape[1]))


STRATEGIES: dict[str, type[Strategy]] = {"(1+1)": OnePlusOne, "de": DifferentialEvolution, "cma": DiagonalCMA}
