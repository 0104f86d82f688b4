"""Fit the readout of a defended network again, on frozen features: what a redrawn device, or a newly placed one, needs.

Everything below the device stays as it is, so the bits that enter the device are computed once and kept; a new matrix
costs one measurement of them and a linear classifier on the readings (paper, section 3; its code fine-tunes 2 to 5 epochs).
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from groundglass.core import Progress, check_labels, generator, silent
from groundglass.data import Augment, ImageSet, batches
from groundglass.models import DefendedNetwork, OpticalBlock
from groundglass.optics import Encoding, OpticalDevice, encode
from groundglass.optics.device import check_bits
from groundglass.training.checkpoint import Checkpoint
from groundglass.training.loop import DivergedError, TrainingConfig, make_optimiser
from groundglass.training.schedule import OneCycle
from groundglass.training.state import EpochResult

FINE_TUNING = TrainingConfig(epochs=5, batch_size=64, learning_rate=0.05, schedule=OneCycle(warmup=0.1))


class _Reached(Exception):
    """The forward pass has come to the optical block; the rest is not needed."""


@torch.no_grad()
def encode_bits(
    network: DefendedNetwork,
    images: ImageSet,
    *,
    encoding: Encoding = "bits",
    batch_size: int = 500,
    augment: Augment | None = None,
    seed: int = 0,
    epoch: int = 0,
    progress: Progress = silent,
    name: str = "features",
) -> Tensor:
    """Every image as it enters the device, in the set's order: [n, N] on the CPU. No device is used.

    uint8, 0 or 1; float32 with the encoding "float". In eval mode: dropout off, BatchNorm with its running statistics,
    neither changed; the mode is put back. A network whose head is linear as yet (no device) gives the bits that a
    device in its place would get.

    Args:
        network: only what lies below the device is run.
        images: n images.
        encoding: of the features.
        batch_size: images a forward pass. Convolutions may round differently in another batch size, and a feature
            that is within a rounding error of its threshold may then fall on the other side.
        augment, seed, epoch: augmentation, off by default, as in `batches`; another epoch, other augmentations.
        progress: told the images done.
        name: for progress.
    """
    where = next(network.parameters()).device
    dtype = torch.float32 if encoding == "float" else torch.uint8
    inputs = torch.empty(len(images), network.block.width, dtype=dtype)
    reached: list[Tensor] = []

    def stop(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        reached.append(given[0])
        raise _Reached

    training = network.training
    hook = network.block.register_forward_pre_hook(stop)
    network.eval()
    try:
        for batch in batches(images, batch_size=batch_size, seed=seed, epoch=epoch, augment=augment, shuffle=False):
            try:
                network.network(batch.images.to(where))
            except _Reached:
                features = network.block.features(reached.pop().float())
                inputs[batch.index] = encode(features, encoding).to(dtype).cpu()
            else:
                raise RuntimeError(f"the forward pass did not go through the optical block at {network.at!r}")
            progress(name, int(batch.index[-1]) + 1, len(images))
    finally:
        hook.remove()
        network.train(training)
    return inputs


def place_device(network: DefendedNetwork, device: OpticalDevice | None, *, encoding: Encoding = "bits") -> None:
    """Put `device` into `network`, in place of its device or of its linear head. Until `fit_classifier`, it guesses.

    The readout keeps its weights where only the device is another, of as many outputs; else it is a new one, of zeros.

    Args:
        device: None for a linear classifier on what would enter a device.
        encoding: of the features.

    Raises:
        ValueError: the device takes another number of bits than the network has features.
    """
    block = network.block
    features = network.block.width
    if device is not None and device.in_features != features:
        raise ValueError(
            f"the device takes {device.in_features} bits, the network has {features} binarised features: "
            f"make a device with in_features={features}"
        )
    width = features if device is None else device.out_features
    if (network.device is None) != (device is None) or block.readout.in_features != width:
        block.readout = _zeros(width, block.readout.out_features).to(block.readout.weight.device)
    block.hold(device, encoding)


def fit_classifier(
    network: DefendedNetwork,
    inputs: Tensor,
    labels: Int64[Tensor, " n"],
    config: TrainingConfig = FINE_TUNING,
    *,
    seed: int,
    rows: int = 1000,
    memory: int = 2**30,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    name: str = "classifier",
) -> list[EpochResult]:
    """Fit the readout Linear(M, C) of `network` to its device's readings of `inputs`, in place; nothing else changes.

    Cross-entropy by `config`'s optimiser, from zero: weights for another matrix are worth nothing. The readings are
    centred, output by output, while fitting, and the shift goes into the bias at the end: the mean reading of an
    output is far from that of the next, and uncentred it is by far the largest direction of the problem. It is the
    same layer, with a problem that a larger step suits.

    Args:
        network: with a device, or a linear head on bits. Its mode is left as it is.
        inputs: [n, N], the training images as they enter the device, see `encode_bits`.
        labels: their classes.
        config: epochs, batch size, optimiser, rate and schedule; always in float32.
        seed: of the order of images. The same seed gives the same weights, whatever `rows` and `memory` are (with a
            noisy camera, whatever `rows` is).
        rows: inputs measured at a time.
        memory: bytes. Readings that take more are not kept, and measured again for each step (n M bytes for an 8-bit camera).
        checkpoint: a file written after every epoch, and inside one every 30 seconds. If it is there, the fit goes on
            from it to the same weights, bit for bit, with the inputs measured again. (Of a moving device only with the
            same draws, and when `memory` holds its readings.)
        progress: told images, loss and accuracy.
        name: for progress.

    Returns:
        One result an epoch, resumed ones included; the seconds of the first include the measuring.

    Raises:
        ValueError: the block is not the end of the network; inputs or labels of another shape or value.
        DivergedError: the loss is not finite, or above twice that of guessing; the network is as it was.
        DamagedFileError, ValueError: the checkpoint is damaged, or of another fit.
    """
    block = network.block
    if [m for m in network.modules() if isinstance(m, nn.Linear)][-1] is not block.readout:
        raise ValueError(
            f"the optical block at {network.at!r} is not the end of this network: its readout is no classifier to fit alone"
        )
    _check_inputs(network, inputs, labels)
    if config.adversarial is not None:
        raise ValueError("a classifier is fitted to readings that are there: `adversarial` is for `train`")
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
    standing = kept.load()
    readings = _Readings(block, inputs, rows, memory, progress)
    kept.skip_frames(to=standing.frames)
    mean = readings.mean.to(where)
    # What the readout gets is scale * reading - offset.
    scale, offset = (1.0, 0.0) if network.device is None else (block.gain / network.device.mean_reading, block.gain)
    steps = math.ceil(len(inputs) / config.batch_size)
    while standing.epoch < config.epochs:
        epoch, losses = standing.epoch, standing.losses
        order = torch.randperm(len(inputs), generator=generator(seed, "classifier", epoch))
        for index in order.split(config.batch_size)[standing.step :]:
            at = epoch + standing.step / steps
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * config.schedule.factor(at, config.epochs, losses)
            x = readings[index].to(where).float().sub_(mean).mul_(scale)
            y = labels[index].to(where)
            logits = readout(x)
            loss = F.cross_entropy(logits, y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            standing.count(logits, y, loss)
            if kept.due and math.isfinite(standing.mean_loss):
                kept.save(standing)
            if standing.step % 50 == 0 or standing.step == steps:
                done = epoch * len(inputs) + standing.seen
                figures = {"loss": standing.mean_loss, "accuracy": standing.accuracy}
                progress(name, done, config.epochs * len(inputs), **figures)
        if not standing.mean_loss <= 2 * math.log(block.readout.out_features):
            raise DivergedError(
                f"{name}: the mean loss of epoch {epoch + 1} is {standing.mean_loss:.3g}. The network is as it was. "
                f"Lower the learning rate (={config.learning_rate:g})"
            )
        standing.end_epoch()
        kept.save(standing)
    with torch.no_grad():
        shift = mean * scale - offset
        block.readout.weight.copy_(readout.weight)
        block.readout.bias.copy_((readout.bias.double() - readout.weight.double() @ shift.double()).float())
    return standing.history


@torch.no_grad()
def accuracy_of_bits(
    network: DefendedNetwork, inputs: Tensor, labels: Int64[Tensor, " n"], *, rows: int = 1000
) -> float:
    """Share of images classified right, from what enters the device: what `accuracy` finds, without the convolutions.

    Raises:
        ValueError: no inputs; inputs or labels of another shape or value.
    """
    _check_inputs(network, inputs, labels)
    if len(inputs) == 0:
        raise ValueError("there are no bits to classify")
    where = network.block.readout.weight.device
    right = 0
    for part, y in zip(inputs.split(rows), labels.split(rows), strict=True):
        right += int((network.block.classify(part.to(where).float()).argmax(1).cpu() == y).sum())
    return right / len(inputs)


def _check_inputs(network: DefendedNetwork, inputs: Tensor, labels: Tensor) -> None:
    if network.block.encoding == "float":
        if inputs.dtype != torch.float32 or inputs.ndim != 2 or inputs.shape[1] != network.block.width:
            raise ValueError(
                f"inputs must be float32 [n, {network.block.width}], not {inputs.dtype} {list(inputs.shape)}: "
                'encode_bits(network, images, encoding="float") gives them. For bits, place_device(network, device) first'
            )
    else:
        check_bits(inputs, network.block.width)
    check_labels(labels, count=len(inputs), classes=network.block.readout.out_features)


class _Readings:
    """What a block measures of inputs: kept, when it fits into `memory` bytes, else measured whenever it is asked for."""

    def __init__(self, block: OpticalBlock, inputs: Tensor, rows: int, memory: int, progress: Progress) -> None:
        self._block, self._inputs = block, inputs
        self._kept: Tensor | None = None
        first = self._measure(inputs[:rows])
        width = first.shape[1]
        total = torch.zeros(width, dtype=torch.float64)
        if len(inputs) * width * first.element_size() <= memory:
            self._kept = torch.empty(len(inputs), width, dtype=first.dtype)
        for start in range(0, len(inputs), rows):
            part = first if start == 0 else self._measure(inputs[start : start + rows])
            # Whole numbers in float64: the same sum in any order.
            total += part.cpu().sum(0, dtype=torch.float64)
            if self._kept is not None:
                self._kept[start : start + rows] = part
            progress("measuring", min(start + rows, len(inputs)), len(inputs))
        self.mean: Float[Tensor, " M"] = (total / len(inputs)).float()

    def _measure(self, inputs: Tensor) -> Tensor:
        optical = self._block.optical
        return inputs if optical is None else optical.measure(inputs)

    def __getitem__(self, index: Tensor) -> Tensor:
        """[len(index), M]"""
        return self._kept[index] if self._kept is not None else self._measure(self._inputs[index])


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    """A Linear of zeros; nothing is drawn from torch's stream."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
