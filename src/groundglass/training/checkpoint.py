"""Checkpoints of a training: weights, momentum and how far it is, in one safetensors file that is replaced atomically."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.core import begin_state, load_state, read_notes, save_state
from groundglass.core.schema import read
from groundglass.core.states import restoring
from groundglass.models.weights import load_weights
from groundglass.optics import OpticalDevice, SimulatedOPU
from groundglass.training.state import EpochResult, TrainingState

#: The longest time between two checkpoints, plus one step.
SECONDS = 30.0


@dataclass(frozen=True)
class Begun:
    """What a checkpoint says about its training.

    Attributes:
        seconds: that went into it.
        device: the fingerprint of a classifier's.
        epochs, images: that are done, and images of the next epoch.
    """

    seconds: float = 0.0
    device: str | None = None
    epochs: int = 0
    images: int = 0


def begun(path: Path) -> Begun:
    """What was done so far; nothing if there is no file.

    Raises:
        DamagedFileError: truncated or altered.
    """
    found = read_notes(path)
    if found is None:
        return Begun()
    notes, identity = found
    told, device = _notes(notes, path), identity.get("device")
    with restoring(path):
        if not isinstance(device, str | None):
            raise TypeError(f"its device is {device!r:.40}")
    seconds = sum(h.seconds for h in told.history) + told.inside.seconds
    return Begun(seconds, device, len(told.history), told.inside.seen)


@dataclass(frozen=True, kw_only=True)
class _Inside:
    """The numbers of an unfinished epoch, see `TrainingState`."""

    step: int = 0
    seen: int = 0
    classes: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    frames_begun: int = 0
    right: int = 0
    loss_sum: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Notes:
    history: tuple[EpochResult, ...]
    inside: _Inside
    frames: int


def _notes(notes: Any, path: Path) -> _Notes:
    if isinstance(notes, list):  # version 0.1 wrote files at the ends of epochs, with the history alone
        notes = {"history": notes, "inside": {}, "frames": 0}
    return read(_Notes, notes, f"the notes of the checkpoint {path}")


class Checkpoint:
    """The checkpoint of one training, in a file; without a path, none.

    A resumed run must agree with `identity`, plain JSON. A noisy device has its own noise for each frame: they are counted.
    """

    def __init__(
        self,
        path: Path | str | None,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        identity: dict[str, Any],
        device: OpticalDevice | None = None,
    ) -> None:
        self._path: Path | None = None
        self._model, self._optimiser, self._identity = model, optimiser, identity
        if path is not None:
            self._path, self._identity = begin_state(path, identity)
        self._device = device if isinstance(device, SimulatedOPU) else None
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self._path is not None and time.monotonic() - self._saved >= SECONDS

    def save(self, state: TrainingState) -> None:
        """Write all that the next step depends on."""
        if self._path is None:
            return
        state.tick()
        tensors = {f"model/{k}": v for k, v in self._model.state_dict().items()}
        for index, slots in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
        tensors |= {f"streams/{k}": v for k, v in state.streams.items()}
        tensors |= {f"begun/{k}": v for k, v in state.begun.items()}
        tensors |= {f"average/{k}": v for k, v in state.average.items()}
        notes = {
            "history": [asdict(h) for h in state.history],
            "inside": state.inside(),
            "frames": self.frames,
        }
        save_state(self._path, tensors, notes, self._identity)
        self._saved = time.monotonic()

    def load(self) -> TrainingState:
        """Put the file's state into model and optimiser; returns how far that training is. Without a file, the beginning.

        Raises:
            DamagedFileError: truncated or altered.
            ValueError: the checkpoint belongs to a run with other settings; names the first that differs.
        """
        if self._path is None or not self._path.exists():
            return TrainingState()
        tensors, notes = load_state(self._path, self._identity)

        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}

        told = _notes(notes, self._path)
        state = TrainingState(
            history=list(told.history),
            frames=told.frames,
            streams=part("streams"),
            begun=part("begun"),
            **vars(told.inside),
        )
        with restoring(self._path):
            load_weights(self._model, part("model"), what=str(self._path))
            state.average = self._averaged(part("average"), state)
            self._load_optimiser(part("optimiser"))
        return state

    @property
    def frames(self) -> int:
        """Frames that the device has counted; 0 without noise."""
        return 0 if self._device is None else self._device.frames

    def skip_frames(self, *, to: int) -> None:
        """Move the device's count on: a resumed training gets the noise that an uninterrupted one would have had."""
        if self._device is not None:
            self._device.skip_frames(max(0, to - self._device.frames))

    def _averaged(self, average: dict[str, Tensor], state: TrainingState) -> dict[str, Tensor]:
        """The averaged weights, where the network has its own. Without a part of them the average would begin again, and end as
        another."""
        wanted = self._identity.get("average") and (state.epoch or state.step)
        own = dict(self._model.named_parameters()) if wanted else {}
        if {name: tensor.shape for name, tensor in average.items()} != {k: v.shape for k, v in own.items()}:
            raise ValueError("its averaged weights are of another network, or not all there")
        return {name: tensor.to(own[name].device) for name, tensor in average.items()}

    def _load_optimiser(self, tensors: dict[str, Tensor]) -> None:
        parameters = [p for group in self._optimiser.param_groups for p in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, slot = name.split("/")
            like = parameters[int(index)]
            if tensor.shape not in (like.shape, ()):
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}")
            # With the memory layout of the weights: optimisers walk them side by side.
            laid_out = (
                torch.empty_like(like, dtype=tensor.dtype).copy_(tensor) if tensor.shape == like.shape else tensor
            )
            slots.setdefault(int(index), {})[slot] = laid_out.detach()
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": slots})
