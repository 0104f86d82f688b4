"""Cells that train ensembles: heads with a device each, on the convolutions of a trained network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from groundglass.core import derive_seed
from groundglass.core.settings import Count
from groundglass.models import Classifier, DefendedNetwork, ensemble_on, read_spec
from groundglass.models.defence import Defence
from groundglass.optics import OpticalDevice
from groundglass.results import Record
from groundglass.results.kinds.network import TRAIN, FeaturesNote
from groundglass.studies.cells.network import DeviceCell, NetworkCell, described_training, train_cell
from groundglass.studies.engine.cell import BaseCell, Outcome
from groundglass.studies.engine.context import Context
from groundglass.training import HybridDFA, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class EnsembleCell(BaseCell):
    """Train an ensemble on frozen convolutions, all parts at once, and measure its clean accuracy on the whole test set.

    Every part is a head with new weights: its own projection, its own B, its own device. So an image goes through the
    convolutions once.

    Attributes:
        features: the network whose convolutions it has.
        parts: how many.
        hidden: N of each.
        devices: one a part; none: linear heads, the control.
        depths: see `ensemble_on`; none: all at the end.
        votes: see `DefendedEnsemble`.
    """

    name: str
    features: NetworkCell
    parts: Count
    hidden: Count
    devices: tuple[DeviceCell, ...] = ()
    depths: tuple[Count, ...] = ()
    votes: bool
    training: TrainingConfig
    data: str
    seed: int

    kind = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, count in (("devices", len(self.devices)), ("depths", len(self.depths))):
            if count not in (0, self.parts):
                raise ValueError(f"an ensemble of {self.parts} parts has as many {what}, or none, not {count}")

    def described(self) -> dict[str, Any]:
        sizes = [{"device_in": one.in_features, "device_out": one.out_features} for one in self.devices[:1]]
        head = sizes[0] if sizes else {"linear_hidden": self.hidden}
        depths = {"depths": list(self.depths)} if self.depths else {}
        model = {"features": self.features.name, "frozen": "convolutions", "parts": self.parts, "votes": self.votes}
        return {
            "model": {**model, **head, **depths},
            "training": described_training(self.training, HybridDFA.name),
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        below, *of_devices = inputs
        path, network = context.network_file(below), context.load(below)
        inner = network.network if isinstance(network, DefendedNetwork) else network
        if not isinstance(inner, Classifier):
            raise ValueError(
                f"{below.name} has no convolutions of its own with a head behind them: name other `features`"
            )
        spec = read_spec(path)
        devices: list[OpticalDevice | None] = [context.device(one) for one in of_devices]
        devices = devices or [None] * self.parts
        linear_out = spec.linear_out or spec.device_out if spec.head == "published-code" and not of_devices else None
        defence = Defence(
            at="",
            hidden=self.hidden,
            device_out=None,
            dropout=spec.dropout,
            encoding="float" if not of_devices else "bits",
            head=spec.head,
            linear_out=linear_out,
        )
        ensemble = ensemble_on(
            inner,
            [replace(defence, device_out=None if one is None else one.out_features) for one in devices],
            devices,
            depths=self.depths,
            votes=self.votes,
            seed=derive_seed(self.seed, "weights", self.name),
        ).to(context.where)
        ensemble.train()
        ensemble.body.requires_grad_(False).eval()
        whole = replace(
            spec,
            device_in=None,
            device_out=None,
            linear_hidden=None,
            linear_out=None,
            encoding=None,
            fingerprint=None,
            public_seed=False,
            depths=self.depths,
        )
        features = FeaturesNote(name=below.name, clean_accuracy=TRAIN.result_of(below).clean_accuracy)
        return train_cell(self, ensemble, whole, HybridDFA(), context, features)
