"""Auto-PGD in an L1 ball."""

import torch
from torch import Tensor

from groundglass.attacks.access import Gradients
from groundglass.attacks.balls import Ball
from groundglass.attacks.checkpoint import State
from groundglass.attacks.gradient_attack import Job
from groundglass.attacks.runs import Climbing, TowardsClasses
from groundglass.attacks.sparse_balls import nearest_in_l1, sparse_signs
from groundglass.attacks.tensors import Flags, Images, PerImage, Rows, per_image
from groundglass.core import whole

# Radii that a run begins with, in radii of the ball, and after which share of its steps the next one follows.
_WIDER = ((0.0, 3.0), (0.3, 2.0), (0.6, 1.0))
# At first a step moves this share of the entries; later those that the best perturbation has, over the last number.
_SHARE, _LESS = 0.2, 1.5
# After this share of the steps sparsity and step are looked at again; the step is at least a tenth of the radius.
_EVERY, _SHORTEST = 0.04, 0.1
_SPARSER = 0.95


class SparseRuns(TowardsClasses):
    """APGD for L1 (Croce and Hein 2021, "Mind the box", Algorithm 1, with their steps in larger balls first).

    A move goes along the signs of a gradient's largest entries, all of one length, and is projected into the ball and [0, 1] at
    once. How many entries, follows from the best perturbation so far: as it becomes sparser, so do the moves. If it has,
    the run goes on from it with the full step; if not, the step is cut by 1.5. The first three tenths of the steps are made in
    a ball of three radii, the next in one of two; what fools there counts for nothing.

    Difference from the original: a random start is uniform in the ball.

    What a run remembers besides its iterate, one entry a run:
        best_x, best_grad, best_loss: in the ball of now.
        size: of the next move.
        count: entries that it moves.
        sparsity: entries of the best perturbation when they were last counted.
    """

    def __init__(self, attack: Climbing, job: Job, ball: Ball, state: State, aims: Rows) -> None:
        steps = attack.steps
        self._every, where = max(1, int(_EVERY * steps)), job.board.images.device
        self._begins = whole([int(share * steps) for share, _ in _WIDER], where)
        self._wider = torch.tensor([radii for _, radii in _WIDER], dtype=torch.float32, device=where)
        super().__init__(attack, job, ball, state, aims)

    def _begin(self, rows: Rows, x: Images) -> State:
        none = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        entries = x[:1].numel()
        count = torch.full_like(rows, max(1, round(_SHARE * entries)))
        best = {"best_x": x, "best_grad": torch.zeros_like(x), "best_loss": none}
        return best | {"size": torch.zeros_like(none), "count": count, "sparsity": torch.full_like(rows, entries)}

    def _stage(self, step: Rows) -> Rows:
        return (step[:, None] >= self._begins).sum(1) - 1

    def _in_ball(self, live: State) -> Flags | None:
        return self._stage(live["step"]) == len(_WIDER) - 1

    def _move(self, live: State, found: Gradients) -> State:
        rows, step, x, grad = live["rows"], live["step"], live["x"], found.grad
        centre, own = self._board.images[rows], self._ball.at(rows)
        stage = self._stage(step)
        radius = self._radius(own, x, stage)
        enters = step == self._begins[stage]
        better = enters | (found.loss > live["best_loss"])
        best_loss = torch.where(better, found.loss, live["best_loss"])
        best_x = torch.where(per_image(better), x, live["best_x"])
        best_grad = torch.where(per_image(better), grad, live["best_grad"])

        due = ~enters & ((step - self._begins[stage]) % self._every == 0)
        now = _entries(best_x - centre)
        # A run's start says nothing of how sparse a good perturbation is.
        known = enters & (step > 0)
        sparser = due & (now < _SPARSER * live["sparsity"])
        count = torch.where(due | known, (now / _LESS).long().clamp_min(1), live["count"])
        size = torch.where(due & ~sparser, (live["size"] / 1.5).maximum(_SHORTEST * radius), live["size"])
        size = torch.where(enters | sparser, radius, size)
        x = torch.where(per_image(sparser), best_x, x)
        grad = torch.where(per_image(sparser), best_grad, grad)
        moved = x + sparse_signs(grad.flatten(1), count).view_as(x) * per_image(size)
        # The next ball is smaller: the run enters it with the best of this one.
        leaves = self._stage(step + 1) > stage
        moved = torch.where(per_image(leaves), best_x, moved)
        return {
            "x": nearest_in_l1(moved, centre, self._radius(own, x, self._stage(step + 1))),
            "best_x": best_x,
            "best_grad": best_grad,
            "best_loss": best_loss,
            "size": size,
            "count": count,
            "sparsity": torch.where(due | known, now, live["sparsity"]),
        }

    def _radius(self, own: Ball, like: Tensor, stage: Rows) -> PerImage:
        """Of the ball of each run's stage."""
        radii = own.radii
        last = radii.to(like) if isinstance(radii, Tensor) else like.new_full((len(like),), radii)
        return last * self._wider[stage].to(like)


def _entries(delta: Images) -> Rows:
    return (delta != 0).flatten(1).sum(1)
