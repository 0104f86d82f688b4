"""A classifier that follows its device through redraws: refitted through the device's readings alone, and swapped in at once."""

import math
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import Any, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.core import Progress, silent
from groundglass.core.settings import NotNegative, Positive, Tally, fit
from groundglass.models import DefendedNetwork
from groundglass.models.defended import copied
from groundglass.optics.counted import counted
from groundglass.optics.device import OpticalDevice
from groundglass.optics.remote.errors import DeviceServiceError, MatrixRedrawnError, check_frames
from groundglass.training.classifier import FINE_TUNING, check_bits, fit_classifier, frames_of_fit, place_device
from groundglass.training.config import TrainingConfig

#: A redraw during a refit begins it again, so often at most: a service that redraws faster than a classifier is fitted is
#: not one that a classifier can follow.
_TRIES = 5


class ClosedError(RuntimeError):
    """The classifier is followed no more: it was closed."""


@dataclass(frozen=True)
class Refit:
    """One matrix replaced by another.

    Attributes:
        old, new: fingerprints.
        frames: that the fit took of the device, those of fits that a further redraw cut short included.
        seconds: until the new network was swapped in.
        train_accuracy: of the new classifier on the bits that it was fitted to.
    """

    old: str
    new: str
    frames: int
    seconds: float
    train_accuracy: float


