"""What jobs work on: networks and images that the package makes itself, the same for the same seed."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from groundglass.bench.children import run_module
from groundglass.bench.job import Bench
from groundglass.core import generator
from groundglass.core.numbers import integers, uniform
from groundglass.data import ImageSet
from groundglass.models import ModelSpec, build, load_model, predict_logits, save_model
from groundglass.optics import SimulatedOPU
from groundglass.training import BackProp, TrainingConfig, train

#: Of the trained network, in the folder that jobs share.
FILE = "vgg-16.safetensors"
_EPOCHS = 3


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network in eval mode, without gradients of its weights, and images that it gets right."""

    network: nn.Module
    images: Tensor
    labels: Tensor


def patterns(split: str, count: int, seed: int) -> ImageSet:
    """Ten faint patterns of big squares under noise. A network learns them in seconds, and 8/255 turns some into others."""
    squares = 0.4 + 0.2 * uniform(10, 3, 4, 4, generator=generator(seed, "patterns"))
    random = generator(seed, "patterns", split)
    labels = integers(10, (count,), generator=random)
    noise = 0.3 * (uniform(count, 3, 32, 32, generator=random) - 0.5)
    images = squares.repeat_interleave(8, 2).repeat_interleave(8, 3)[labels] + noise
    pixels = (255 * images.clamp(0, 1)).round().to(torch.uint8)
    return ImageSet("patterns", split, pixels, labels, tuple("abcdefghij"))


def spec(width: float, *, secret: tuple[int, int] | None = None) -> ModelSpec:
    """Of a VGG-16 for these images, or of a VGG-OPU with N and M of its device."""
    inputs, outputs = secret or (None, None)
    half = (0.5,) * 3
    return ModelSpec(width=width, classes=10, mean=half, std=half, device_in=inputs, device_out=outputs)


def vgg(bench: Bench, *, secret: bool = False) -> nn.Module:
    """A network that nobody has trained; `secret`: with a device in it."""
    sizes = (bench.sizes.secret_in, bench.sizes.secret_out) if secret else None
    device = None if sizes is None else SimulatedOPU.create(*sizes, seed=bench.seed)
    return build(spec(bench.sizes.width, secret=sizes), device=device, seed=bench.seed)


def attacked(bench: Bench, count: int) -> Subject:
    """The trained VGG-16, and the first so many test images with the classes that it gives them: all are right.

    It is trained once for all jobs, in a process of its own, whose memory is not theirs.
    """
    file = bench.folder / FILE
    if not file.exists():
        told = {"width": bench.sizes.width, "learned": bench.sizes.learned, "seed": bench.seed}
        run_module("groundglass.bench.subjects", str(file), json.dumps(told))
    network = load_model(file).requires_grad_(False)
    images = patterns("test", count, bench.seed).floats()
    return Subject(network, images, predict_logits(network, images).argmax(1))


def _train(file: Path, *, width: float, learned: int, seed: int) -> None:
    images = patterns("train", learned, seed)
    network = build(spec(width), seed=seed)
    config = TrainingConfig(epochs=_EPOCHS, batch_size=min(32, learned), learning_rate=0.02)
    train(network, images, config, credit=BackProp(), seed=seed)
    save_model(file, network, spec(width))


if __name__ == "__main__":
    _train(Path(sys.argv[1]), **json.loads(sys.argv[2]))
