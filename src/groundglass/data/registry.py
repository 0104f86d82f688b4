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
        FileNotFoundError: `data_dir`, or what the variable names, is no folder; the data is not in it and `download` is
            False; one of its files is missing.
        DamagedFileError: a file is truncated or altered.
        DownloadError, DiskFullError: it could not be fetched.
    """
    loaders = {"cifar10": _cifar10, "cifar100": _cifar100, "shapes": _shapes}
    return lookup("data set", name, loaders)(data_dir, download)


def _cifar10(data_dir: Path | str | None, download: bool) -> Dataset:
    train, test = read_cifar(CIFAR10, _find(CIFAR10, data_dir, download))
    half = (0.5, 0.5, 0.5)
    return Dataset("cifar10", train, test, mean=half, std=half)


def _cifar100(data_dir: Path | str | None, download: bool) -> Dataset:
    train, test = read_cifar(CIFAR100, _find(CIFAR100, data_dir, download))
    mean, std = (0.507, 0.486, 0.440), (0.267, 0.256, 0.276)
    return Dataset("cifar100", train, test, mean=mean, std=std, augment=Augment(crop=4, flip=True, rotation=15.0))


def _shapes(data_dir: Path | str | None, download: bool) -> Dataset:
    return load_shapes()


def _find(layout: Layout, named: Path | str | None, download: bool) -> Path:
    data_dir = data_folder(named)
    if data_dir.name == layout.folder and data_dir.is_dir():
        return data_dir  # the folder itself was named, not the one that holds it
    folder = data_dir / layout.folder
    if folder.is_dir():
        return folder
    who = "--data-dir" if named else DATA_VARIABLE if os.environ.get(DATA_VARIABLE) else None
    if who and not data_dir.exists():  # a name that was misspelt is no place for a download
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
