"""Networks and their devices: trained, redrawn, or made to answer at random."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Column, Kind, share_columns


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """The camera of a device; see `groundglass.optics.Camera`."""

    bits: int | None
    saturation: float
    read_noise: float
    shot_noise: float
    density: float


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """A simulated device: N and M, the camera, how U is drawn ("complex" or "real"), whose it is, how it is simulated."""

    in_features: int
    out_features: int
    camera: CameraSettings
    matrix: str = left_out("complex")
    owner: str = left_out("")
    device_kind: str = left_out("dense")


@dataclass(frozen=True, kw_only=True)
class DeviceResult:
    """The device by its fingerprint. The secret is in the device file, and cannot be made from this."""

    fingerprint: str
    mean_reading: float


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training. `model` and `training` are settings of `ModelSpec` and `TrainingConfig`."""

    model: Mapping[str, Any]
    training: Mapping[str, Any]
    data: str
    seed: int
    name: str = left_out("")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training images."""

    epoch: int
    loss: float
    train_accuracy: float
    seconds: float
    images_per_second: float
    test_accuracy: float | None = None


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
    """A trained network.

    Attributes:
        checkpoint: path of its file within the run folder.
        clean_accuracy: on all `n_test` test images.
        train_seconds, images_per_second: of the training, in all its sessions.
        features: where only the classifier was fitted, on features of another network.
    """

    checkpoint: str
    clean_accuracy: float
    n_test: int
    parameters: int
    device: DeviceNote | None
    train_seconds: float
    images_per_second: float
    epochs: tuple[Epoch, ...]
    precision: str
    features: FeaturesNote | None = None

    @property
    def clean(self) -> Proportion:
        """Clean accuracy."""
        return counted(self.clean_accuracy, self.n_test)


@dataclass(frozen=True, kw_only=True)
class RedrawConfig:
    """A redraw of a network's U; `redraw` counts them."""

    model: str
    redraw: int
    training: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, kw_only=True)
class RedrawResult:
    """What a redraw did to the clean accuracy.

    Attributes:
        before, untuned, tuned: with the old U; with the new U under the old classifier; with a classifier fitted to the new U.
        draw_seconds, feature_seconds, tune_seconds: drawing U; the bits of all images; fitting.
    """

    before: float
    untuned: float
    tuned: float
    feature_seconds: float
    features_cached: bool
    tune_seconds: float
    draw_seconds: float
    n_train: int
    n_test: int
    old_fingerprint: str
    fingerprint: str
    checkpoint: str

    def __post_init__(self) -> None:
        if self.fingerprint == self.old_fingerprint:
            raise ValueError("the fingerprint is that of the old matrix: nothing was redrawn")

    @property
    def clean_accuracy(self) -> float:
        return self.tuned


@dataclass(frozen=True, kw_only=True)
class RandomiseConfig:
    """A network whose device switches among `matrices`, or whose camera has read noise (grey levels)."""

    model: str
    matrices: int
    read_noise: float
    training: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, kw_only=True)
class RandomiseResult:
    """Clean accuracy before and after."""

    before: float
    clean_accuracy: float
    n_test: int
    fingerprint: str
    checkpoint: str
    tune_seconds: float


def counted(share: float, total: int) -> Proportion:
    """A share of so many images as a count."""
    return Proportion(round(share * total), total)


DEVICE: Kind[DeviceConfig, DeviceResult] = Kind(
    "device",
    DeviceConfig,
    DeviceResult,
    "devices",
    {
        "inputs": Column("N, input bits", lambda e: e.config.in_features),
        "outputs": Column("M, readings", lambda e: e.config.out_features),
        "camera_bits": Column("depth of a reading; none: float", lambda e: e.config.camera.bits),
        "read_noise_levels": Column("std of the camera's noise, grey levels", lambda e: e.config.camera.read_noise),
        "simulation": Column("dense, procedural or structured", lambda e: e.config.device_kind),
        "fingerprint": Column("names the device; says nothing of U", lambda e: e.result.fingerprint),
    },
)
TRAIN: Kind[TrainConfig, TrainResult] = Kind(
    "train",
    TrainConfig,
    TrainResult,
    "networks",
    {
        "network": Column("its name", lambda e: e.name),
        **share_columns("clean_accuracy", "share of all test images right without an attack", lambda e: e.result.clean),
        "n_test": Column("test images", lambda e: e.result.n_test),
        "credit": Column("bp, hybrid-dfa, or classifier (alone)", lambda e: e.config.training["credit"]),
        "features": Column("network whose features it has", lambda e: e.result.features and e.result.features.name),
        "device_inputs": Column("N of its device", lambda e: e.result.device and e.result.device.in_features),
        "device_outputs": Column("M of its device", lambda e: e.result.device and e.result.device.out_features),
        "parameters": Column("trained numbers", lambda e: e.result.parameters),
        "epochs": Column("passes over the training images", lambda e: e.config.training["epochs"]),
        "train_seconds": Column("of training, all sessions", lambda e: e.result.train_seconds),
        "images_per_second": Column("while training", lambda e: e.result.images_per_second),
    },
)
REDRAW: Kind[RedrawConfig, RedrawResult] = Kind(
    "redraw",
    RedrawConfig,
    RedrawResult,
    "redraws",
    {
        "network": Column("the network as redrawn", lambda e: e.name),
        "of_network": Column("the network that got another U", lambda e: e.config.model),
        "redraw": Column("1, 2, ...", lambda e: e.config.redraw),
        **share_columns("before", "clean accuracy with the old U", lambda e: counted(e.result.before, e.result.n_test)),
        **share_columns(
            "untuned",
            "clean accuracy with the new U and the old classifier",
            lambda e: counted(e.result.untuned, e.result.n_test),
        ),
        **share_columns(
            "tuned",
            "clean accuracy with the new U and a classifier fitted to it",
            lambda e: counted(e.result.tuned, e.result.n_test),
        ),
        "n_test": Column("test images", lambda e: e.result.n_test),
        "draw_seconds": Column("drawing U and setting the exposure", lambda e: e.result.draw_seconds),
        "tune_seconds": Column("measuring the training images and fitting", lambda e: e.result.tune_seconds),
    },
)
RANDOMISE: Kind[RandomiseConfig, RandomiseResult] = Kind(
    "randomise",
    RandomiseConfig,
    RandomiseResult,
    "randomised",
    {
        "network": Column("its name", lambda e: e.name),
        "of_network": Column("the network whose device was exchanged", lambda e: e.config.model),
        "matrices": Column("that the device switches among", lambda e: e.config.matrices),
        "read_noise_levels": Column("std of the camera's noise, grey levels", lambda e: e.config.read_noise),
        **share_columns(
            "clean_accuracy",
            "share of all test images right without an attack",
            lambda e: counted(e.result.clean_accuracy, e.result.n_test),
        ),
        "before": Column("clean accuracy of the network as it was", lambda e: e.result.before),
        "n_test": Column("test images", lambda e: e.result.n_test),
    },
)
