"""Data sets by name, and those in files and folders of the user's."""

import os
import re
from dataclasses import replace
from pathlib import Path

from groundglass.core import generator, lookup, permutation
from groundglass.core.imported import library
from groundglass.core.settings import Count, fit
from groundglass.data.augment import Augment
from groundglass.data.cifar import CIFAR10, CIFAR100, Layout, read_cifar
from groundglass.data.dataset import Dataset, ImageSet
from groundglass.data.download import fetch
from groundglass.data.given import digest
from groundglass.data.image_files import WHOLE, read_sets
from groundglass.data.shapes import load_shapes
from groundglass.data.sources import IndexedImages

DATA_VARIABLE = "GROUNDGLASS_DATA"
NAMES = ("cifar10", "cifar100", "shapes")
# Of images without a test split so many are held out, drawn once for all: networks of several seeds have the same test images.
_TESTED = 5
_SPLIT_SEED = 0


def data_folder(data_dir: Path | str | None = None) -> Path:
    """The folder where data sets lie: `data_dir`, else GROUNDGLASS_DATA, else the user's cache."""
    chosen = data_dir or os.environ.get(DATA_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return user_cache()


def user_cache() -> Path:
    """The package's folder in the user's cache."""
    # Late: it costs an import that a named folder does not need.
    folders = library("platformdirs", "the user's cache")
    return Path(folders.user_cache_dir("groundglass"))


def load(name: str | Path, *, data_dir: Path | str | None = None, download: bool = True) -> Dataset:
    """A data set: by its name with the paper's normalisation and augmentation, or from a file or folder of the user's.

    Those of the user are normalised to [-1, 1], and not augmented. Their names have a digest of the images and labels, so that
    no work goes on with other images by mistake. Images are of any one size and number of channels. Without a test split a
    fifth of the images is drawn for it, always the same. Those of folders, which come class by class, are shuffled, always in
    the same way.

    Args:
        name: "cifar10", "cifar100", or "shapes" (made on the spot, needs no folder); or a path, see
            `groundglass.data.image_files.read_sets`. Followed by "[:1000]", the first 1,000 images of each split.
        data_dir: the folder that holds `cifar-10-batches-bin` and `cifar-100-binary`; see `data_folder`.
        download: fetch what is not there (170 MB); False refuses instead.

    Raises:
        ValueError: no such data set; the nearest name is offered. Images of the user's that cannot be used.
        FileNotFoundError: `data_dir`, or what the variable names, is not a folder; the data is not in it and `download` is
            False; one of its files is missing.
        DamagedFileError: a file is truncated or altered.
        DownloadError, DiskFullError: it could not be fetched.
    """
    base, most = cut(str(name))
    found = _given(Path(base)) if is_path(base) else _named(base, data_dir, download)
    if most is None or most >= max(len(found.train), len(found.test)):
        return found
    told = f"{found.name}[:{most}]"
    kept = found.first(most)
    return replace(kept, name=told, train=replace(kept.train, name=told), test=replace(kept.test, name=told))


def cut(name: str) -> tuple[str, int | None]:
    """What is in front of "[:1000]", and the number; None without it.

    Raises:
        ValueError: none are to be left.
    """
    found = re.fullmatch(r"(.+)\[:(\d{1,12})\]", name)
    return (name, None) if found is None else (found[1], fit(Count, int(found[2]), name))


def same_images(name: str, other: str) -> bool:
    """Whether two data sets are the same, by the names that `load` gives them, but for "[:1000]". Of images of the user's the
    digest says it: their file may have another name by now."""
    one, two = (cut(each)[0].rpartition("-")[2] for each in (name, other))
    return one == two


def is_path(name: str) -> bool:
    """Whether a data set of this name is the user's, in a file or folder."""
    base = cut(name)[0]
    return base not in NAMES and (base.endswith(".npz") or "/" in base or os.sep in base or Path(base).exists())


def _named(name: str, data_dir: Path | str | None, download: bool) -> Dataset:
    try:
        lookup("data set", name, dict.fromkeys(NAMES))
    except ValueError as error:
        raise ValueError(f"{error} One of your own: the path of an .npz, or of a folder of pictures.") from None
    if name == "shapes":
        return load_shapes()
    layout = CIFAR10 if name == "cifar10" else CIFAR100
    train, test = read_cifar(layout, _find(layout, data_dir, download))
    if name == "cifar10":
        half = (0.5, 0.5, 0.5)
        return Dataset(name, train, test, mean=half, std=half)
    mean, std = (0.507, 0.486, 0.440), (0.267, 0.256, 0.276)
    return Dataset(name, train, test, mean=mean, std=std, augment=Augment(crop=4, flip=True, rotation=15.0))


def _given(path: Path) -> Dataset:
    """The data set of a file or folder, in memory."""
    sets = read_sets(path)
    if WHOLE in sets:
        every = whole(sets[WHOLE], shuffled=True)
        count = len(every) // _TESTED
        if not count:
            raise ValueError(
                f"{path} has {len(every)} images: at least {_TESTED} are needed to hold some out for a test"
            )
        test, train = every.head(count), replace(every, images=every.images[count:], labels=every.labels[count:])
    else:
        train, test = (
            whole(sets[split], shuffled=isinstance(sets[split], IndexedImages)) for split in ("train", "test")
        )
    classes = max(train.classes, test.classes, key=len)  # numbered ones go as far as the labels do
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in path.resolve().stem)[:40]
    train, test = (replace(each, classes=classes) for each in (train, test))
    told = f"{stem}-{digest(train, test)}"
    half = (0.5,) * train.shape[0]
    train, test = replace(train, name=told, split="train"), replace(test, name=told, split="test")
    return Dataset(told, train, test, mean=half, std=half)


def whole(images: ImageSet | IndexedImages, *, shuffled: bool) -> ImageSet:
    """All of them, in memory; shuffled always in the same way."""
    found = images.first(len(images))
    if not shuffled:
        return found
    order = permutation(len(found), generator=generator(_SPLIT_SEED, "split"))
    return replace(found, images=found.images[order], labels=found.labels[order])


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
