"""Cells that redraw the matrix of a network, and fit its classifier again."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from groundglass.core import derive_seed
from groundglass.models import DefendedNetwork, load_model, read_spec, save_model
from groundglass.optics import MovingDevice, SimulatedOPU
from groundglass.results import Record
from groundglass.results.kinds.network import RedrawConfig, RedrawResult
from groundglass.studies.cells.network import NetworkCell, described_training, stem
from groundglass.studies.engine.cell import Cell, Outcome, scratch_of
from groundglass.studies.engine.context import Context
from groundglass.studies.redraw_model import tune
from groundglass.training import TrainingConfig
from groundglass.training.checkpoint import Begun, begun
from groundglass.training.classifier import FINE_TUNING


def opened(trained: Record, context: Context) -> tuple[Path, DefendedNetwork, SimulatedOPU]:
    """A trained network that is to get another device: its file, itself, and the device that it has."""
    path = context.network_file(trained)
    network = load_model(path, find_device=context.devices.find)
    assert isinstance(network, DefendedNetwork)
    device = network.device
    assert isinstance(device, SimulatedOPU)
    return path, network.to(context.where), device


def kept_device(drawn: SimulatedOPU | MovingDevice, fit: Begun, context: Context) -> SimulatedOPU | MovingDevice:
    """The device to fit to, in its file: the one that `fit` has begun with, else `drawn`.

    Without a device seed every session draws another, and a classifier for one is worth nothing with the next.
    """
    device = drawn if fit.device in (None, drawn.fingerprint) else context.devices.find(fit.device)
    context.devices.put(device)
    return device


@dataclass(frozen=True, kw_only=True)
class RedrawCell:
    """One redraw of a network: a new U, the classifier fitted on frozen features. What comes out can be attacked too.

    Attributes:
        network: with a simulated device.
        number: 1, 2, ...: each has another U.
        training: of the classifier.
        seed: of the order of images.
    """

    network: NetworkCell
    number: int
    training: TrainingConfig = FINE_TUNING
    seed: int

    kind = "redraw"

    @property
    def name(self) -> str:
        return f"{self.network.name} redraw {self.number}"

    @property
    def inputs(self) -> Sequence[Cell]:
        return (self.network,)

    def config(self) -> RedrawConfig:
        return RedrawConfig(
            model=self.network.name,
            redraw=self.number,
            training=described_training(self.training, "classifier"),
            seed=self.seed,
        )

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        path, network, old = opened(inputs[0], context)
        seed = context.device_seed
        secret = None if seed is None else derive_seed(seed, "redraw", old.in_features, old.out_features, self.number)
        started = time.perf_counter()
        drawn = old.redraw(secret)
        draw_seconds = time.perf_counter() - started
        checkpoint = scratch_of(self, context)
        fit = begun(checkpoint)
        new = kept_device(drawn, fit, context)
        assert isinstance(new, SimulatedOPU)
        tuned = tune(
            network,
            new,
            context.dataset,
            path.parent,
            config=self.training,
            seed=derive_seed(self.seed, "redraw", self.number),
            checkpoint=checkpoint,
            progress=context.progress,
        )
        out = path.with_name(f"{stem(self.name)}.safetensors")
        save_model(out, network, replace(read_spec(path), fingerprint=None))
        times = ("feature_seconds", "tune_seconds")
        return Outcome(
            RedrawResult(
                **{k: round(v, 3) if k in times else v for k, v in asdict(tuned).items()},
                draw_seconds=round(draw_seconds, 3),
                n_train=len(context.dataset.train),
                n_test=len(context.dataset.test),
                old_fingerprint=old.fingerprint,
                fingerprint=new.fingerprint,
                checkpoint=str(out.relative_to(context.folder)),
            ),
            earlier_seconds=fit.seconds,
            scratch=checkpoint,
        )
