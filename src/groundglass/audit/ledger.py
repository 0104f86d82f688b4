"""The images of an audit: which still stand, what broke the others, and what it took. A fooled image is not attacked again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.attacks import (
    AttackResult,
    Ball,
    GradientAccess,
    GradientAttack,
    LabelAccess,
    LabelAttack,
    NonFiniteError,
    QueryAttack,
    ScoreAccess,
)
from groundglass.attacks.access import Model
from groundglass.attacks.criteria import UNTARGETED, Criterion
from groundglass.audit.findings import Attempt
from groundglass.audit.kept import Kept, Made
from groundglass.audit.subject import Mode, as_module
from groundglass.audit.units import Units
from groundglass.core import Progress, check_labels, counting, derive_seed, own_streams
from groundglass.core.modes import evaluating, unchanged
from groundglass.core.seeds import global_streams
from groundglass.core.stopping import check_stopped

WRONG, STANDING = -2, -1
# Fresh passes of which the majority decides, for a model that answers now this, now that.
_VOTES = 9
_TOLERANCE = 1e-6

#: An attack of this package; or a function that is given the model to ask, images, labels and ball, and returns the
#: adversarial images.
GivenAttack = GradientAttack | QueryAttack | Callable[[Model, Tensor, Tensor, Ball], Tensor]


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
        asked, fooled: for each attempt, which images it was tried on, and which of them it fooled. [n] each.
        not_finite: attacks that ended at a NaN or infinite gradient or logit.
        claims, withdrawn: successes that attacks reported, and those that a fresh pass of the model did not confirm.
        outside: adversarial images of our own attacks that were not in the ball or not in [0, 1].
        miscounted: images that passed through a model beside what the access counted.
    """

    def __init__(
        self,
        itself: nn.Module,
        units: Units,
        labels: Tensor,
        *,
        seed: int,
        progress: Progress,
        criterion: Criterion = UNTARGETED,
        batch_size: int | None = None,
    ) -> None:
        images, ball = units.unit_images, units.unit_ball
        self.images, self.labels, self.ball, self.seed, self.criterion = images, labels, ball, seed, criterion
        self.units = units
        self.attempts: list[Attempt] = []
        self.adversarial = images.clone()
        self.asked: list[Tensor] = []
        self.fooled: list[Tensor] = []
        self.not_finite: list[str] = []
        self.claims = self.withdrawn = self.outside = self.miscounted = 0
        self.randomised = False
        #: Attacks that an earlier session of this audit has carried out.
        self.kept: Kept | None = None
        self._progress, self._batch_size = progress, batch_size
        self._judge = GradientAccess(itself)
        self.classes = self._judge.logits(images[:1]).shape[1]
        check_labels(labels, count=len(images), classes=self.classes)
        criterion.check_classes(self.classes)
        self.broken_by = torch.full((len(images),), STANDING, dtype=torch.int64, device="cpu")
        self.settle(randomised=False)

    def settle(self, *, randomised: bool) -> None:
        """Which images are right at first; by majority where the model does not answer the same every time."""
        self.randomised = randomised
        wrong = self.wrong(self.images, counting(len(self.images))).cpu()
        self.broken_by = torch.where(wrong, WRONG, STANDING)

    @property
    def right(self) -> Tensor:
        """Rows that were right without an attack."""
        return (self.broken_by != WRONG).nonzero().squeeze(1)

    @property
    def standing(self) -> Tensor:
        """Rows that were right, and that nothing has broken."""
        return (self.broken_by == STANDING).nonzero().squeeze(1)

    def left(self, places: Sequence[int]) -> Tensor:
        """Which images these attempts leave, of those that were right. [n]"""
        found = self.broken_by != WRONG
        for place in places:
            found = found & ~self.fooled[place]
        return found

    def share(self, count: int) -> float:
        """Of all images."""
        return count / len(self.images)

    def wrong(self, images: Tensor, rows: Tensor) -> Tensor:
        """Whether the model itself, asked afresh, is fooled by each of these images, made of those of `rows`."""
        votes = _VOTES if self.randomised else 1
        parts = list(zip(images.split(250), rows.split(250), strict=True))
        passes = [
            torch.cat([self._judge.wrong(x, self.labels[of], self.criterion.at(of)) for x, of in parts])
            for _ in range(votes)
        ]
        return torch.stack(passes).sum(0) * 2 > votes

    def climb(self, name: str, attack: Any, mode: Mode, role: str, rows: Tensor | None = None) -> Attempt:
        """An attack by gradients, on all that stands or on these rows."""
        plan = _plan(name, attack, mode.name, role, mode.fit)
        return self._try(plan, rows, lambda rows: self._run(plan, attack, mode.access, mode.model, rows))

    def ask(self, attack: QueryAttack, model: Model, rows: Tensor, budget: int) -> Attempt:
        """An attack by queries, on some rows."""
        name = f"{type(attack).__name__}, {'labels alone' if isinstance(attack, LabelAttack) else 'scores'}, {budget} queries"
        plan = _plan(name, attack, "none", "queries")
        return self._try(plan, rows, lambda rows: self._run(plan, attack, _access_of(attack, budget), model, rows))

    def carry(self, name: str, attack: Any, source: Model) -> Attempt:
        """Adversarial images made on another model, and shown to this one."""
        plan = _plan(name, attack, "another model's", "transfer")
        made = lambda rows: replace(self._run(plan, attack, GradientAccess, source, rows), claimed=None)  # noqa: E731
        return self._try(plan, None, made)

    def given(
        self, name: str, attack: GivenAttack, model: Model, budget: int, role: str = "given", rows: Tensor | None = None
    ) -> Attempt:
        """An attack that somebody brings. If it fails, or leaves an image outside the ball or [0, 1], none of it counts; and what
        it does to the model or to torch's stream is undone.

        Args:
            budget: queries an image, of one of our own that only asks.
        """
        plan = _plan(name, attack, "own", role)

        def make(rows: Tensor) -> Made:
            images = self.images[rows]
            try:
                if isinstance(attack, GradientAttack | QueryAttack):
                    return self._run(plan, attack, _access_of(attack, budget), model, rows)
                counting = Counting(self.units.theirs(as_module(model)))
                theirs, seed = self.units.images[rows].clone(), derive_seed(self.seed, "audit", plan.name)
                with evaluating(counting), unchanged(counting), own_streams(seed):
                    adversarial = attack(counting, theirs, self.labels[rows].clone(), self.units.ball)
                if not isinstance(adversarial, Tensor) or adversarial.shape != images.shape:
                    found = tuple(adversarial.shape) if isinstance(adversarial, Tensor) else type(adversarial).__name__
                    raise ValueError(f"it must return images of shape {tuple(images.shape)}, not {found}")
                return Made(self.units.to_unit(adversarial.detach().to(images)), None, counting.rows)
            except NonFiniteError:
                raise
            except Exception as error:  # somebody else's mistake ends no audit: it is told
                check_stopped()
                none = torch.zeros(len(rows), dtype=torch.bool, device="cpu")
                return Made(images, none, 0, invalid=f"{type(error).__name__}: {error}")

        return self._try(plan, rows, make, brought=True)

    def _run(self, plan: Attempt, attack: Any, open_access: Any, model: Model, rows: Tensor) -> "Made":
        """One of our attacks on some rows, its passes counted by the access and beside it."""
        counting = Counting(model)
        access = open_access(counting)
        result: AttackResult = attack(
            access,
            self.images[rows],
            self.labels[rows],
            self.ball,
            seed=derive_seed(self.seed, "audit", plan.name),
            indices=rows.tolist(),
            criterion=self.criterion.at(rows),
            batch_size=self._batch_size,
        )
        climbs = isinstance(access, GradientAccess)
        return Made(
            result.adversarial,
            result.success.cpu(),
            access.check_queries if climbs else access.rows,
            access.gradients if climbs else 0,
            result.zero_gradient_share,
            miscounted=abs(counting.rows - access.rows),
        )

    def _try(
        self, plan: Attempt, rows: Tensor | None, make: Callable[[Tensor], "Made"], *, brought: bool = False
    ) -> Attempt:
        """Carry out an attack and note what it did. Each success is seen afresh: in the ball, in [0, 1], and still wrong."""
        rows = self.standing if rows is None else rows
        if not len(rows):
            return self._note(plan, rows, rows)
        self._progress(f"audit: {plan.name}", 0, len(rows))
        started = time.perf_counter()
        try:
            return self._judged(plan, rows, self._made(plan, rows, make), brought)
        except NonFiniteError as error:
            # The images stand, and the gradients are reported.
            self.not_finite.append(plan.name)
            invalid = f"{type(error).__name__}: {error}" if brought else ""
            seconds = round(time.perf_counter() - started, 3)
            return self._note(replace(plan, tried=len(rows), seconds=seconds, invalid=invalid), rows, rows[:0])

    def _judged(self, plan: Attempt, rows: Tensor, made: "Made", brought: bool) -> Attempt:
        claimed = torch.ones(len(rows), dtype=torch.bool, device="cpu") if made.claimed is None else made.claimed
        at = claimed.nonzero().squeeze(1)
        inside = self.ball.contains(
            made.adversarial[at], self.images[rows[at]], tolerance=_TOLERANCE * max(1.0, self.ball.radius)
        ).cpu()
        outside, invalid = int((~inside).sum()), made.invalid
        if brought and outside:
            invalid = f"{outside} of {len(rows)} images lie outside the ball or {self.units.span}"
        self.outside += 0 if brought else outside
        at = at[:0] if invalid else at[inside]
        confirmed = at[self.wrong(made.adversarial[at], rows[at]).cpu()] if len(at) else at
        self.miscounted += made.miscounted
        if made.claimed is not None and not invalid:
            self.claims += int(claimed.sum())
            self.withdrawn += len(at) - len(confirmed)
        attempt = replace(
            plan,
            tried=len(rows),
            gradients=made.gradients,
            forwards=made.forwards,
            seconds=round(made.seconds, 3),
            zero_gradient_share=made.zero_gradient_share,
            invalid=invalid,
        )
        attempt = self._note(attempt, rows, rows[confirmed], made.adversarial[confirmed])
        self._progress(f"audit: {plan.name}", len(rows), len(rows), broke=attempt.broke)
        return attempt

    def _note(self, attempt: Attempt, rows: Tensor, fooled: Tensor, adversarial: Tensor | None = None) -> Attempt:
        """An attempt, the rows it was tried on and those it fooled; of these, what stood before is broken by it."""
        new = self.broken_by[fooled] == STANDING
        if adversarial is not None:
            self.broken_by[fooled[new]] = len(self.attempts)
            self.adversarial[fooled[new]] = adversarial[new.to(adversarial.device)].to(self.adversarial)
        stood = bool((self.broken_by[rows] == STANDING).sum() + new.sum() == len(rows))
        found = replace(attempt, broke=int(new.sum()), fooled=None if stood else len(fooled))
        self.asked.append(self._mask(rows))
        self.fooled.append(self._mask(fooled))
        self.attempts.append(found)
        return found

    def _mask(self, rows: Tensor) -> Tensor:
        found = torch.zeros(len(self.images), dtype=torch.bool, device="cpu")
        found[rows] = True
        return found

    def _made(self, plan: Attempt, rows: Tensor, make: Callable[[Tensor], Made]) -> Made:
        """What an attack makes of some rows, now or in an earlier session. What somebody brings may have changed since."""
        name, place = plan.name, len(self.attempts)
        kept = None if self.randomised or plan.role in ("given", "transfer", "claim") else self.kept
        made = None if kept is None else kept.get(place, name, rows, self.images[rows])
        if made is None:
            started, streams = time.perf_counter(), global_streams()
            made = make(rows)
            made = replace(made, seconds=time.perf_counter() - started)
            if not all(map(torch.equal, streams, global_streams())):
                # The model draws, and what it draws next depends on this attack: it cannot go on from here.
                self.kept = None
            elif kept is not None:
                kept.put(place, name, rows, made)
        return made


def _plan(name: str, attack: Any, mode: str, role: str, fit: dict[str, Any] | None = None) -> Attempt:
    """An attack that has not been tried on any image."""
    kind = type(attack).__name__
    return Attempt(
        name=name, attack=kind, mode=mode, role=role, tried=0, broke=0, gradients=0, forwards=0, seconds=0.0, fit=fit
    )


def _access_of(attack: Any, budget: int) -> Any:
    """What opens the access that one of our attacks needs, to a model."""
    if isinstance(attack, QueryAttack):
        return partial(LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess, per_image=budget)
    return GradientAccess
