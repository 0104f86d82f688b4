"""Fit the readout of a defended network again, on frozen features: after a device was redrawn or placed.

Everything below the device stays the same, so the bits that enter it are computed once and kept; a new matrix costs
one measurement of them and a linear classifier on the readings (paper, section 3; its code fine-tunes 2 to 5 epochs).
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from groundglass.core import Progress, check_labels, generator, permutation, silent
from groundglass.core.accelerator import free_memory, repeatable
from groundglass.core.reading import sent
from groundglass.core.settings import Count, Tally, fit
from groundglass.data import ImagesLike
from groundglass.models import DefendedNetwork, OpticalBlock, check_one_layer
from groundglass.models.head import Rectified
from groundglass.optics import Encoding, OpticalDevice
from groundglass.optics.device import as_bits
from groundglass.training.checkpoint import Checkpoint
from groundglass.training.config import TrainingConfig
from groundglass.training.encoding import encoded
from groundglass.training.optimiser_steps import OptimiserSteps, make_optimiser
from groundglass.training.schedule import OneCycle
from groundglass.training.state import EpochResult

FINE_TUNING = TrainingConfig(epochs=5, batch_size=64, learning_rate=0.05, schedule=OneCycle(warmup=0.1))


def place_device(network: DefendedNetwork, device: OpticalDevice | None, *, encoding: Encoding = "bits") -> None:
    """Put `device` into `network`, in place of its device or its linear head. Fit it next: until then it guesses.

    The readout keeps its weights if one device replaces another with as many outputs; else it starts again from zeros.

    Args:
        device: None for a linear classifier on what would enter a device.
        encoding: of the features.

    Raises:
        ValueError: the device takes another number of bits than the network has features.
    """
    check_one_layer(network)
    block = network.block
    features = network.block.width
    if device is not None and device.in_features != features:
        raise ValueError(
            f"the device takes {device.in_features} bits, the network has {features} binarised features: "
            f"make a device with in_features={features}"
        )
    width = features if device is None else device.out_features
    if (network.device is None) != (device is None) or block.readout.in_features != width:
        block.readout = _zeros(width, block.readout.out_features).to(block.readout.weight.device).train(block.training)
    block.hold(device, encoding)


def fit_classifier(
    network: DefendedNetwork,
    inputs: Tensor | ImagesLike,
    labels: Int64[Tensor, " n"] | None = None,
    config: TrainingConfig = FINE_TUNING,
    *,
    seed: int,
    rows: int = 1000,
    memory: int = 2**30,
    checkpoint: Path | str | None = None,
    progress: Progress = silent,
    name: str = "classifier",
) -> list[EpochResult]:
    """Fit the readout Linear(M, C) of `network` to its device's readings of `inputs`, in place; nothing else changes.

    Cross-entropy by `config`'s optimiser, from zero: weights for another matrix are worth nothing. The readings are
    centred, output by output, while fitting, and the shift goes into the bias at the end. Mean readings differ much
    between outputs; uncentred they would be by far the largest direction of the problem. It is the same layer, and the
    fit can take larger steps.

    Args:
        network: with a device, or a linear head on bits. Its mode does not change.
        inputs: [n, N], the training images as they enter the device, see `encode_bits`. Without `labels`: the images with their
            labels, in any form that `groundglass.data.given` takes; they are walked through once, and their bits kept.
        config: epochs, batch size, optimiser, rate and schedule; always in float32.
        seed: of the order of images. The same seed gives the same weights, whatever `rows` and `memory` are (with a
            noisy camera, whatever `rows` is).
        rows: inputs measured at a time.
        memory: bytes. Readings that take more are not kept, and measured again for each step (n M bytes for an 8-bit camera).
        checkpoint: a file written after every epoch, and inside one every 30 seconds. If it is there, the fit goes on
            from it to the same weights, bit for bit, with the inputs measured again. (Of a moving device only with the
            same draws, and when `memory` holds its readings.)
        progress, name: told images, loss and accuracy under that name.

    Returns:
        One result an epoch, resumed ones included; the seconds of the first include the measuring.

    Raises:
        ValueError: the block is not the end of the network, or has a linear layer in the device's place; inputs or labels of a
            wrong shape or value.
        DivergedError: the loss is not finite, or above twice that of guessing; the network is unchanged.
        DamagedFileError, ValueError: the checkpoint is damaged, or belongs to another fit.
    """
    check_one_layer(network)
    block = network.block
    if not network.ends_in_block:
        raise ValueError(
            f"the optical block at {network.at!r} does not seem to be the end of this network: its readout cannot "
            "be fitted alone. If it is the end, run the network on an image first"
        )
    if block.above is not None and block.optical is None:
        raise ValueError(
            "this head has a linear layer of its own in the device's place, whose weights no classifier alone can fit: train "
            "the network, or place_device(network, None) for a linear head"
        )
    rows, memory, seed = fit(Count, rows, "rows"), fit(Tally, memory, "memory"), fit(int, seed, "seed")
    if labels is None:
        inputs, labels = encoded(network, inputs, block.encoding, progress=progress)
    if not isinstance(inputs, Tensor):
        raise TypeError("`inputs` are bits where there are `labels`: encode_bits(network, images) gives them")
    check_bits(network, inputs, labels)
    config.check_no_images("a classifier is fitted to given bits")
    if config.average:
        raise ValueError("the fit of a classifier ends where its loss is least: `average` is for `train`")
    if len(inputs) == 0:
        raise ValueError("there are no bits to fit the classifier to: encode some training images")
    where = block.readout.weight.device
    readout = _zeros(block.readout.in_features, block.readout.out_features).to(where)
    optimiser = make_optimiser(readout, config)
    identity: dict[str, Any] = {
        **config.described(),
        "seed": seed,
        "inputs": f"{block.encoding} {list(inputs.shape)}",
        "device": None if network.device is None else network.device.fingerprint,
    }
    kept = Checkpoint(checkpoint, readout, optimiser, identity, network.device)
    state = kept.load()
    readings = _Readings(block, inputs, rows, memory, progress, where)
    kept.skip_frames(to=state.frames)
    entering = (_Entering if block.above is None else _Rectified)(readings, block, where)
    steps = OptimiserSteps(config, optimiser, len(inputs), progress, name, every=50)
    with repeatable(where):
        while state.epoch < config.epochs:
            order = permutation(len(inputs), generator=generator(seed, "classifier", state.epoch))
            for index in order.split(config.batch_size)[state.step :]:
                x = entering(readings[index].to(where).float())
                y = sent(labels[index], where)
                logits = readout(x)
                steps.take(state, logits, y, F.cross_entropy(logits, y, label_smoothing=config.label_smoothing))
                if kept.due:
                    steps.check_finite(state)
                    kept.save(state)
                steps.tell(state)
            steps.check_epoch(state, math.log(block.readout.out_features))
            state.end_epoch()
            kept.save(state)
    with torch.no_grad():
        shift = entering.shift
        entering.settle()
        block.readout.weight.copy_(readout.weight)
        block.readout.bias.copy_((readout.bias.double() - readout.weight.double() @ shift.double()).float())
    return state.history


@torch.no_grad()
def accuracy_of_bits(
    network: DefendedNetwork, inputs: Tensor, labels: Int64[Tensor, " n"], *, rows: int = 1000
) -> float:
    """Share of images classified right, from what enters the device: the same as `accuracy`, without the convolutions.

    Raises:
        ValueError: no inputs; inputs or labels of a wrong shape or value.
    """
    check_bits(network, inputs, labels)
    if len(inputs) == 0:
        raise ValueError("there are no bits to classify")
    where = network.block.readout.weight.device
    right, rows = 0, fit(Count, rows, "rows")
    for part, y in zip(inputs.split(rows), labels.split(rows), strict=True):
        right += int((network.block.classify(part.to(where).float()).argmax(1).cpu() == y).sum())
    return right / len(inputs)


def frames_of_fit(device: OpticalDevice, inputs: int, config: TrainingConfig, memory: int = 2**30) -> int:
    """Frames that `fit_classifier` takes of a device: one an input, and one more in every epoch where readings are not kept."""
    camera = getattr(device, "camera", None)
    size = inputs * device.out_features * (4 if camera is not None and camera.bits is None else 1)
    return inputs * (1 if size <= memory else 1 + config.epochs)


def check_bits(network: DefendedNetwork, inputs: Tensor, labels: Tensor) -> None:
    """Refuse what is not what enters the network's device, with a label for each: ValueError."""
    if network.block.encoding == "float":
        if inputs.dtype != torch.float32 or inputs.ndim != 2 or inputs.shape[1] != network.block.width:
            raise ValueError(
                f"inputs must be float32 [n, {network.block.width}], not {inputs.dtype} {list(inputs.shape)}: "
                'encode_bits(network, images, encoding="float") gives them. For bits, place_device(network, device) first'
            )
    else:
        as_bits(inputs, network.block.width)
    check_labels(labels, count=len(inputs), classes=network.block.readout.out_features)


