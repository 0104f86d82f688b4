"""How to train."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from groundglass.core.settings import Count, In, NotNegative, Positive, Settings, settings_of, since
from groundglass.data import Augment
from groundglass.training.adversarial import AdversarialTraining
from groundglass.training.freezing import Freezing
from groundglass.training.growing import Growing
from groundglass.training.precision import Precision
from groundglass.training.schedule import OneCycle, Schedule

_ON_IMAGES = ("adversarial", "noise", "augment", "growing", "freezing")
#: What does not go with adversarial training, and why.
_NOT_ADVERSARIAL = {
    "noise": "the attack of adversarial training is on images without noise",
    "label_smoothing": "the loss of adversarial training has labels of its own",
    "average": "statistics of BatchNorm for averaged weights would be of images that nobody attacked",
}


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
        label_smoothing: the share of a label that all classes have in common (Szegedy et al. 2016). With `answers` these are
            smoothed. The loss that is told is the smoothed one.
        augment: in place of the augmentation that `train` is given; None: that one.
        average: the network is left with an exponential average of the weights along training, and statistics of BatchNorm that
            belong to it: epochs after which an epoch's weights count half. 0: with the last weights.
        growing: images are small at first; None: whole always.
        freezing: early layers stay as they are, late in training; None: all are trained to the end.
    """

    epochs: Count
    batch_size: Annotated[int, In("[2, inf)", "BatchNorm has no variance over one image")] = 128
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.05
    momentum: Annotated[float, In("[0, 1)")] = 0.9
    nesterov: bool = since(True, before=True)
    weight_decay: NotNegative = 5e-4
    schedule: Schedule = field(default_factory=OneCycle)
    precision: Precision = "float32"
    adversarial: AdversarialTraining | None = since(None, before=None)
    noise: NotNegative = since(0.0, before=0.0)
    label_smoothing: Annotated[float, In("[0, 1)", "a share of the label")] = since(0.0, before=0.0)
    augment: Augment | None = since(None, before=None)
    average: NotNegative = since(0.0, before=0.0)
    growing: Growing | None = since(None, before=None)
    freezing: Freezing | None = since(None, before=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.growing is not None and self.growing.share(self.epochs - 1, self.epochs) < 1:
            raise ValueError(
                f"with `growing` until {self.growing.until:g} of {self.epochs} epochs none has whole images, as attacks and the "
                "statistics of BatchNorm have: give more `epochs`, a smaller `until`, or leave it out"
            )
        if self.adversarial is None:
            return
        for name, why in _NOT_ADVERSARIAL.items():
            if getattr(self, name):
                raise ValueError(f"{why}: leave out `{name}`, or `adversarial`")

    def check_no_images(self, what: str) -> None:
        """Refuse settings that change images, or how a network takes them, where features are given.

        Raises:
            ValueError: names them.
        """
        if self.on_images:
            named = " and ".join(f"`{name}`" for name in self.on_images)
            raise ValueError(f"{what}, which stay as they are: leave out {named}, for `train` on images")

    @property
    def on_images(self) -> tuple[str, ...]:
        """The settings that change images, or how a network takes them, of those that are not as usual."""
        return tuple(name for name in _ON_IMAGES if getattr(self, name))

    def described(self) -> dict[str, Any]:
        """As part of an identity. Usual settings that once could not be chosen are left out: older identities stay the same."""
        known = {**settings_of(self), "schedule": repr(self.schedule)}
        return known if self.adversarial is None else {**known, "adversarial": self.adversarial.described()}
