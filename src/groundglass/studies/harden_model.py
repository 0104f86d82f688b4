"""Harden a trained network: a device in place of its classifier, fine-tuned by hybrid DFA."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from groundglass.attacks.model_identity import digest
from groundglass.core import (
    Progress,
    check_seed,
    check_writable,
    refuse_existing,
    silent,
)
from groundglass.core.accelerator import Device, repeatable, torch_device
from groundglass.core.sealed import Seed
from groundglass.core.settings import Count, fit
from groundglass.data import Dataset, load
from groundglass.models import (
    DefendedNetwork,
    ModelSpec,
    accuracy,
    predict_logits,
    save_defended,
    save_model,
)
from groundglass.optics import DeviceStore, RemoteOPU, SimulatedOPU
from groundglass.optics.remote.errors import check_frames
from groundglass.studies.audit_model import devices_of
from groundglass.studies.cells.cached_bits import cached_features
from groundglass.studies.hardened import DEVICE_FILE, Found, Hardened, Source
from groundglass.training import HARDENING, TrainingConfig
from groundglass.training.checkpoint import begun
from groundglass.training.hardening import Kept, computed_once, fine_tune, insert

#: N and M of a device that is drawn: the paper's.
SIZES = (512, 8000)
# A checkpoint's name has the fingerprint of its device.
_CHECKPOINT = ".checkpoint"


def harden_model(
    model: str,
    out: Path,
    *,
    data: str,
    arguments: Sequence[str] = (),
    weights: str | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    at: str | None = None,
    frozen: Kept = "below",
    inputs: int | None = None,
    outputs: int | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    device_file: Path | None = None,
    optical_device: RemoteOPU | None = None,
    device: Device = "auto",
    data_dir: Path | None = None,
    seed: int = 0,
    device_seed: int | Seed | None = None,
    beforehand: Callable[[Dataset], None] | None = None,
    kept: Path | None = None,
    progress: Progress = silent,
) -> Hardened:
    """Put a device in place of the classifier of a trained network, fine-tune what is new on `data`, and write both as new files.

    An interruption costs half a minute: the same call goes on, with the device that it began with. What it keeps until then
    lies beside `out`.

    Args:
        model, arguments, weights, mean, std, device, data_dir: as of `audit_model`: the network as it is.
        out: the new model file; not an existing one.
        data: its training images are fine-tuned on, its test images judge.
        at, frozen: see `groundglass.training.harden`. Where nothing is frozen, images are augmented as the data set's are.
        inputs, outputs: N and M of a device that is drawn; None: 512 and 8,000.
        epochs, learning_rate: in place of those of `HARDENING`.
        device_file: the file of a device that is there already; or the folder for the new device's, by default `devices` beside
            the folder of `out`.
        optical_device: a device at a service, in place of a file.
        seed: of new weights, B, and the order of images.
        device_seed: the device's secret, to make it again exactly. None draws one from the operating system.
        beforehand: is called with the data before any work, to refuse what is to follow: see `harden_audit.fitting`.
        kept: a file for what was found. Where it is there, of the same hardening, nothing is done again.
        progress: told of each step.

    Raises:
        FileExistsError: `out` is there already. Raised before any work, like all that follows.
        ValueError: a network that has an optical layer, no linear classifier, other classes than the data or other images;
            sizes that are not those of a given device.
        FileNotFoundError, DamagedFileError, PermissionError: of the files that are read.
        FrameBudgetError, DeviceServiceError: of a device at a service.
        DivergedError: the fine-tuning failed: a smaller rate.
    """
    device_seed = None if device_seed is None else Seed(device_seed)  # first of all: no traceback shows it
    if device_seed is not None:
        device_seed.check()
    check_seed(seed)
    where = torch_device(device)
    if kept is None or not kept.exists():
        refuse_existing(out)
    config = _config(epochs, learning_rate)
    source = Source(model=model, arguments=tuple(arguments), weights=weights, mean=tuple(mean), std=tuple(std))
    spec, network = source.spec(), source.read()
    dataset = load(data, data_dir=data_dir)
    if spec is not None:
        spec.check_data(dataset.name, dataset.num_classes)
    _check_images(network, model, dataset)
    if beforehand is not None:
        beforehand(dataset)
    work = _work(network, source, at, frozen)
    identity = {"work": work, "data": dataset.name, "seed": seed, "out": out.name, **config.described()}
    earlier = None if kept is None else Found.read(kept, identity)
    if earlier is not None:  # from where this command is given, and where the folders have gone meanwhile
        earlier = replace(earlier, model=str(out.with_name(Path(earlier.model).name)))
    place = _Place(out, device_file, work, earlier)
    for folder in (out.parent, place.store.folder, *(() if kept is None else (kept.parent,))):
        check_writable(folder)
    opu = place.device(optical_device, inputs, outputs, device_seed)
    shared: dict[str, Any] = {
        "source": source,
        "trained_on": dataset.name,
        "train_images": len(dataset.train),
        "test_images": len(dataset.test),
    }
    if earlier is not None and earlier.is_of(opu):
        place.checkpoint(opu.fingerprint).unlink(missing_ok=True)
        return replace(earlier, device=str(place.keep(opu))).hardened(shared)
    refuse_existing(out)
    done = begun(place.checkpoint(opu.fingerprint))
    frames = 2 + (config.epochs - done.epochs) * len(dataset.train) - done.images + len(dataset.test)
    check_frames(frames, getattr(opu, "frames_left", None), "what is left of this fine-tuning")
    made = insert(network.to(where), opu, dataset.test, at=at, seed=seed)
    before = accuracy(network, dataset.test)
    with repeatable(where):
        once = frozen == "below" and computed_once(made, config)
        cached = cached_features(made, dataset.train, out.parent, progress) if once else None
        device_path, checkpoint = place.keep(opu), place.checkpoint(opu.fingerprint)
        history = fine_tune(
            made,
            dataset.train,
            config,
            frozen=frozen,
            augment=dataset.augment if frozen == "nothing" else None,
            features=None if cached is None else (cached[0], dataset.train.labels),
            seed=seed,
            checkpoint=checkpoint,
            progress=progress,
        )
    after = accuracy(made, dataset.test)
    ours = None if spec is None else _with_device(spec, opu, dataset)
    if ours is not None and ours.defence.at != made.at:
        ours = None  # a device elsewhere than our files can say
    found = Found(
        before=before,
        after=after,
        at=made.at,
        whole=ours is not None,
        model=str(out),
        device=str(device_path),
        fingerprint=opu.fingerprint,
        public=bool(opu.public),
        seconds=sum(epoch.seconds for epoch in history),
    )
    found.keep(kept, identity)  # before the model is there: else nobody would know whose it is
    if cached is not None:  # a kill after the model is there would leave them to nobody
        cached[1].unlink(missing_ok=True)
    try:
        _save(out, made, ours, dataset)
    except FileExistsError:  # somebody was faster: that file stays, and this work is kept too
        out = out.with_name(f"{out.stem}-{opu.fingerprint[:8]}{out.suffix}")
        found = replace(found, model=str(out))
        found.keep(kept, identity)
        _save(out, made, ours, dataset)
    checkpoint.unlink(missing_ok=True)
    return found.hardened(shared)


class _Place:
    """Where the device of a hardened network comes from and goes to; and a fine-tuning that was interrupted, if there is one."""

    def __init__(self, out: Path, device_file: Path | None, work: str, earlier: Found | None) -> None:
        where = devices_of(out, device_file)
        if where.suffix == DEVICE_FILE and not where.exists():
            raise FileNotFoundError(f"there is no device file {where}: `groundglass device new` makes one")
        self._out, self._file, self._work = out, where if where.is_file() else None, work
        self._earlier = None if earlier is None else earlier.fingerprint
        self.store = DeviceStore(where if self._file is None else where.parent)

    def device(
        self, remote: RemoteOPU | None, inputs: int | None, outputs: int | None, seed: Seed | None
    ) -> SimulatedOPU | RemoteOPU:
        """The device that was given; or the one that was begun with; or a new one.

        Raises:
            ValueError: one was given, and sizes or a secret too.
        """
        if remote is not None and self._file is not None:
            raise ValueError("a device file and a device at a service were given: leave one of them out")
        if remote is not None or self._file is not None:
            if (inputs, outputs, seed) != (None, None, None):
                raise ValueError(
                    "a device that is there has its sizes and its secret: leave out inputs, outputs and the device's seed"
                )
            return remote or SimulatedOPU.load(self._file or self.store.folder)
        sizes = (
            fit(Count, SIZES[0] if inputs is None else inputs, "inputs"),
            fit(Count, SIZES[1] if outputs is None else outputs, "outputs"),
        )
        there = self._begun(sizes) if seed is None else None
        return there or SimulatedOPU.create(*sizes, seed=None if seed is None else seed.at("device", *sizes))

    def keep(self, device: SimulatedOPU | RemoteOPU) -> Path:
        """Keep the device; returns its file."""
        if self._file is not None:
            return self._file
        return self.store.keep(device) if isinstance(device, RemoteOPU) else self.store.put(device)

    def checkpoint(self, fingerprint: str) -> Path:
        """Of a fine-tuning of this network with this device: another network's is not gone on with."""
        return self._out.with_name(f"{self._out.stem}-{self._work}-{fingerprint}{_CHECKPOINT}")

    def _begun(self, sizes: tuple[int, int]) -> SimulatedOPU | None:
        """The device of these sizes that a fine-tuning was interrupted with."""
        for fingerprint in sorted(self.store.fingerprints(), key=lambda one: one != self._earlier):
            if fingerprint == self._earlier or self.checkpoint(fingerprint).exists():
                found = self.store.find(fingerprint)
                if isinstance(found, SimulatedOPU) and (found.in_features, found.out_features) == sizes:
                    return found
        return None


