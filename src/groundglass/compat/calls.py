"""What all phrasebooks share: our attacks as other libraries name them, what they are called with, and normalised images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from groundglass import attacks
from groundglass.attacks import L1, L2, AttackResult, AveragedAccess, Ball, Linf, Targeted
from groundglass.attacks.access import UNIT
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.sweep import laid
from groundglass.core import as_labels, counting, logits_of, lookup, pieces
from groundglass.core.accelerator import device_of
from groundglass.core.given import as_tensor
from groundglass.core.modes import evaluating

_UNASKED = 256  # images in a pass that is no attack's


@dataclass(frozen=True, eq=False)
class Recipe:
    """One of our attacks, with all that another library's object settles when it is made.

    Attributes:
        ball: in the units of the images; None for the nearest image that fools.
        budget: queries for each image, of an attack that only asks.
        passes: of a model that draws, for each gradient (EOT).
    """

    attack: attacks.Attack
    ball: Ball | None = None
    budget: int | None = None
    passes: int = 1


@dataclass(frozen=True, eq=False)
class Subject:
    """What is attacked: a model and images, as a call of another library has them.

    Attributes:
        model: images in `bounds` -> logits.
        labels: the true classes; or else, `guessed`, what the model says.
        targets: of a targeted attack. An image that has its target already is left as it is.
        first: the number of the first image, for its random draws.
    """

    model: Any
    images: Tensor
    labels: Tensor
    targets: Tensor | None = None
    bounds: tuple[float, float] = UNIT
    seed: int = 0
    first: int = 0
    batch_size: int | None = None
    guessed: bool = False

    @classmethod
    def of(cls, model: Any, images: Tensor, labels: Any = None, targets: Any = None, **options: Any) -> "Subject":
        """Labels and targets as a call gives them: any integers, one an image.

        Raises:
            ValueError, TypeError: they are something else.
        """
        found = predicted(model, images) if labels is None else as_labels(labels, images)
        aims = None if targets is None else as_labels(targets, images)
        return cls(model, images, found, aims, guessed=labels is None, **options)

    def in_turn(self, recipes: Iterable[Recipe]) -> Iterator[AttackResult]:
        """After each attack the result of all so far: each is made on what those before it did not fool."""
        result = Board(self.images, self.labels, range(len(self.images))).result(L2(0.0))
        left = counting(len(self.images), self.images.device)
        if self.targets is not None and self.guessed:
            left = left[self.targets != self.labels]
        for number, recipe in enumerate(recipes):
            if len(left) or not number:
                found = self._attacked(recipe, left)
                result = laid(result, found, left)
                left = left[found.robust]
            yield result

    def attacked(self, *recipes: Recipe) -> AttackResult:
        """By these attacks, one at least, in turn."""
        *_, result = self.in_turn(recipes)
        return result

    def _attacked(self, recipe: Recipe, rows: Tensor) -> AttackResult:
        model, bounds = self.model, self.bounds
        if recipe.passes > 1:
            model, bounds = AveragedAccess(model, recipe.passes, bounds=bounds), UNIT
        return recipe.attack(
            model,
            self.images[rows],
            self.labels[rows],
            recipe.ball,
            criterion=None if self.targets is None else Targeted(self.targets[rows]),
            seed=self.seed,
            budget=recipe.budget,
            indices=(self.first + rows).tolist(),
            batch_size=self.batch_size,
            bounds=bounds,
        )


def logits(model: Any, images: Tensor) -> Tensor:
    """The model's logits, in eval mode, without a graph."""
    with evaluating(model), torch.no_grad():
        found = [logits_of(model(images[rows])) for rows in pieces(counting(len(images), images.device), _UNASKED)]
    return torch.cat(found) if found else images.new_zeros(0, 1)


def predicted(model: Any, images: Tensor) -> Tensor:
    """The classes that the model says, [n]."""
    return logits(model, images).argmax(1)


def accuracy(model: Any, images: Tensor, labels: Tensor) -> float:
    """The share of images that the model puts into their class."""
    return float((predicted(model, images) == labels).float().mean())


def placed(model: Any, given: Any) -> Any:
    """A tensor or an array, where the model's weights are."""
    where, found = device_of(model), as_tensor(given)
    return found if where is None or not isinstance(found, Tensor) else found.to(where)


def ball(norm: Any, eps: float) -> Ball:
    """The ball of a norm as any library writes it: "Linf", "inf", infinity, 2, "L1"."""
    name = {"inf": "Linf", "2": "L2", "2.0": "L2", "1": "L1", "1.0": "L1"}.get(str(norm), str(norm))
    kind: Any = lookup("norm", name, {"Linf": Linf, "L2": L2, "L1": L1})
    found: Ball = kind(eps)
    return found


def refuse(library: str, **settings: tuple[Any, Any, str]) -> None:
    """Refuse settings that have no counterpart here, unless they have their default.

    Args:
        settings: of each the value, its default, and what to do.

    Raises:
        ValueError: another value than the default.
    """
    for name, (value, default, advice) in settings.items():
        if value is not default and value != default:
            raise ValueError(f"`{name}` (={value!r:.60}) of {library} has no counterpart here: {advice}")


class Normalisation:
    """Images less the mean, over the deviation; one number, or one a channel.

    Raises:
        ValueError: a mean without its deviation, or a deviation of 0.
    """

    def __init__(self, mean: Any, std: Any) -> None:
        self._mean, self._std = (
            torch.as_tensor(each, dtype=torch.float32, device="cpu").reshape(-1, 1, 1) for each in (mean, std)
        )
        one = 1 in (len(self._mean), len(self._std))
        if not (one or len(self._mean) == len(self._std)) or not bool((self._std > 0).all()):
            raise ValueError(
                f"{len(self._mean)} means, and deviations of {self._std.flatten().tolist()}: give one of each a channel, "
                "deviations above 0"
            )

    def of(self, images: Tensor) -> Tensor:
        """Normalised."""
        return (images - self._as(self._mean, images)) / self._as(self._std, images)

    def undone(self, images: Tensor) -> Tensor:
        """As they were."""
        return images * self._as(self._std, images) + self._as(self._mean, images)

    def before(self, model: Any) -> "Normalised":
        """The model, of images that are not normalised yet."""
        return Normalised(model, self)

    def _as(self, values: Tensor, like: Tensor) -> Tensor:
        if len(values) not in (1, like.shape[1]):
            raise ValueError(
                f"images of {like.shape[1]} channels, and {len(values)} means or deviations: give one a channel"
            )
        return values.to(like)


class Normalised(nn.Module):
    """A model with its normalisation in front."""

    def __init__(self, model: Any, how: Normalisation) -> None:
        super().__init__()
        self.model, self._how = model, how

    def forward(self, images: Tensor) -> Any:
        return self.model(self._how.of(images))
