"""The two networks that studies attack: a VGG-16, and a VGG-OPU of the same width. Studies in one folder share them."""

from dataclasses import dataclass, field, replace

from groundglass.audit import AuditConfig
from groundglass.data import Dataset
from groundglass.models import ModelSpec
from groundglass.optics import Camera
from groundglass.optics.medium import DeviceKind
from groundglass.studies.networks import DeviceCell, TrainCell
from groundglass.studies.placed import PlaceCell
from groundglass.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class TargetsConfig:
    """The networks of a study, complete.

    Attributes:
        data: name of the data set.
        width: of both VGG-16s.
        device_in, device_out: N and M.
        camera: of the device.
        device_kind: how the device is simulated.
        baseline, hybrid: how VGG-16 and VGG-OPU are trained.
        classifier: None: `hybrid` trains VGG-OPU whole. Else in the paper's two stages, which CIFAR-100 needs: `hybrid`
            trains features under a linear head; then the device is put in, and this fits the classifier alone.
        baseline_dropout, hybrid_dropout: of their heads.
        seed: of everything but the device.
        audit_images, audit_eps_paper, audit: how the networks are audited: on the first so many test images, in the L-inf ball
            of this radius on the paper's axis, with so much effort.
    """

    data: str
    width: float
    device_in: int
    device_out: int
    camera: Camera = field(default_factory=Camera)
    device_kind: DeviceKind = "dense"
    baseline: TrainingConfig
    hybrid: TrainingConfig
    classifier: TrainingConfig | None = None
    baseline_dropout: float = 0.0
    hybrid_dropout: float = 0.0
    seed: int = 0
    audit_images: int = 200
    audit_eps_paper: float = 0.05
    audit: AuditConfig = field(default_factory=AuditConfig)


def device_cell(config: TargetsConfig, *, owner: str = "") -> DeviceCell:
    """The cell that makes the study's device, or that of another owner."""
    return DeviceCell(
        in_features=config.device_in,
        out_features=config.device_out,
        camera=config.camera,
        owner=owner,
        device_kind=config.device_kind,
    )


def baseline_spec(config: TargetsConfig, dataset: Dataset) -> ModelSpec:
    """A VGG-16 for the data set."""
    return ModelSpec(
        width=config.width,
        classes=dataset.num_classes,
        mean=dataset.mean,
        std=dataset.std,
        dropout=config.baseline_dropout,
    )


def baseline_network(config: TargetsConfig, dataset: Dataset) -> TrainCell:
    """The cell that trains VGG-16."""
    return TrainCell(
        name="VGG-16",
        spec=baseline_spec(config, dataset),
        training=config.baseline,
        credit="bp",
        device=None,
        data=config.data,
        seed=config.seed,
    )


def two_stages(
    config: TargetsConfig,
    dataset: Dataset,
    name: str,
    *,
    features: str,
    hybrid: TrainingConfig,
    classifier: TrainingConfig,
    owner: str = "",
    seed: int | None = None,
) -> PlaceCell:
    """A VGG-OPU as the paper makes it for transfer and for CIFAR-100 (section 3.2.2).

    Args:
        name: of the network.
        features: name of the network with a linear head, hybrid-trained, whose convolutions it has.
        hybrid, classifier: the two stages.
        owner: of the device: the defender, or an attacker with another U.
        seed: another than the study's.
    """
    seed = config.seed if seed is None else seed
    below = TrainCell(
        name=features,
        spec=replace(baseline_spec(config, dataset), dropout=config.hybrid_dropout, linear_hidden=config.device_in),
        training=hybrid,
        credit="hybrid-dfa",
        device=None,
        data=config.data,
        seed=seed,
    )
    device = device_cell(config, owner=owner)
    return PlaceCell(name=name, features=below, device=device, training=classifier, data=config.data, seed=seed)


def targets(config: TargetsConfig, dataset: Dataset) -> tuple[TrainCell, TrainCell | PlaceCell]:
    """The cells that train VGG-16 and VGG-OPU."""
    baseline = baseline_network(config, dataset)
    if config.classifier is not None:
        return baseline, two_stages(
            config, dataset, "VGG-OPU", features="VGG-DFA", hybrid=config.hybrid, classifier=config.classifier
        )
    device = device_cell(config)
    spec = replace(
        baseline.spec, dropout=config.hybrid_dropout, device_in=config.device_in, device_out=config.device_out
    )
    defended = TrainCell(
        name="VGG-OPU",
        spec=spec,
        training=config.hybrid,
        credit="hybrid-dfa",
        device=device,
        data=config.data,
        seed=config.seed,
    )
    return baseline, defended
