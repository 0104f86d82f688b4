"""The steps of a training: what a whole network and a classifier alone have in common."""

import math

import torch
from torch import Tensor, nn

from groundglass.core import Progress
from groundglass.training.config import TrainingConfig
from groundglass.training.state import TrainingState


class DivergedError(RuntimeError):
    """The loss became NaN or infinite, or far worse than guessing. The last good checkpoint is kept."""


def make_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser that a config names, for all parameters of `model`."""
    if config.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        model.parameters(),
        config.learning_rate,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
        weight_decay=config.weight_decay,
    )


class OptimiserSteps:
    """Takes the steps of one training, with so many images an epoch; reports on them after every `every` steps."""

    def __init__(
        self,
        config: TrainingConfig,
        optimiser: torch.optim.Optimizer,
        images: int,
        progress: Progress,
        name: str,
        every: int,
    ) -> None:
        self._config, self._optimiser, self._images, self._progress = config, optimiser, images, progress
        self._name, self._every = name, every
        self.in_an_epoch = math.ceil(images / config.batch_size)

    def take(self, state: TrainingState, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """One step down `loss`, at the schedule's rate, counted in `state`."""
        config, at = self._config, state.epoch + min(state.step / self.in_an_epoch, 1)
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * config.schedule.factor(at, config.epochs, state.losses)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        state.count(logits, labels, loss)

    def tell(self, state: TrainingState) -> None:
        """After every so many steps and at the end of an epoch: images done, loss and accuracy."""
        if state.step % self._every == 0 or state.seen == self._images:
            self.check_finite(state)
            done, total = state.epoch * self._images + state.seen, self._config.epochs * self._images
            self._progress(self._name, done, total, loss=state.mean_loss, accuracy=state.accuracy)

    def check_finite(self, state: TrainingState) -> None:
        """Raises: DivergedError."""
        if not math.isfinite(state.mean_loss):
            raise DivergedError(
                f"{self._name}: the loss is {state.mean_loss} in epoch {state.epoch + 1}, step {state.step}. "
                "The last good checkpoint is kept. Lower the learning rate, or the scale of B"
            )

    def check_epoch(self, state: TrainingState, guessing: float) -> None:
        """Refuse an epoch whose mean loss is not finite, or above twice that of guessing. Raises: DivergedError."""
        self.check_finite(state)
        if state.mean_loss > 2 * guessing:
            raise DivergedError(
                f"{self._name}: the mean loss of epoch {state.epoch + 1} is {state.mean_loss:.3g}; guessing has "
                f"{guessing:.3g}. Training diverged: the checkpoint before it is kept. Lower the learning rate "
                f"(={self._config.learning_rate:g})"
            )
