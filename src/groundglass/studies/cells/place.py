"""Networks made in the paper's two stages: features under a linear head, then a device in and the classifier fitted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from groundglass.core import derive_seed
from groundglass.models import DefendedNetwork, load_model, read_spec
from groundglass.optics import Encoding
from groundglass.results import Record
from groundglass.results.kinds.network import TRAIN, FeaturesNote
from groundglass.studies.cells.cached_bits import cached_bits
from groundglass.studies.cells.network import DeviceCell, TrainCell, described_training, trained
from groundglass.studies.engine.cell import BaseCell, Outcome, scratch_of
from groundglass.studies.engine.context import Context
from groundglass.training import TrainingConfig
from groundglass.training.checkpoint import begun
from groundglass.training.classifier import FINE_TUNING, encode_bits, fit_classifier, place_device


@dataclass(frozen=True, kw_only=True)
class PlaceCell(BaseCell):
    """Put a device into a trained network in place of what it has, and fit the classifier alone.

    Attributes:
        name: of the network that comes out.
        features: the network whose convolutions, and features, it has; they stay as they are.
        device: None for a linear classifier.
        encoding: what enters the device, or the linear classifier.
        training: of the classifier.
        seed: of the order of images.
    """

    name: str
    features: TrainCell
    device: DeviceCell | None
    encoding: Encoding = "bits"
    training: TrainingConfig = FINE_TUNING
    data: str
    seed: int

    kind = "train"

    def described(self) -> dict[str, Any]:
        head: dict[str, int | None]
        if self.device is not None:
            head = {"device_in": self.device.in_features, "device_out": self.device.out_features}
        else:
            head = {"linear_hidden": self.features.spec.linear_hidden or self.features.spec.device_in}
        return {
            "model": {"features": self.features.name, "encoding": self.encoding, **head},
            "training": described_training(self.training, "classifier"),
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        below = inputs[0]
        device = None if self.device is None else context.device(inputs[1])
        path = context.network_file(below)
        network = load_model(path, find_device=context.devices.find)
        assert isinstance(network, DefendedNetwork)
        network.to(context.where)
        train = context.dataset.train
        if self.encoding == "bits":
            entering, _ = cached_bits(network, train, path.parent, context.progress)
        else:
            entering = encode_bits(network, train, encoding=self.encoding, progress=context.progress)
        place_device(network, device, encoding=self.encoding)
        checkpoint = scratch_of(self, context)
        earlier = begun(checkpoint).seconds
        history = fit_classifier(
            network,
            entering,
            train.labels,
            self.training,
            seed=derive_seed(self.seed, "classifier", self.name),
            checkpoint=checkpoint,
            progress=context.progress,
            name=self.name,
        )
        spec = replace(
            read_spec(path),
            device_in=None if device is None else device.in_features,
            device_out=None if device is None else device.out_features,
            linear_hidden=network.block.readout.in_features if device is None else None,
            encoding=self.encoding,
            fingerprint=None,
        )
        features = FeaturesNote(name=below.name, clean_accuracy=TRAIN.result_of(below).clean_accuracy)
        result = trained(self, context, network, spec, history, features)
        return Outcome(result, earlier_seconds=earlier, scratch=checkpoint)
