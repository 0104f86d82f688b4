"""How to train."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from groundglass.training.adversarial import AdversarialTraining
from groundglass.training.precision import Precision
from groundglass.training.schedule import OneCycle, Schedule


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
        schedule: of the learning rate.
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
        """As part of an identity. Without adversarial training there is no such entry: older identities stay the same."""
        known = {**asdict(self), "schedule": repr(self.schedule)}
        del known["adversarial"]
        return known if self.adversarial is None else {**known, "adversarial": self.adversarial.described()}
