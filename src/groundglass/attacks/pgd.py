"""Projected gradient descent."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from groundglass.attacks.access import Gradients
from groundglass.attacks.balls import Ball
from groundglass.attacks.checkpoint import State
from groundglass.attacks.gradient_attack import GradientAttack, Job, StepSize, of_rows, reaching
from groundglass.attacks.runs import Runs
from groundglass.attacks.tensors import Images, Rows
from groundglass.core import check_eps
from groundglass.core.settings import Count


@dataclass(frozen=True, kw_only=True)
class PGD(GradientAttack):
    """Steps along the gradient, projected back into the ball (Madry et al. 2018): sign steps in L-inf, normalised in L2, in
    L1 of the largest hundredth of the entries (SLIDE, Tramer and Boneh 2019), in L0 normalised by the L1 norm (PGD_0, Croce and
    Hein 2019). In L0 the pixels that the first steps choose tend to stay, where `SparseRS` goes on changing them.

    50 steps from the image itself, as in the paper; its steps are .01 on images in [-1, 1], `step_size=0.005`.

    A gradient's own forward pass shows whether the iterate fools the model. So an image costs one gradient a step, a
    check of the clean image and, if it is not fooled by the end of a run, one of the last iterate.

    Differences from the original: no random start unless asked for; the best iterate is kept, not the last; an image
    that is fooled, or wrong from the start, leaves the batch, and another takes its place.

    Attributes:
        steps: moves of a run.
        step_size: pixel units, in (0, 1] for L-inf; None: 2.5 * eps / steps, which can cross the ball whatever its size.
        random_start: the first run starts at a random point of the ball. Later runs always do.
        restarts: runs an image may have; one that is fooled needs no other.
        keep: "best", the first iterate that fools the model, else that of highest loss; or "last", the end of the
            last run, as in the paper's code.
        stop_when_fooled: an image's work ends with the first iterate that fools the model. Robust accuracy is the same.
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    steps: Count = 50
    step_size: StepSize | None = None
    random_start: bool = False
    restarts: Count = 1
    keep: Literal["best", "last"] = "best"
    stop_when_fooled: bool = True
    loss: Literal["ce", "margin", "dlr"] = "ce"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep == "last" and self.stop_when_fooled:
            raise ValueError("keep='last' runs every step: it needs stop_when_fooled=False")

    @classmethod
    def bim(cls, eps: float) -> "PGD":
        """The basic iterative method (Kurakin, Goodfellow and Bengio 2017, "Adversarial examples in the physical world", section
        2.2) for an L-inf ball of this radius: from the image itself, steps of 1/255, min(255 eps + 4, 1.25 x 255 eps) of them.

        The paper does not round that number; here it is rounded up, so that the steps reach the border. As with `PGD` the best
        iterate is kept, where the original takes the last.

        Raises:
            ValueError: a radius outside [0, 1].
        """
        check_eps(eps, upper=1, unit="(L-inf)")
        levels = 255 * eps
        # Not a hair above a whole number, as 255 * (8 / 255) * 1.25 may be.
        steps = math.ceil(min(levels + 4, 1.25 * levels) - 1e-9)
        return cls(steps=max(1, steps), step_size=1 / 255)

    @property
    def most_gradients(self) -> int:
        return self.steps * self.restarts

    def _attack(self, job: Job, ball: Ball, state: State) -> None:
        size = reaching(
            self.step_size,
            ball.stride(self.steps, job.board.images[:1].numel()),
            steps=self.steps,
            ball=ball,
            too_short="robust accuracy will look too high",
        )
        _Runs(self, job, ball, size, state).finish()


class _Runs(Runs):
    def __init__(self, attack: PGD, job: Job, ball: Ball, size: float | Tensor, state: State) -> None:
        self._size = size.to(job.board.images.device) if isinstance(size, Tensor) else size
        super().__init__(attack, job, ball, state, keep_best=attack.keep == "best", patience=job.batch_size)

    def _begin(self, rows: Rows, x: Images) -> State:
        return {}

    def _move(self, live: State, found: Gradients) -> State:
        rows, ball = live["rows"], self._ball.at(live["rows"])
        size = of_rows(self._size, rows)
        return {"x": ball.climb(live["x"], found.grad, size, self._board.images[rows])}
