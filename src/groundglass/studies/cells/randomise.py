"""Cells that make a network's answers random: a device that switches among matrices, or whose camera is noisy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from groundglass.core import derive_seed
from groundglass.models import read_spec, save_model
from groundglass.optics import MovingDevice, SimulatedOPU
from groundglass.results import Record
from groundglass.results.kinds.network import RandomiseConfig, RandomiseResult
from groundglass.studies.cells.cached_bits import cached_bits
from groundglass.studies.cells.network import NetworkCell, described_training, stem
from groundglass.studies.cells.redraw import kept_device, opened
from groundglass.studies.engine.cell import Cell, Outcome, scratch_of
from groundglass.studies.engine.context import Context
from groundglass.training import TrainingConfig
from groundglass.training.checkpoint import begun
from groundglass.training.classifier import FINE_TUNING, accuracy_of_bits, fit_classifier, place_device

# Readings of a training set under a few matrices are kept, not measured again for each step.
_MEMORY = 4 * 2**30


@dataclass(frozen=True, kw_only=True)
class RandomisedCell:
    """A network's device exchanged for one that answers differently every time, and one classifier fitted to all it may do.

    Attributes:
        network: with a simulated device.
        matrices: that the new device switches among, drawn anew for every image that it measures: a moving target.
        read_noise: of its camera, grey levels.
        training: of the classifier, which meets every training image once for each matrix.
        seed: of the order of images.
    """

    network: NetworkCell
    matrices: int = 1
    read_noise: float = 0.0
    training: TrainingConfig = FINE_TUNING
    seed: int

    kind = "randomise"

    def __post_init__(self) -> None:
        if self.matrices < 1 or self.read_noise < 0:
            raise ValueError(
                f"matrices (={self.matrices}) must be at least 1, read_noise (={self.read_noise:g}) 0 or more"
            )

    @property
    def name(self) -> str:
        parts = [f"{self.matrices} matrices"] if self.matrices > 1 else []
        parts += [f"read noise {self.read_noise:g}"] if self.read_noise else []
        return f"{self.network.name} with {' and '.join(parts) or 'another matrix'}"

    @property
    def inputs(self) -> Sequence[Cell]:
        return (self.network,)

    def config(self) -> RandomiseConfig:
        return RandomiseConfig(
            model=self.network.name,
            matrices=self.matrices,
            read_noise=self.read_noise,
            training=described_training(self.training, "classifier"),
            seed=self.seed,
        )

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        path, network, old = opened(inputs[0], context)
        data = context.dataset
        train_bits, _ = cached_bits(network, data.train, path.parent, context.progress)
        test_bits, _ = cached_bits(network, data.test, path.parent, context.progress)
        before = accuracy_of_bits(network, test_bits, data.test.labels)
        checkpoint = scratch_of(self, context)
        fit = begun(checkpoint)
        device = kept_device(self._device(old, context), fit, context)
        place_device(network, device)
        history = fit_classifier(
            network,
            train_bits.repeat(self.matrices, 1),
            data.train.labels.repeat(self.matrices),
            self.training,
            seed=derive_seed(self.seed, "randomise"),
            memory=_MEMORY,
            checkpoint=checkpoint,
            progress=context.progress,
        )
        out = path.with_name(f"{stem(self.name)}.safetensors")
        save_model(out, network, replace(read_spec(path), fingerprint=None))
        return Outcome(
            RandomiseResult(
                before=before,
                clean_accuracy=accuracy_of_bits(network, test_bits, data.test.labels),
                n_test=len(data.test),
                fingerprint=device.fingerprint,
                checkpoint=str(out.relative_to(context.folder)),
                tune_seconds=round(sum(h.seconds for h in history), 3),
            ),
            earlier_seconds=fit.seconds,
            scratch=checkpoint,
        )

    def _device(self, old: SimulatedOPU, context: Context) -> SimulatedOPU | MovingDevice:
        secret = context.device_seed

        def derived(*path: str | int) -> int | None:
            return None if secret is None else derive_seed(secret, "randomise", *path)

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
