"""How to train."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from groundglass.core.settings import Count, In, NotNegative, Positive, Settings
from groundglass.training.adversarial import AdversarialTraining
from groundglass.training.precision import Precision
from groundglass.training.schedule import OneCycle, Schedule


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Settings):
    """How to train.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step; the last, smaller batch of an epoch is used too.
        optimiser: "sgd" or "adam".
        learning_rate: the schedule's factor 1.
        momentum: of SGD.
        nesterov: look ahead along it, as the paper's scripts do not (their momentum is plain).
        weight_decay: L2, on every parameter.
        schedule: of the learning rate.
        precision: of the convolutions; the optical block and the loss are float32 always.
        adversarial: `PGDTraining(...)` or `TRADES(...)`; None for training on the images as they are.
        noise: std of Gaussian noise on every image of every step, pixel units, not clipped to [0, 1]: for a network that
            `groundglass.certify.smooth` is to smooth with it (Cohen, Rosenfeld and Kolter 2019). 0 for none.
    """

    epochs: Count
    batch_size: Annotated[int, In("[2, inf)", "BatchNorm has no variance over one image")] = 128
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.05
    momentum: Annotated[float, In("[0, 1)")] = 0.9
    nesterov: bool = True
    weight_decay: NotNegative = 5e-4
    schedule: Schedule = field(default_factory=OneCycle)
    precision: Precision = "float32"
    adversarial: AdversarialTraining | None = None
    noise: NotNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise and self.adversarial is not None:
            raise ValueError(
                "the attack of adversarial training is on images without noise: leave out `noise`, or `adversarial`"
            )

    def described(self) -> dict[str, Any]:
        """As part of an identity. Usual settings that once could not be chosen are left out: older identities stay the same."""
        known = {**asdict(self), "schedule": repr(self.schedule)}
        del known["adversarial"]
        if self.nesterov:
            del known["nesterov"]
        if not self.noise:
            del known["noise"]
        return known if self.adversarial is None else {**known, "adversarial": self.adversarial.described()}
