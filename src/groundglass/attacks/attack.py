"""How every attack is called: a model or an access, images, labels and a ball; or many radii, and a table of results."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, overload

import torch
from torch import Tensor

from groundglass.attacks.access import UNIT, Access, Model, check_bounds, open_access
from groundglass.attacks.balls import Ball, Linf
from groundglass.attacks.checkpoint import AttackCheckpoint
from groundglass.attacks.criteria import Criterion, as_criterion
from groundglass.attacks.fitting import fitting_size
from groundglass.attacks.given_images import as_call
from groundglass.attacks.norms import as_balls
from groundglass.attacks.result import AttackResult, Setup
from groundglass.attacks.sweep import Sweep, swept
from groundglass.attacks.tensors import Images, Labels
from groundglass.core import Progress, as_images
from groundglass.core.batch_size import BatchSize, checked
from groundglass.core.bounds import Bounds
from groundglass.core.progress import shown
from groundglass.core.settings import Settings, fit


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an attack, with what was given checked. Images are in [0, 1], and so is the ball's radius.

    Attributes:
        indices: the number of each image in its set, for its random draws; None: 0, 1, ...
        start: where searches begin; None: where the attack itself would.
    """

    access: Any
    images: Images
    labels: Labels
    ball: Ball | None
    criterion: Criterion
    seed: int
    indices: Sequence[int] | Tensor | None
    start: Tensor | None
    batch_size: int
    checkpoint: AttackCheckpoint | None
    progress: Progress


