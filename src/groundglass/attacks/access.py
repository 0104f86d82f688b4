"""What an attack is given: never the model, only questions that it may ask. Each one is counted."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from groundglass.attacks.criteria import UNTARGETED, Criterion
from groundglass.attacks.losses import Loss
from groundglass.attacks.model_identity import identity_of
from groundglass.attacks.probabilities import warn_of_probabilities
from groundglass.attacks.tensors import Flags, Images, Labels, Logits, PerImage, Rows
from groundglass.attacks.unread import Unread
from groundglass.core import (
    BudgetExceededError,
    NonFiniteError,
    as_model,
    check_labels,
    check_logits,
    check_weights,
    explain_layout,
    input_dtype,
    logits_of,
)
from groundglass.core.bounds import Bounds
from groundglass.core.modes import evaluating
from groundglass.core.reading import free_to_read
from groundglass.core.settings import Count, fit

Model = Callable[[Tensor], Tensor]

#: The range of images in the package: where a model's own differs, an access converts.
UNIT = (0.0, 1.0)


class Access:
    """Runs the model in eval mode, counting rows, within a budget. For one thread at a time: the counts have no lock.

    Args:
        model: images in [0, 1] -> logits [batch, classes]. Its train or eval mode is restored after every call,
            and its parameters and their `requires_grad` are not touched.
        budget: rows, over all calls, that may pass through the model; None for no limit.
        bounds: the range of the images that the model takes, as (-1, 1). An access itself is asked about images in [0, 1],
            and so is an attack that has one; an attack that is given an access answers in the model's units.
    """

    def __init__(self, model: Model, budget: int | None = None, *, bounds: tuple[float, float] = UNIT) -> None:
        self.bounds = check_bounds(bounds)
        if not callable(model):
            raise TypeError(f"the model must be callable, images -> logits, not {type(model).__name__}")
        self._model = as_model(model)
        self._budget: int | None = fit(Count | None, budget, "budget")
        self._counts: Counter[str] = Counter()
        self._classes: int | None = None
        self._unread: Unread | None = None

    @property
    def rows(self) -> int:
        """Images that went through the model so far, for any reason."""
        return self._counts.total()

    @cached_property
    def model_identity(self) -> dict[str, Any]:
        """What distinguishes the model from others, for a file of unfinished work. Plain JSON, of no use to an attacker."""
        return identity_of(self._model)

    @cached_property
    def _dtype(self) -> torch.dtype:
        return input_dtype(self._model)

    @property
    def remaining(self) -> int | None:
        """Rows of the budget that are left; None for no limit."""
        return None if self._budget is None else self._budget - self.rows

    @property
    def classes(self) -> int | None:
        """How many logits an image has; None before the first question."""
        return self._classes

    @contextmanager
    def reading_later(self, images: Images) -> Iterator[Unread | None]:
        """In this block whether answers are finite is looked at when `Unread.read` is called, not with every answer. None, and
        nothing changes, where the host reads these images at no cost."""
        if free_to_read(images):
            yield None
            return
        self._unread = Unread()
        try:
            yield self._unread
            self._unread.read()
        finally:
            self._unread = None

    def _met(self, images: Images, labels: Labels, criterion: Criterion) -> Flags:
        """Whether each row meets the criterion; counted as a check."""
        raise NotImplementedError

    def wrong(self, images: Images, labels: Labels, criterion: Criterion = UNTARGETED) -> Flags:
        """Whether each image fools the model: untargeted, another class than its label's; counted as a check each.

        Raises:
            ValueError: a label that is not a class of the model: it would count as fooled.
        """
        met = self._met(images, labels.long(), criterion)
        check_labels(labels, count=len(images), classes=self._classes)
        return met

    def _run(self, images: Tensor, purpose: str) -> Tensor:
        """Logits; counted under `purpose`, before the model runs: a call that fails half-way counts too.

        `images` must be a copy: a model that normalises them in place must not change what an attack keeps. Of no images
        there are no logits, and the model is not asked: before its first answer even the number of classes is unknown.
        """
        if not len(images):
            return images.detach().new_zeros(0, self._classes or 0)
        if self._budget is not None and self.rows + len(images) > self._budget:
            raise BudgetExceededError(
                f"{len(images)} more images would exceed the budget of {self._budget} ({self.rows} are used)"
            )
        if self._classes is None and isinstance(self._model, nn.Module):
            check_weights(self._model)
        self._counts[purpose] += len(images)
        with evaluating(self._model):
            try:
                logits = logits_of(self._model(Bounds(*self.bounds).from_unit(images).to(self._dtype)))
            except RuntimeError as error:
                explain_layout(images, error)
                raise
        self._check(logits, len(images))
        return logits

    def _check(self, logits: Tensor, rows: int) -> None:
        check_logits(logits, rows=rows, values=self._unread is None)
        if self._unread is not None:
            self._unread.note("logits", torch.isfinite(logits).all(1))
        if self._classes not in (None, logits.shape[1]):
            raise ValueError(f"the model returned {logits.shape[1]} logits an image, and {self._classes} before")
        if self._classes is None and rows:
            warn_of_probabilities(logits)
        self._classes = logits.shape[1]


@dataclass(frozen=True)
class Gradients:
    """What one forward and one backward pass give, a row an image; none of it holds a graph.

    Attributes:
        logits: of these images: no second pass is needed to see whether they fool the model.
        loss: per image.
        grad: of that image's loss, at the image.
        zero: whether all of the gradient is zero: then the image does not climb, whatever its loss.
    """

    logits: Logits
    loss: PerImage
    grad: Images
    zero: Flags


class GradientAccess(Access):
    """White-box access: per-image losses with their gradients at the images, and logits.

    Attributes:
        coarse: the logits that come with gradients are not the model's own to its last digit; only those of `logits` are.
    """

    coarse = False

    @property
    def gradients(self) -> int:
        """Images that went forward and backward."""
        return self._counts["gradient"]

    @property
    def wasted(self) -> int:
        """Images that went forward and backward after their attack had ended, before the host had read that; none on a CPU."""
        return self._counts["wasted"]

    @property
    def check_queries(self) -> int:
        """Images that went forward only."""
        return self._counts["check"]

    def waste(self, gradients: int) -> None:
        """So many questions for gradients were for nothing: they are counted apart."""
        self._counts["gradient"] -= gradients
        self._counts["wasted"] += gradients

    def loss_and_grad(self, images: Images, labels: Labels, loss: Loss) -> Gradients:
        """One forward and one backward pass. Only the images get a gradient.

        Raises:
            NonFiniteError: NaN or infinite logits, or gradients.
            ValueError: the logits do not depend on the images, or a label is out of range.
        """
        if not len(images):
            none = images.detach().new_zeros(0)
            return Gradients(none.new_zeros(0, self._classes or 0), none, images.detach().clone(), none.bool())
        if torch.is_inference_mode_enabled():
            # Tensors that were made there have no gradient, whatever is enabled.
            with torch.inference_mode(False):
                return self.loss_and_grad(images.clone(), labels.clone(), loss)
        with torch.enable_grad():
            x = images.detach().requires_grad_()
            # The copy is part of the graph: a network that normalises its input in place may not write to a leaf.
            logits = self._run(x.clone(), "gradient")
            if self._unread is None:  # an attack has looked at its labels before
                check_labels(labels, count=len(images), classes=logits.shape[1])
            values = loss(logits.float(), labels.long())
            if not values.requires_grad:
                raise ValueError(
                    "the logits do not depend on the images through autograd: the model detaches them, runs under "
                    "no_grad, or is not made of torch operations. Use an attack that needs no gradient, or give the "
                    "model a differentiable stand-in (a backward rule)"
                )
            (grad,) = torch.autograd.grad(values.sum(), x)
        # One pass finds zero rows and, because NaN wins every maximum, bad ones.
        largest = grad.flatten(1).abs().amax(1)
        self._check_finite(largest)
        return Gradients(logits.detach(), values.detach(), grad, largest == 0)

    def _check_finite(self, largest: PerImage) -> None:
        """Refuse gradients that are not finite, by the largest entry of each; now, or when the host reads."""
        finite = torch.isfinite(largest)
        if self._unread is not None:
            self._unread.note("gradients", finite)
        elif not bool(finite.all()):
            raise NonFiniteError(
                f"the gradient at {int((~finite).sum())} of {len(largest)} images is NaN or infinite: fix the model, or the "
                "backward rule"
            )

    def meet(self, attack: object, images: Images) -> None:
        """Called by an attack when it begins, with all its images: for an access that must know the originals."""

    def climb(self, rows: Rows, images: Images, labels: Labels, loss: Loss) -> Gradients:
        """`loss_and_grad` of iterates of the images that `meet` was given at `rows`."""
        return self.loss_and_grad(images, labels, loss)

    def logits(self, images: Images) -> Logits:
        """Logits without a gradient: a check."""
        with torch.no_grad():
            return self._run(images.clone(), "check")

    def _met(self, images: Images, labels: Labels, criterion: Criterion) -> Flags:
        return criterion.met(self.logits(images), labels)


A = TypeVar("A", bound=Access)


def open_access(given: A | Model | str | Path, kind: type[A], asker: str, **options: Any) -> A:
    """The access that was given, or a new one of this kind, with these options, to the model that was given, or named.

    Raises:
        TypeError: it is neither; says what to write.
    """
    if isinstance(given, kind):
        return given
    if isinstance(given, str | Path):
        from groundglass.models.named import load_model

        given = load_model(given)
    if isinstance(given, Access) or not callable(given):
        what = "an access of another kind" if isinstance(given, Access) else "neither a model nor an access"
        raise TypeError(f"{asker} needs a {kind.__name__}(model): {type(given).__name__} is {what}")
    return kind(given, **options)


def check_bounds(bounds: Any) -> tuple[float, float]:
    """The range of images as two numbers, the lower first.

    Raises:
        TypeError, ValueError: it is something else.
    """
    low, high = fit(tuple[float, float], bounds, "bounds")
    if low >= high:
        raise ValueError(f"`bounds` (={bounds!r}) must be the lower end first: (0, 1), (-1, 1), (0, 255)")
    return low, high
