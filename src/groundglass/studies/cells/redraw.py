"""Cells that give a network another device, and fit its classifier again: a new matrix, or answers that are random."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from groundglass.core import Progress, derive_seed, silent
from groundglass.core.sealed import Seed
from groundglass.core.settings import Count, NotNegative
from groundglass.data import Dataset
from groundglass.models import DefendedNetwork, read_spec, save_model
from groundglass.optics import MovingDevice, OpticalDevice, SimulatedOPU
from groundglass.optics.remote.errors import MatrixRedrawnError
from groundglass.results import Record
from groundglass.results.kinds import KINDS
from groundglass.studies.cells.cached_bits import cached_bits
from groundglass.studies.cells.network import NEEDS_ANOTHER, NetworkCell, described_training, is_given, stem
from groundglass.studies.engine.cell import BaseCell, Outcome, scratch_of
from groundglass.studies.engine.context import Context
from groundglass.training import TrainingConfig
from groundglass.training.checkpoint import begun
from groundglass.training.classifier import FINE_TUNING, accuracy_of_bits, fit_classifier, place_device


@dataclass(frozen=True)
class Tuned:
    """What another device did to a network, in shares of the test images classified right. Nothing in it is secret.

    Attributes:
        before, untuned, tuned: with the old device (nan: it is gone), with the new one under the old classifier, with the new
            one and a classifier of its own.
        feature_seconds: bits of all images; next to nothing when `features_cached`.
        tune_seconds: measuring the training images, and fitting.
    """

    before: float
    untuned: float
    tuned: float
    feature_seconds: float
    features_cached: bool
    tune_seconds: float


def tune(
    network: DefendedNetwork,
    device: OpticalDevice | Callable[[], OpticalDevice],
    dataset: Dataset,
    folder: Path,
    *,
    config: TrainingConfig = FINE_TUNING,
    seed: int,
    copies: int = 1,
    untuned: bool = True,
    memory: int = 2**30,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Put `device` into `network`, and fit its classifier, in place. The bits of all images are kept in `folder`.

    Args:
        device: the new one; or what draws it, when all that the old one is needed for is done.
        copies: how often the classifier meets every training image.
        untuned: measure the network before it is tuned too; else that share is nan. A noisy device answers the next
            question in another way if it was asked before.
        config, seed, memory, checkpoint: of the fit, see `fit_classifier`.
    """
    labels = dataset.test.labels
    started = time.perf_counter()
    train_bits, train_cached = cached_bits(network, dataset.train, folder, progress)
    test_bits, test_cached = cached_bits(network, dataset.test, folder, progress)
    feature_seconds = time.perf_counter() - started
    try:
        before = accuracy_of_bits(network, test_bits, labels)
    except MatrixRedrawnError:  # of a device at a service, whose old matrix is gone already
        before = math.nan
    place_device(network, device() if callable(device) else device)
    guessed = accuracy_of_bits(network, test_bits, labels) if untuned else math.nan
    history = fit_classifier(
        network,
        train_bits.repeat(copies, 1),
        dataset.train.labels.repeat(copies),
        config,
        seed=seed,
        memory=memory,
        checkpoint=checkpoint,
        progress=progress,
    )
    return Tuned(
        before=before,
        untuned=guessed,
        tuned=accuracy_of_bits(network, test_bits, labels),
        feature_seconds=feature_seconds,
        features_cached=train_cached and test_cached,
        tune_seconds=sum(h.seconds for h in history),  # of earlier, interrupted sessions too
    )


