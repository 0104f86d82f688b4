"""What studies are put together from: their networks, the sizes and radii that many have, attacks and audits of these."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from groundglass.adaptive import check_rules
from groundglass.attacks import GradientAttack, paper_eps_to_pixels
from groundglass.audit import AuditConfig
from groundglass.core.settings import Count, Dropout, In, Positive, Settings
from groundglass.data import Dataset
from groundglass.models import Head, ModelSpec
from groundglass.optics import Camera, Encoding
from groundglass.optics.medium import DeviceKind
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.audit import AuditCell
from groundglass.studies.cells.network import DeviceCell, Frozen, NetworkCell, PlaceCell, TrainCell
from groundglass.training import Both, Plateau, Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING
from groundglass.training.schedule import Steps

PaperRadius = Annotated[float, In("(0, 2]", "units of the normalised images, like .05")]


@dataclass(frozen=True, kw_only=True)
class TargetsConfig(Settings):
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
        frozen: what stays in that second stage; with "convolutions", `classifier` trains all else anew by hybrid DFA.
        head: of the defended networks, see `OpticalBlock`.
        source: how the attacker's own VGG-16 is trained; None: as `baseline`.
        baseline_dropout, hybrid_dropout: of their heads.
        seed: of everything but the device.
        audit_images, audit_eps_paper, audit: how the networks are audited: on the first so many test images, in the L-inf ball
            of this radius on the paper's axis, with so much effort.

    Settings that many studies have:
        n_images: the first so many test images are attacked, or those of them that every network gets right.
        eps_paper: L-inf radii on the paper's axis (units of the normalised images).
        steps, step_size: of PGD; in pixel units (the paper: 50 of .01 of [-1, 1]).
        rules: what the defended networks are attacked with.
        fit_images: natural training images that a fitted surrogate has seen.
    """

    data: str
    width: Positive
    device_in: Count
    device_out: Count
    camera: Camera = field(default_factory=Camera)
    device_kind: DeviceKind = "dense"
    baseline: TrainingConfig
    hybrid: TrainingConfig
    classifier: TrainingConfig | None = None
    frozen: Frozen = "below device"
    head: Head = "normalised"
    source: TrainingConfig | None = None
    baseline_dropout: Dropout = 0.0
    hybrid_dropout: Dropout = 0.0
    seed: int = 0
    audit_images: Count = 200
    audit_eps_paper: PaperRadius = 0.05
    audit: AuditConfig = field(default_factory=AuditConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rules(getattr(self, "rules", ()))


def device_cell(config: TargetsConfig, *, owner: str = "", **changes: Any) -> DeviceCell:
    """The cell that makes the study's device, or that of another owner."""
    cell = DeviceCell(
        in_features=config.device_in,
        out_features=config.device_out,
        camera=config.camera,
        owner=owner,
        device_kind=config.device_kind,
    )
    return replace(cell, **changes)


def baseline_network(config: TargetsConfig, dataset: Dataset) -> TrainCell:
    """The cell that trains VGG-16."""
    spec = ModelSpec(
        width=config.width,
        classes=dataset.num_classes,
        mean=dataset.mean,
        std=dataset.std,
        dropout=config.baseline_dropout,
        size=None if dataset.size == (32, 32) else dataset.size,
    )
    return TrainCell(
        name="VGG-16",
        spec=spec,
        training=config.baseline,
        credit="bp",
        device=None,
        data=config.data,
        seed=config.seed,
    )


def hybrid_network(
    config: TargetsConfig,
    dataset: Dataset,
    name: str,
    device: DeviceCell | None = None,
    *,
    features: int | None = None,
    encoding: Encoding | None = None,
    **changes: Any,
) -> TrainCell:
    """The cell that trains a network by hybrid DFA: around a device, or under a linear head on `features` bits.

    Args:
        features: N of the linear head; None: that of the study's device.
        encoding: of what enters the device or the head.
        changes: of the cell's training, credit or seed.
    """
    plain = baseline_network(config, dataset)
    spec = _with_head(config, plain.spec, device, features, encoding)
    settings = {"training": config.hybrid, "credit": "hybrid-dfa", **changes}
    return replace(plain, name=name, spec=spec, device=device, **settings)


def placed_network(
    config: TargetsConfig, name: str, features: TrainCell, device: DeviceCell | None, **changes: Any
) -> PlaceCell:
    """The cell that puts a device behind trained features, or a linear head, and trains what is not frozen.

    Args:
        features: of a network of any kind; of one without a head to take over, what is new is trained by hybrid DFA.
    """
    shared: dict[str, Any] = {"frozen": config.frozen, "seed": config.seed}
    if not features.spec.defended:
        encoding: Encoding = changes.pop("encoding", "bits")
        spec = _with_head(config, features.spec, device, None, encoding)
        shared |= {"frozen": "features", "encoding": encoding, "spec": spec}
    settings = {"training": config.classifier or FINE_TUNING, **shared, **changes}
    return PlaceCell(name=name, features=features, device=device, data=config.data, **settings)


def _with_head(
    config: TargetsConfig, plain: ModelSpec, device: DeviceCell | None, features: int | None, encoding: Encoding | None
) -> ModelSpec:
    """The spec of a network with a device in place of its head, or a linear head."""
    spec = replace(plain, dropout=config.hybrid_dropout, encoding=encoding, head=config.head)
    if device is None:
        instead = config.device_out if config.head == "published-code" else None
        return replace(spec, linear_hidden=features or config.device_in, linear_out=instead)
    return replace(spec, device_in=device.in_features, device_out=device.out_features)


def targets(config: TargetsConfig, dataset: Dataset) -> tuple[TrainCell, TrainCell | PlaceCell]:
    """The cells that train VGG-16 and VGG-OPU: whole, or as the paper does for CIFAR-100 (section 3.2.2) in two stages."""
    baseline, device = baseline_network(config, dataset), device_cell(config)
    if config.classifier is None:
        return baseline, hybrid_network(config, dataset, "VGG-OPU", device)
    return baseline, placed_network(config, "VGG-OPU", hybrid_network(config, dataset, "VGG-DFA"), device)


def another(network: NetworkCell, name: Callable[[str], str], **spec: Any) -> Any:
    """The cell of a network trained in the same way, by another name: with other settings of its spec, in both of its stages."""
    if isinstance(network, PlaceCell):
        own = None if network.spec is None else replace(network.spec, **spec)
        return replace(network, name=name(network.name), features=another(network.features, name, **spec), spec=own)
    assert isinstance(network, TrainCell)
    return replace(network, name=name(network.name), spec=replace(network.spec, **spec))


def on_paper_axis(dataset: Dataset, *radii: float) -> list[dict[str, Any]]:
    """The L-inf balls of cells at these radii of the paper's axis."""
    return [{"eps": paper_eps_to_pixels(eps_paper, dataset.std), "eps_paper": eps_paper} for eps_paper in radii]


def attack_cell(config: Any, target: NetworkCell, rule: str, attack: GradientAttack, **changes: Any) -> AttackCell:
    """An attack on the images that a study attacks, with its seed."""
    settings = {
        "n_images": config.n_images,
        "fit_images": getattr(config, "fit_images", 0),
        "seed": config.seed,
        **changes,
    }
    return AttackCell(target=target, rule=rule, attack=attack, **settings)


def audits(config: TargetsConfig, dataset: Dataset, networks: Iterable[NetworkCell]) -> list[AuditCell]:
    """The audit of each network at the end of the paper's axis: no page shows the paper's figure without it."""
    shared: dict[str, Any] = {"n_images": config.audit_images, "settings": config.audit, "seed": config.seed}
    (ball,) = on_paper_axis(dataset, config.audit_eps_paper)
    return [AuditCell(target=network, **ball, **shared) for network in networks]


# A normalised unit of CIFAR-100 is about half of CIFAR-10's in pixels, and so is the paper's step of .01 of them.
#: A step of NES and of bandits, pixel units (section 3.2.1).
PAPER_QUERY_STEP = 0.01
PAPER_STEP = {"cifar10": 0.005, "cifar100": 0.00276}
#: So many of each split the quick recipes take: `shapes` has about as many.
QUICK_IMAGES = 8000
#: Where most of the curve of `shapes` lies: 0.5, 1, 2 and 4 / 255, on the paper's axis.
QUICK_RADII = tuple(2 * level / 255 for level in (0.5, 1, 2, 4))


def paper_training(epochs: int, weight_decay: float, precision: Precision, **changes: Any) -> TrainingConfig:
    """Training as most of the paper's scripts have it: plain momentum, and a rate that falls where the loss does not."""
    usual: dict[str, Any] = {"learning_rate": 1e-3, "nesterov": False, "schedule": Plateau(), "precision": precision}
    return TrainingConfig(epochs=epochs, weight_decay=weight_decay, **{**usual, **changes})


def paper_networks(data: str, seed: int, precision: Precision) -> dict[str, Any]:
    """The settings of `TargetsConfig` at the paper's widths and sizes, as its training scripts have them (docs/theory.md)."""
    shared = {
        "data": data,
        "width": 1.0,
        "device_in": 512,
        "device_out": 8000,
        "baseline_dropout": 0.5,
        "hybrid_dropout": 0.5,
        "seed": seed,
        "audit_images": 1000,
        "head": "published-code",
        "frozen": "convolutions",
    }
    if data == "cifar100":
        steep: dict[str, Any] = {"learning_rate": 1e-2, "schedule": Both(Steps(at=(45, 60)), Plateau())}
        return {
            **shared,
            "device_in": 1024,
            "baseline": paper_training(105, 1e-3, precision, **steep),
            "source": paper_training(110, 7e-4, precision, **steep),
            "hybrid": paper_training(125, 0.015, precision),
            "classifier": paper_training(5, 0.01, precision),
        }
    return {
        **shared,
        "baseline": paper_training(38, 1e-4, precision, optimiser="adam"),
        "source": paper_training(55, 1e-4, precision, optimiser="adam"),
        "hybrid": paper_training(30, 0.01, precision),
    }


def laptop_networks(data: str, seed: int, precision: Precision) -> dict[str, Any]:
    """The same at a quarter of the width, for two cores.

    CIFAR-10 is trained whole, as the paper's white-box networks are; CIFAR-100 in two stages, and half as long again.
    """
    shared = {
        "data": data,
        "width": 0.25,
        "device_out": 8000,
        "seed": seed,
        "audit_images": 500,
    }
    if data == "cifar100":
        long = TrainingConfig(epochs=12, learning_rate=0.1, weight_decay=5e-4, precision=precision)
        stages = {"hybrid": replace(long, learning_rate=0.05), "classifier": FINE_TUNING}
        return {**shared, "device_in": 1024, "baseline": long, **stages}
    training = TrainingConfig(epochs=8, learning_rate=0.05, weight_decay=5e-4, precision=precision)
    return {**shared, "device_in": 512, "baseline": training, "hybrid": training}


def quick_networks(data: str, seed: int, precision: Precision, images: int = QUICK_IMAGES) -> dict[str, Any]:
    """The same on few images, of any data set: every part at work, too small to judge a defence by."""
    training = TrainingConfig(epochs=4, learning_rate=0.1, precision=precision)
    return {
        "data": data if data == "shapes" else f"{data}[:{images}]",
        "width": 0.125,
        "device_in": 256,
        "device_out": 1000,
        "baseline": training,
        "hybrid": training,
        "seed": seed,
        "audit_images": 48,
        "audit": AuditConfig(steps=20, queries=60, query_images=8, probes=12, fit_images=2000, samples=4),
    }
