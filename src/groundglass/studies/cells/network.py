"""Cells that make a device, and networks: trained whole, or in the paper's two stages."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from groundglass.core import derive_seed
from groundglass.core.settings import Count
from groundglass.models import (
    DefendedEnsemble,
    DefendedNetwork,
    ModelSpec,
    accuracy,
    build,
    devices_of,
    read_spec,
    save_model,
)
from groundglass.optics import Camera, Encoding, OpticalDevice, SimulatedOPU
from groundglass.optics.camera import camera_of
from groundglass.optics.medium import DeviceKind, MatrixKind
from groundglass.results import Record
from groundglass.results.kinds.network import (
    TRAIN,
    CameraSettings,
    DeviceNote,
    DeviceResult,
    Epoch,
    FeaturesNote,
    TrainResult,
)
from groundglass.studies.cells.cached_bits import cached_bits, cached_features
from groundglass.studies.engine.cell import BaseCell, Cell, Outcome, checkpoint_in, filled, scratch_of
from groundglass.studies.engine.context import Context
from groundglass.training import Credit, CreditAssignment, HybridDFA, TrainingConfig, make_credit, train
from groundglass.training.checkpoint import begun
from groundglass.training.classifier import FINE_TUNING, fit_classifier, place_device
from groundglass.training.encoding import encode_bits
from groundglass.training.hardening import fit_block
from groundglass.training.state import EpochResult

#: What of a network's features stays as it is when a device is put in: all below the device, so that a classifier alone is
#: fitted; or the convolutions, under which a new head is trained by hybrid DFA, as in the paper's published code; or these, with
#: what they make of an image computed once, so that no image is augmented.
Frozen = Literal["below device", "convolutions", "features"]

#: A cell whose result names a network's file, its `checkpoint`: what can be attacked.
NetworkCell = Cell


@dataclass(frozen=True, kw_only=True)
class DeviceCell(BaseCell):
    """A simulated device, its secret in a device file. The record names the device; it cannot make it again.

    Devices of equal sizes and cameras are one device, unless their owners or kinds differ. The published simulation has a
    "real" matrix.

    Attributes:
        given: fingerprint of a device that somebody else holds, in place of one that is made here: see `engine.given`.
    """

    in_features: Count
    out_features: Count
    camera: Camera
    matrix: MatrixKind = "complex"
    owner: str = ""
    device_kind: DeviceKind = "dense"
    given: str = ""

    kind = "device"

    @property
    def name(self) -> str:
        whose = f" of the {self.owner}" if self.owner else ""
        matrix = "" if self.matrix == "complex" else f", {self.matrix}"
        kind = "" if self.device_kind == "dense" else f", {self.device_kind}"
        return f"device {self.in_features} -> {self.out_features}{matrix}{kind}{whose}"

    def described(self) -> dict[str, Any]:
        return {"camera": CameraSettings(**asdict(self.camera))}

    def prepare(self, inputs: Sequence[Record], context: Context) -> DeviceResult:
        """Draw the device, and save it, unless it was given."""
        if self.given:
            given = context.devices.find(self.given)
            return filled(DeviceResult, given, public_seed=getattr(given, "public", None))
        seed, sizes = context.device_seed, (self.in_features, self.out_features)
        # Not the kind: with the same seed a procedural device is the dense one again.
        told = [value for value, usual in ((self.matrix, "complex"), (self.owner, "")) if value != usual]
        secret = None if seed is None else seed.at("device", *sizes, *told)
        device = SimulatedOPU.create(*sizes, seed=secret, camera=self.camera, matrix=self.matrix, kind=self.device_kind)
        context.devices.put(device)
        return filled(DeviceResult, device, public_seed=device.public)

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        return Outcome(context.prepared)


def is_given(network: NetworkCell) -> bool:
    """Whether a network has a device that somebody else holds."""
    device = getattr(network, "device", None)
    return device is not None and bool(device.given)


#: What cells need of a given device, beside readings.
NEEDS_U = "needs U"
NEEDS_ANOTHER = "needs another device, drawn or changed here"

# What of a spec is of the head.
_OF_A_HEAD = ("device_in", "device_out", "linear_hidden", "linear_out", "head")


@dataclass(frozen=True, kw_only=True)
class TrainCell(BaseCell):
    """Train one network and measure its clean accuracy on the whole test set."""

    name: str
    spec: ModelSpec
    training: TrainingConfig
    credit: Credit
    device: DeviceCell | None
    data: str
    seed: int

    kind = "train"

    def described(self) -> dict[str, Any]:
        return {
            # The weights depend on the name. The first three networks have none here: so their identities stay the same.
            "name": "" if self.name in ("VGG-16", "VGG-OPU", "VGG-DFA") else self.name,
            "model": described_spec(self.spec),
            "training": described_training(self.training, self.credit),
        }

    def needs(self) -> str:
        return NEEDS_U if self.spec.encoding == "float" and is_given(self) else ""

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        device = context.device(inputs[0]) if inputs else None
        model = _fresh(self, self.spec, device, context)
        credit = make_credit(self.credit, model, seed=derive_seed(self.seed, "credit", self.name))
        return train_cell(self, model, self.spec, credit, context)


@dataclass(frozen=True, kw_only=True)
class PlaceCell(BaseCell):
    """Put a device into a trained network in place of what it has, and fit the classifier alone.

    Attributes:
        features: the network whose convolutions, and features, it has; they stay as they are.
        device: None for a linear classifier.
        encoding: what enters the device, or the linear classifier.
        frozen: but for "below device" everything else is made anew and trained by hybrid DFA, with a B of its own. The BatchNorms
            among the convolutions keep their statistics.
        spec: of the network that is made. None: that of `features`, with the device's sizes. One without an optical layer or a
            linear head in its place, like VGG-16, has none to take over: its convolutions alone are taken.
    """

    name: str
    features: TrainCell
    device: DeviceCell | None
    encoding: Encoding = "bits"
    training: TrainingConfig = FINE_TUNING
    frozen: Frozen = "below device"
    spec: ModelSpec | None = None
    data: str
    seed: int

    kind = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.features.spec.defended and (self.spec is None or self.frozen == "below device"):
            raise ValueError(
                f"{self.features.name} has no head to take over: give a `spec`, and what is frozen is another"
            )

    def described(self) -> dict[str, Any]:
        head: dict[str, Any]
        if self.spec is not None:
            told = described_spec(replace(self.spec, dropout=0.0))
            head = {name: told[name] for name in _OF_A_HEAD if told.get(name) is not None}
            head |= {"dropout": self.spec.dropout} if self.spec.dropout else {}
        elif self.device is not None:
            head = {"device_in": self.device.in_features, "device_out": self.device.out_features}
        else:
            head = {"linear_hidden": self.features.spec.linear_hidden or self.features.spec.device_in}
        credit = "classifier"
        if self.frozen != "below device":
            head, credit = {**head, "frozen": self.frozen}, HybridDFA.name
        return {
            "model": {"features": self.features.name, "encoding": self.encoding, **head},
            "training": described_training(self.training, credit),
        }

    def needs(self) -> str:
        return NEEDS_U if self.encoding == "float" and is_given(self) else ""

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        below = inputs[0]
        device = None if self.device is None else context.device(inputs[1])
        path, network = context.network_file(below), context.load(below)
        features = FeaturesNote(name=below.name, clean_accuracy=TRAIN.result_of(below).clean_accuracy)
        spec = self.spec or self._spec(read_spec(path), network, device)
        if self.frozen != "below device":
            model = _fresh(self, spec, device, context)
            _take_convolutions(model, network)
            if self.frozen == "features":
                return self._fit_block(model, spec, path.parent, context, features)
            return train_cell(self, model, spec, HybridDFA(), context, features)
        assert isinstance(network, DefendedNetwork)
        images = context.dataset.train
        if self.encoding == "bits":
            entering, _ = cached_bits(network, images, path.parent, context.progress)
        else:
            entering = encode_bits(network, images, encoding=self.encoding, progress=context.progress)
        place_device(network, device, encoding=self.encoding)
        checkpoint = scratch_of(self, context)
        earlier = begun(checkpoint).seconds
        history = fit_classifier(
            network,
            entering,
            images.labels,
            self.training,
            seed=derive_seed(self.seed, "classifier", self.name),
            checkpoint=checkpoint,
            progress=context.progress,
            name=self.name,
        )
        result = trained(self, context, network, spec, history, features)
        return Outcome(result, earlier_seconds=earlier, scratch=checkpoint)

    def _spec(self, below: ModelSpec, network: nn.Module, device: OpticalDevice | None) -> ModelSpec:
        """That of the features' network, with this device, or none, in it."""
        assert isinstance(network, DefendedNetwork)
        return replace(
            below,
            device_in=None if device is None else device.in_features,
            device_out=None if device is None else device.out_features,
            linear_hidden=network.block.width if device is None else None,
            linear_out=self.features.spec.linear_out if device is None and self.frozen != "below device" else None,
            encoding=self.encoding,
            fingerprint=None,
        )

    def _fit_block(
        self, model: nn.Module, spec: ModelSpec, folder: Path, context: Context, features: FeaturesNote
    ) -> Outcome:
        """Train all but the convolutions, on what these make of each image."""
        assert isinstance(model, DefendedNetwork)
        model.eval()
        images, checkpoint = context.dataset.train, scratch_of(self, context)
        earlier = begun(checkpoint).seconds
        history = fit_block(
            model,
            cached_features(model, images, folder, context.progress)[0],
            images.labels,
            self.training,
            seed=derive_seed(self.seed, "training", self.name),
            checkpoint=checkpoint,
            progress=context.progress,
            name=self.name,
        )
        result = trained(self, context, model, spec, history, features)
        return Outcome(result, earlier_seconds=earlier, scratch=checkpoint)


