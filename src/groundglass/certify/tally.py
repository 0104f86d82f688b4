"""How often a network gives each class under noise: counted pass by pass, and kept in a file."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.attacks.model_identity import digest, identity_of
from groundglass.certify.noise import gaussian
from groundglass.core import NonFiniteError, Progress, begin_state, load_state, save_state
from groundglass.core.accelerator import device_of
from groundglass.core.schema import read, written
from groundglass.core.states import restoring
from groundglass.models.defended import DefendedNetwork
from groundglass.models.predict import asked

SECONDS = 30.0

#: What draws are for, and how many of them an image gets.
Stages = tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class _Notes:
    """Frames that each noisy device had counted when the file was written."""

    frames: tuple[int, ...]


class Tally:
    """Draws of some images, each in passes of its own: what is counted does not depend on the other images.

    The rounding of a pass may depend on how many draws are in it, and so may a count where two logits are all but equal.

    Args:
        indices: the place of each image in its set, which chooses its noise.
        batch_size: draws in a pass.
        path: of a file that is written every half minute and at the end; None for none.

    Attributes:
        indices: as given.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        indices: list[int],
        *,
        sigma: float,
        seed: int,
        stages: Stages,
        batch_size: int,
        path: Path | str | None,
    ) -> None:
        where = device_of(model)
        self._model, self.indices = model, indices
        self._images = images if where is None else images.to(where)
        self._sigma, self._seed, self._stages, self._batch = sigma, seed, stages, batch_size
        self._noisy = [d for d in devices_of(model) if hasattr(d, "skip_frames")]
        self._done = torch.zeros(len(stages), len(images), dtype=torch.int64, device="cpu")
        self._counts: Tensor | None = None  # [stages, images, classes]; how many classes there are, the model says
        self._path: Path | None = None
        if path is None:
            return
        identity = {
            **identity_of(model),
            "images": digest([images]),
            "indices": indices,
            "sigma": sigma,
            "seed": seed,
            "stages": [list(stage) for stage in stages],
            "batch_size": batch_size,
        }
        self._path, self._identity = begin_state(path, identity)
        if self._path.exists():
            self._load(self._path)

    def counted(self, progress: Progress, name: str) -> Tensor:
        """All draws: int64 [stages, images, classes], on the CPU.

        Raises:
            NonFiniteError: NaN or infinite logits.
        """
        saved, total = time.monotonic(), len(self._images) * sum(draws for _, draws in self._stages)
        with torch.no_grad(), asked(self._model) as ask:
            for place in range(len(self._images)):
                for stage, (_, draws) in enumerate(self._stages):
                    while (first := int(self._done[stage, place])) < draws:
                        self._pass(ask, stage, place, first, min(self._batch, draws - first))
                        progress(name, int(self._done.sum()), total)
                        if time.monotonic() - saved >= SECONDS:
                            self._save()
                            saved = time.monotonic()
        self._save()
        if self._counts is None:  # no images
            return torch.zeros(len(self._stages), 0, 0, dtype=torch.int64, device="cpu")
        return self._counts

    def _pass(self, ask: Callable[[Tensor], Tensor], stage: int, place: int, first: int, draws: int) -> None:
        image, name = self._images[place], self._stages[stage][0]
        noise = gaussian(self._seed, name, self.indices[place], first, draws, tuple(image.shape), image.device)
        logits = ask(noise.mul_(self._sigma).add_(image))
        classes = logits.shape[1]
        # One number more: draws whose logits are no numbers. The host waits once a pass.
        found = torch.bincount(torch.where(torch.isfinite(logits).all(1), logits.argmax(1), classes), minlength=classes)
        found = found.cpu()
        if len(found) > classes:
            raise NonFiniteError(
                f"the model gave NaN or infinite logits for {int(found[-1])} of {draws} noisy copies of image "
                f"{self.indices[place]}: it must be able to take images outside of [0, 1]"
            )
        if self._counts is None:
            shape = (len(self._stages), len(self._images), classes)
            self._counts = torch.zeros(shape, dtype=torch.int64, device="cpu")
        self._counts[stage, place] += found
        self._done[stage, place] += draws

    def _save(self) -> None:
        if self._path is not None and self._counts is not None:
            notes = written(_Notes(frames=tuple(device.frames for device in self._noisy)))
            save_state(self._path, {"done": self._done, "counts": self._counts}, notes, self._identity)

    def _load(self, path: Path) -> None:
        tensors, told = load_state(path, self._identity)
        notes = read(_Notes, told, f"the notes of the checkpoint {path}")
        with restoring(path):
            done, counts = tensors["done"], tensors["counts"]
            wanted = torch.tensor([draws for _, draws in self._stages], dtype=torch.int64, device="cpu")[:, None]
            if done.dtype != torch.int64 or done.shape != self._done.shape or not bool((done <= wanted).all()):
                raise ValueError("its `done` is of other draws")
            if counts.dtype != torch.int64 or counts.ndim != 3 or not torch.equal(counts.sum(2), done):
                raise ValueError("its `counts` do not add up to its `done`")
            if bool((counts < 0).any()) or len(notes.frames) != len(self._noisy):
                raise ValueError("some of its `counts` are negative, or its frames are of other devices")
        self._done, self._counts = done, counts
        # A noisy device goes on with the noise that it would have had.
        for device, frames in zip(self._noisy, notes.frames, strict=True):
            device.skip_frames(max(0, frames - device.frames))


def devices_of(model: object) -> list[Any]:
    """The devices that a pass asks."""
    parts = model.modules() if isinstance(model, nn.Module) else ()
    found = [part.device for part in parts if isinstance(part, DefendedNetwork)]
    return [device for device in found if device is not None]
