"""The smallest L2 perturbation that fools the model (Carlini and Wagner 2017)."""

from dataclasses import dataclass

import torch

from groundglass.attacks.balls import L2, Ball
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.checkpoint import State
from groundglass.attacks.criteria import Targeted, Untargeted
from groundglass.attacks.gradient_attack import Job
from groundglass.attacks.minimum_norm import MinimumNormAttack
from groundglass.attacks.tensors import Rows, per_image
from groundglass.core import counting, whole
from groundglass.core.settings import Count, NotNegative, Positive

# Images are mapped into (-1, 1) scaled by this, so that black and white are not infinitely far away in tanh's space.
_INTERIOR = 1 - 1e-6
_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8


@dataclass(frozen=True, kw_only=True)
class CarliniWagnerL2(MinimumNormAttack):
    """Minimise |x - image|^2 + c f(x), f = max(label's logit - largest other, -confidence) (towards a
    target: largest other - target's logit), over w with x = (tanh w + 1) / 2.

    Adam climbs down; a binary search finds, image by image, the smallest c that still fools the model. Nothing is random.

    The search does not look at the ball. Without a ball, any image that fools the model is a success, and `norm` says how
    near it is. With one, only an image inside it is: what was found outside is projected into the ball, and checked again.

    Differences from the original: untargeted unless told otherwise; fewer steps by default (the original: 1000 steps and 9
    searches, which is what distances to publish should be measured with); c starts at 0.01 instead of 0.001; an image that
    stops early leaves the batch.

    Attributes:
        steps: of Adam in each search, one gradient each.
        searches: values of c that are tried for each image.
        learning_rate: of Adam, in tanh's space.
        initial_c: the first c; ten times larger after every search that fails, until one succeeds.
        confidence: logits by which the other class must win; of no consequence for a rule of the user's own.
        abort_early: leave a search when a tenth of its steps has brought less than 0.01%.
    """

    steps: Count = 100
    searches: Count = 6
    learning_rate: Positive = 0.01
    initial_c: Positive = 0.01
    confidence: NotNegative = 0.0
    abort_early: bool = True
    norm = "L2"
    kinds = (L2,)

    @property
    def most_gradients(self) -> int:
        return self.steps * self.searches

    def _search(self, job: Job, ball: Ball | None, state: State) -> None:
        for number, rows, left in job.batches(state):
            s = _Searches(job.board, rows, number, self.initial_c, left)
            while s.search < self.searches:
                self._descend(job, s)
                s.high = torch.where(s.found, torch.minimum(s.high, s.c), s.high)
                s.low = torch.where(s.found, s.low, torch.maximum(s.low, s.c))
                s.c = torch.where(s.high.isinf(), s.c * 10, (s.low + s.high) / 2)
                s.search += 1
                s.begin()

    def _descend(self, job: Job, s: "_Searches") -> None:
        """One run of Adam for each image at its own c, or the rest of one."""
        patience = max(1, self.steps // 10)
        by_margin = isinstance(s.board.criterion, Untargeted | Targeted)
        while s.step < self.steps and len(s.live):
            s.step += 1
            live, at = s.live, s.rows[s.live]
            centre, c = s.board.images[at], s.c[live]
            tanh = s.w.double().tanh().float()
            x = (tanh + 1) / 2
            asked = job.gradient(at, x)
            delta = x - centre
            distance = delta.flatten(1).square().sum(1)
            wins = s.board.fooled(at, asked.logits)
            # A rule of the user's own is met where it says so, however the other class wins.
            enough = asked.loss >= self.confidence if by_margin else wins
            wins = wins & enough
            s.found[live] |= wins
            nearer = wins & (distance < s.nearest[live])
            s.nearest[live] = torch.where(nearer, distance, s.nearest[live])
            s.board.put(at, x, asked.loss, wins, s.step, where=nearer)
            # f is flat once the other class wins by enough; its slope is that of the margin, downwards.
            pull = torch.where(enough, torch.zeros_like(distance), c)
            to_x = 2 * delta - per_image(pull) * asked.grad
            to_w = to_x * (1 - tanh.square()) / 2
            s.first = _BETA1 * s.first + (1 - _BETA1) * to_w
            s.second = _BETA2 * s.second + (1 - _BETA2) * to_w.square()
            mean, spread = s.first / (1 - _BETA1**s.step), s.second / (1 - _BETA2**s.step)
            s.w = s.w - self.learning_rate * mean / (spread.sqrt() + _ADAM_EPS)
            # Images leave at these steps alone: the host reads there, and no gradient is for nothing.
            since = s.step % patience
            if self.abort_early and not since:
                total = distance + c * (self.confidence - asked.loss).masked_fill(enough, 0)
                stays = total < 0.9999 * s.before[live]
                s.before[live] = total
                s.live, s.w, s.first, s.second = live[stays], s.w[stays], s.first[stays], s.second[stays]
            job.save(s.state, since=since)


class _Searches:
    """How far the searches for a batch of images are.

    Attributes:
        batch, search, step: how many of each are done.
        low, high, c, nearest, found: an entry an image: bounds of c, c, the smallest distance, whether this search fooled.
        live: positions of the images that Adam still works on; w, first, second have a row for each of those.
        before: what was minimised, a tenth of the steps ago; an entry an image.
    """

    def __init__(self, board: Board, rows: Rows, batch: int, c: float, state: State) -> None:
        self.board, self.rows, self.batch, self.search = board, rows, batch, 0
        self.low = torch.zeros(len(rows), device=rows.device, dtype=torch.float32)
        self.high, self.nearest = (torch.full_like(self.low, torch.inf) for _ in range(2))
        self.c = torch.full_like(self.low, c)
        self.begin()
        if state:
            self.search, self.step = int(state["search"]), int(state["step"])
            for name in _TENSORS:
                setattr(self, name, state[name])

    def begin(self) -> None:
        """A new search, from the images themselves."""
        self.step = 0
        self.found = torch.zeros_like(self.rows, dtype=torch.bool)
        self.live = counting(len(self.rows), self.rows.device)
        # In float64, as tanh: what float32 rounds may depend on an image's place in the batch.
        self.w = torch.atanh((2 * self.board.images[self.rows].double() - 1) * _INTERIOR).float()
        self.first, self.second = torch.zeros_like(self.w), torch.zeros_like(self.w)
        self.before = torch.full_like(self.c, torch.inf)

    def state(self) -> State:
        numbers = {name: whole(getattr(self, name)) for name in ("batch", "search", "step")}
        return numbers | {name: getattr(self, name) for name in _TENSORS}


_TENSORS = ("low", "high", "c", "nearest", "found", "live", "w", "first", "second", "before")
