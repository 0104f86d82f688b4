"""Networks and their devices: trained, redrawn, or made to answer at random."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Kind, column, derives, share, through


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """The camera of a device; see `groundglass.optics.Camera`."""

    bits: int | None
    saturation: float
    read_noise: float
    shot_noise: float
    density: float
    power: float = left_out(2.0)


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """A device: N and M, the camera, how U is drawn ("complex" or "real"), whose it is, how it is simulated. `given`: the
    fingerprint of one that is not made here."""

    in_features: int = column("N, input bits", "inputs")
    out_features: int = column("M, readings", "outputs")
    camera: CameraSettings
    matrix: str = left_out("complex")
    owner: str = left_out("")
    device_kind: str = column("dense, procedural or structured", "simulation", default="dense", left_out=True)
    given: str = left_out("")

    camera_bits = through("camera.bits", "depth of a reading; none: float")
    power = through("camera.power", "p of readings that grow as |Ux|^p")
    read_noise_levels = through("camera.read_noise", "std of the camera's noise, grey levels")


@dataclass(frozen=True, kw_only=True)
class DeviceResult:
    """The device by its fingerprint. The secret is in the device file, and cannot be made from this."""

    fingerprint: str = column("names the device; says nothing of U")
    mean_reading: float
    public_seed: bool | None = column(
        "its seed was given, so others may know it or find it; none: not recorded", default=None, left_out=True
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training. `model` and `training` are settings of `ModelSpec` and `TrainingConfig`."""

    model: Mapping[str, Any]
    training: Mapping[str, Any]
    data: str
    seed: int
    name: str = left_out("")

    @derives("bp, hybrid-dfa, or classifier (alone)")
    def credit(self) -> str:
        return str(self.training["credit"])

    @derives("passes over the training images")
    def epochs(self) -> int:
        return int(self.training["epochs"])


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training images. `core_seconds`: of all cores that its process had; 0 where it was not recorded."""

    epoch: int
    loss: float
    train_accuracy: float
    seconds: float
    images_per_second: float
    test_accuracy: float | None = None
    core_seconds: float = left_out(0.0)


@dataclass(frozen=True, kw_only=True)
class DeviceNote:
    """The device that a network has."""

    in_features: int
    out_features: int
    fingerprint: str
    bits: int | None
    matrix: str
    kind: str

    @property
    def said(self) -> str:
        """Sizes and camera in words."""
        camera = "float output" if self.bits is None else f"{self.bits}-bit camera"
        matrix = "" if self.matrix == "complex" else f", {self.matrix} matrix"
        kind = "" if self.kind == "dense" else f", {self.kind}"
        return f"{self.in_features:,} bits → {self.out_features:,} readings, {camera}{matrix}{kind}"


@dataclass(frozen=True, kw_only=True)
class FeaturesNote:
    """The network whose features a network has, and its clean accuracy."""

    name: str
    clean_accuracy: float


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A trained network. `checkpoint`: path of its file within the run folder. `features`: where it has another's."""

    checkpoint: str
    clean_accuracy: float
    n_test: int = column("test images")
    parameters: int = column("trained numbers")
    device: DeviceNote | None
    train_seconds: float = column("of training, all sessions")
    images_per_second: float = column("while training")
    epochs: tuple[Epoch, ...]
    precision: str
    features: FeaturesNote | None = None
    parts: int = column("of an ensemble, each with a device such as this", default=1, left_out=True)

    @derives("share of all test images right without an attack", "clean_accuracy")
    def clean(self) -> Proportion:
        return counted(self.clean_accuracy, self.n_test)

    features_of = through("features.name", "network whose features it has", "features")
    device_inputs = through("device.in_features", "N of its device")
    device_outputs = through("device.out_features", "M of its device")
    device_simulation = through("device.kind", "dense, procedural or structured")


@dataclass(frozen=True, kw_only=True)
class RedrawConfig:
    """A redraw of a network's U."""

    model: str = column("the network that got another U", "of_network")
    redraw: int = column("1, 2, ...")
    training: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, kw_only=True)
class RedrawResult:
    """What a redraw did to the clean accuracy. `feature_seconds`: the bits of all images."""

    before: float
    untuned: float
    tuned: float
    feature_seconds: float
    features_cached: bool
    tune_seconds: float = column("measuring the training images and fitting")
    draw_seconds: float = column("drawing U and setting the exposure")
    n_train: int
    n_test: int = column("test images")
    old_fingerprint: str
    fingerprint: str
    checkpoint: str
    public_seed: bool | None = column(
        "the new U's seed was given, so others may know it or find it; none: not recorded", default=None, left_out=True
    )

    def __post_init__(self) -> None:
        if self.fingerprint == self.old_fingerprint:
            raise ValueError("the fingerprint is that of the old matrix: nothing was redrawn")

    @derives("clean accuracy with the old U", "before")
    def clean_before(self) -> Proportion:
        return counted(self.before, self.n_test)

    @derives("clean accuracy with the new U and the old classifier", "untuned")
    def clean_untuned(self) -> Proportion:
        return counted(self.untuned, self.n_test)

    @derives("clean accuracy with the new U and a classifier fitted to it", "tuned")
    def clean(self) -> Proportion:
        return counted(self.tuned, self.n_test)


