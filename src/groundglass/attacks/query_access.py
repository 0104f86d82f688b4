"""What an attack that only asks is given: scores or classes, and a budget for each image."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from groundglass.attacks.access import UNIT, Access, Model
from groundglass.attacks.criteria import Criterion
from groundglass.attacks.tensors import Flags, Images, Labels, Logits
from groundglass.core import BudgetExceededError
from groundglass.core.settings import Count, Tally, fit


class QueryAccess(Access):
    """Black-box access: a question is an image, and every image may have a budget of its own.

    Args:
        model: images in [0, 1] -> logits [batch, classes]; `numpy_model` makes one from a numpy function.
        budget: rows, over all calls and images; None for no limit.
        per_image: rows for each image of the set, for any purpose; None for no limit. It holds for as long as the
            access lives, also over several attacks.
        confirm: of a model with noise: an attack that meets a success asks about it so often again, a check each, and ends
            only if more than half of these answers say so. 0: the first success ends it, chance or not.
    """

    def __init__(
        self,
        model: Model,
        budget: int | None = None,
        *,
        per_image: int | None = None,
        confirm: int = 0,
        bounds: tuple[float, float] = UNIT,
    ) -> None:
        super().__init__(model, budget, bounds=bounds)
        self.per_image: int | None = fit(Count | None, per_image, "per_image")
        self.confirm: int = fit(Tally, confirm, "confirm")
        self._asked: Counter[int] = Counter()

    def asked(self, owners: Sequence[int]) -> list[int]:
        """Rows that each of these images has taken so far."""
        return [self._asked[owner] for owner in owners]

    def charge(self, owners: Sequence[int], counts: Sequence[int], purpose: str) -> None:
        """Count rows that went through the model before this access was made: an interrupted attack goes on."""
        for owner, count in zip(owners, counts, strict=True):
            self._asked[owner] += count
            self._counts[purpose] += count

    def _ask(self, images: Tensor, purpose: str, owners: Sequence[int] | None) -> Tensor:
        if owners is None:
            if self.per_image is not None:
                raise ValueError("a budget per image needs `owners`: the number of the image that each row is of")
        else:
            if len(owners) != len(images):
                raise ValueError(f"{len(owners)} owners for {len(images)} images: one a row")
            for owner, count in Counter(owners).items():
                if self.per_image is not None and self._asked[owner] + count > self.per_image:
                    raise BudgetExceededError(
                        f"{count} more rows would exceed the budget of {self.per_image} for image {owner} "
                        f"({self._asked[owner]} are used); a new access has new budgets"
                    )
        with torch.no_grad():
            logits = self._run(images.clone(), purpose)
        if owners is not None:
            self._asked.update(owners)
        return logits


class ScoreAccess(QueryAccess):
    """Black-box access to logits. A query asks for a loss, or checks whether an image is fooled; each is counted."""

    @property
    def loss_queries(self) -> int:
        """Queries that were asked to climb."""
        return self._counts["loss"]

    @property
    def check_queries(self) -> int:
        """Queries that were asked to see whether an image fools the model."""
        return self._counts["check"]

    def logits(self, images: Images, *, check: bool = False, owners: Sequence[int] | None = None) -> Logits:
        """Logits of each row.

        Args:
            check: counted as a check, not as a loss query.
            owners: the number of the image that each row is of; needed for a budget per image.

        Raises:
            BudgetExceededError: a row is beyond a budget; none was passed.
            NonFiniteError, ValueError: logits that cannot be.
        """
        return self._ask(images, "check" if check else "loss", owners)

    def _met(self, images: Images, labels: Labels, criterion: Criterion) -> Flags:
        return criterion.met(self.logits(images, check=True), labels)


class LabelAccess(QueryAccess):
    """Black-box access to the predicted class alone."""

    @property
    def queries(self) -> int:
        """All queries."""
        return self.rows

    def labels(self, images: Images, *, check: bool = False, owners: Sequence[int] | None = None) -> Labels:
        """The predicted class of each row; `check` and `owners` as for `ScoreAccess.logits`."""
        logits = self._ask(images, "check" if check else "loss", owners)
        return logits.argmax(1) if len(logits) else logits.new_zeros(0, dtype=torch.int64)

    def _met(self, images: Images, labels: Labels, criterion: Criterion) -> Flags:
        predicted = self.labels(images, check=True)
        return criterion.met_by_class(predicted, labels, self._classes)