def _work(network: nn.Module, source: Source, at: str | None, frozen: str) -> str:
    """Names what is fine-tuned: the weights that it begins with, what is in front of them, and which of them stay."""
    told = f"{digest(network.state_dict().values())} {source.mean} {source.std} {at} {frozen}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _with_device(spec: ModelSpec, device: SimulatedOPU | RemoteOPU, dataset: Dataset) -> ModelSpec:
    sizes: dict[str, Any] = {"device_in": device.in_features, "device_out": device.out_features, "dropout": 0.0}
    return replace(spec, **sizes, trained_on=spec.trained_on or dataset.name)


def _save(out: Path, made: DefendedNetwork, spec: ModelSpec | None, dataset: Dataset) -> None:
    if spec is None:
        save_defended(made, out, new=True, trained_on=dataset.name)
    else:
        save_model(out, made, spec, new=True)


def _config(epochs: int | None, learning_rate: float | None) -> TrainingConfig:
    given: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate}
    return replace(HARDENING, **{name: value for name, value in given.items() if value is not None})


def _check_images(network: nn.Module, model: str, dataset: Dataset) -> None:
    """Refuse a network that cannot have been trained on such images."""
    try:
        classes = predict_logits(network, dataset.test.head(1).floats()).shape[1]
    except RuntimeError as error:
        raise ValueError(
            f"{model} fails on the images of {dataset.name}: {str(error).splitlines()[0]}. Give --data the kind of images it "
            "was trained on"
        ) from error
    if classes != dataset.num_classes:
        raise ValueError(
            f"the network has {classes} classes, and {dataset.name} has {dataset.num_classes}: name the data set that it was "
            "trained on by --data"
        )
