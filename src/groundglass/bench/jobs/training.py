"""Steps of training, and an epoch of them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.bench import floors
from groundglass.bench.job import Bench, Contest, Job, Part
from groundglass.bench.subjects import patterns, vgg
from groundglass.core import generator
from groundglass.core.numbers import integers, uniform
from groundglass.data import Augment
from groundglass.training import BackProp, CreditAssignment, HybridDFA, TrainingConfig, fastest_precision, train

_RATE, _MOMENTUM = 1e-3, 0.9


def _batch(bench: Bench) -> tuple[Tensor, Tensor]:
    random = generator(bench.seed, "batch")
    images = uniform(bench.sizes.stepped, 3, 32, 32, generator=random).contiguous(memory_format=torch.channels_last)
    return images, integers(10, (len(images),), generator=random)


def _step(model: nn.Module, credit: CreditAssignment, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """A step as `train` takes it, and nothing around it."""
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), _RATE, _MOMENTUM)
    low = fastest_precision() == "bfloat16"

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            logits = credit.logits(model, images)
        loss = F.cross_entropy(logits.float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def _convolutions(bench: Bench, images: Tensor) -> dict[str, Part]:
    return floors.convolutions(vgg(bench), images, "forward", "images", "weights", images_of_first=False)


def _backprop(bench: Bench) -> Contest:
    images, labels = _batch(bench)
    step = _step(vgg(bench), BackProp(), images, labels)
    return Contest(work=step, floors=lambda _: _convolutions(bench, images))


def _hybrid(bench: Bench) -> Contest:
    images, labels = _batch(bench)
    step = _step(vgg(bench, secret=True), HybridDFA(), images, labels)
    return Contest(
        work=step,
        floors=lambda _: _convolutions(bench, images),
        peers={"backpropagation": lambda: Part(_step(vgg(bench), BackProp(), images, labels))},
    )


def _epoch(bench: Bench) -> Contest:
    sizes = bench.sizes
    images, (batch, labels) = patterns("train", sizes.epoch, bench.seed), _batch(bench)
    config = TrainingConfig(
        epochs=1, batch_size=min(sizes.stepped, sizes.epoch), learning_rate=_RATE, precision=fastest_precision()
    )
    kept = bench.folder / "epoch.checkpoint"

    def work() -> None:
        kept.unlink(missing_ok=True)
        network = vgg(bench)
        train(network, images, config, credit=BackProp(), seed=bench.seed, augment=Augment(), checkpoint=kept)

    def steps(found: None) -> dict[str, Part]:
        bare = _step(vgg(bench), BackProp(), batch, labels)
        return {"steps alone": Part(bare, len(images) / len(batch))}

    return Contest(work=work, floors=steps)


JOBS = (
    Job(
        "training-step",
        "a step of backpropagation, {stepped} images, VGG-16 of width {width:g}",
        "its convolutions alone",
        _backprop,
    ),
    Job(
        "hybrid-step",
        "a step of hybrid training, {stepped} images, VGG-OPU of width {width:g}, device {secret_in} -> {secret_out}",
        "the convolutions of a step of backpropagation",
        _hybrid,
    ),
    Job(
        "epoch",
        "an epoch of {epoch} images in steps of {stepped}, with augmentation and checkpoint, VGG-16 of width {width:g}",
        "its steps alone",
        _epoch,
    ),
)
