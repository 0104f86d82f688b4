"""The bookkeeping that attacks share: what was asked, and the best iterate of every image so far."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.attacks.access import GradientAccess, Gradients
from groundglass.attacks.balls import Ball
from groundglass.attacks.losses import Loss
from groundglass.attacks.result import AttackResult
from groundglass.core import check_images, check_labels

# Images that are looked at together where all at once would take a copy of the set.
PIECE = 1024


_WRITTEN = (
    "adversarial",
    "loss",
    "success",
    "clean_correct",
    "iterations",
    "gradients",
    "loss_queries",
    "check_queries",
    "zero_gradients",
)


class Board:
    """One row an image. Made by `Board.open`, written to by an attack, read once by `result`.

    Attributes:
        images, labels: what was given.
        indices: the number of each image in its set. Its random stream hangs on that and the seed alone.
        adversarial, loss, iterations, success: the best so far; at first the image itself.
        clean_correct: the model is right on the image itself.
    """

    def __init__(self, images: Tensor, labels: Tensor, indices: Sequence[int]) -> None:
        count, where = len(images), images.device
        self.images, self.labels, self.indices = images, labels, list(indices)
        self.adversarial = images.clone()
        self.loss = torch.zeros(count, dtype=torch.float64, device=where)
        self.success = torch.zeros(count, dtype=torch.bool, device=where)
        self.clean_correct = torch.zeros(count, dtype=torch.bool, device=where)
        self.iterations = torch.zeros(count, dtype=torch.int64, device=where)
        self.gradients = torch.zeros(count, dtype=torch.int64, device=where)
        self.loss_queries = torch.zeros(count, dtype=torch.int64, device=where)
        self.check_queries = torch.zeros(count, dtype=torch.int64, device=where)
        self.zero_gradients = torch.zeros(count, dtype=torch.int64, device=where)

    @classmethod
    def prepare(
        cls,
        images: Float[Tensor, "n c h w"],
        labels: Int64[Tensor, "n"],
        ball: Ball | None,
        *,
        indices: Sequence[int] | Tensor | None,
        batch_size: int,
    ) -> "Board":
        """Check what was given, before any question is asked.

        Raises:
            ValueError, TypeError: images, labels, indices, radius or batch size that cannot be; says what to do.
        """
        check_images(images)
        check_labels(labels, count=len(images))
        if labels.device != images.device:
            raise ValueError(f"images are on {images.device}, labels on {labels.device}: put them on one device")
        if batch_size < 1:
            raise ValueError(f"`batch_size` (={batch_size}) must be at least 1")
        if ball is not None:
            ball.check(images)
        numbers = list(range(len(images))) if indices is None else [int(i) for i in indices]
        if len(numbers) != len(images):
            raise ValueError(f"{len(numbers)} indices for {len(images)} images: one an image")
        # Other libraries hand over images with float noise at the border; balls are exact from here on.
        images = images.detach().float()
        low, high = torch.aminmax(images) if len(images) else (0, 1)
        images = images if low >= 0 and high <= 1 else images.clamp(0, 1)
        return cls(images, labels.to(torch.int64), numbers)

    @classmethod
    def open(
        cls,
        access: GradientAccess,
        images: Float[Tensor, "n c h w"],
        labels: Int64[Tensor, "n"],
        ball: Ball | None,
        loss: Loss,
        *,
        indices: Sequence[int] | Tensor | None,
        batch_size: int,
    ) -> "Board":
        """`prepare`, and see which images the model gets right: one check query each."""
        board = cls.prepare(images, labels, ball, indices=indices, batch_size=batch_size)
        board.look(access, loss, batch_size)
        return board

    def look(self, access: GradientAccess, loss: Loss, batch_size: int) -> None:
        """See which images the model gets right: one check query each."""
        for rows in torch.arange(len(self.images), device=self.images.device).split(batch_size):
            self.see(rows, access.logits(self.images[rows]).float(), loss)

    def rows(self) -> dict[str, Tensor]:
        """All that an attack writes to, by name: one row an image."""
        return {name: getattr(self, name) for name in _WRITTEN}

    def restore(self, rows: Mapping[str, Tensor]) -> None:
        """Go back to what `rows` was at some time."""
        for name in _WRITTEN:
            setattr(self, name, rows[name])

    def see(self, rows: Int64[Tensor, "b"], logits: Float[Tensor, "b k"], loss: Loss) -> None:
        """Note the model's answers for the images themselves: a check query each."""
        check_labels(self.labels[rows], count=len(rows), classes=logits.shape[1])
        self.clean_correct[rows] = logits.argmax(1) == self.labels[rows]
        self.loss[rows] = loss(logits, self.labels[rows]).to(self.loss.dtype)
        self.check_queries[rows] += 1

    def see_labels(self, rows: Int64[Tensor, "b"], predicted: Int64[Tensor, "b"]) -> None:
        """`see` where only the predicted class is told: there is no loss to note."""
        self.clean_correct[rows] = predicted == self.labels[rows]
        self.loss[rows] = torch.nan
        self.check_queries[rows] += 1

    @property
    def right(self) -> Int64[Tensor, "k"]:
        """The rows worth attacking: a wrong answer cannot be made wrong."""
        return self.clean_correct.nonzero().squeeze(1)

    def fooled(self, rows: Int64[Tensor, "b"], logits: Float[Tensor, "b k"]) -> Bool[Tensor, "b"]:
        return logits.argmax(1) != self.labels[rows]

    def count(self, rows: Int64[Tensor, "b"], found: Gradients) -> None:
        """A forward and a backward pass for each of `rows`."""
        self.gradients[rows] += 1
        self.zero_gradients[rows] += found.zero

    def offer(
        self,
        rows: Int64[Tensor, "b"],
        x: Float[Tensor, "b c h w"],
        loss: Float[Tensor, "b"],
        fooled: Bool[Tensor, "b"],
        iteration: Int64[Tensor, "b"] | int,
    ) -> None:
        """Keep an iterate that fools the model if none did before, or else has the highest loss so far."""
        self.put(rows, x, loss, fooled, iteration, where=~self.success[rows] & (fooled | (loss > self.loss[rows])))

    def put(
        self,
        rows: Int64[Tensor, "b"],
        x: Float[Tensor, "b c h w"],
        loss: Float[Tensor, "b"],
        fooled: Bool[Tensor, "b"],
        iteration: Int64[Tensor, "b"] | int,
        *,
        where: Bool[Tensor, "b"],
    ) -> None:
        """Keep these iterates, `where` says so."""
        if not bool(where.any()):
            return
        kept = rows[where]
        self.adversarial[kept] = x[where]
        self.loss[kept] = loss[where].to(self.loss.dtype)
        self.success[kept] = fooled[where]
        self.iterations[kept] = iteration[where] if isinstance(iteration, Tensor) else iteration

    def result(self, ball: Ball) -> AttackResult:
        """All rows. In pieces where it would take a copy of all images."""
        pieces = list(zip(self.adversarial.split(PIECE), self.images.split(PIECE), strict=True))
        norms = [ball.norm(adversarial - image) for adversarial, image in pieces]
        return AttackResult(
            adversarial=self.adversarial,
            success=self.success,
            clean_correct=self.clean_correct,
            iterations=self.iterations,
            gradients=self.gradients,
            loss_queries=self.loss_queries,
            check_queries=self.check_queries,
            zero_gradients=self.zero_gradients,
            norm=torch.cat(norms),
            loss=self.loss.float(),
        )
