"""The two networks that studies attack: a VGG-16, and a VGG-OPU of the same width. Studies in one folder share them."""

from dataclasses import dataclass, field, replace

from groundglass.data import Dataset
from groundglass.models import ModelSpec
from groundglass.optics import Camera
from groundglass.studies.networks import DeviceCell, TrainCell
from groundglass.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class TargetsConfig:
    """The networks of a study, complete.

    Attributes:
        data: name of the data set.
        width: of both VGG-16s.
        device_in, device_out: N and M.
        camera: of the device.
        baseline, hybrid: how VGG-16 and VGG-OPU are trained.
        baseline_dropout, hybrid_dropout: of their heads.
        seed: of everything but the device.
    """

    data: str
    width: float
    device_in: int
    device_out: int
    camera: Camera = field(default_factory=Camera)
    baseline: TrainingConfig
    hybrid: TrainingConfig
    baseline_dropout: float = 0.0
    hybrid_dropout: float = 0.0
    seed: int = 0


def targets(config: TargetsConfig, dataset: Dataset) -> tuple[TrainCell, TrainCell]:
    """The cells that train VGG-16 and VGG-OPU."""
    spec = ModelSpec(
        width=config.width,
        classes=dataset.num_classes,
        mean=dataset.mean,
        std=dataset.std,
        dropout=config.baseline_dropout,
    )
    baseline = TrainCell(
        name="VGG-16",
        spec=spec,
        training=config.baseline,
        credit="bp",
        device=None,
        data=config.data,
        seed=config.seed,
    )
    device = DeviceCell(in_features=config.device_in, out_features=config.device_out, camera=config.camera)
    defended = TrainCell(
        name="VGG-OPU",
        spec=replace(spec, dropout=config.hybrid_dropout, device_in=config.device_in, device_out=config.device_out),
        training=config.hybrid,
        credit="hybrid-dfa",
        device=device,
        data=config.data,
        seed=config.seed,
    )
    return baseline, defended