@dataclass(frozen=True, kw_only=True)
class TunedCell(BaseCell, ABC):
    """A network behind another simulated device, with a classifier fitted to that. What comes out can be attacked too."""

    network: NetworkCell
    training: TrainingConfig = FINE_TUNING
    seed: int

    def described(self) -> dict[str, Any]:
        return {"model": self.network.name, "training": described_training(self.training, "classifier")}

    def needs(self) -> str:
        return NEEDS_ANOTHER if is_given(self.network) else ""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def draw(self, old: SimulatedOPU, secret: Seed | None) -> SimulatedOPU | MovingDevice:
        """The new device, by the secret of the study."""

    @abstractmethod
    def tuning(self) -> dict[str, Any]:
        """Further settings of `tune`."""

    def prepare(self, inputs: Sequence[Record], context: Context) -> tuple[str, float]:
        """Draw the new device, and save it: its fingerprint, and the seconds that drawing took."""
        old = context.devices.find(read_spec(context.network_file(inputs[0])).fingerprint or "")
        assert isinstance(old, SimulatedOPU)
        started = time.perf_counter()
        device = self.draw(old, context.device_seed)
        draw_seconds = time.perf_counter() - started
        # Without a device seed every session draws another, and a classifier for one is worth nothing with the next.
        fitted_to = begun(scratch_of(self, context)).device
        if fitted_to not in (None, device.fingerprint):
            return fitted_to, draw_seconds
        context.devices.put(device, draws=True)
        return device.fingerprint, draw_seconds

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        path, data = context.network_file(inputs[0]), context.dataset
        network = context.load(inputs[0])
        assert isinstance(network, DefendedNetwork)
        old = network.device
        assert isinstance(old, SimulatedOPU)
        fingerprint, draw_seconds = context.prepared
        device = context.devices.find(fingerprint, draws=True)
        assert isinstance(device, SimulatedOPU | MovingDevice)  # what `draw` gives
        checkpoint = scratch_of(self, context)
        fit = begun(checkpoint)
        shared: dict[str, Any] = {"config": self.training, "checkpoint": checkpoint, "progress": context.progress}
        tuned = tune(network, device, data, path.parent, **shared, **self.tuning())
        out = path.with_name(f"{stem(self.name)}.safetensors")
        save_model(out, network, replace(read_spec(path), fingerprint=None))
        facts: dict[str, Any] = {
            **asdict(tuned),
            "clean_accuracy": tuned.tuned,
            "draw_seconds": draw_seconds,
            "n_train": len(data.train),
            "n_test": len(data.test),
            "old_fingerprint": old.fingerprint,
            "fingerprint": device.fingerprint,
            "public_seed": device.public,
            "checkpoint": str(out.relative_to(context.folder)),
        }
        # What was not measured is nan.
        facts = {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in facts.items()}
        rounded = {name: round(v, 3) if name.endswith("_seconds") else v for name, v in facts.items()}
        made = KINDS[self.kind].result
        result = made(**{field.name: rounded[field.name] for field in fields(made)})
        return Outcome(result, earlier_seconds=fit.seconds, scratch=checkpoint)


@dataclass(frozen=True, kw_only=True)
class RedrawCell(TunedCell):
    """A redraw of a network's U; of `number` 1, 2, ... each is another."""

    number: Count

    kind = "redraw"

    @property
    def name(self) -> str:
        return f"{self.network.name} redraw {self.number}"

    def described(self) -> dict[str, Any]:
        return {**super().described(), "redraw": self.number}

    def draw(self, old: SimulatedOPU, secret: Seed | None) -> SimulatedOPU:
        path = ("redraw", old.in_features, old.out_features, self.number)
        return old.redraw(None if secret is None else secret.at(*path))

    def tuning(self) -> dict[str, Any]:
        return {"seed": derive_seed(self.seed, "redraw", self.number)}


@dataclass(frozen=True, kw_only=True)
class RandomisedCell(TunedCell):
    """A device that answers differently every time, and one classifier fitted to all that it may do.

    Attributes:
        matrices: that the new device switches among, drawn anew for every image that it measures: a moving target. The
            classifier meets every training image once for each.
        read_noise: of its camera, grey levels.
    """

    matrices: Count = 1
    read_noise: NotNegative = 0.0

    kind = "randomise"

    @property
    def name(self) -> str:
        parts = [f"{self.matrices} matrices"] if self.matrices > 1 else []
        parts += [f"read noise {self.read_noise:g}"] if self.read_noise else []
        return f"{self.network.name} with {' and '.join(parts) or 'another matrix'}"

    def draw(self, old: SimulatedOPU, secret: Seed | None) -> SimulatedOPU | MovingDevice:
        def derived(*path: str | int) -> Seed | None:
            return None if secret is None else secret.at("randomise", *path)

        made = [
            SimulatedOPU.create(
                old.in_features,
                old.out_features,
                seed=derived("matrix", self.matrices, f"{self.read_noise:g}", k),
                camera=replace(old.camera, read_noise=self.read_noise),
                matrix=old.matrix,
                kind=old.kind,
            )
            for k in range(self.matrices)
        ]
        return made[0] if self.matrices == 1 else MovingDevice(made, seed=derived("draws", self.matrices))

    def tuning(self) -> dict[str, Any]:
        # Readings of a training set under a few matrices are kept, not measured again for each step.
        kept = {"copies": self.matrices, "untuned": False, "memory": 4 * 2**30}
        return {"seed": derive_seed(self.seed, "randomise"), **kept}
