"""Cells that make a device and train networks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from groundglass.core import derive_seed
from groundglass.evaluation import Record
from groundglass.models import ModelSpec, accuracy, build, save_model
from groundglass.optics import Camera, SimulatedOPU
from groundglass.studies.cells import Cell, Outcome, plain
from groundglass.studies.context import Context
from groundglass.training import BackProp, CreditAssignment, EpochResult, HybridDFA, TrainingConfig, train

CREDITS: dict[str, type[BackProp] | type[HybridDFA]] = {"bp": BackProp, "hybrid-dfa": HybridDFA}


@dataclass(frozen=True, kw_only=True)
class DeviceCell:
    """A simulated device, its secret in a device file. The record names the device; it cannot make it again."""

    in_features: int
    out_features: int
    camera: Camera

    kind = "device"

    @property
    def name(self) -> str:
        return f"device {self.in_features} -> {self.out_features}"

    @property
    def inputs(self) -> Sequence[Cell]:
        return ()

    def config(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "camera": plain(asdict(self.camera)),
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        seed = context.device_seed
        secret = None if seed is None else derive_seed(seed, "device", self.in_features, self.out_features)
        device = SimulatedOPU.create(self.in_features, self.out_features, seed=secret, camera=self.camera)
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
        return {
            "model": plain(asdict(self.spec)),
            "training": {
                **plain(asdict(self.training)),
                "schedule": repr(self.training.schedule),
                "credit": self.credit,
            },
            "data": self.data,
            "seed": self.seed,
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        device = context.devices.find(inputs[0].result["fingerprint"]) if inputs else None
        model = build(self.spec, device=device, seed=derive_seed(self.seed, "weights", self.name)).to(context.where)
        credit: CreditAssignment = CREDITS[self.credit]()
        data = context.dataset
        stem = self.name.lower().replace(" ", "-")
        fresh: list[EpochResult] = []
        history = train(
            model,
            data.train,
            self.training,
            credit=credit,
            seed=derive_seed(self.seed, "training", self.name),
            augment=data.augment,
            checkpoint=context.folder / "checkpoints" / f"{stem}.safetensors",
            progress=context.progress,
            name=self.name,
            on_epoch=fresh.append,
        )
        path = context.folder / "models" / f"{stem}.safetensors"
        save_model(path, model, self.spec)
        seconds = sum(h.seconds for h in history)
        return Outcome(
            {
                "clean_accuracy": accuracy(model, data.test),
                "n_test": len(data.test),
                "parameters": sum(p.numel() for p in model.parameters()),
                "train_seconds": round(seconds, 2),
                "images_per_second": round(len(data.train) * len(history) / seconds, 1),
                "epochs": [asdict(h) for h in history],
                "device": None
                if device is None
                else {
                    "in_features": device.in_features,
                    "out_features": device.out_features,
                    "fingerprint": device.fingerprint,
                    "bits": device.camera.bits,
                },
                "checkpoint": str(path.relative_to(context.folder)),
                "precision": self.training.precision,
            },
            earlier_seconds=seconds - sum(h.seconds for h in fresh),
        )