def _fresh(cell: Any, spec: ModelSpec, device: OpticalDevice | None, context: Context) -> nn.Module:
    """The network of a cell before its training."""
    return build(spec, device=device, seed=derive_seed(cell.seed, "weights", cell.name)).to(context.where)


def _take_convolutions(model: nn.Module, source: nn.Module) -> None:
    """Those of `source`, frozen: their weights get no gradient, and BatchNorm's statistics stay."""
    assert isinstance(model, DefendedNetwork)
    features, plain = model.network.get_submodule("features"), source
    if isinstance(source, DefendedNetwork):
        plain = source.network
    features.load_state_dict(plain.get_submodule("features").state_dict())
    features.requires_grad_(False).eval()


def train_cell(
    cell: Any,
    model: nn.Module,
    spec: ModelSpec,
    credit: CreditAssignment,
    context: Context,
    features: FeaturesNote | None = None,
) -> Outcome:
    """Train the network of a cell on all training images, save it and measure it."""
    data, checkpoint = context.dataset, checkpoint_in(context.folder, stem(cell.name))
    earlier = begun(checkpoint).seconds
    history = train(
        model,
        data.train,
        cell.training,
        credit=credit,
        seed=derive_seed(cell.seed, "training", cell.name),
        augment=data.augment,
        checkpoint=checkpoint,
        progress=context.progress,
        name=cell.name,
    )
    return Outcome(trained(cell, context, model, spec, history, features), earlier_seconds=earlier)