class Following:
    """A defended network behind a device that its owner redraws: a new classifier for each matrix, old or new for each caller.

    A prediction is made by one network from its first layer to its last, and a network keeps to one matrix: a caller gets the
    old network, while its matrix still answers, or the new one, never a mixture. Meanwhile a copy of the network is fitted to
    the new matrix in a thread of its own. The features below the layer stay as they are, so the bits of the training images
    are computed once: see `encode_bits`. Only readings are asked of the device. For any number of threads.

        bits = encode_bits(network, dataset.train)
        with Following(network, bits, dataset.train.labels, seed=0) as predict:
            logits = predict(images)

    Args:
        network: with a device that refuses its inputs by a `MatrixRedrawnError` once its matrix is gone. It stays as it is, in
            eval mode.
        bits, labels, config, memory, progress: of the fit, see `fit_classifier`.
        seed: of the order of images. Each matrix has a fit of its own.
        reopen: gives the device as it is now: another object than the network's, which keeps to the old matrix. None: the
            network's device does so itself, see `RemoteOPU.reopened`.
        wait: seconds that a prediction waits for the new network when the old matrix is gone. 0: it raises at once, and the fit
            goes on. None: as long as it takes.
        every: seconds between two looks at the device, within a `with` block: a redraw is noticed before the old matrix is gone.

    Raises:
        ValueError: no device, bits or labels that do not fit the network, or times out of range.
    """

    def __init__(
        self,
        network: DefendedNetwork,
        bits: Tensor,
        labels: Int64[Tensor, " n"],
        config: TrainingConfig = FINE_TUNING,
        *,
        seed: int,
        reopen: Callable[[], OpticalDevice] | None = None,
        wait: float | None = None,
        every: float = 30.0,
        memory: int = 2**30,
        progress: Progress = silent,
    ) -> None:
        if network.device is None:
            raise ValueError("this network has no device whose redraws could be followed: defend it with one first")
        reopen = reopen or getattr(network.device, "reopened", None)
        if reopen is None:
            raise ValueError(
                f"a {type(network.device).__name__} cannot be opened again as it is after a redraw: give `reopen`, a function "
                "that does so"
            )
        check_bits(network, bits, labels)
        self._wait = fit(NotNegative | None, wait, "wait")
        self._every, self._memory = fit(Positive, every, "every"), fit(Tally, memory, "memory")
        self._bits, self._labels, self._config, self._seed = bits, labels, config, fit(int, seed, "seed")
        self._reopen, self._progress = reopen, progress
        self._lock, self._closed = Lock(), Event()
        self._network = network.eval()
        self._fitting: Future[None] | None = None
        self._failed = -math.inf
        self._refits: list[Refit] = []

    @property
    def network(self) -> DefendedNetwork:
        """The one that predicts now. It is never changed: after a redraw it is another one."""
        return self._network

    @property
    def refits(self) -> tuple[Refit, ...]:
        """All so far, in order."""
        return tuple(self._refits)

    @property
    def fitting(self) -> bool:
        """Whether a new classifier is being fitted."""
        fitting = self._fitting
        return fitting is not None and not fitting.done()

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits of images in [0, 1].

        Raises:
            MatrixRedrawnError: the old matrix is gone, and there is no new network within `wait` seconds.
            FrameBudgetError: nor will there be one: the device's frames do not suffice for a fit.
            ClosedError: the old matrix is gone, and nothing is fitted any more.
            Whatever else the fit, or the device, raises.
        """
        until = None if self._wait is None else monotonic() + self._wait
        while True:
            network = self._network
            try:
                logits: Tensor = network(images)
                if (
                    getattr(network.device, "seconds_left", None) is not None
                ):  # it was redrawn, and says so in its answers
                    self._follow(since=network)
                return logits
            except MatrixRedrawnError:
                if network is not self._network:
                    continue
                fitting = self._follow(since=network)
                ended, _ = wait_for([fitting], None if until is None else max(until - monotonic(), 0.0))
                if not ended:
                    raise
                fitting.result()
                if network is self._network:  # the device says that it was not redrawn, and refuses the old matrix
                    raise

    def look(self) -> bool:
        """Look whether the device was redrawn; if so, a fit begins, or goes on. Returns at once.

        Raises:
            DeviceServiceError: the device cannot be asked.
        """
        network = self._network
        redrawn = self._reopen().fingerprint != _fingerprint(network)
        if redrawn:
            self._follow(since=network)
        return redrawn

    def follow(self) -> None:
        """Look whether the device was redrawn; if so, wait for the new network. A fit that has failed is tried again.

        Raises:
            Exception: whatever the fit raises.
        """
        network = self._network
        self._follow(since=network, final=False).result()

    def close(self) -> None:
        """Stop a fit that is under way. The network that is there predicts as long as its matrix answers."""
        self._closed.set()

    def __enter__(self) -> Self:
        Thread(target=self._watch, name="follows redraws", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _watch(self) -> None:
        while not self._closed.wait(self._every):
            try:
                self.look()
            except Exception:  # the next prediction says what is wrong, to whom it concerns
                continue

    def _follow(self, since: DefendedNetwork, *, final: bool = True) -> "Future[None]":
        """The fit that is under way; a new one where there is none and `since` is still the network that predicts.

        Args:
            final: one that has failed is not tried again for every prediction: it costs frames.
        """
        with self._lock:
            if since is not self._network:
                done: Future[None] = Future()
                done.set_result(None)
                return done
            if self._fitting is None or (self._fitting.done() and not (final and self._is_final(self._fitting))):
                fitting: Future[None] = Future()
                self._fitting = fitting
                Thread(target=self._run, args=(fitting,), name="refits the classifier", daemon=True).start()
            return self._fitting

    def _is_final(self, ended: "Future[None]") -> bool:
        """Whether a fit has failed in a way that another one would too, or just now."""
        error = ended.exception()
        if error is None:
            return False
        return not isinstance(error, DeviceServiceError) or monotonic() - self._failed < self._every

    def _run(self, fitting: "Future[None]") -> None:
        try:
            self._refit()
        except BaseException as error:
            self._failed = monotonic()
            fitting.set_exception(error)
        else:
            fitting.set_result(None)

    def _refit(self) -> None:
        """Fit a copy to the matrix that the device has now, until that is still its matrix when the fit is over."""
        frames, began, tries = 0, monotonic(), 0
        while True:
            device = counted(self._reopen())
            if device.fingerprint == _fingerprint(self._network):
                return
            self._check_budget(device)
            tries += 1
            fresh = copied(self._network)
            try:
                place_device(fresh, device)
                history = fit_classifier(
                    fresh,
                    self._bits,
                    self._labels,
                    self._config,
                    seed=self._seed,
                    memory=self._memory,
                    progress=self._told,
                )
            except MatrixRedrawnError:
                if tries >= _TRIES:
                    raise
                continue
            finally:
                frames += device.frames
            fresh.block.hold(device.device, fresh.block.encoding)
            old, accuracy = _fingerprint(self._network), history[-1].train_accuracy
            with self._lock:
                self._network = fresh.eval()
                self._refits.append(Refit(old, device.fingerprint, frames, monotonic() - began, accuracy))
            frames, began, tries = 0, monotonic(), 0

    def _check_budget(self, device: Any) -> None:
        """Before any frame is taken: half a fit is worth nothing."""
        needed = frames_of_fit(device, len(self._bits), self._config, self._memory)
        check_frames(needed, getattr(device, "frames_left", None), "fitting the classifier to the new matrix")

    def _told(self, what: str, done: int, total: int, **figures: float) -> None:
        if self._closed.is_set():
            raise ClosedError("the classifier is followed no more: `close` was called while it was fitted")
        self._progress(what, done, total, **figures)


def _fingerprint(network: DefendedNetwork) -> str:
    assert network.device is not None
    return network.device.fingerprint
