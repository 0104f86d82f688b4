"""A guard for a trained network's device: fitted on the bits that its images give."""

from pathlib import Path

from torch import Tensor

from groundglass.core import Progress, silent
from groundglass.core.accelerator import Device, torch_device
from groundglass.data import load
from groundglass.models import DefendedNetwork
from groundglass.service.guard import GuardSettings, NaturalBits
from groundglass.studies.audit_model import read_network
from groundglass.training.encoding import encode_bits

# Of a class with fewer images to calibrate with, next to nothing can be said.
_LEAST = 100


def guard_model(
    model: Path | str,
    *,
    data: str,
    weights: Path | None = None,
    device_file: Path | None = None,
    device: Device = "auto",
    data_dir: Path | None = None,
    by_class: bool = False,
    settings: GuardSettings | None = None,
    progress: Progress = silent,
) -> NaturalBits:
    """A guard that knows the bits of a network's training images, calibrated with those of its test images.

    Images that a network was trained with give other bits than new ones: a guard that was calibrated with them would
    speak too often.

    Args:
        model, weights, device_file, device, data_dir: as `groundglass.studies.redraw_model.redraw_model` takes them.
        data: the data set that the network was trained with.
        by_class: clients may send classes in any order and share, see `NaturalBits.fit`.
        settings: of the guard.

    Raises:
        ValueError: no device in the network, or one that does not get bits; too few images.
        FileNotFoundError, DamagedFileError, PermissionError: of the files that are read.
    """
    where = torch_device(device)
    network = read_network(str(model), weights, device_file)
    if not isinstance(network, DefendedNetwork) or network.device is None or network.block.encoding != "bits":
        raise ValueError(
            f"{model} sends no bits to a device: a guard is fitted on those of a defended network, such as vgg-opu"
        )
    images = load(data, data_dir=data_dir)
    groups = check_groups(images.test.labels) if by_class else None
    network.to(where)
    rows = encode_bits(network, images.train, progress=progress, name="bits of the training images")
    others = encode_bits(network, images.test, progress=progress, name="bits of the test images")
    return NaturalBits.fit(rows, others, groups=groups, settings=settings)


def check_groups(labels: Tensor) -> Tensor:
    """Labels of images to calibrate with, if each class has enough of them.

    Raises:
        ValueError: a class has too few.
    """
    _, counts = labels.unique(return_counts=True)
    if int(counts.min()) < _LEAST:
        raise ValueError(
            f"a class has {int(counts.min())} images to calibrate with, and a guard by class needs {_LEAST} of each: "
            "calibrate without --by-class"
        )
    return labels
