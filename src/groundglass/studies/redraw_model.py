"""Redraw the matrix of a trained network: a new U, and the classifier fitted to it on frozen features."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from torch import nn

from groundglass.core import Progress, check_seed, check_writable, derive_seed, silent
from groundglass.core.accelerator import Device, repeatable, torch_device
from groundglass.core.sealed import Seed
from groundglass.data import Dataset, load
from groundglass.models import DefendedNetwork, ModelSpec, predict_logits, read_spec, save_defended, save_model
from groundglass.models.files import device_fingerprint
from groundglass.models.files import trained_on as data_of
from groundglass.models.named import zoo_name
from groundglass.optics import DeviceStore, RemoteOPU, SimulatedOPU
from groundglass.optics.counted import uncounted
from groundglass.optics.remote.errors import check_frames
from groundglass.studies.audit_model import devices_of, read_network
from groundglass.studies.cells.redraw import Tuned, tune
from groundglass.training.classifier import FINE_TUNING, frames_of_fit

_NOTHING = "{} has no optical device, so there is nothing to redraw: give a defended network, such as vgg-opu"
_VARIANT = (
    "{} is a variant for comparison (encoding {!r}), no defended network: what enters its device "
    "is not what a classifier is fitted to here. Redraw a network whose features become bits one by one"
)


@dataclass(frozen=True)
class Redrawn(Tuned):
    """A redraw into files. Nothing in it is secret.

    Attributes:
        old_fingerprint, fingerprint: of the device before and after.
        model, device: the new files; the second holds the new secret.
        public: whether that was given.
        train_images, test_images: how many.
        draw_seconds: the new matrix and its exposure.
    """

    old_fingerprint: str
    fingerprint: str
    model: Path
    device: Path
    public: bool
    train_images: int
    test_images: int
    draw_seconds: float


def redraw_model(
    model: Path | str,
    out: Path,
    *,
    data: str,
    weights: Path | None = None,
    device_file: Path | None = None,
    optical_device: RemoteOPU | None = None,
    device: Device = "auto",
    data_dir: Path | None = None,
    seed: int = 0,
    device_seed: int | Seed | None = None,
    progress: Progress = silent,
) -> Redrawn:
    """Draw another U for the network of a model file, fit its classifier to it, write both as new files.

    The old file and its device stay as they are. The bits of all images are kept beside it, in
    `bits-<key>.safetensors`: the next redraw of this model, or of one that was redrawn from it, skips the convolutions.

    Args:
        model: a model file with an optical layer, and a simulated device; or "package.module:factory", a function without
            arguments that makes a network of your own, for a file of `save_defended`, given by `weights`.
        out: the new model file. If another one takes its name meanwhile, the fingerprint is added to the name.
        data: the data set it was trained with; its training images fit the classifier, its test images judge it.
        weights: of a factory's network, written by `save_defended`.
        device_file: the optical device's file, or the folder where it lies; the new one goes to the same folder. Default:
            `devices` beside the model's folder, as the studies lay it out.
        optical_device: the network's device at a service. It is asked for another matrix, which takes a token with the role
            redraw, unless it has drawn one since the network was fitted: then the classifier is fitted to that, and nothing
            else is asked but readings.
        device: what it is computed on: "cpu", "cuda", "cuda:1"; "auto" is a card where there is one.
        data_dir: the data folder.
        seed: of the order of images.
        device_seed: the new device's secret, to repeat a redraw exactly. None draws one from the operating system.
        progress: is called while features, measurements and fits are made.

    Raises:
        FileExistsError: `out` is there already. Raised before any work, like all that follows.
        FileNotFoundError: no model, or its device is not in the folder.
        ValueError: no optical device in the model, or one that does not get bits, is not simulated, or is not at the end of the
            network; another data set; a `device_seed` that gives the old device.
        DamagedFileError, PermissionError: of the files that are read.
        FrameBudgetError: the frames that are left of a service's budget do not suffice.
        DeviceServiceError: the service does not answer, or refuses.
    """
    device_seed = None if device_seed is None else Seed(device_seed)  # first of all: no traceback shows it
    if device_seed is not None:
        device_seed.check()
    check_seed(seed)
    where = torch_device(device)
    if out.exists():
        raise FileExistsError(f"{out} is there already: give another --out, or move it away first")
    if weights is None and zoo_name(model) is not None:
        raise ValueError(
            f"{model} is a network of the zoo, whose device is public and in no file: in Python, "
            "training.place_device(network, network.device.redraw()) gives it another one, then fit_classifier its classifier"
        )
    path = Path(model) if weights is None else weights
    spec = None if ":" in str(model) and not Path(model).exists() else read_spec(Path(model))
    if spec is not None and spec.device_in is None:
        raise ValueError(_NOTHING.format(path))
    if spec is not None and spec.encoding not in (None, "bits"):
        raise ValueError(_VARIANT.format(path, spec.encoding))
    if optical_device is not None and device_seed is not None:
        raise ValueError("the service draws the matrix of its device, from no seed of yours: leave --device-seed out")
    former = None if optical_device is None else _former(optical_device, path)
    network, old = _redrawable(read_network(str(model), weights, device_file, optical_device=former), path)
    place = devices_of(path, device_file)
    store = DeviceStore(place.parent if place.is_file() else place)
    dataset = load(data, data_dir=data_dir)
    if spec is not None:
        spec.check_data(dataset.name, dataset.num_classes)
    else:
        _check_end(network, path, dataset)
    for place in (out.parent, store.folder):
        check_writable(place)
    if isinstance(old, SimulatedOPU):
        drawn = _Drawn.here(old, device_seed)
    else:
        drawn = _Drawn.of_service(old)
        _check_budget(old, dataset)
    network.to(where)
    with repeatable(where):
        tuned = tune(network, drawn, dataset, path.parent, seed=derive_seed(seed, "redraw"), progress=progress)
    known = data_of(path) or dataset.name
    # The device first: without it the model would be of no use, and a device without a model harms nobody.
    new, draw_seconds = drawn.device, drawn.seconds
    device_path = store.keep(new) if isinstance(new, RemoteOPU) else store.put(new)
    try:
        _save(out, network, spec, known, new=True)
    except FileExistsError:  # another redraw was faster: its file stays, and this work is kept too
        out = out.with_name(f"{out.stem}-{new.fingerprint[:8]}{out.suffix}")
        _save(out, network, spec, known)
    return Redrawn(
        **vars(tuned),
        old_fingerprint=old.fingerprint,
        fingerprint=new.fingerprint,
        model=out,
        device=device_path,
        public=new.public,
        train_images=len(dataset.train),
        test_images=len(dataset.test),
        draw_seconds=draw_seconds,
    )


class _Drawn:
    """The new device, once it is asked for. `seconds`: that drawing it took."""

    def __init__(self, device: SimulatedOPU | None, draw: Callable[[], RemoteOPU] | None, seconds: float) -> None:
        self._device: SimulatedOPU | RemoteOPU | None = device
        self._draw, self.seconds = draw, seconds

    @classmethod
    def here(cls, old: SimulatedOPU, device_seed: Seed | None) -> Self:
        """Drawn at once, from a secret of this process."""
        secret = None if device_seed is None else device_seed.at("redraw", old.in_features, old.out_features)
        started = time.perf_counter()
        new = old.redraw(secret)
        if new.fingerprint == old.fingerprint:
            raise ValueError("this --device-seed gives the device that the model already has: give another, or none")
        return cls(new, None, time.perf_counter() - started)

    @classmethod
    def of_service(cls, old: RemoteOPU) -> Self:
        """Asked for when the old matrix has been used for the last time; what the service has drawn meanwhile will do."""

        def draw() -> RemoteOPU:
            now = old.reopened()
            if now.fingerprint != old.fingerprint:
                return now
            old.redraw()
            return old.reopened()

        return cls(None, draw, 0.0)

    def __call__(self) -> SimulatedOPU | RemoteOPU:
        if self._device is None:
            assert self._draw is not None
            started = time.perf_counter()
            self._device = self._draw()
            self.seconds = time.perf_counter() - started
        return self._device

    @property
    def device(self) -> SimulatedOPU | RemoteOPU:
        return self()


def _former(device: RemoteOPU, path: Path) -> RemoteOPU:
    """The device with the matrix that the network of this file was fitted to, gone or not."""
    fingerprint = device_fingerprint(path)
    return device if fingerprint is None else device.at(fingerprint, device.mean_reading, check=False)


def _check_budget(device: RemoteOPU, dataset: Dataset) -> None:
    """Before the service is asked to redraw: a classifier must follow."""
    needed = frames_of_fit(device, len(dataset.train), FINE_TUNING) + 3 * len(dataset.test)
    check_frames(needed, device.frames_left, "fitting the classifier again, and measuring what it is worth,")


def _redrawable(network: nn.Module, path: Path) -> tuple[DefendedNetwork, SimulatedOPU | RemoteOPU]:
    """The network and its device, if another one can take that one's place."""
    if not isinstance(network, DefendedNetwork) or network.device is None:
        raise ValueError(_NOTHING.format(path))
    device = uncounted(network.device)
    if not isinstance(device, SimulatedOPU | RemoteOPU):
        raise ValueError(
            f"the device of {path} is a {type(device).__name__}: only the matrix of a simulated one can be drawn again"
        )
    if network.block.encoding != "bits":
        raise ValueError(_VARIANT.format(path, network.block.encoding))
    network.block.hold(device, "bits")
    return network, device


def _check_end(network: DefendedNetwork, path: Path, dataset: Dataset) -> None:
    """Refuse a network that gives other classes than the data set has, or has layers above the block."""
    predict_logits(network, dataset.test.head(1).floats())  # which shows how it ends
    if network.classes != dataset.num_classes:
        raise ValueError(
            f"the network has {network.classes} classes, and {dataset.name} has {dataset.num_classes}: name the data set that it "
            "was trained on by --data"
        )
    if not network.ends_in_block:
        raise ValueError(
            f"the optical layer of {path}, at {network.at!r}, is not the end of the network, and a redraw fits the classifier "
            "alone: place_device(network, network.device.redraw()), then train the layers above it"
        )


def _save(out: Path, network: DefendedNetwork, spec: ModelSpec | None, trained_on: str, *, new: bool = False) -> None:
    if spec is None:
        save_defended(network, out, new=new, trained_on=trained_on)
    else:
        save_model(out, network, replace(spec, trained_on=trained_on), new=new)
