"""FAB: the nearest image that fools the model, by projections onto its boundaries (Croce and Hein 2020)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.checkpoint import State
from groundglass.attacks.criteria import Targeted
from groundglass.attacks.gradient_attack import Job
from groundglass.attacks.hyperplanes import Metric
from groundglass.attacks.minimum_norm import MinimumNormAttack, interrupted, nearest_plane
from groundglass.attacks.nearest import Norm
from groundglass.attacks.runs import likeliest_others
from groundglass.attacks.sparse_balls import L1
from groundglass.attacks.tensors import Flags, Images, Logits, PerImage, Rows, per_image
from groundglass.attacks.unread import STEPS_BETWEEN_READS
from groundglass.core import counting, whole
from groundglass.core.settings import Count, In, NotNegative, Share, Tally

# The last search aims this share of the interval beyond the boundary, so that rounding does not decide.
_BEYOND = 0.01


@dataclass(frozen=True, kw_only=True)
class FAB(MinimumNormAttack):
    """Fast adaptive boundary attack (Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive
    boundary attack", Algorithm 1).

    A move goes to the nearest boundary, as linear as it looks from the iterate, and a little beyond. It is drawn to where the
    image itself would cross the same boundary. From an iterate that fools the model the search goes most of the way back to
    the image. At the end the boundary is looked for on the line between the image and the nearest that fools. There is no step
    size and no radius: one run without a ball gives the accuracy under attack at every radius.

    A move costs a gradient for every other class, and a check. With `targets` it has one boundary, and costs one gradient:
    `FAB(targets=9)` is FAB-T, the third part of AutoAttack. A `Targeted` criterion has one boundary too, that of label and
    target: where a third class lies beyond it, the target is seldom reached. A rule of the user's own decides which images count;
    the boundaries are those of the label. FAB needs a gradient of the right
    length: a stand-in for a derivative that has only its direction misleads it.

    Differences from the original: what was found towards one class is known to the runs towards others; without a ball, where
    nothing has fooled the model yet, a restart begins half as far away as the last run ended, not within a given radius; the last
    search aims a hundredth beyond the boundary; in a ball the work ends with the first image inside it that fools.

    Attributes:
        steps: moves of a run.
        restarts: runs an image may have (for each target). The first begins at the image, others at a random point, half as far
            from it as the nearest that fools, or as the ball's border.
        targets: 0, or k > 0 for a run towards each of the k most likely other classes.
        norm: in which distances are measured where there is no ball, "Linf", "L2" or "L1"; with one leave it out.
        bias: the most that a move is drawn towards the image (the paper's alpha_max).
        overshoot: how far a move goes beyond the boundary, as a share of the way to it (the paper's eta is 1.05).
        backward: where whoever fools goes on from, on the way from the image to it (the paper's beta).
        refinements: checks of the last search.
        stop_when_fooled: in a ball, an image's work ends with the first iterate inside it that fools the model. Robust accuracy
            is the same; `norm` of the result is then no smallest distance.
    """

    steps: Count = 100
    restarts: Count = 1
    targets: Tally = 0
    norm: Norm | None = None
    bias: Share = 0.1
    overshoot: NotNegative = 0.05
    backward: Annotated[float, In("(0, 1)", "a share of the way; the paper's is 0.9")] = 0.9
    refinements: Tally = 3
    stop_when_fooled: bool = True
    kinds = (Linf, L2, L1)

    @property
    def most_gradients(self) -> int:
        return self.steps * self._runs

    @property
    def _runs(self) -> int:
        return self.restarts * max(1, self.targets)

    def _first_state(self, board: Board, logits: Logits) -> State:
        every = 0 if isinstance(board.criterion, Targeted) else logits.shape[1] - 1
        return {"aims": likeliest_others(board, logits, self.targets or every)}

    def _planes(self, aims: Rows) -> int:
        return 1 if self.targets else super()._planes(aims)

    def _search(self, job: Job, ball: Ball | None, state: State) -> None:
        for number, rows, left in job.batches(interrupted(state)):
            s = _Search(self, job, ball, rows, number, state["aims"], left)
            while s.run < self._runs:
                while s.step < self.steps and len(live := s.live):
                    self._move(s, live)
                    s.step += 1
                    job.save(s.state, since=s.step % STEPS_BETWEEN_READS)
                s.run, s.step = s.run + 1, 0
                if s.run < self._runs:
                    s.begin()
            while s.refined < self.refinements and len(live := s.refinable):
                s.refine(live)
                s.refined += 1
                job.save(s.state)

    def _move(self, s: "_Search", live: Rows) -> None:
        rows, x = s.rows[live], s.x[live]
        centre, metric = s.board.images[rows], s.metric(rows)
        plane = nearest_plane(s.job, rows, x, s.aims(rows), metric)
        there = metric.to_plane(x, plane.grad, -plane.value)
        across = metric.to_plane(centre, plane.grad, -plane.at(centre, x))
        near, far = metric.length(there), metric.length(across)
        drawn = per_image((near / (near + far).clamp_min(1e-30)).clamp_max(self.bias))
        longer = 1 + self.overshoot
        moved = ((1 - drawn) * (x + longer * there) + drawn * (centre + longer * across)).clamp(0, 1)
        fooled = s.look(live, moved)
        s.x[live] = torch.where(per_image(fooled), centre + self.backward * (moved - centre), moved)


class _Search:
    """How far the search for a batch of images is.

    Attributes:
        batch, run, step, refined: how many of each are done.
        x, nearest, done: an entry an image: iterate, the smallest distance that fooled, whether its work has ended.
        inner, inner_loss: of the last search, the outermost image that is known not to fool.
    """

    def __init__(
        self, attack: FAB, job: Job, ball: Ball | None, rows: Rows, batch: int, aims: Rows, state: State
    ) -> None:
        self.attack, self.job, self.board, self.rows, self.batch = attack, job, job.board, rows, batch
        self._ball, self._aims = ball, aims
        self._stops = ball is not None and attack.stop_when_fooled
        self.run = self.step = self.refined = 0
        self.inner, self.inner_loss = self.board.images[rows], self.board.loss[rows].float()
        self.x, self.done = self.inner.clone(), torch.zeros_like(rows, dtype=torch.bool)
        self.nearest = torch.full_like(self.inner_loss, torch.inf)
        if state:
            for name in _NUMBERS:
                setattr(self, name, int(state[name]))
            for name in _TENSORS:
                setattr(self, name, state[name])

    @property
    def live(self) -> Rows:
        """Positions of the images that are still moved."""
        if not self._stops:
            return counting(len(self.rows), self.rows.device)
        return (~self.done).nonzero().squeeze(1)

    @property
    def refinable(self) -> Rows:
        """Positions of those whose nearest image may be nearer."""
        return (~self.done & self.nearest.isfinite()).nonzero().squeeze(1)

    def metric(self, rows: Rows) -> Metric:
        """Of these images."""
        return Metric(self.attack._measure(self._ball).at(rows))

    def aims(self, rows: Rows) -> Rows:
        """The classes whose boundaries this run sees, [b, k]."""
        targets = self.attack.targets
        return self._aims[rows, self.run % targets, None] if targets else self._aims[rows]

    def begin(self) -> None:
        """A new run: the first towards a class begins at the image, others at a random point."""
        centre = self.board.images[self.rows]
        if self.run < max(1, self.attack.targets):
            self.x = centre.clone()
            return
        measure = self.attack._measure(self._ball).at(self.rows)
        length = self.metric(self.rows).length
        far = torch.where(self.nearest.isfinite(), self.nearest, length(self.x - centre))
        if self._ball is not None:
            radii = measure.radii
            far = torch.minimum(far, radii.to(far) if isinstance(radii, Tensor) else torch.full_like(far, radii))
        extreme = measure.random_extreme(centre, self.job.streams(self.rows, "fab", self.run)) - centre
        share = far / 2 / length(extreme).clamp_min(1e-30)
        self.x = (centre + per_image(share) * extreme).clamp(0, 1)

    def look(self, live: Rows, x: Images) -> Flags:
        """Whether these images fool the model: a check each. The nearest that does is kept."""
        rows = self.rows[live]
        loss, fooled = self.job.check(rows, x)
        self._keep(live, x, loss, fooled, self.step + 1)
        return fooled

    def refine(self, live: Rows) -> None:
        """Ask where the line between the images that do not fool and those that do should cross the boundary."""
        rows = self.rows[live]
        outer, low, high = self.board.adversarial[rows], self.inner_loss[live], self.board.loss[rows].float()
        # A rule of the user's own may be met on either side of the margin's zero.
        share = torch.where((low < 0) & (high > 0), -low / (high - low).clamp_min(1e-30), 0.5)
        share = share + _BEYOND * (1 - share)
        x = self.inner[live] + per_image(share) * (outer - self.inner[live])
        loss, fooled = self.job.check(rows, x)
        self._keep(live, x, loss, fooled, self.board.iterations[rows])
        self.inner[live] = torch.where(per_image(fooled), self.inner[live], x)
        self.inner_loss[live] = torch.where(fooled, low, loss)

    def _keep(self, live: Rows, x: Images, loss: PerImage, fooled: Flags, step: Rows | int) -> None:
        rows, board = self.rows[live], self.board
        distance = self.metric(rows).length(x - board.images[rows])
        nearer = fooled & (distance < self.nearest[live])
        self.nearest[live] = torch.where(nearer, distance, self.nearest[live])
        board.put(rows, x, loss, fooled, step, where=nearer)
        if self._ball is not None and self._stops:
            inside = self._ball.at(rows).contains(x, board.images[rows], tolerance=0)
            self.done[live] = self.done[live] | (nearer & inside)

    def state(self) -> State:
        numbers = {name: whole(getattr(self, name)) for name in _NUMBERS}
        return numbers | {name: getattr(self, name) for name in _TENSORS} | {"aims": self._aims}


_NUMBERS = ("batch", "run", "step", "refined")
_TENSORS = ("x", "nearest", "done", "inner", "inner_loss")
