"""The images of an audit: which still stand, what broke the others, and what it took. A fooled image is not attacked again."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.attacks import AttackResult, Ball, GradientAccess, LabelAccess, QueryAttack, ScoreAccess
from groundglass.attacks.access import Model
from groundglass.core import Progress, derive_seed
from groundglass.evaluation.audit.results import Attempt
from groundglass.evaluation.audit.subject import Mode

WRONG, STANDING = -2, -1
# Fresh passes of which the majority decides, for a model that answers now this, now that.
_VOTES = 9
_TOLERANCE = 1e-6

#: Given the model to ask, images, labels and ball, and whatever it likes to do with them; the adversarial images.
GivenAttack = Callable[[Model, Tensor, Tensor, Ball], Tensor]


class Counting(nn.Module):
    """A model that counts the images that pass through it."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self.rows = 0

    def forward(self, images: Tensor) -> Tensor:
        self.rows += len(images)
        return self._model(images)


class Ledger:
    """One row an image.

    Attributes:
        classes: logits an image.
        broken_by: the place in `attempts` of the attack that broke the image, or STANDING, or WRONG.
        adversarial: the image that broke it.
        claims, withdrawn: successes that attacks reported, and those that a fresh pass of the model did not confirm.
        outside: adversarial images that were not in the ball or not in [0, 1].
        miscounted: images that passed through a model beside what the access counted.
    """

    def __init__(
        self, itself: nn.Module, images: Tensor, labels: Tensor, ball: Ball, *, seed: int, progress: Progress
    ) -> None:
        self.images, self.labels, self.ball, self.seed = images, labels, ball, seed
        self.attempts: list[Attempt] = []
        self.adversarial = images.clone()
        self.claims = self.withdrawn = self.outside = self.miscounted = 0
        self.randomised = False
        self._progress = progress
        self._judge = GradientAccess(itself)
        self.classes = self._judge.logits(images[:1]).shape[1]
        self.broken_by = torch.full((len(images),), STANDING)
        self.settle(randomised=False)

    def settle(self, *, randomised: bool) -> None:
        """Which images are right at first; by majority where the model does not answer the same every time."""
        self.randomised = randomised
        wrong = self.wrong(self.images, self.labels).cpu()
        self.broken_by = torch.where(wrong, WRONG, STANDING)

    @property
    def standing(self) -> Tensor:
        """Rows that were right, and that nothing has broken."""
        return (self.broken_by == STANDING).nonzero().squeeze(1)

    def share(self, count: int) -> float:
        """Of all images."""
        return count / len(self.images)

    def wrong(self, images: Tensor, labels: Tensor) -> Tensor:
        """Whether the model itself, asked afresh, gets each image wrong."""
        votes = _VOTES if self.randomised else 1
        passes = [
            torch.cat([self._judge.logits(part).argmax(1) for part in images.split(250)]) != labels
            for _ in range(votes)
        ]
        return torch.stack(passes).sum(0) * 2 > votes

    def climb(self, name: str, attack: Any, mode: Mode, role: str, rows: Tensor | None = None) -> Attempt:
        """An attack by gradients, on `rows` of those that stand, or on all."""
        return self._made(name, attack, mode.name, role, mode.model, GradientAccess, rows, mode.fit)

    def ask(self, attack: QueryAttack, model: Model, rows: Tensor, budget: int) -> Attempt:
        """An attack by queries."""
        of_labels = not hasattr(attack, "loss")
        kind: Any = LabelAccess if of_labels else ScoreAccess
        name = f"{type(attack).__name__}, {'labels alone' if of_labels else 'scores'}, {budget} queries"
        return self._made(name, attack, "none", "queries", model, lambda m: kind(m, per_image=budget), rows, None)

    def carry(self, name: str, attack: Any, source: Model) -> Attempt:
        """Adversarial images made on another model, and shown to this one."""
        rows = self.standing
        if not len(rows):
            self.attempts.append(_untried(name, attack, "another model's", "transfer", None))
            return self.attempts[-1]
        started, counting = time.perf_counter(), Counting(source)
        access = GradientAccess(counting)
        made = self._run(attack, access, name, rows)
        claimed = torch.ones(len(rows), dtype=torch.bool)
        return self._enter(
            name,
            attack,
            "another model's",
            "transfer",
            rows,
            made.adversarial,
            claimed,
            counting,
            access,
            made,
            started,
            None,
            True,
        )

    def given(self, name: str, attack: GivenAttack, model: Model) -> Attempt:
        """An attack that somebody brings. What it leaves outside the ball or [0, 1] does not count, and is counted."""
        rows = self.standing
        if not len(rows):
            self.attempts.append(_untried(name, attack, "own", "given", None))
            return self.attempts[-1]
        started, counting = time.perf_counter(), Counting(model)
        adversarial = attack(counting, self.images[rows], self.labels[rows], self.ball)
        if not isinstance(adversarial, Tensor) or adversarial.shape != self.images[rows].shape:
            shape = tuple(adversarial.shape) if isinstance(adversarial, Tensor) else type(adversarial).__name__
            raise ValueError(
                f"the attack {name!r} must return adversarial images of shape {tuple(self.images[rows].shape)}, not {shape}"
            )
        claimed = torch.ones(len(rows), dtype=torch.bool)
        adversarial = adversarial.detach().to(self.images)
        return self._enter(
            name, attack, "own", "given", rows, adversarial, claimed, counting, None, None, started, None, True
        )

    def _made(
        self, name: str, attack: Any, mode: str, role: str, model: Model, kind: Any, rows: Tensor | None, fit: Any
    ) -> Attempt:
        rows = self.standing if rows is None else rows
        if not len(rows):
            self.attempts.append(_untried(name, attack, mode, role, fit))
            return self.attempts[-1]
        self._progress(f"audit: {name}", 0, max(1, len(rows)))
        started, counting = time.perf_counter(), Counting(model)
        access = kind(counting)
        made = self._run(attack, access, name, rows)
        return self._enter(
            name,
            attack,
            mode,
            role,
            rows,
            made.adversarial,
            made.success.cpu(),
            counting,
            access,
            made,
            started,
            fit,
            False,
        )

    def _run(self, attack: Any, access: Any, name: str, rows: Tensor) -> AttackResult:
        result: AttackResult = attack(
            access,
            self.images[rows],
            self.labels[rows],
            self.ball,
            seed=derive_seed(self.seed, "audit", name),
            indices=rows.tolist(),
        )
        return result

    def _enter(
        self,
        name: str,
        attack: Any,
        mode: str,
        role: str,
        rows: Tensor,
        adversarial: Tensor,
        claimed: Tensor,
        counting: Counting,
        access: Any,
        made: AttackResult | None,
        started: float,
        fit: dict[str, Any] | None,
        tentative: bool,
    ) -> Attempt:
        """Note what an attack did. Each success is seen afresh: in the ball, in [0, 1], and still wrong."""
        at = claimed.nonzero().squeeze(1)
        inside = self.ball.contains(adversarial[at], self.images[rows[at]], tolerance=_TOLERANCE).cpu()
        self.outside += int((~inside).sum())
        at = at[inside]
        confirmed = at[self.wrong(adversarial[at], self.labels[rows[at]]).cpu()] if len(at) else at
        if not tentative:
            self.claims += int(claimed.sum())
            self.withdrawn += len(at) - len(confirmed)
        if access is not None:
            self.miscounted += abs(counting.rows - access.rows)
        broken = rows[confirmed]
        self.broken_by[broken] = len(self.attempts)
        self.adversarial[broken] = adversarial[confirmed].to(self.adversarial)
        gradients = int(made.gradients.sum()) if made is not None else 0
        attempt = Attempt(
            name=name,
            attack=type(attack).__name__,
            mode=mode,
            role=role,
            tried=len(rows),
            broke=len(broken),
            gradients=gradients,
            forwards=counting.rows - gradients,
            seconds=round(time.perf_counter() - started, 3),
            zero_gradient_share=made.zero_gradient_share if made is not None else 0.0,
            fit=fit,
        )
        self.attempts.append(attempt)
        self._progress(f"audit: {name}", max(1, len(rows)), max(1, len(rows)), broke=len(broken))
        return attempt


def _untried(name: str, attack: Any, mode: str, role: str, fit: dict[str, Any] | None) -> Attempt:
    """An attack that found no image left to attack."""
    return Attempt(
        name=name,
        attack=type(attack).__name__,
        mode=mode,
        role=role,
        tried=0,
        broke=0,
        gradients=0,
        forwards=0,
        seconds=0.0,
        fit=fit,
    )
