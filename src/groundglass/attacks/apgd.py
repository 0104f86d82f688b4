"""Auto-PGD: projected gradient descent that finds its own step size, image by image."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from groundglass.attacks.access import Gradients
from groundglass.attacks.apgd_l1 import SparseRuns
from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.checkpoint import State
from groundglass.attacks.gradient_attack import GradientAttack, Job
from groundglass.attacks.runs import TowardsClasses, likeliest_others
from groundglass.attacks.sparse_balls import L1
from groundglass.attacks.tensors import Images, Logits, PerImage, Rows, per_image
from groundglass.core.settings import Count, In


@dataclass(frozen=True, kw_only=True)
class APGD(GradientAttack):
    """Auto-PGD (Croce and Hein 2020, Algorithm 1): momentum, and a step of 2 eps that is halved where it is too long.

    At checkpoints, which come closer and closer, an image goes back to its best iterate with half the step if fewer
    than `rho` of its moves since the last checkpoint climbed, or if its best loss has stayed the same and the step was not
    halved there. There is nothing to tune. An image costs what it costs PGD: a gradient a step, and a check at either end.

    `APGD(loss="ce")` and `APGD(loss="dlr", targets=9)` are the two white-box parts of AutoAttack. If logits are so
    large that cross-entropy's gradient is zero in float32, take "dlr".

    Differences from the original: a random start is uniform in the ball, not pushed to its border in L-inf; at a
    checkpoint it goes back before the move, not after it, so that no query is wasted;
    the first iterate that fools the model is kept, and of others the one of highest loss; an image that is fooled, or
    wrong from the start, leaves the batch, and another takes its place. In an L1 ball it is another algorithm, see
    `SparseRuns`, and `rho` and `alpha` are of no consequence.

    Attributes:
        steps: moves of a run.
        restarts: runs an image may have (for each target); one that is fooled needs no other.
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
        rho: the share of moves that must climb if the step is to stay as it is.
        alpha: the share of the new step in a move; the rest goes on with the last move.
        random_start: the first run starts at a random point of the ball, not at the image. Later restarts always do.
        stop_when_fooled: an image's work ends with the first iterate that fools the model. Robust accuracy is the same.
        targets: 0, or k > 0 for a run towards each of the k most likely other classes on the targeted DLR loss (needs
            loss="dlr" and 4 classes). What is recorded is the untargeted loss, so that runs can be compared.
    """

    steps: Count = 100
    restarts: Count = 1
    loss: Literal["ce", "margin", "dlr"] = "ce"
    rho: Annotated[float, In("[0, 1]", "a share of moves; the paper's is 0.75")] = 0.75
    alpha: Annotated[float, In("(0, 1]", "1 for no momentum; the paper's is 0.75")] = 0.75
    random_start: bool = True
    stop_when_fooled: bool = True
    targets: Annotated[int, In("[0, inf)", "untargeted, or how many classes to aim at")] = 0
    kinds = (Linf, L2, L1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets and self.loss != "dlr":
            raise ValueError(f"`targets` (={self.targets}) needs loss='dlr', not {self.loss!r}")

    def _first_state(self, board: Board, logits: Logits) -> State:
        return {"aims": likeliest_others(board, logits, self.targets)}

    @property
    def most_gradients(self) -> int:
        return self.steps * self.restarts * max(1, self.targets)

    def _attack(self, job: Job, ball: Ball, state: State) -> None:
        kind = SparseRuns if ball.kind is L1 else AdaptiveRuns
        kind(self, job, ball, state, state["aims"]).finish()


def checkpoints(steps: int) -> list[int]:
    """After how many moves a step may be halved: ceil(p steps), p = .22 .41 .57 .70 .80 .87 .93 .99."""
    shares, share, gap = [], 22, 22
    # In hundredths: 0.57 * 100 is not 57 in floating point, and its ceiling might be 58.
    while share < 100:
        shares.append(share)
        gap = max(gap - 3, 6)
        share += gap
    return sorted({-(-share * steps // 100) for share in shares} - {steps})


class AdaptiveRuns(TowardsClasses):
    """What a run remembers besides its iterate, one entry a run.

    before: the iterate that "x" was reached from.
    loss: of the last iterate whose gradient was taken.
    best_x, best_grad, best_loss: of the run so far.
    size: of the next move, pixel units.
    climbs: moves since the last checkpoint that climbed.
    checked_loss: the best one at the last checkpoint.
    halved: whether the step was halved there.
    """

    def __init__(self, attack: APGD, job: Job, ball: Ball, state: State, aims: Rows) -> None:
        self._apgd = attack
        # Moves since the checkpoint before, where there is a checkpoint; else 0.
        self._windows = torch.zeros(attack.steps, dtype=torch.int64, device=job.board.images.device)
        last = 0
        for point in checkpoints(attack.steps):
            self._windows[point], last = point - last, point
        super().__init__(attack, job, ball, state, aims)

    def _begin(self, rows: Rows, x: Images) -> State:
        none = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        radii = self._ball.at(rows).radii
        size = torch.full_like(none, 2 * radii) if isinstance(radii, float) else (2 * radii).to(none)
        climbs = torch.zeros_like(none, dtype=torch.int64)
        moves = {"before": x, "loss": -none, "size": size, "climbs": climbs, "halved": climbs.bool()}
        return moves | {"best_x": x, "best_grad": torch.zeros_like(x), "best_loss": none, "checked_loss": none}

    def _move(self, live: State, found: Gradients) -> State:
        """Note the loss. At a checkpoint, perhaps halve the step and go back to the best iterate. Then move."""
        better = found.loss > live["best_loss"]
        best_loss = torch.where(better, found.loss, live["best_loss"])
        best_x = torch.where(per_image(better), live["x"], live["best_x"])
        best_grad = torch.where(per_image(better), found.grad, live["best_grad"])

        window = self._windows[live["step"]]
        climbs = live["climbs"] + (found.loss > live["loss"])
        slow = climbs < self._apgd.rho * window  # condition 1
        stuck = ~live["halved"] & (best_loss <= live["checked_loss"])  # condition 2
        halve = (window > 0) & (slow | stuck)
        begins = (window > 0) | (live["step"] == 0)

        size = torch.where(halve, live["size"] / 2, live["size"])
        x = torch.where(per_image(halve), best_x, live["x"])
        grad = torch.where(per_image(halve), best_grad, found.grad)
        return {
            "x": self._moved(live, x, grad, size),
            "before": x,
            "loss": torch.where(halve, best_loss, found.loss),
            "best_x": best_x,
            "best_grad": best_grad,
            "best_loss": best_loss,
            "size": size,
            "climbs": torch.where(begins, 0, climbs),
            "checked_loss": torch.where(begins, best_loss, live["checked_loss"]),
            "halved": torch.where(begins, halve, live["halved"]),
        }

    def _moved(self, live: State, x: Images, grad: Images, size: PerImage) -> Images:
        ball, centre, alpha = self._ball.at(live["rows"]), self._board.images[live["rows"]], self._apgd.alpha
        # Moves are linear in their size, which differs by image.
        target = ball.project(x + ball.step(grad, 1.0) * per_image(size), centre)
        carried = x + alpha * (target - x) + (1 - alpha) * (x - live["before"])
        return torch.where(per_image(live["step"] == 0), target, ball.project(carried, centre))
