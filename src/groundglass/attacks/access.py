"""What an attack is given: never the model, only questions that it may ask, each one counted."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from groundglass.attacks.losses import Loss
from groundglass.core import check_labels

Model = Callable[[Tensor], Tensor]


class BudgetExceededError(RuntimeError):
    """An attack asked for more images than its access may still pass through the model; none of them was passed."""


class NonFiniteError(ValueError):
    """The model gave NaN or infinite logits, or gradients: no attack on it means anything."""


class _Access:
    """Runs the model in eval mode, row-counted, within a budget.

    Args:
        model: images in [0, 1] -> logits [batch, classes]. Its own train or eval mode is put back after every call,
            and its parameters and their `requires_grad` are not touched.
        budget: rows, over all calls, that may pass through the model; None for no limit.
    """

    def __init__(self, model: Model, budget: int | None = None) -> None:
        if not callable(model):
            raise TypeError(f"the model must be callable, images -> logits, not {type(model).__name__}")
        if budget is not None and budget <= 0:
            raise ValueError(f"`budget` (={budget}) must be above 0, or None for no limit")
        self._model = model
        self._budget = budget
        self._counts: Counter[str] = Counter()
        self._classes: int | None = None

    @property
    def rows(self) -> int:
        """Images that went through the model so far, for whatever reason."""
        return self._counts.total()

    @property
    def remaining(self) -> int | None:
        """Rows of the budget that are left; None for no limit."""
        return None if self._budget is None else self._budget - self.rows

    def _run(self, images: Tensor, purpose: str) -> Tensor:
        """Logits; counted under `purpose`, before the model runs: one that fails half-way has been asked."""
        if self._budget is not None and self.rows + len(images) > self._budget:
            raise BudgetExceededError(
                f"{len(images)} more images would exceed the budget of {self._budget} ({self.rows} are used)"
            )
        self._counts[purpose] += len(images)
        with _evaluating(self._model):
            logits = self._model(images)
        self._check(logits, len(images))
        return logits

    def _check(self, logits: Tensor, rows: int) -> None:
        if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.ndim != 2 or len(logits) != rows:
            what = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"the model must return float logits of shape ({rows}, classes), not {what}")
        if self._classes not in (None, logits.shape[1]):
            raise ValueError(f"the model returned {logits.shape[1]} logits an image, and {self._classes} before")
        if not bool(torch.isfinite(logits).all()):
            bad = int((~torch.isfinite(logits)).any(1).sum())
            raise NonFiniteError(
                f"the model gave NaN or infinite logits for {bad} of {rows} images in [0, 1]: mend the model first"
            )
        self._classes = logits.shape[1]


@dataclass(frozen=True)
class Gradients:
    """What one forward and one backward pass tell, a row an image; nothing of it holds a graph.

    Attributes:
        logits: of the images that were asked about: no second pass is needed to see whether they fool the model.
        loss: per image.
        grad: of that image's loss, at the image.
        zero: whether all of it is zero: such an image is not climbing, whatever its loss.
    """

    logits: Float[Tensor, "batch classes"]
    loss: Float[Tensor, "batch"]
    grad: Float[Tensor, "batch c h w"]
    zero: Bool[Tensor, "batch"]


class GradientAccess(_Access):
    """White-box access: per-image losses with their gradients at the images, and logits."""

    @property
    def gradients(self) -> int:
        """Images that went forward and backward."""
        return self._counts["gradient"]

    @property
    def check_queries(self) -> int:
        """Images that went forward only."""
        return self._counts["check"]

    def loss_and_grad(
        self, images: Float[Tensor, "batch c h w"], labels: Int64[Tensor, "batch"], loss: Loss
    ) -> Gradients:
        """One forward and one backward pass. Only the images get a gradient.

        Raises:
            NonFiniteError: NaN or infinite logits, or gradients.
            ValueError: the logits do not depend on the images, or a label is out of range.
        """
        with torch.enable_grad():
            x = images.detach().clone().requires_grad_()
            logits = self._run(x, "gradient")
            check_labels(labels, count=len(images), classes=logits.shape[1])
            values = loss(logits.float(), labels)
            if not values.requires_grad:
                raise ValueError(
                    "the logits do not depend on the images through autograd: the model detaches them, runs under "
                    "no_grad, or is not made of torch operations. Use an attack that needs no gradient, or give the "
                    "model a differentiable stand-in (a backward rule)"
                )
            (grad,) = torch.autograd.grad(values.sum(), x)
        # One pass finds zero rows and, because NaN wins every maximum, bad ones.
        largest = grad.flatten(1).abs().amax(1)
        if not bool(torch.isfinite(largest).all()):
            bad = int((~torch.isfinite(largest)).sum())
            raise NonFiniteError(
                f"the gradient at {bad} of {len(images)} images is NaN or infinite: mend the model, or the backward rule"
            )
        return Gradients(logits.detach(), values.detach(), grad, largest == 0)

    def logits(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """Logits without a gradient: a check."""
        with torch.no_grad():
            return self._run(images, "check")


class ScoreAccess(_Access):
    """Black-box access to logits. A query asks for a loss, or checks whether an image is fooled; each is counted."""

    @property
    def loss_queries(self) -> int:
        """Images asked about in order to climb."""
        return self._counts["loss"]

    @property
    def check_queries(self) -> int:
        """Images asked about to see whether they fool the model."""
        return self._counts["check"]

    def logits(self, images: Float[Tensor, "batch c h w"], *, check: bool = False) -> Float[Tensor, "batch classes"]:
        with torch.no_grad():
            return self._run(images, "check" if check else "loss")


class LabelAccess(_Access):
    """Black-box access to the predicted class alone."""

    @property
    def queries(self) -> int:
        """Images asked about."""
        return self.rows

    def labels(self, images: Float[Tensor, "batch c h w"]) -> Int64[Tensor, "batch"]:
        with torch.no_grad():
            return self._run(images, "label").argmax(1)


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Eval mode for a module, and every submodule's own mode back at the end."""
    changed = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    for module in changed:
        module.training = False
    try:
        yield
    finally:
        for module in changed:
            module.training = True
