"""Redraw the matrix of a trained network: a new U, and the classifier fitted to it on frozen features."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from groundglass.core import Progress, check_seed, check_writable, derive_seed, silent
from groundglass.core.sealed import Seed
from groundglass.data import load
from groundglass.models import DefendedNetwork, read_spec, save_model
from groundglass.optics import SimulatedOPU
from groundglass.studies.audit_model import load_with_devices
from groundglass.studies.cells.redraw import Tuned, tune


@dataclass(frozen=True)
class Redrawn(Tuned):
    """A redraw into files. Nothing in it is secret.

    Attributes:
        old_fingerprint, fingerprint: of the device before and after.
        model, device: the new files; the second holds the new secret.
        train_images, test_images: how many.
        draw_seconds: the new matrix and its exposure.
    """

    old_fingerprint: str
    fingerprint: str
    model: Path
    device: Path
    train_images: int
    test_images: int
    draw_seconds: float


def redraw_model(
    path: Path,
    out: Path,
    *,
    data: str,
    device_dir: Path | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
    device_seed: int | Seed | None = None,
    progress: Progress = silent,
) -> Redrawn:
    """Draw another U for the network of a model file, fit its classifier to it, write both as new files.

    The model at `path` and its device stay as they are. The bits of all images are kept beside the model, in
    `bits-<key>.safetensors`: the next redraw of this model, or of one that was redrawn from it, skips the convolutions.

    Args:
        path: a model with an optical layer, and a simulated device.
        out: the new model file. If another one takes its name meanwhile, the fingerprint is added to the name.
        data: the data set it was trained with; its training images fit the classifier, its test images judge it.
        device_dir: where the device file lies, and the new one goes. Default: `devices` beside the model's folder, as
            the studies lay it out.
        data_dir: the data folder.
        seed: of the order of images.
        device_seed: the new device's secret, to repeat a redraw exactly. None draws one from the operating system.
        progress: is called while features, measurements and fits are made.

    Raises:
        FileExistsError: `out` is there already. Raised before any work, like all that follows.
        FileNotFoundError: no model, or its device is not in the folder.
        ValueError: no optical device in the model, or one that does not get bits; another data set; a
            `device_seed` that gives the old device.
        DamagedFileError, PermissionError: of the files that are read.
    """
    device_seed = None if device_seed is None else Seed(device_seed)  # first of all: no traceback shows it
    if device_seed is not None:
        device_seed.check()
    check_seed(seed)
    if out.exists():
        raise FileExistsError(f"{out} is there already: give another --out, or move it away first")
    spec = read_spec(path)
    if spec.device_in is None:
        raise ValueError(
            f"{path} has no optical device, so there is nothing to redraw: give a defended network, such as vgg-opu"
        )
    if spec.encoding not in (None, "bits"):
        raise ValueError(
            f"{path} is a variant for comparison (encoding {spec.encoding!r}), no defended network: what enters its device "
            "is not what a classifier is fitted to here. Redraw a network whose features become bits one by one"
        )
    network, store = load_with_devices(path, device_dir)
    assert isinstance(network, DefendedNetwork)
    old = network.device
    assert isinstance(old, SimulatedOPU)
    dataset = load(data, data_dir=data_dir)
    spec.check_data(dataset.name, dataset.num_classes)
    secret = None if device_seed is None else device_seed.at("redraw", old.in_features, old.out_features)
    started = time.perf_counter()
    new = old.redraw(secret)
    draw_seconds = time.perf_counter() - started
    if new.fingerprint == old.fingerprint:
        raise ValueError("this --device-seed gives the device that the model already has: give another, or none")
    for place in (out.parent, store.folder):
        check_writable(place)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    tuned = tune(network, new, dataset, path.parent, seed=derive_seed(seed, "redraw"), progress=progress)
    # The device first: without it the model would be of no use, and a device without a model harms nobody.
    device_path = store.put(new)
    spec = replace(spec, fingerprint=new.fingerprint)
    try:
        save_model(out, network, spec, new=True)
    except FileExistsError:  # another redraw was faster: its file stays, and this work is kept too
        out = out.with_name(f"{out.stem}-{new.fingerprint[:8]}{out.suffix}")
        save_model(out, network, spec)
    return Redrawn(
        **vars(tuned),
        old_fingerprint=old.fingerprint,
        fingerprint=new.fingerprint,
        model=out,
        device=device_path,
        train_images=len(dataset.train),
        test_images=len(dataset.test),
        draw_seconds=draw_seconds,
    )