class _Readings:
    """What a block measures for some inputs: kept if it fits into `memory` bytes, else measured again each time."""

    def __init__(
        self, block: OpticalBlock, inputs: Tensor, rows: int, memory: int, progress: Progress, where: torch.device
    ) -> None:
        self._block, self._inputs, self._rows, self._where = block, inputs, rows, where
        self._kept: Tensor | None = None
        first = self._measure(inputs[:rows])
        width = first.shape[1]
        total = torch.zeros(width, dtype=torch.float64, device="cpu")
        size, free = len(inputs) * width * first.element_size(), free_memory(where)
        if size <= memory:
            place = where if free is None or size < free // 4 else torch.device("cpu")
            self._kept = torch.empty(len(inputs), width, dtype=first.dtype, device=place)
        for start in range(0, len(inputs), rows):
            part = first if start == 0 else self._measure(inputs[start : start + rows])
            # Whole numbers in float64: the same sum in any order.
            total += part.cpu().sum(0, dtype=torch.float64)
            if self._kept is not None:
                self._kept[start : start + rows] = part
            progress("measuring", min(start + rows, len(inputs)), len(inputs))
        self.mean: Float[Tensor, " M"] = (total / len(inputs)).float()

    def _measure(self, inputs: Tensor) -> Tensor:
        optical, there = self._block.optical, sent(inputs, self._where)
        return there if optical is None else optical.measure(there)

    def __getitem__(self, index: Tensor) -> Tensor:
        """[len(index), M]"""
        if self._kept is None:
            return self._measure(self._inputs[index])
        return self._kept[sent(index, self._kept.device)]

    def __len__(self) -> int:
        return len(self._inputs)

    def __iter__(self) -> Iterator[Tensor]:
        """All of them, `rows` at a time."""
        order = torch.arange(len(self), dtype=torch.int64, device="cpu")
        return (self[index] for index in order.split(self._rows))


