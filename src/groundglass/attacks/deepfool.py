"""DeepFool: over the nearest boundary, as linear as it looks, until it is crossed (Moosavi-Dezfooli et al. 2016)."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor

from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.checkpoint import State
from groundglass.attacks.criteria import Targeted
from groundglass.attacks.gradient_attack import Job
from groundglass.attacks.hyperplanes import Metric
from groundglass.attacks.minimum_norm import MinimumNormAttack, interrupted, nearest_plane
from groundglass.attacks.runs import likeliest_others
from groundglass.attacks.tensors import Logits
from groundglass.core import whole
from groundglass.core.settings import Count, In, NotNegative


@dataclass(frozen=True, kw_only=True)
class DeepFool(MinimumNormAttack):
    """DeepFool (Moosavi-Dezfooli, Fawzi and Frossard 2016, "DeepFool: a simple and accurate method to fool deep neural
    networks", Algorithm 2, and Section 3.3 for L-inf).

    Each move goes straight to the nearest boundary between the label's class and another. All moves together, and a little more,
    are added to the image, until the model is fooled. Fast; what it finds is farther away than what `FAB` finds.

    A move costs a gradient for every other class that is looked at, and a check. A `Targeted` criterion has one boundary, the
    target's. A rule of the user's own decides when it ends.

    Difference from the original: a move stays in [0, 1], and what a pixel at its end cannot do, the others do.

    Attributes:
        steps: the most moves.
        classes: how many are looked at, the most likely at the image; the label's is one of them.
        overshoot: what is added to all moves together, as a share of them.
        norm: in which distances are measured where there is no ball, "Linf" or "L2"; with one leave it out.
    """

    steps: Count = 50
    classes: Annotated[int, In("[2, inf)", "the label's and another")] = 10
    overshoot: NotNegative = 0.02
    norm: Literal["Linf", "L2"] | None = None
    kinds = (Linf, L2)

    @property
    def most_gradients(self) -> int:
        return self.steps

    def _first_state(self, board: Board, logits: Logits) -> State:
        others = 0 if isinstance(board.criterion, Targeted) else min(self.classes, logits.shape[1]) - 1
        return {"aims": likeliest_others(board, logits, others)}

    def _search(self, job: Job, ball: Ball | None, state: State) -> None:
        board, aims = job.board, state["aims"]
        for number, rows, left in job.batches(interrupted(state)):
            step, live, moved = 0, rows, torch.zeros_like(board.images[rows])
            if left:
                step, live, moved = int(left["step"]), left["live"], left["moved"]
            while step < self.steps and len(live):
                images = board.images[live]
                x = (images + (1 + self.overshoot) * moved).clamp(0, 1)
                metric = Metric(self._measure(ball).at(live))
                plane = nearest_plane(job, live, x, aims[live], metric)
                moved = moved + metric.to_plane(x, plane.grad, -plane.value)
                step += 1
                x = (images + (1 + self.overshoot) * moved).clamp(0, 1)
                loss, fooled = job.check(live, x)
                board.put(live, x, loss, fooled, step, where=fooled)
                live, moved = live[~fooled], moved[~fooled]
                job.save(partial(_state, batch=number, step=step, live=live, moved=moved, aims=aims))


def _state(**values: int | Tensor) -> State:
    return {name: value if isinstance(value, Tensor) else whole(value) for name, value in values.items()}
