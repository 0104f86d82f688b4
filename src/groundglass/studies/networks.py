"""Cells that make a device and train networks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from torch import nn

from groundglass.core import derive_seed
from groundglass.models import DefendedNetwork, ModelSpec, accuracy, build, save_model
from groundglass.optics import Camera, OpticalDevice, SimulatedOPU
from groundglass.optics.medium import DeviceKind, MatrixKind
from groundglass.results import Record
from groundglass.studies.cells import Cell, Outcome, plain
from groundglass.studies.context import Context
from groundglass.training import BackProp, CreditAssignment, HybridDFA, TrainingConfig, train
from groundglass.training.checkpoint import begun

CREDITS: dict[str, type[BackProp] | type[HybridDFA]] = {"bp": BackProp, "hybrid-dfa": HybridDFA}


class NetworkCell(Protocol):
    """A cell whose record names a network's file, `result["checkpoint"]`: what can be attacked."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> Sequence[Cell]: ...

    def config(self) -> dict[str, Any]: ...

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome: ...


@dataclass(frozen=True, kw_only=True)
class DeviceCell:
    """A simulated device, its secret in a device file. The record names the device; it cannot make it again.

    Attributes:
        in_features, out_features: N and M.
        camera: with its exposure's target.
        matrix: "complex", or "real" for the published simulation's.
        owner: whose; devices of equal sizes and cameras are one device, unless their owners or kinds differ.
        device_kind: how it is simulated.
    """

    in_features: int
    out_features: int
    camera: Camera
    matrix: MatrixKind = "complex"
    owner: str = ""
    device_kind: DeviceKind = "dense"

    kind = "device"

    @property
    def name(self) -> str:
        whose = f" of the {self.owner}" if self.owner else ""
        matrix = "" if self.matrix == "complex" else f", {self.matrix}"
        kind = "" if self.device_kind == "dense" else f", {self.device_kind}"
        return f"device {self.in_features} -> {self.out_features}{matrix}{kind}{whose}"

    @property
    def inputs(self) -> Sequence[Cell]:
        return ()

    def config(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "camera": plain(asdict(self.camera)),
            **self._beyond(),
        }

    def _beyond(self) -> dict[str, str]:
        """What most devices have not: left out of their identity, so that it is what it always was."""
        kind: dict[str, str] = {"device_kind": self.device_kind} if self.device_kind != "dense" else {}
        return {**self._of_secret(), **kind}

    def _of_secret(self) -> dict[str, str]:
        """What the secret hangs on beside the sizes: not the kind, so that a procedural device is the dense one again."""
        matrix: dict[str, str] = {"matrix": self.matrix} if self.matrix != "complex" else {}
        return {**matrix, "owner": self.owner} if self.owner else matrix

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        seed, sizes = context.device_seed, (self.in_features, self.out_features)
        secret = None if seed is None else derive_seed(seed, "device", *sizes, *self._of_secret().values())
        device = SimulatedOPU.create(*sizes, seed=secret, camera=self.camera, matrix=self.matrix, kind=self.device_kind)
        context.devices.put(device)
        return Outcome({"fingerprint": device.fingerprint, "mean_reading": device.mean_reading})


@dataclass(frozen=True, kw_only=True)
class TrainCell:
    """Train one network and measure its clean accuracy on the whole test set."""

    name: str
    spec: ModelSpec
    training: TrainingConfig
    credit: Literal["bp", "hybrid-dfa"]
    device: DeviceCell | None
    data: str
    seed: int

    kind = "train"

    @property
    def inputs(self) -> Sequence[Cell]:
        return () if self.device is None else (self.device,)

    def config(self) -> dict[str, Any]:
        # The weights hang on the name. Those that were there first have none, so that identities stay what they were.
        named = {} if self.name in ("VGG-16", "VGG-OPU", "VGG-DFA") else {"name": self.name}
        return {
            **named,
            "model": described_spec(self.spec),
            "training": described_training(self.training, self.credit),
            "data": self.data,
            "seed": self.seed,
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        device = context.devices.find(inputs[0].result["fingerprint"]) if inputs else None
        model = build(self.spec, device=device, seed=derive_seed(self.seed, "weights", self.name)).to(context.where)
        credit: CreditAssignment = CREDITS[self.credit]()
        data = context.dataset
        checkpoint = context.folder / "checkpoints" / f"{stem(self.name)}.safetensors"
        earlier = begun(checkpoint).seconds
        history = train(
            model,
            data.train,
            self.training,
            credit=credit,
            seed=derive_seed(self.seed, "training", self.name),
            augment=data.augment,
            checkpoint=checkpoint,
            progress=context.progress,
            name=self.name,
        )
        seconds = sum(h.seconds for h in history)
        return Outcome(
            {
                **kept(context, self.name, model, self.spec),
                "train_seconds": round(seconds, 2),
                "images_per_second": round(len(data.train) * len(history) / seconds, 1),
                "epochs": [asdict(h) for h in history],
                "precision": self.training.precision,
            },
            earlier_seconds=earlier,
        )


def stem(name: str) -> str:
    """A network's name as that of a file."""
    return name.lower().replace(" ", "-").replace("=", "-")


def described_spec(spec: ModelSpec) -> dict[str, Any]:
    """A spec as part of an identity: what to build, without an encoding where it is the usual one, and without the data
    set, which the identity names itself."""
    described = plain(asdict(replace(spec, trained_on=None)))
    return {k: v for k, v in described.items() if k not in ("encoding", "trained_on") or v is not None}


def described_training(training: TrainingConfig, credit: str) -> dict[str, Any]:
    """A training as part of an identity."""
    return {**plain(training.described()), "credit": credit}


def kept(context: Context, name: str, model: nn.Module, spec: ModelSpec) -> dict[str, Any]:
    """Save a network in the run folder and measure it on the whole test set: what every network's record has."""
    path = context.folder / "models" / f"{stem(name)}.safetensors"
    save_model(path, model, replace(spec, trained_on=context.dataset.name))
    return {
        "clean_accuracy": accuracy(model, context.dataset.test),
        "n_test": len(context.dataset.test),
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": _described(model.device) if isinstance(model, DefendedNetwork) else None,
        "checkpoint": str(path.relative_to(context.folder)),
    }


def _described(device: OpticalDevice | None) -> dict[str, Any] | None:
    if device is None:
        return None
    assert isinstance(device, SimulatedOPU)
    return {
        "in_features": device.in_features,
        "out_features": device.out_features,
        "fingerprint": device.fingerprint,
        "bits": device.camera.bits,
        "matrix": device.matrix,
        "kind": device.kind,
    }
