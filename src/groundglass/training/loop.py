"""One training loop: any credit assignment, resumable to the same weights bit for bit."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.core import Progress, derive_seed, silent
from groundglass.data import Augment, ImageSet, batches
from groundglass.models import DefendedNetwork
from groundglass.training.adversarial import AdversarialTraining, Objective
from groundglass.training.checkpoint import Checkpoint
from groundglass.training.credit_assignment import CreditAssignment
from groundglass.training.precision import Precision
from groundglass.training.schedule import OneCycle, Schedule
from groundglass.training.state import EpochResult, Standing


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
        checkpoint: a file written after every epoch, and inside one every 30 seconds. If it is there, training goes on
            from it, to the same final weights, bit for bit, as without the interruption.
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
    device = model.device if isinstance(model, DefendedNetwork) else None
    kept = Checkpoint(checkpoint, model, optimiser, identity, device)
    run = _Run(model, images, config, optimiser, credit, seed, augment, kept, progress, name)
    standing = kept.load()
    while standing.epoch < config.epochs:
        with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
            torch.manual_seed(derive_seed(seed, "dropout", standing.epoch))
            run.epoch(standing)
        result = standing.end_epoch()
        kept.save(standing)
        if on_epoch is not None:
            on_epoch(result)
    # Others' code may not know channels-last weights: torchattacks' L2 attacks do not.
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()
    return standing.history


@dataclass(frozen=True, eq=False)
class _Run:
    """What one training is made of; see `train`. Where it stands is in a `Standing`."""

    model: nn.Module
    images: ImageSet
    config: TrainingConfig
    optimiser: torch.optim.Optimizer
    credit: CreditAssignment
    seed: int
    augment: Augment | None
    kept: Checkpoint
    progress: Progress
    name: str

    def epoch(self, standing: Standing) -> None:
        """What is left of an epoch."""
        model, config, epoch = self.model, self.config, standing.epoch
        model.train()
        where = next(iter(model.parameters())).device
        losses = standing.losses
        steps = math.ceil(len(self.images) / config.batch_size)
        standing.start_clock()
        if not standing.step:
            standing.frames_begun = max(standing.frames, self.kept.frames)
        self.kept.skip_frames(to=standing.frames_begun)
        objective = self._objective(standing)
        if standing.step:
            _set_streams(standing.streams, where)
            self.kept.skip_frames(to=standing.frames)
        stream = batches(
            self.images,
            batch_size=config.batch_size,
            seed=self.seed,
            epoch=epoch,
            augment=self.augment,
            start=standing.step,
        )
        for step, batch in enumerate(stream, start=standing.step):
            if len(batch.labels) < 2:  # BatchNorm has no variance over one image
                continue
            for group in self.optimiser.param_groups:
                group["lr"] = config.learning_rate * config.schedule.factor(epoch + step / steps, config.epochs, losses)
            x = batch.images.to(where).contiguous(memory_format=torch.channels_last)
            y = batch.labels.to(where)
            logits, loss = objective(x, y, step)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            standing.count(logits, y, loss)
            if self.kept.due:
                self._check(standing)
                standing.streams = _streams(where)
                self.kept.save(standing)
            if step % 10 == 9 or standing.seen == len(self.images):
                mean = _finite(standing, self.name)
                done = epoch * len(self.images) + standing.seen
                self.progress(self.name, done, config.epochs * len(self.images), loss=mean, accuracy=standing.accuracy)
        self._check(standing)
        guessing = math.log(standing.classes) * (1.0 if config.adversarial is None else config.adversarial.weight)
        _refuse_runaway(standing.mean_loss, guessing, self.name, epoch)

    def _objective(self, standing: Standing) -> Objective:
        """What the steps of this epoch minimise."""
        model, config, epoch = self.model, self.config, standing.epoch

        def learn(x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                return self.credit.logits(model, x)

        def plain(x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
            logits = learn(x)
            return logits, F.cross_entropy(logits.float(), y)

        hard = config.adversarial
        if hard is None:
            return plain
        current = {k: v.clone() for k, v in model.state_dict().items()} if hard.fits else {}
        if not standing.step:
            standing.begun = current
        if hard.fits:
            model.load_state_dict(standing.begun)
        made = hard.objective(model, learn, self.images, precision=config.precision, seed=self.seed, epoch=epoch)
        if hard.fits:
            model.load_state_dict(current)
        return made

    def _check(self, standing: Standing) -> None:
        """Refuse to keep what is not finite."""
        _finite(standing, self.name)
        for key, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise DivergedError(
                    f"{self.name}: {key} is not finite in epoch {standing.epoch + 1}, step {standing.step}; "
                    "the checkpoint before it is kept"
                )


def _streams(where: torch.device) -> dict[str, Tensor]:
    """States of the streams that dropout draws from."""
    cuda = {"cuda": torch.cuda.get_rng_state(where)} if where.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _set_streams(streams: dict[str, Tensor], where: torch.device) -> None:
    torch.set_rng_state(streams["cpu"])
    if where.type == "cuda":
        torch.cuda.set_rng_state(streams["cuda"], where)


def _finite(standing: Standing, name: str) -> float:
    loss = standing.mean_loss
    if not math.isfinite(loss):
        raise DivergedError(
            f"{name}: the loss is {loss} in epoch {standing.epoch + 1}, step {standing.step}. "
            "The last good checkpoint is kept. Lower the learning rate, or the scale of B"
        )
    return loss


def _refuse_runaway(loss: float, guessing: float, name: str, epoch: int) -> None:
    if loss > 2 * guessing:
        raise DivergedError(
            f"{name}: the mean loss of epoch {epoch + 1} is {loss:.3g}; guessing has {guessing:.3g}. "
            "Training diverged: the checkpoint before it is kept. Lower the learning rate"
        )