@dataclass(frozen=True, kw_only=True)
class RandomiseConfig:
    """A network whose device switches among matrices, or whose camera has read noise."""

    model: str = column("the network whose device was exchanged", "of_network")
    matrices: int = column("that the device switches among")
    read_noise: float = column("std of the camera's noise, grey levels", "read_noise_levels")
    training: Mapping[str, Any]
    seed: int
    same_matrix: bool = column("the network's own U, before another camera", default=False, left_out=True)


@dataclass(frozen=True, kw_only=True)
class RandomiseResult:
    """Clean accuracy before and after."""

    before: float = column("clean accuracy of the network as it was")
    clean_accuracy: float
    n_test: int = column("test images")
    fingerprint: str
    checkpoint: str
    tune_seconds: float
    untuned: float | None = left_out(None)
    public_seed: bool | None = column(
        "a seed of its matrices was given, so others may know it or find it; none: not recorded",
        default=None,
        left_out=True,
    )

    @derives("clean accuracy with the old classifier", "untuned")
    def clean_untuned(self) -> Proportion | None:
        return None if self.untuned is None else counted(self.untuned, self.n_test)

    @derives("share of all test images right without an attack", "clean_accuracy")
    def clean(self) -> Proportion:
        return counted(self.clean_accuracy, self.n_test)


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """A network whose U drifts. `ages`: at which its accuracy is measured, in correlation times."""

    model: str = column("the network whose U drifts", "of_network")
    correlation: float = column("correlation time of U, frames", "correlation_frames")
    frames: int = column("that a retrieval of U takes, for scale", "retrieval_frames")
    ages: tuple[float, ...]
    fit_images: int = column(
        "training images, a frame each, to which the classifier was fitted while U drifted; 0: as it was"
    )
    training: Mapping[str, Any]
    seed: int

    @property
    def times(self) -> float:
        """Correlation time in units of a retrieval."""
        return round(self.correlation / self.frames, 6)


@dataclass(frozen=True, kw_only=True)
class DriftResult:
    """Clean accuracy at ages of the classifier: (correlation times since it was fitted, share of the test images)."""

    before: float = column("clean accuracy of the network as it was")
    accuracies: tuple[tuple[float, float], ...]
    n_test: int = column("test images")

    @derives("share of all test images right when the classifier was just fitted", "clean_accuracy")
    def clean(self) -> Proportion | None:
        return self.at(self.accuracies[0][0]) if self.accuracies else None

    def lasts(self, margin: float) -> float:
        """The last age up to which no accuracy is more than `margin` below the network's own; 0 if there is none."""
        last = 0.0
        for age, accuracy in self.accuracies:
            if accuracy < self.before - margin:
                break
            last = age
        return last

    def at(self, age: float) -> Proportion | None:
        """Clean accuracy at an age; None where it was not measured."""
        return next((counted(share, self.n_test) for at, share in self.accuracies if abs(at - age) < 1e-9), None)


def counted(share: float, total: int) -> Proportion:
    """A share of so many images as a count."""
    return Proportion(round(share * total), total)


#: Devices, by fingerprint: `DeviceConfig`, `DeviceResult`.
DEVICE = Kind("device", DeviceConfig, DeviceResult, "devices")
#: Trained networks: `TrainConfig`, `TrainResult`.
TRAIN = Kind(
    "train",
    TrainConfig,
    TrainResult,
    "networks",
    lambda r: f"clean accuracy {r.clean.share:.1%}",
    named="network",
    files=("checkpoint",),
    holds={"clean_accuracy is a share of n_test": lambda r: share(r.clean_accuracy) and r.n_test >= 1},
)
#: Networks whose U drifts: `DriftConfig`, `DriftResult`.
DRIFT = Kind(
    "drift",
    DriftConfig,
    DriftResult,
    "drifts",
    lambda r: ", ".join(
        f"{share:.1%} at age {age:.3g}" for age, share in r.accuracies[:: max(1, len(r.accuracies) - 1)]
    ),
    holds={"accuracies are shares": lambda r: share(r.before, *(one for _, one in r.accuracies)) and r.n_test >= 1},
)
#: Redraws of a network's U: `RedrawConfig`, `RedrawResult`.
REDRAW = Kind(
    "redraw",
    RedrawConfig,
    RedrawResult,
    "redraws",
    lambda r: f"clean accuracy {r.before:.1%}, new U {r.untuned:.1%}, tuned {r.tuned:.1%}",
    named="network",
    files=("checkpoint",),
    holds={"before, untuned and tuned are shares": lambda r: share(r.before, r.untuned, r.tuned) and r.n_test >= 1},
)
#: Networks made to answer at random: `RandomiseConfig`, `RandomiseResult`.
RANDOMISE = Kind(
    "randomise",
    RandomiseConfig,
    RandomiseResult,
    "randomised",
    lambda r: f"clean accuracy {r.clean_accuracy:.1%}, before {r.before:.1%}",
    named="network",
    files=("checkpoint",),
    holds={"before and clean_accuracy are shares": lambda r: share(r.before, r.clean_accuracy) and r.n_test >= 1},
)
