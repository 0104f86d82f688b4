"""Adversarial images made on one network, or several, to be tried on others: every step, no early stop."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.attacks.checkpoint import State
from groundglass.attacks.gradient_attack import GradientAttack, Job, StepSize, of_rows, reaching
from groundglass.attacks.gradient_smoothing import GaussianKernel
from groundglass.attacks.input_diversity import InputDiversity
from groundglass.attacks.sparse_balls import L1
from groundglass.attacks.tensors import Flags, Images, PerImage, Rows, per_image
from groundglass.attacks.unread import STEPS_BETWEEN_READS
from groundglass.core import counting, whole
from groundglass.core.settings import Count, In

# An L2 projection leaves points that are outside by a millionth of the radius; what is saved must not be.
_SLACK = 3e-6


@dataclass(frozen=True, kw_only=True)
class TransferPGD(GradientAttack):
    """Projected gradient steps that run to their end, with the parts that make images transfer; combine them at will.

    Plain, it is the PGD of the paper's transfer figure. With `momentum=1` it is MI-FGSM (Dong et al. 2018): the steps
    go along g <- momentum * g + grad / mean(abs(grad)). With `diversity` the gradients are taken at random views of the
    image (DI), with `smoothing` they are smoothed before they are normalised (TI). With an `Ensemble` in the access,
    they are those of several networks' mean logits.

    Differences from the originals: in an L2 ball the step goes along g normalised; pixels are in [0, 1]; images that
    the source gets wrong are left alone; mean(abs) for the L1 norm of Dong's paper, as in their code (a constant
    factor). Each part names its own. Difference from `PGD`: an image that fools the source goes on, because for other
    networks it counts how far it gets, not that it got there. An image costs `steps` gradients and two checks.

    Attributes:
        steps: moves; all of them are made.
        step_size: pixel units; None: radius / steps, as in MI-FGSM, which just reaches the border. With a random start
            or a wavering gradient, 2 to 2.5 times that crosses the ball.
        momentum: share of the last g that stays; 0 is none, 1 the original's.
        diversity: views at which gradients are taken; None: the image itself.
        smoothing: of the gradients; None: none.
        random_start: start at a random point of the ball instead of at the image.
        keep: "last", the end of the path, as in the originals; or "highest", of the iterates after the first move that
            fool the source (of all, if none does) the one of highest loss. With `diversity` that costs a check a step,
            as the gradient's own pass sees the view, not the image.
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    steps: Count = 10
    step_size: StepSize | None = None
    momentum: Annotated[float, In("[0, inf)", "0 for none, 1 as in MI-FGSM")] = 0.0
    diversity: InputDiversity | None = None
    smoothing: GaussianKernel | None = None
    random_start: bool = False
    keep: Literal["last", "highest"] = "last"
    loss: Literal["ce", "margin", "dlr"] = "ce"
    _every_image: ClassVar[bool] = False

    kinds = (Linf, L2, L1)

    @property
    def most_gradients(self) -> int:
        return self.steps

    def _attack(self, job: Job, ball: Ball, state: State) -> None:
        default, short = ball.radii / self.steps, "transfer will look too weak"
        size = reaching(self.step_size, default, steps=self.steps, ball=ball, too_short=short)
        if ball.kind in (L2, L1):
            ball = ball.scaled(1 - _SLACK)
        every = counting(len(job.board.images), job.board.images.device) if self._every_image else None
        for number, rows, left in job.batches(state, every):
            self._walk(job, ball, size, number, rows, left)

    def _walk(self, job: Job, ball: Ball, size: float | Tensor, number: int, rows: Rows, state: State) -> None:
        """All the moves of a batch, or those that are left of it."""
        ball, size, known = ball.at(rows), of_rows(size, rows), rows.tolist()
        centre = x = job.board.images[rows]
        if self.random_start and not state:
            x = ball.random_start(centre, job.streams(known, "transfer", "start"))
        g, done = torch.zeros_like(x), 0
        if state:
            x, g, done = state["x"], state["g"], int(state["step"])
        for step in range(done, self.steps):
            if self.diversity is None:
                found = job.gradient(rows, x)
                grad = found.grad
            else:
                view = self.diversity.draw(x, job.streams(known, "transfer", step))
                found = job.gradient(rows, view.apply(x))
                grad = view.pull(found.grad)
            if self.keep == "highest" and step:
                # With a view the gradient's own pass did not see the image itself.
                seen = found.loss, job.board.fooled(rows, found.logits)
                self._keep(job, rows, x, step, *(seen if self.diversity is None else job.check(rows, x)))
            if self.smoothing is not None:
                grad = self.smoothing(grad)
            g = self.momentum * g + _normalised(grad)
            x = ball.climb(x, g, size, centre)
            made = partial(_made, number, step + 1, x, g)
            job.save(made, since=(step + 1) % STEPS_BETWEEN_READS)
        self._keep(job, rows, x, self.steps, *job.check(rows, x))

    def _keep(self, job: Job, rows: Rows, x: Images, move: int, loss: PerImage, fooled: Flags) -> None:
        """Let the board have an iterate, if it is the one to keep."""
        board, where = job.board, None
        fooled = fooled & board.clean_correct[rows]
        if self.keep == "highest":
            # `iterations` is 0 until the first iterate is kept: the image itself is not one of them.
            higher = (loss > board.loss[rows]) | (board.iterations[rows] == 0)
            was = board.success[rows]
            where = (fooled & ~was) | ((fooled == was) & higher)
        board.put(rows, x, loss, fooled, move, where=where)


@dataclass(frozen=True, kw_only=True)
class SurrogatePGD(TransferPGD):
    """`TransferPGD` on a stand-in for the target, which is wrong on some images that the target gets right.

    Those are attacked too: steps that raise the stand-in's loss of the true class may fool the target, and an attacker has no
    reason to spare them. They are no success, as there was nothing to fool on the source itself.
    """

    _every_image: ClassVar[bool] = True


def _made(batch: int, step: int, x: Images, g: Images) -> State:
    return {"batch": whole(batch), "step": whole(step), "x": x, "g": g}


def _normalised(grad: Images) -> Images:
    """Each image's gradient over the mean of its absolute values; zero stays zero."""
    return grad / per_image(grad.flatten(1).abs().mean(1).clamp_min(1e-38))