class _Entering:
    """What the readout gets of some readings, less its mean over the training images: scale * reading - offset.

    Attributes:
        shift: that mean.
    """

    def __init__(self, readings: _Readings, block: OpticalBlock, where: torch.device) -> None:
        device = None if block.optical is None else block.optical.device
        self._scale, offset = (1.0, 0.0) if device is None else (block.gain / device.mean_reading, block.gain)
        self._mean = readings.mean.to(where)
        self.shift: Tensor = self._mean * self._scale - offset

    def __call__(self, readings: Tensor) -> Tensor:
        return readings.sub_(self._mean).mul_(self._scale)

    def settle(self) -> None:
        """The fit has ended well: the block gets what the readout is to be used with."""


class _Rectified(_Entering):
    """The same in the head of the published code, whose ReLU gets the mean of the training images' readings."""

    def __init__(self, readings: _Readings, block: OpticalBlock, where: torch.device) -> None:
        assert isinstance(block.above, Rectified)
        assert block.optical is not None
        self._above = block.above
        self._unit = block.optical.device.mean_reading
        self._gain = block.gain
        self._centre = float(readings.mean.double().mean()) / self._unit - 1
        self.shift = torch.zeros((), dtype=torch.float32, device=where)
        total = torch.zeros(readings.mean.shape, dtype=torch.float64, device=where)
        for part in readings:
            total += self(part.to(where).float()).double().sum(0)
        self.shift = (total / len(readings)).float()

    def __call__(self, readings: Tensor) -> Tensor:
        return readings.div_(self._unit).sub_(1 + self._centre).relu_().mul_(self._gain).sub_(self.shift)

    def settle(self) -> None:
        self._above.mean.fill_(self._centre)


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    """A Linear of zeros; nothing is drawn from torch's stream."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=torch.float32, device="cpu")
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
