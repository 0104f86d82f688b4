"""How far a training is: the epochs that are done, and the steps of the next one."""

import time
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class EpochResult:
    """One epoch: mean training loss and accuracy as it ran, seconds, images a second; and the seconds of all cores together that
    this process had, which other work on the machine hardly changes."""

    epoch: int
    loss: float
    train_accuracy: float
    seconds: float
    images_per_second: float
    core_seconds: float = 0.0


@dataclass
class TrainingState:
    """How far a training is. With the weights and the optimiser's state, all that the next step depends on.

    Attributes:
        history: the epochs that are done.
        step: the next one, of the epoch that is not done. What follows is of this epoch too, and empty at step 0.
        seen, right: images, and how many were classified right.
        loss_sum: over the images, in float32.
        classes: of the logits.
        seconds, core_seconds: the time it took, see `tick`.
        frames: how many a noisy device had counted when this was saved.
        frames_begun: the same, when the epoch began.
        streams: states of torch's random streams, by the kind of processor.
        begun: weights that the epoch began with, where a later step needs them.
        average: of the weights of all steps so far, by name, where the training is to end with that.
    """

    history: list[EpochResult] = field(default_factory=list)
    step: int = 0
    seen: int = 0
    right: Tensor | int = 0
    loss_sum: Tensor | float = 0.0
    classes: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    frames: int = 0
    frames_begun: int = 0
    streams: dict[str, Tensor] = field(default_factory=dict)
    begun: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter, repr=False)
    _core_since: float = field(default_factory=time.process_time, repr=False)

    @property
    def epoch(self) -> int:
        """The number of the epoch that is not done, from 0."""
        return len(self.history)

    @property
    def losses(self) -> list[float]:
        """Of the epochs that are done."""
        return [h.loss for h in self.history]

    @property
    def mean_loss(self) -> float:
        """Of this epoch so far."""
        return float(self.loss_sum) / self.seen

    @property
    def accuracy(self) -> float:
        """Of this epoch so far."""
        return int(self.right) / self.seen

    def count(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Count one more step. Sums stay on the logits' device, so that nothing waits for it."""
        self.step += 1
        self.seen += len(labels)
        self.classes = logits.shape[1]
        self.loss_sum = self.loss_sum + loss.detach() * len(labels)
        self.right = self.right + (logits.argmax(1) == labels).sum()

    def start_clock(self) -> None:
        """Time before this call is not counted."""
        self._since, self._core_since = time.perf_counter(), time.process_time()

    def tick(self) -> None:
        """Bring both up to date."""
        now, core = time.perf_counter(), time.process_time()
        self.seconds += now - self._since
        self.core_seconds += core - self._core_since
        self._since, self._core_since = now, core

    def end_epoch(self) -> EpochResult:
        """Put this epoch into the history, and begin the next one."""
        self.tick()
        times = (self.seconds, self.seen / self.seconds, self.core_seconds)
        result = EpochResult(self.epoch, self.mean_loss, self.accuracy, *times)
        self.history.append(result)
        self.step, self.seen, self.right, self.loss_sum = 0, 0, 0, 0.0
        self.seconds, self.core_seconds = 0.0, 0.0
        self.streams, self.begun = {}, {}
        return result

    def inside(self) -> dict[str, Any]:
        """The numbers of the unfinished epoch, as plain JSON. A float32 sum survives the round trip exactly."""
        names = ("step", "seen", "classes", "seconds", "core_seconds", "frames_begun")
        counted = {name: getattr(self, name) for name in names}
        return {**counted, "right": int(self.right), "loss_sum": float(self.loss_sum)}
