"""What counts as a success: another class than the label's, a class of the attacker's choice, or any rule of the user's."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from groundglass.attacks.losses import Loss, find_loss, targeted_dlr
from groundglass.attacks.tensors import Flags, Labels, Logits, PerImage, Rows
from groundglass.core import check_labels
from groundglass.core.settings import fit


class Criterion(ABC):
    """When an image has fooled the model, and what an attack climbs to get there.

    An image that meets the criterion as it is, is left alone: there is nothing to do.
    """

    @abstractmethod
    def met(self, logits: Logits, labels: Labels) -> Flags:
        """Whether the model, with these logits, is fooled."""

    def met_by_class(self, predicted: Labels, labels: Labels, classes: int | None) -> Flags:
        """The same where only the predicted class is known: `met` of logits that are 1 at that class and 0 elsewhere."""
        if classes is None:
            classes = int(torch.cat([predicted, labels]).max()) + 1 if len(predicted) else 1
        return self.met(F.one_hot(predicted.long(), max(classes, 2)).float(), labels)

    def __repr__(self) -> str:
        return type(self).__qualname__

    def climbs(self, loss: str) -> Loss:
        """The loss of this name, as it is climbed: "ce", "margin" or "dlr"."""
        return find_loss(loss)

    def at(self, rows: Rows | slice) -> "Criterion":
        """Of these images of the set."""
        return self

    def check(self, labels: Labels) -> None:  # noqa: B027
        """Refuse labels that it is not for; called before the model is asked."""

    def check_classes(self, classes: int) -> None:  # noqa: B027
        """Refuse a model with so many classes that it is not for; called after its first answer."""


class Untargeted(Criterion):
    """The predicted class is not the label. What attacks use unless they are told otherwise."""

    def met(self, logits: Logits, labels: Labels) -> Flags:
        return logits.argmax(1) != labels

    def met_by_class(self, predicted: Labels, labels: Labels, classes: int | None) -> Flags:
        return predicted != labels

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Untargeted)

    def __hash__(self) -> int:
        return hash(Untargeted)

    def __repr__(self) -> str:
        return "Untargeted()"


class Targeted(Criterion):
    """The predicted class is one that the attacker chose.

    The loss is that of the target, downwards: log p(target) for "ce", the target's logit minus the largest other for
    "margin", and the targeted DLR of Croce and Hein 2020 for "dlr". An image that the model gets wrong is attacked too,
    unless its class is the target already.

    Args:
        classes: one for all images, or one an image, in the order of the set that is attacked.

    Raises:
        TypeError, ValueError: not whole numbers, or below 0. When an attack begins: not one an image, a target that is the
            image's label or no class of the model.
    """

    def __init__(self, classes: int | Sequence[int] | Tensor) -> None:
        given: Any = classes
        if getattr(given, "ndim", None) == 0:
            given = given.item()
        elif isinstance(given, range | Tensor):
            given = list(given) if isinstance(given, range) else given.tolist()
        found = fit(tuple[int, ...], given, "classes") if hasattr(given, "__len__") else fit(int, given, "classes")
        self.classes: int | tuple[int, ...] = found
        if min(found if isinstance(found, tuple) else (found,), default=0) < 0:
            raise ValueError(f"`classes` (={found!r:.60}) must be classes of the model, 0 or more")
        self._targets = torch.tensor(found, dtype=torch.int64, device="cpu")
        self._largest = max(found, default=0) if isinstance(found, tuple) else found

    def met(self, logits: Logits, labels: Labels) -> Flags:
        return logits.argmax(1) == self._for(labels)

    def met_by_class(self, predicted: Labels, labels: Labels, classes: int | None) -> Flags:
        return predicted == self._for(labels)

    def climbs(self, loss: str) -> Loss:
        if loss == "dlr":
            return lambda logits, labels: targeted_dlr(logits, labels, self._for(labels))
        own = find_loss(loss)

        def down(logits: Logits, labels: Labels) -> PerImage:
            return -own(logits, self._for(labels))

        return down

    def at(self, rows: Rows | slice) -> "Targeted":
        if not self._targets.ndim:
            return self
        found = object.__new__(type(self))
        found._targets = (self._where(rows.device) if isinstance(rows, Tensor) else self._targets)[rows]
        found._largest = self._largest
        return found

    def check(self, labels: Labels) -> None:
        if self._targets.ndim and len(self._targets) != len(labels):
            raise ValueError(f"{len(self._targets)} targets for {len(labels)} images: one an image, or one for all")
        same = (self._for(labels) == labels).nonzero().squeeze(1)
        if len(same):
            raise ValueError(
                f"the target of {len(same)} images is their own label, the first of them image {int(same[0])}: aim at another "
                "class, or leave these out"
            )

    def check_classes(self, classes: int) -> None:
        if self._largest >= classes:
            check_labels(self._targets.reshape(-1), count=self._targets.numel(), classes=classes)

    def _for(self, labels: Labels) -> Labels:
        """The target of each, [b]."""
        return self._where(labels.device).expand(len(labels))

    def _where(self, device: torch.device) -> Tensor:
        """All targets on this device; sent there once."""
        self._targets = self._targets.to(device)
        return self._targets

    def __repr__(self) -> str:
        if not self._targets.ndim:
            return f"Targeted({int(self._targets)})"
        told = self._targets.tolist()
        if len(told) <= 10:
            return f"Targeted({told})"
        return f"Targeted({len(told)} classes, {hashlib.sha256(repr(told).encode()).hexdigest()[:12]})"


class Rule(Criterion):
    """A criterion of the user's own: a function of logits [b, classes] and labels [b] to flags [b].

    The attack climbs its usual loss, away from the label, and stops where the function says so. Where only the class is
    known, the logits are 1 at the predicted class and 0 elsewhere.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        self._function = function

    def met(self, logits: Logits, labels: Labels) -> Flags:
        # Copies: what it writes to them is nobody else's.
        found = self._function(logits.clone(), labels.clone())
        if not isinstance(found, Tensor) or found.dtype != torch.bool or found.shape != labels.shape:
            what = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise TypeError(
                f"{self!r} must return a flag an image, a bool tensor of shape ({len(labels)},), not {what}: for example "
                "lambda logits, labels: logits.argmax(1) != labels"
            )
        return found.to(labels.device)

    def __repr__(self) -> str:
        return getattr(self._function, "__qualname__", type(self._function).__name__)


UNTARGETED = Untargeted()


def as_criterion(given: Any) -> Criterion:
    """A criterion: None is the untargeted one, and a function is a rule.

    Raises:
        TypeError: none of these.
    """
    if given is None:
        return UNTARGETED
    if isinstance(given, Criterion):
        return given
    if isinstance(given, type) and issubclass(given, Untargeted):
        return UNTARGETED
    if callable(given) and not isinstance(given, type):
        return Rule(given)
    raise TypeError(
        f"`criterion` must be Untargeted(), Targeted(classes) or a function of (logits, labels) to flags, not {given!r:.60}"
    )