class Attack(Settings, ABC):
    """An attack is its configuration, a frozen dataclass, and is called with what it attacks."""

    #: Of the balls that it is for; empty: every kind.
    kinds: ClassVar[tuple[type[Ball], ...]] = ()
    _access: ClassVar[type[Access]]
    #: Images in a pass through the model, unless the call says otherwise.
    usual_batch: ClassVar[int] = 128
    _takes_start: ClassVar[bool] = False
    #: Queries an image of an attack that only asks, unless the call says otherwise; None: it does not ask.
    default_budget: ClassVar[int | None] = None

    def check_ball(self, ball: Ball | None) -> None:
        """Refuse a ball that the attack is not made for.

        Raises:
            ValueError: a ball of another kind, or none.
        """
        if ball is not None and (not self.kinds or ball.kind in self.kinds):
            return
        name, give = type(self).__name__, f"give {(self.kinds or (Linf,))[0].__name__}(eps)"
        if ball is None:
            raise ValueError(f"{name} needs a ball: {give}")
        known = " and ".join(kind.__name__ for kind in self.kinds)
        raise ValueError(f"{name} is for {known}, not for {ball!r}: {give}")

    @property
    def title(self) -> str:
        """What records call it."""
        return type(self).__name__

    @overload
    def __call__(
        self,
        model: Model | Access | str,
        images: Any,
        labels: Any = None,
        ball: Ball | type[Ball] | str | None = None,
        *,
        eps: float | str | None = None,
        criterion: Criterion | Callable[[Tensor, Tensor], Tensor] | None = None,
        seed: int = 0,
        budget: int | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        indices: Sequence[int] | Tensor | None = None,
        start: Any = None,
        batch_size: BatchSize | None = None,
        checkpoint: AttackCheckpoint | Path | str | None = None,
        progress: Progress | bool = False,
    ) -> AttackResult: ...

    @overload
    def __call__(
        self,
        model: Model | str,
        images: Any,
        labels: Any,
        ball: Sequence[Ball],
        *,
        criterion: Criterion | Callable[[Tensor, Tensor], Tensor] | None = None,
        seed: int = 0,
        budget: int | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        indices: Sequence[int] | Tensor | None = None,
        batch_size: BatchSize | None = None,
        checkpoint: AttackCheckpoint | Path | str | None = None,
        progress: Progress | bool = False,
    ) -> Sweep: ...

    @overload
    def __call__(
        self,
        model: Model | str,
        images: Any,
        labels: Any,
        ball: type[Ball] | str,
        *,
        eps: Sequence[float | str] | Tensor,
        criterion: Criterion | Callable[[Tensor, Tensor], Tensor] | None = None,
        seed: int = 0,
        budget: int | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        indices: Sequence[int] | Tensor | None = None,
        batch_size: BatchSize | None = None,
        checkpoint: AttackCheckpoint | Path | str | None = None,
        progress: Progress | bool = False,
    ) -> Sweep: ...

    def __call__(
        self,
        model: Model | Access | str,
        images: Any,
        labels: Any = None,
        ball: Any = None,
        *,
        eps: Any = None,
        criterion: Criterion | Callable[[Tensor, Tensor], Tensor] | None = None,
        seed: int = 0,
        budget: int | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        indices: Sequence[int] | Tensor | None = None,
        start: Any = None,
        batch_size: BatchSize | None = None,
        checkpoint: AttackCheckpoint | Path | str | None = None,
        progress: Progress | bool = False,
    ) -> AttackResult | Sweep:
        """Attack each image. One that meets the criterion as it is costs one check, and is left alone.

        Args:
            model: a module or a function of images to logits, or an access to one, which counts and limits what it is asked;
                or a model's name, see `groundglass.models.load_model`.
            images, labels: tensors or numpy arrays: images [n, c, h, w]; labels [n], [n, 1] or one-hot. Or in place of images a
                set that has both, without `labels`: a Dataset, a DataLoader, a pair or another form that
                `groundglass.data.given` takes; all of it is read into memory, and the ball may follow it directly.
            ball: where adversarial images may be: `Linf(8 / 255)`, `L2(0.5)`, `Linf.each(radii)`. A list of balls, or a
                kind with a list of radii (`Linf, eps=[2 / 255, 4 / 255]`), is a sweep: an image that is fooled in a smaller
                ball is not attacked again in a larger one. Attacks for the nearest image (`FAB`, `DeepFool`, `CarliniWagnerL2`)
                need none.
            criterion: what counts as fooled: `Untargeted()`, `Targeted(classes)`, or a function of logits [b, classes] and
                labels [b] to flags [b].
            seed: of all that is drawn; the result records it.
            budget: of an attack that only asks: queries for each image, checks included. Not with an access, which has its own.
            bounds: the range of the images, as the model takes them. Radii and the result's images and norms are in the same
                units; an attack's own settings, as PGD's `step_size`, are of images in [0, 1].
            indices: the number of each image in its set, for its random draws; 0, 1, ... if not given.
            start: where to begin each search, an image in the ball: a transfer prior, such as the adversarial image that a
                surrogate gives (as in Cheng et al. 2019, which keep its gradient, not its image). It is asked first, at
                the price of a query. `Square` takes one.
            batch_size: images in a pass through the model. It changes no result, if the model's logits for an image
                do not depend on the batch; nor does the order of the images, or attacking a set in parts. "auto": as many as
                fit into the free memory, by what a few images take; with a checkpoint give a number.
            checkpoint: a file for unfinished work, replaced every half minute, and by attacks that only ask also when an
                error of the model ends them. If it is there, the attack goes on from it, to the same result.
            progress: True to show it; or a function that is told what was done of how much.

        Returns:
            A result, one row an image; of a sweep a `Sweep`, one result a ball.

        Warns:
            RuntimeWarning: all steps together cannot reach the border of the ball; before any question is asked, if the
                attack's steps have one size.

        Raises:
            ValueError, TypeError: images, labels, ball, budget or model that cannot be used, or a checkpoint of another
                attack, of other images or of another network; says what to do.
            OSError: the checkpoint cannot be written; raised before the model is asked.
            NonFiniteError: NaN or infinite logits or gradients.
            Exception: whatever the model raises.
        """
        low, high = model.bounds if isinstance(model, Access) else check_bounds(bounds)
        with torch.inference_mode(False):
            images, labels, ball = as_call(model, images, labels, ball, (low, high))
        balls = None if ball is None and eps is None else as_balls(ball, eps)
        if isinstance(balls, list):
            if start is not None or isinstance(model, Access):
                given = (
                    "`start`" if start is not None else "access, whose budget is for one attack: give the model itself"
                )
                raise ValueError(f"a sweep over radii takes no {given}")
            for one in balls:
                self.check_ball(one)
                one.scaled(1 / (high - low)).check(images, high - low)
            once = partial(self._call, model, seed=seed, budget=budget, bounds=bounds, batch_size=batch_size)
            return swept(once, images, labels, balls, criterion=as_criterion(criterion),
                         indices=indices, checkpoint=checkpoint, progress=progress)  # fmt: skip
        return self._call(model, images, labels, balls, criterion=criterion, seed=seed, budget=budget, bounds=bounds,
                          batch_size=batch_size, indices=indices, start=start, checkpoint=checkpoint,
                          progress=progress)  # fmt: skip

    def _call(
        self,
        model: Any,
        images: Images,
        labels: Labels,
        ball: Ball | None,
        *,
        criterion: Any,
        seed: int,
        budget: int | None,
        bounds: tuple[float, float],
        batch_size: BatchSize | None,
        indices: Sequence[int] | Tensor | None = None,
        start: Any = None,
        checkpoint: AttackCheckpoint | Path | str | None = None,
        progress: Progress | bool = False,
    ) -> AttackResult:
        access = self._open(model, budget, check_bounds(bounds))
        self.check_ball(ball)
        if start is not None and not self._takes_start:
            raise ValueError(f"{type(self).__name__} begins at the image itself: leave out `start`, or use Square")
        scale = Bounds(*access.bounds)
        found, asked = as_criterion(criterion), ball
        if ball is not None:
            ball = ball.scaled(1 / scale.width)
            ball.check(images, scale.width)
        if isinstance(checkpoint, Path | str):
            checkpoint = AttackCheckpoint(checkpoint)
        # What is made under inference mode has no gradient ever.
        with torch.inference_mode(False), shown(progress) as told:
            call = Call(
                access=access,
                images=scale.inside_unit(images),
                labels=labels,
                ball=ball,
                criterion=found,
                seed=fit(int, seed, "seed"),
                indices=indices,
                start=start
                if start is None or scale.unit
                else scale.inside_unit(as_images(start, bounds=access.bounds)),
                batch_size=self._fitting(batch_size, access, images, checkpoint),
                checkpoint=checkpoint,
                progress=told,
            )
            result = self._attack_all(call)
        setup = Setup(attack=repr(self), ball=repr(asked), criterion=repr(found), seed=call.seed, bounds=access.bounds)
        return _back(replace(result, setup=setup), images, call.images, scale, ball)

    def _fitting(self, size: BatchSize | None, access: Access, images: Images, kept: AttackCheckpoint | None) -> int:
        """Images in a pass."""
        size = self.usual_batch if size is None else checked(size)
        if size != "auto":
            return size
        if kept is not None:
            raise ValueError(
                "batch_size='auto' may be another number when the attack goes on: with a checkpoint give one"
            )
        return fitting_size(access._model, images, usual=self.usual_batch)

    def _open(self, model: Any, budget: int | None, bounds: tuple[float, float]) -> Any:
        """The access that was given, or one to the model that was."""
        name = type(self).__name__
        if self.default_budget is None and budget is not None:
            raise ValueError(
                f"{name} asks for gradients: it has steps, and no budget of queries. GradientAccess(model, budget=rows) limits "
                "the rows that pass through the model"
            )
        if isinstance(model, Access):
            if budget is not None or tuple(bounds) != UNIT:
                raise ValueError("an access has its own budget and bounds: give them to it, or give the model itself")
            return open_access(model, self._access, name)
        options = (
            {} if self.default_budget is None else {"per_image": self.default_budget if budget is None else budget}
        )
        return open_access(model, self._access, name, bounds=bounds, **options)

    @abstractmethod
    def _attack_all(self, call: Call) -> AttackResult:
        """The attack itself."""


def _back(result: AttackResult, given: Images, unit: Images, bounds: Bounds, ball: Ball | None) -> AttackResult:
    """The result in the units of `given`."""
    if bounds.unit:
        return result
    longer = bounds.width if ball is None or ball.kind.is_length else 1
    return replace(result, adversarial=bounds.back(result.adversarial, unit, given), norm=result.norm * longer)