def stem(name: str) -> str:
    """A network's name as that of a file."""
    return name.lower().replace(",", "").replace(" ", "-").replace("=", "-")


def described_spec(spec: ModelSpec) -> dict[str, Any]:
    """A spec as part of an identity: what to build, without what is as usual and could not always be chosen, without the
    data set, which the identity names itself, and whatever becomes of its device's seed."""
    usual: dict[str, Any] = {"encoding": None, "head": "normalised", "linear_out": None, "size": None}
    usual |= {"architecture": "vgg16", "parts": (), "depths": (), "votes": False}
    usual |= {name: getattr(spec, name) for name in ("trained_on", "public_seed")}
    return {name: value for name, value in asdict(spec).items() if name not in usual or value != usual[name]}


def described_training(training: TrainingConfig, credit: str) -> dict[str, Any]:
    """A training as part of an identity."""
    return {**training.described(), "credit": credit}


def trained(
    cell: Any,
    context: Context,
    model: nn.Module,
    spec: ModelSpec,
    history: Sequence[EpochResult],
    features: FeaturesNote | None = None,
) -> TrainResult:
    """Save the network that a cell has trained, and measure it on the whole test set."""
    path = context.folder / "models" / f"{stem(cell.name)}.safetensors"
    save_model(path, model, replace(spec, trained_on=context.dataset.name))
    seconds = sum(h.seconds for h in history)
    devices = devices_of(model)
    return TrainResult(
        checkpoint=str(path.relative_to(context.folder)),
        clean_accuracy=accuracy(model, context.dataset.test),
        n_test=len(context.dataset.test),
        parameters=sum(p.numel() for p in model.parameters()),
        device=_note(devices[0]) if devices else None,
        parts=len(model.parts) if isinstance(model, DefendedEnsemble) else 1,
        train_seconds=round(seconds, 2),
        images_per_second=round(len(context.dataset.train) * len(history) / seconds, 1),
        epochs=tuple(Epoch(**asdict(h)) for h in history),
        precision=cell.training.precision,
        features=features,
    )


def _note(device: OpticalDevice) -> DeviceNote:
    """What a record says of a network's device. How one was made that somebody else holds is not known here."""
    if isinstance(device, SimulatedOPU):
        return filled(DeviceNote, device, bits=device.camera.bits)
    return filled(DeviceNote, device, bits=camera_of(device).bits, matrix="unknown", kind="not simulated here")
