"""The bookkeeping that attacks share: what was asked, and the best iterate of every image so far."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from groundglass.attacks.access import GradientAccess, Gradients
from groundglass.attacks.balls import Ball
from groundglass.attacks.criteria import UNTARGETED, Criterion
from groundglass.attacks.losses import Loss
from groundglass.attacks.result import AttackResult
from groundglass.attacks.tensors import Flags, Images, Labels, Logits, PerImage, Rows, per_image
from groundglass.core import as_images, as_labels, check_labels, counting
from groundglass.core.reading import free_to_read
from groundglass.core.settings import Count, fit

# Images that are compared together, where all at once would take a copy of the set.
PIECE = 1024

_COUNTS = ("iterations", "gradients", "loss_queries", "check_queries", "zero_gradients")
_WRITTEN = ("adversarial", "loss", "success", "clean_correct", *_COUNTS)


class Board:
    """One row an image. Made by `Board.prepare`, written to by an attack, read once by `result`.

    Attributes:
        images, labels: what was given.
        indices: the number of each image in its set. Its random stream depends on that and the seed alone.
        adversarial, loss, iterations, success: the best so far; at first the image itself.
        clean_correct: the image itself does not meet the criterion: untargeted, the model is right on it.
        criterion: what counts as fooled.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, indices: Sequence[int], criterion: Criterion = UNTARGETED
    ) -> None:
        self.images, self.labels, self.indices, self.criterion = images, labels, list(indices), criterion
        self.adversarial = images.clone()
        zeros = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        self.loss, self.success, self.clean_correct = zeros.double(), zeros.bool(), zeros.bool()
        self.iterations, self.gradients, self.zero_gradients = (zeros.clone() for _ in range(3))
        self.loss_queries, self.check_queries = (zeros.clone() for _ in range(2))
        self._largest = int(labels.max()) if len(labels) else 0

    @classmethod
    def prepare(
        cls,
        images: Images,
        labels: Labels,
        ball: Ball | None,
        *,
        indices: Sequence[int] | Tensor | None,
        batch_size: int,
        criterion: Criterion = UNTARGETED,
    ) -> "Board":
        """Check what was given, before any question is asked.

        Raises:
            ValueError, TypeError: images, labels, indices, radius or batch size that cannot be; says what to do.
        """
        images = as_images(images)
        labels = as_labels(labels, images)
        fit(Count, batch_size, "batch_size")
        if ball is not None:
            ball.check(images)
        criterion.check(labels)
        numbers = list(range(len(images))) if indices is None else [fit(int, i, "indices") for i in indices]
        if len(numbers) != len(images):
            raise ValueError(f"{len(numbers)} indices for {len(images)} images: one an image")
        return cls(images, labels, numbers, criterion)

    def look(self, access: GradientAccess, loss: str, batch_size: int) -> Logits:
        """See which images the model gets right: one check query each. Returns their logits."""
        found = []
        for rows in counting(len(self.images), self.images.device).split(batch_size):
            logits = access.logits(self.images[rows])
            self.see(rows, logits, loss)
            found.append(logits)
        return torch.cat(found)

    @property
    def passed(self) -> int:
        """Images that have passed through the model."""
        return int((self.gradients + self.loss_queries + self.check_queries).sum())

    def rows(self) -> dict[str, Tensor]:
        """All that an attack writes to, by name: one row an image."""
        return {name: getattr(self, name) for name in _WRITTEN}

    def restore(self, rows: Mapping[str, Tensor]) -> None:
        """Restore a board from `rows`, saved earlier.

        Raises:
            KeyError, ValueError: they belong to another board.
        """
        for name, own in self.rows().items():
            same = rows[name].dtype == own.dtype or (rows[name].is_floating_point() and own.is_floating_point())
            if not same or rows[name].shape != own.shape:
                raise ValueError(f"{name} is {rows[name].dtype} {tuple(rows[name].shape)}")
        for name in _WRITTEN:
            setattr(self, name, rows[name])

    def see(self, rows: Rows, logits: Logits, loss: str, dtype: torch.dtype = torch.float32) -> None:
        """Note the model's answers for the images themselves: a check query each. The loss is computed in `dtype`."""
        self._check_classes(rows, logits.shape[1])
        self.clean_correct[rows] = ~self.fooled(rows, logits)
        self.loss[rows] = self.climbs(loss, rows)(logits.to(dtype), self.labels[rows]).to(self.loss.dtype)
        self.check_queries[rows] += 1

    def see_labels(self, rows: Rows, predicted: Labels, classes: int | None) -> None:
        """`see`, when only the predicted class is known: there is no loss to note."""
        if classes is not None:
            self._check_classes(rows, classes)
        self.clean_correct[rows] = ~self.fooled_by_class(rows, predicted, classes)
        self.loss[rows] = torch.nan
        self.check_queries[rows] += 1

    def _check_classes(self, rows: Rows, classes: int) -> None:
        if self._largest >= classes:
            check_labels(self.labels[rows], count=len(rows), classes=classes)
        self.criterion.check_classes(classes)

    @property
    def right(self) -> Rows:
        """The rows worth attacking: who meets the criterion already is left alone."""
        return self.clean_correct.nonzero().squeeze(1)

    def fooled(self, rows: Rows, logits: Logits) -> Flags:
        """Whether each of these images fools the model, by its logits."""
        return self.criterion.at(rows).met(logits, self.labels[rows])

    def fooled_by_class(self, rows: Rows, predicted: Labels, classes: int | None) -> Flags:
        """Whether each of these images fools the model, by the predicted class alone."""
        return self.criterion.at(rows).met_by_class(predicted, self.labels[rows], classes)

    def climbs(self, loss: str, rows: Rows) -> Loss:
        """What is climbed at these images."""
        return self.criterion.at(rows).climbs(loss)

    def count(self, rows: Rows, found: Gradients, on: Flags | None = None) -> None:
        """A forward and a backward pass for each of `rows`, or for those that are `on`."""
        self.gradients[rows] += 1 if on is None else on
        self.zero_gradients[rows] += found.zero if on is None else found.zero & on

    def offer(self, rows: Rows, x: Images, loss: PerImage, fooled: Flags, iteration: Rows | int) -> None:
        """Keep an iterate that fools the model if none did before, or else has the highest loss so far."""
        self.put(rows, x, loss, fooled, iteration, where=~self.success[rows] & (fooled | (loss > self.loss[rows])))

    def put(
        self, rows: Rows, x: Images, loss: PerImage, fooled: Flags, iteration: Rows | int, *, where: Flags | None = None
    ) -> None:
        """Keep these iterates: those that `where` chooses, or all."""
        chosen = torch.ones_like(fooled) if where is None else where
        if not free_to_read(fooled):
            self._blend(rows, chosen, x, loss, fooled, iteration)
            return
        if not bool(chosen.any()):
            return
        kept = rows[chosen]
        self.adversarial[kept] = x[chosen]
        self.loss[kept] = loss[chosen].to(self.loss.dtype)
        self.success[kept] = fooled[chosen]
        self.iterations[kept] = iteration[chosen] if isinstance(iteration, Tensor) else iteration

    def _blend(
        self, rows: Rows, chosen: Flags, x: Images, loss: PerImage, fooled: Flags, iteration: Rows | int
    ) -> None:
        """`put`, of rows that the host does not know."""
        self.adversarial[rows] = torch.where(per_image(chosen), x, self.adversarial[rows])
        self.loss[rows] = torch.where(chosen, loss.to(self.loss.dtype), self.loss[rows])
        self.success[rows] = torch.where(chosen, fooled, self.success[rows])
        self.iterations[rows] = torch.where(chosen, iteration, self.iterations[rows])

    def result(self, ball: Ball) -> AttackResult:
        """All rows."""
        every = counting(len(self.images), self.images.device).split(PIECE)
        norm = torch.cat([ball.at(rows).norm(self.adversarial[rows] - self.images[rows]) for rows in every])
        columns: dict[str, Any] = {**self.rows(), "norm": norm, "loss": self.loss.float()}
        return AttackResult(**columns)
