"""One training loop: any credit assignment, resumable to the same weights bit for bit."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core import (
    NonFiniteError,
    Progress,
    check_labels,
    derive_seed,
    generator,
    input_dtype,
    logits_of,
    normal,
    own_streams,
    silent,
)
from groundglass.core.accelerator import repeatable
from groundglass.core.layout import layout_of
from groundglass.core.modes import kept_in_eval
from groundglass.core.reading import sent
from groundglass.core.settings import fit
from groundglass.data import Augment, Images, ImageSet, ImagesLike, StreamedImages, batches, given
from groundglass.data.batches import Batch
from groundglass.data.given import identity as identity_of
from groundglass.models import devices_of
from groundglass.optics import OpticalDevice
from groundglass.optics.camera import camera_of
from groundglass.training.adversarial import Objective
from groundglass.training.averaging import follow, settle
from groundglass.training.checkpoint import Checkpoint
from groundglass.training.config import TrainingConfig
from groundglass.training.credit_assignment import CreditAssignment
from groundglass.training.freezing import held_still
from groundglass.training.growing import any_size
from groundglass.training.optimiser_steps import DivergedError, OptimiserSteps, make_optimiser
from groundglass.training.state import EpochResult, TrainingState


def train(
    model: nn.Module,
    images: ImagesLike,
    config: TrainingConfig,
    *,
    credit: CreditAssignment,
    seed: int,
    augment: Augment | None = None,
    answers: Float[Tensor, "n classes"] | None = None,
    checkpoint: Path | str | None = None,
    progress: Progress = silent,
    name: str = "training",
    on_epoch: Callable[[EpochResult], None] | None = None,
) -> list[EpochResult]:
    """Train `model` in place.

    Args:
        images: with their labels, in any form that `groundglass.data.given` takes. All but streams are walked through in an order
            of `seed`. A stream, such as a `DataLoader`, comes in its own order: shuffle it. A loader without a generator
            of its own draws its order from torch's stream, which `seed` sets in each epoch. A stream that does not know
            its length is walked through once more before, and counted.
        config: its batch size is that of a step, whatever a loader's is.
        model: images in [0, 1] -> logits. Left in eval mode. If it comes in train mode, modules that are in eval mode stay
            so, such as a BatchNorm whose statistics are frozen; if it comes in eval mode, all of it is trained.
        credit: `BackProp()`, `HybridDFA()`, or another of `groundglass.training.CREDITS`.
        seed: of the order of images, augmentation and dropout.
        answers: for each image the probabilities to learn in place of its label, as another network's (Hinton et al. 2015):
            the loss is the cross-entropy with them. An augmented image has those of its original. Accuracy is still
            that of the labels.
        checkpoint: a file written after every epoch, and inside one every 30 seconds. If it is there, training goes on
            from it, to the same final weights, bit for bit, as without the interruption (on the same device; on a card see
            `groundglass.core.accelerator.repeatable`). Of a stream it is written after
            every epoch alone, and the weights are the same if the stream gives the same again.
        progress, name: told images, loss and accuracy under that name.
        on_epoch: called after each epoch, once its checkpoint is written.

    Returns:
        One result an epoch, resumed ones included. In adversarial training the loss is that of its objective, and the
        accuracy is on the adversarial images.

    Raises:
        DivergedError: the loss is not finite, or an epoch ended above twice the loss of guessing.
        DamagedFileError, ValueError: the checkpoint is damaged, or belongs to another run.
        TypeError: `images` is none of these, or `answers` no tensor.
        ValueError: the rule of adversarial training does not fit this network; fewer than two images; a label that is no
            class of the model; answers that are not probabilities, one row an image, or come with adversarial training or
            a stream.
    """
    seed, images, augment = fit(int, seed, "seed"), given(images), config.augment or augment
    if len(images) < 2:
        raise ValueError(f"{len(images)} images to train on are too few: BatchNorm needs at least 2 in a batch")
    if config.adversarial is not None:
        config.adversarial.check(model, images)
    if answers is not None:
        _check_answers(answers, images, config)
    early = [] if config.freezing is None else config.freezing.held(model)
    where = next(model.parameters()).device
    model.to(memory_format=layout_of(model))  # type: ignore[call-overload]
    optimiser = make_optimiser(model, config)
    identity: dict[str, Any] = {
        **config.described(),
        "credit": credit.name,
        "seed": seed,
        "images": identity_of(images) if checkpoint is not None else "",
        "augment": repr(augment),
    }
    if answers is not None:
        identity["answers"] = hashlib.sha256(answers.cpu().contiguous().numpy().tobytes()).hexdigest()
    kept = Checkpoint(checkpoint, model, optimiser, identity, _counted(model, checkpoint))
    steps = OptimiserSteps(config, optimiser, len(images), progress, name, every=10)
    run = _Run(model, images, config, credit, seed, augment, answers, kept, steps, name, kept_in_eval(model), early)
    state = kept.load()
    while state.epoch < config.epochs:
        with repeatable(where), own_streams(derive_seed(seed, "dropout", state.epoch)):
            run.epoch(state)
        result = state.end_epoch()
        kept.save(state)
        if on_epoch is not None:
            on_epoch(result)
    if config.average:
        with repeatable(where), own_streams(derive_seed(seed, "dropout", config.epochs)):
            run.settle(state)
    # Others' code may not know channels-last weights: torchattacks' L2 attacks do not.
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()
    return state.history


@dataclass(frozen=True, eq=False)
class _Run:
    """What one training is made of; see `train`. How far it is, is in a `TrainingState`."""

    model: nn.Module
    images: Images
    config: TrainingConfig
    credit: CreditAssignment
    seed: int
    augment: Augment | None
    answers: Tensor | None
    kept: Checkpoint
    steps: OptimiserSteps
    name: str
    frozen: list[nn.Module]
    early: list[nn.Parameter]

    def epoch(self, state: TrainingState) -> None:
        """What is left of an epoch."""
        model, config = self.model, self.config
        model.train()
        for module in self.frozen:
            module.training = False
        where = next(model.parameters()).device
        state.start_clock()
        if not state.step:
            state.frames_begun = max(state.frames, self.kept.frames)
        self.kept.skip_frames(to=state.frames_begun)
        objective = self._objective(state)
        if state.step:
            _set_streams(state.streams, where)
            self.kept.skip_frames(to=state.frames)
        size = 1.0 if config.growing is None else config.growing.share(state.epoch, config.epochs)
        still = config.freezing is not None and config.freezing.still(state.epoch, config.epochs)
        with any_size(model, small=size < 1), held_still(self.early if still else []):
            for batch in self._batches(state.epoch, start=state.step):
                self._step(state, batch, objective)
                if self.kept.due and not isinstance(self.images, StreamedImages):
                    self._check(state)
                    state.streams = _streams(where)
                    self.kept.save(state)
                self.steps.tell(state)
        self._check(state)
        weight = 1.0 if config.adversarial is None else config.adversarial.weight
        self.steps.check_epoch(state, math.log(state.classes) * weight)

    def _batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """From the batch of this number on, but for a last one of one image: over it BatchNorm has no variance."""
        where = next(self.model.parameters()).device
        shared: dict[str, Any] = {"batch_size": self.config.batch_size, "augment": self.augment, "where": where}
        found = batches(self.images, seed=self.seed, epoch=epoch, start=start, **shared)
        return (batch for batch in found if len(batch) > 1)

    def _step(self, state: TrainingState, batch: Batch, objective: Objective) -> None:
        """One step down, and what follows it."""
        if self.config.growing is not None and state.epoch == state.step == 0:
            self.config.growing.check(self.model, self._moved(batch), self.config.epochs)
        x = self._entering(batch, state.epoch, state.step)
        check_labels(batch.labels, count=len(batch), classes=state.classes or None)
        y = sent(batch.labels, x.device)
        goal = y if self.answers is None else sent(self.answers[batch.index], x.device)
        try:
            logits, loss = objective(x, goal, state.step)
        except NonFiniteError as error:
            raise DivergedError(
                f"{self.name}: {error}, in epoch {state.epoch + 1}, step {state.step}. The checkpoint before it is "
                "kept. Lower the learning rate, or the scale of B"
            ) from error
        self.steps.take(state, logits, y, loss)
        if self.config.average:
            each = self.steps.in_an_epoch
            done = state.epoch * each + state.step
            follow(state.average, self.model, half_life=self.config.average * each, step=done)

    def settle(self, state: TrainingState) -> None:
        """Leave the network with the average of its weights."""
        self.kept.skip_frames(to=state.frames)

        def run(x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
                return logits_of(self.model(x))

        epoch = self.config.epochs
        entering = (self._entering(batch, epoch, step) for step, batch in enumerate(self._batches(epoch)))
        settle(self.model, state.average, entering, frozen=self.frozen, run=run)

    def _moved(self, batch: Batch) -> Tensor:
        where = next(self.model.parameters())
        return batch.images.to(where.device, input_dtype(self.model))

    def _entering(self, batch: Batch, epoch: int, step: int) -> Tensor:
        """The images of a step as they enter the network: in the size of the epoch, with the noise of the configuration."""
        images, growing = self._moved(batch), self.config.growing
        if growing is not None:
            images = growing.shrunk(images, epoch, self.config.epochs)
        if self.config.noise:
            drawn = normal(*images.shape, generator=generator(self.seed, "noise", epoch, step))
            images = images + self.config.noise * sent(drawn, images.device).to(images.dtype)
        return images.contiguous(memory_format=layout_of(self.model))

    def _objective(self, state: TrainingState) -> Objective:
        """What the steps of this epoch minimise."""
        model, config, smoothing = self.model, self.config, self.config.label_smoothing

        def learn(x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                return self.credit.logits(model, x)

        def plain(x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
            logits = learn(x)
            if not step and not y.is_floating_point():  # from then on it is known how many classes there are
                all_labels = self.images.labels if isinstance(self.images, ImageSet) else y
                check_labels(all_labels, count=len(all_labels), classes=logits.shape[-1])
            if logits.ndim == 3:  # parts that vote: each learns by its own error
                own = y.repeat_interleave(logits.shape[1], 0)
                return logits.mean(1), F.cross_entropy(logits.flatten(0, 1).float(), own, label_smoothing=smoothing)
            return logits, F.cross_entropy(logits.float(), y, label_smoothing=smoothing)

        hard = config.adversarial
        if hard is None:
            return plain
        current = {k: v.clone() for k, v in model.state_dict().items()} if hard.fits else {}
        if not state.step:
            state.begun = current
        if hard.fits:
            model.load_state_dict(state.begun)
        made = hard.objective(model, learn, self.images, precision=config.precision, seed=self.seed, epoch=state.epoch)
        if hard.fits:
            model.load_state_dict(current)
        return made

    def _check(self, state: TrainingState) -> None:
        """Refuse to keep what is not finite."""
        self.steps.check_finite(state)
        for key, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise DivergedError(
                    f"{self.name}: {key} is not finite in epoch {state.epoch + 1}, step {state.step}; "
                    "the checkpoint before it is kept"
                )


def _counted(model: nn.Module, checkpoint: Path | str | None) -> OpticalDevice | None:
    """The device whose frames the checkpoint counts.

    Raises:
        ValueError: there are several, with noise.
    """
    devices = devices_of(model)
    if len(devices) > 1 and checkpoint is not None and any(camera_of(device).noisy for device in devices):
        raise ValueError(
            "a checkpoint counts the noisy frames of one device, and this ensemble has several: train without `checkpoint`, or "
            "with cameras that have no noise"
        )
    return devices[0] if devices else None


def _check_answers(answers: Tensor, images: Images, config: TrainingConfig) -> None:
    if config.adversarial is not None:
        raise ValueError("adversarial training is on labels: leave out `answers`, or `adversarial`")
    if not isinstance(answers, Tensor):
        raise TypeError(f"`answers` must be a tensor of probabilities, a row an image, not {type(answers).__name__}")
    if isinstance(images, StreamedImages):
        raise ValueError(
            "`answers` are for images that have a place: give them in memory, or as a Dataset, not as a stream"
        )
    shape = (len(images), len(images.classes) or answers.shape[-1])
    if tuple(answers.shape) != shape or not answers.is_floating_point():
        raise ValueError(f"`answers` must be floats of shape {list(shape)}, not {answers.dtype} {list(answers.shape)}")
    if not bool((answers >= 0).all()) or not torch.allclose(answers.sum(1), answers.new_ones(()), atol=1e-3):
        raise ValueError("`answers` must be probabilities, each row adding up to 1: softmax(logits, 1)")


def _streams(where: torch.device) -> dict[str, Tensor]:
    """States of the streams that dropout draws from."""
    cuda = {"cuda": torch.cuda.get_rng_state(where)} if where.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _set_streams(streams: dict[str, Tensor], where: torch.device) -> None:
    torch.set_rng_state(streams["cpu"])
    if where.type == "cuda":
        torch.cuda.set_rng_state(streams["cuda"], where)
