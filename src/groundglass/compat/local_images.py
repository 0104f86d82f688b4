"""Data sets on this machine, as other libraries hand them out. Nothing is downloaded."""

from pathlib import Path

from torch import Tensor

from groundglass.data import Dataset, data_folder, load


def known(name: str, folder: Path | str | None = None) -> Dataset:
    """A data set: one of `groundglass.data.load`, or "mnist", a file mnist.npz with x_train, y_train, x_test and y_test.

    Args:
        folder: that holds it; if there is no such folder, `GROUNDGLASS_DATA` or the cache.

    Raises:
        ValueError: no such data set.
        FileNotFoundError: it is not on this machine; says which file to put where.
    """
    place = data_folder(folder if folder is not None and Path(folder).is_dir() else None)
    return load(place / "mnist.npz" if name == "mnist" else name, data_dir=place, download=False)


def pictures(name: str, count: int | None = None, folder: Path | str | None = None) -> tuple[Tensor, Tensor]:
    """The first test images, [n, c, h, w] in [0, 1], and their labels; all if no number is given."""
    test = known(name, folder).test
    found = test if count is None else test.first(count)
    return found.floats(), found.labels
