"""Cells that put a network's own device before a noisy camera, or let its matrix drift."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from groundglass.core import derive_seed
from groundglass.core.sealed import Seed
from groundglass.core.settings import Count, NotNegative, Positive, Tally
from groundglass.models import DefendedNetwork
from groundglass.optics import DriftingDevice, SimulatedOPU
from groundglass.results import Record
from groundglass.results.kinds.network import DriftResult
from groundglass.studies.cells.cached_bits import cached_bits
from groundglass.studies.cells.network import NEEDS_U, NetworkCell, described_training, is_given
from groundglass.studies.cells.redraw import TunedCell
from groundglass.studies.engine.cell import BaseCell, Outcome
from groundglass.studies.engine.context import Context
from groundglass.training import TrainingConfig
from groundglass.training.classifier import FINE_TUNING, accuracy_of_bits, fit_classifier, place_device

# Bytes of readings that are kept: those of a training set are measured once, noise and all.
_KEPT = 4 * 2**30


@dataclass(frozen=True, kw_only=True)
class NoisyCell(TunedCell):
    """A network's own U before a camera with read noise, and a classifier fitted to noisy readings, one of each image."""

    read_noise: Positive
    matrices: ClassVar[int] = 1
    same_matrix: ClassVar[bool] = True

    kind = "randomise"

    @property
    def name(self) -> str:
        return f"{self.network.name} noise {self.read_noise:g}"

    def draw(self, old: SimulatedOPU, secret: Seed | None) -> SimulatedOPU:
        return old.with_noise(read_noise=self.read_noise)

    def tuning(self) -> dict[str, Any]:
        return {"seed": derive_seed(self.seed, "noisy"), "memory": _KEPT}


@dataclass(frozen=True, kw_only=True)
class DriftCell(BaseCell):
    """The clean accuracy of a network while its U drifts and its classifier stays.

    Attributes:
        correlation: correlation time of U, frames.
        frames: that a retrieval of U takes, for scale.
        ages: of the classifier when the accuracy is measured, correlation times, rising. U stands still for that.
        fit_images: the classifier is fitted first, to readings of so many training images, a frame each, that are taken while U
            drifts; its age counts from the last. 0: it is the network's own, fitted to U at time 0.
        training: of that fit.
    """

    network: NetworkCell
    correlation: Positive
    frames: Count
    ages: tuple[NotNegative, ...]
    fit_images: Tally = 0
    training: TrainingConfig = FINE_TUNING
    seed: int

    kind = "drift"

    @property
    def name(self) -> str:
        fitted = f", fitted to {self.fit_images} frames" if self.fit_images else ""
        return f"{self.network.name}, U drifts, correlation time {self.correlation:g} frames{fitted}"

    def described(self) -> dict[str, Any]:
        return {"model": self.network.name, "training": described_training(self.training, "classifier")}

    def needs(self) -> str:
        return NEEDS_U if is_given(self.network) else ""

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        network, data = context.load(inputs[0]), context.dataset
        assert isinstance(network, DefendedNetwork)
        start = network.device
        assert isinstance(start, SimulatedOPU)
        folder = context.network_file(inputs[0]).parent
        bits, _ = cached_bits(network, data.test, folder, context.progress)
        before = accuracy_of_bits(network, bits, data.test.labels)
        device = DriftingDevice(start, correlation=self.correlation)
        if self.fit_images:
            shown, _ = cached_bits(network, data.train, folder, context.progress)
            place_device(network, device)
            some = slice(self.fit_images)
            seed = derive_seed(self.seed, "drift", "classifier")
            fit_classifier(network, shown[some], data.train.labels[some], self.training, seed=seed, memory=_KEPT)
        fitted, found = device.time, []
        for age in self.ages:
            device.wait(max(0, round(fitted + age * self.correlation) - device.time))
            place_device(network, device.now())
            found.append((age, accuracy_of_bits(network, bits, data.test.labels)))
        return Outcome(DriftResult(before=before, accuracies=tuple(found), n_test=len(data.test)))
