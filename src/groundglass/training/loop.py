"""One training loop: any credit assignment, resumable to the same weights bit for bit."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.core import Progress, derive_seed, silent
from groundglass.data import Augment, ImageSet, batches
from groundglass.training.adversarial import AdversarialTraining, Objective
from groundglass.training.checkpoint import EpochResult, load_checkpoint, save_checkpoint
from groundglass.training.credit import CreditAssignment
from groundglass.training.precision import Precision
from groundglass.training.schedule import OneCycle, Schedule


class DivergedError(RuntimeError):
    """Training left the finite, or ran away. The last good checkpoint is kept."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step; the last, smaller batch of an epoch is used too.
        optimiser: "sgd" (with Nesterov momentum) or "adam".
        learning_rate: the schedule's factor 1.
        momentum: of SGD.
        weight_decay: L2, on every parameter.
        schedule: the learning rate's course.
        precision: of the convolutions; the optical block and the loss are float32 always.
        adversarial: `PGDTraining(...)` or `TRADES(...)`; None for training on the images as they are.
    """

    epochs: int
    batch_size: int = 128
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = field(default_factory=OneCycle)
    precision: Precision = "float32"
    adversarial: AdversarialTraining | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"epochs (={self.epochs}) must be at least 1, batch_size (={self.batch_size}) at least 2")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate (={self.learning_rate}) must be above 0")

    def described(self) -> dict[str, Any]:
        """As part of an identity. An ordinary training has no word on adversarial ones, so that it is what it was."""
        known = {**asdict(self), "schedule": repr(self.schedule)}
        del known["adversarial"]
        return known if self.adversarial is None else {**known, "adversarial": self.adversarial.described()}


def make_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser that a config names, for all parameters of `model`."""
    if config.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        model.parameters(),
        config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )


def train(
    model: nn.Module,
    images: ImageSet,
    config: TrainingConfig,
    *,
    credit: CreditAssignment,
    seed: int,
    augment: Augment | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    name: str = "training",
    on_epoch: Callable[[EpochResult], None] | None = None,
) -> list[EpochResult]:
    """Train `model` in place.

    Args:
        model: images in [0, 1] -> logits. Left in eval mode.
        images: the training set.
        config: how.
        credit: `BackProp()` or `HybridDFA()`.
        seed: of the order of images, augmentation and dropout.
        checkpoint: a file written after every epoch. If it is there, training goes on from it, to the same final
            weights, bit for bit, as without the interruption.
        progress: told the loss, accuracy and images done.
        name: for progress.
        on_epoch: called after each epoch, once its checkpoint stands.

    Returns:
        One result an epoch, resumed ones included. In adversarial training its loss is that training's own, and its
        accuracy that on the adversarial images.

    Raises:
        DivergedError: the loss is not finite, or an epoch ended above twice the loss of guessing.
        DamagedFileError, ValueError: the checkpoint is damaged, or of another run.
        ValueError: the rule of adversarial training is not for this network.
    """
    if config.adversarial is not None:
        config.adversarial.check(model, images)
    where = next(iter(model.parameters())).device
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(model, config)
    identity: dict[str, Any] = {
        **config.described(),
        "credit": credit.name,
        "seed": seed,
        "images": f"{images.name} {images.split} {len(images)}",
        "augment": repr(augment),
    }
    history: list[EpochResult] = []
    if checkpoint is not None and checkpoint.exists():
        history = load_checkpoint(checkpoint, model, optimiser, identity)
    for epoch in range(len(history), config.epochs):
        with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
            torch.manual_seed(derive_seed(seed, "dropout", epoch))
            result = _epoch(model, images, config, optimiser, credit, seed, epoch, history, augment, progress, name)
        history.append(result)
        if checkpoint is not None:
            save_checkpoint(checkpoint, model, optimiser, history, identity)
        if on_epoch is not None:
            on_epoch(result)
    # Others' code may not know channels-last weights: torchattacks' L2 attacks do not.
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()
    return history


def _epoch(
    model: nn.Module,
    images: ImageSet,
    config: TrainingConfig,
    optimiser: torch.optim.Optimizer,
    credit: CreditAssignment,
    seed: int,
    epoch: int,
    history: list[EpochResult],
    augment: Augment | None,
    progress: Progress,
    name: str,
) -> EpochResult:
    model.train()
    where = next(iter(model.parameters())).device
    losses = [h.loss for h in history]
    steps = math.ceil(len(images) / config.batch_size)
    loss_sum = torch.zeros((), device=where)
    right = torch.zeros((), device=where, dtype=torch.int64)
    seen = 0
    started = time.perf_counter()
    objective = _objective(model, images, config, credit, seed, epoch)
    stream = batches(images, batch_size=config.batch_size, seed=seed, epoch=epoch, augment=augment)
    for step, batch in enumerate(stream):
        if len(batch.labels) < 2:  # BatchNorm has no variance over one image
            continue
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * config.schedule.factor(epoch + step / steps, config.epochs, losses)
        x = batch.images.to(where).contiguous(memory_format=torch.channels_last)
        y = batch.labels.to(where)
        logits, loss = objective(x, y, step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        seen += len(y)
        loss_sum += loss.detach() * len(y)
        right += (logits.argmax(1) == y).sum()
        if step % 10 == 9 or seen == len(images):
            mean = _finite(float(loss_sum) / seen, name, epoch, step)
            done = epoch * len(images) + seen
            progress(name, done, config.epochs * len(images), loss=mean, accuracy=int(right) / seen)
    mean = _finite(float(loss_sum) / seen, name, epoch, steps - 1)
    guessing = math.log(logits.shape[1]) * (1.0 if config.adversarial is None else config.adversarial.weight)
    _refuse_runaway(mean, guessing, name, epoch)
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DivergedError(
                f"{name}: {key} is not finite after epoch {epoch + 1}; the checkpoint before it is kept"
            )
    seconds = time.perf_counter() - started
    return EpochResult(epoch, mean, int(right) / seen, seconds, seen / seconds)


def _objective(
    model: nn.Module, images: ImageSet, config: TrainingConfig, credit: CreditAssignment, seed: int, epoch: int
) -> Objective:
    """What the steps of this epoch minimise."""

    def learn(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            return credit.logits(model, x)

    def plain(x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
        logits = learn(x)
        return logits, F.cross_entropy(logits.float(), y)

    if config.adversarial is None:
        return plain
    return config.adversarial.objective(model, learn, images, precision=config.precision, seed=seed, epoch=epoch)


def _finite(loss: float, name: str, epoch: int, step: int) -> float:
    if not math.isfinite(loss):
        raise DivergedError(
            f"{name}: the loss is {loss} in epoch {epoch + 1}, step {step + 1}. The last good checkpoint is kept. "
            "Lower the learning rate, or the scale of B"
        )
    return loss


def _refuse_runaway(loss: float, guessing: float, name: str, epoch: int) -> None:
    if loss > 2 * guessing:
        raise DivergedError(
            f"{name}: the mean loss of epoch {epoch + 1} is {loss:.3g}; guessing has {guessing:.3g}. "
            "Training diverged: the checkpoint before it is kept. Lower the learning rate"
        )
