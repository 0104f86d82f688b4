"""Data sets by name."""

import os
from pathlib import Path

from groundglass.core import lookup
from groundglass.data.augment import Augment
from groundglass.data.cifar import CIFAR10, CIFAR100, Layout, read_cifar
from groundglass.data.dataset import Dataset
from groundglass.data.download import fetch
from groundglass.data.shapes import load_shapes

DATA_VARIABLE = "GROUNDGLASS_DATA"


def data_folder(data_dir: Path | str | None = None) -> Path:
    """The folder where data sets lie: `data_dir`, else GROUNDGLASS_DATA, else the user's cache."""
    chosen = data_dir or os.environ.get(DATA_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import pooch  # late: it costs an import that a named folder does not need

    return Path(pooch.os_cache("groundglass"))


def load(name: str, *, data_dir: Path | str | None = None, download: bool = True) -> Dataset:
    """A data set with the paper's normalisation and augmentation.

    Args:
        name: "cifar10", "cifar100", or "shapes" (made on the spot, needs no folder).
        data_dir: the folder that holds `cifar-10-batches-bin` and `cifar-100-binary`; see `data_folder`.
        download: fetch what is not there (170 MB); False refuses instead.

    Raises:
        ValueError: no such data set; the nearest name is offered.
        FileNotFoundError: `data_dir`, or what the variable names, is not a folder; the data is not in it and `download` is
            False; one of its files is missing.
        DamagedFileError: a file is truncated or altered.
        DownloadError, DiskFullError: it could not be fetched.
    """
    lookup("data set", name, dict.fromkeys(("cifar10", "cifar100", "shapes")))
    if name == "shapes":
        return load_shapes()
    layout = CIFAR10 if name == "cifar10" else CIFAR100
    train, test = read_cifar(layout, _find(layout, data_dir, download))
    if name == "cifar10":
        half = (0.5, 0.5, 0.5)
        return Dataset(name, train, test, mean=half, std=half)
    mean, std = (0.507, 0.486, 0.440), (0.267, 0.256, 0.276)
    return Dataset(name, train, test, mean=mean, std=std, augment=Augment(crop=4, flip=True, rotation=15.0))


def _find(layout: Layout, named: Path | str | None, download: bool) -> Path:
    data_dir = data_folder(named)
    if data_dir.name == layout.folder and data_dir.is_dir():
        return data_dir  # the folder itself was given, not the one that holds it
    folder = data_dir / layout.folder
    if folder.is_dir():
        return folder
    who = "--data-dir" if named else DATA_VARIABLE if os.environ.get(DATA_VARIABLE) else None
    if who and not data_dir.exists():  # probably misspelt: do not download into it
        raise FileNotFoundError(
            f"there is no folder {data_dir}, which {who} names: correct the name; or make the folder, and {layout.name} "
            "is downloaded into it"
        )
    if not download:
        raise FileNotFoundError(
            f"{layout.name} is not in {data_dir}: there is no folder {layout.folder}/ with {layout.files[0]} and the "
            f"others. Name the folder that holds it by --data-dir or {DATA_VARIABLE}, or allow the download"
        )
    return fetch(layout, data_dir)
