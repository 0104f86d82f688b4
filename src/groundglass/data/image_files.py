"""Files and folders of images, which may come from a stranger: arrays of .npz, and folders with a folder for each class."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from groundglass.core import DamagedFileError
from groundglass.core.arrays import read_npz
from groundglass.core.imported import library
from groundglass.core.untrusted import check_file, damaged, read_bytes
from groundglass.data.dataset import ImageSet
from groundglass.data.items import image_of, images_of, is_deep, is_grey, unpacked
from groundglass.data.sources import IndexedImages, in_memory

#: The one split of a file or folder that does not name its splits.
WHOLE = ""

_ARRAYS = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train"), ("X_train", "y_train")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test"), ("X_test", "y_test")),
    WHOLE: (("images", "labels"),),
}
_FOLDERS = {"train": ("train", "training"), "test": ("test", "testing", "val", "valid", "validation")}
_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")
_MOST_BYTES, _MOST_PIXELS = 2**28, 2**26


def read_sets(path: Path) -> dict[str, ImageSet | IndexedImages]:
    """The splits in a file or folder: "train" and "test", or `WHOLE` alone.

    An .npz has `images` and `labels`, or both of `train_images`, `train_labels` and `test_images`, `test_labels` (or `x_train`,
    `y_train`, `x_test`, `y_test`), and may have the names of the `classes`. A folder has a folder of pictures for each class, or
    such folders in `train` and `test`.

    Raises:
        FileNotFoundError: nothing is there.
        DamagedFileError: damaged, altered, or made to fill the memory.
        ValueError: no images, or none that can be used; says what to do.
        ImportError: pictures, and no Pillow.
    """
    if path.is_dir():
        return _folders(path)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no file or folder {path}: give an .npz with images and labels, or a folder with a folder of pictures for "
            "each class"
        )
    found = _npz(path)
    return dict(found)


def _npz(path: Path) -> dict[str, ImageSet]:
    known = {name for pairs in _ARRAYS.values() for pair in pairs for name in pair}
    arrays = read_npz(path, str(path), "write it again with numpy.savez", known | {"classes"})
    found = {}
    for split, pairs in _ARRAYS.items():
        for images, labels in pairs:
            if images in arrays and labels in arrays:
                found[split] = _set(path, split, arrays[images], arrays[labels], arrays.get("classes"))
                break
    if len(found) > 1:
        found.pop(WHOLE, None)
    if not found or found.keys() == {"train"}:
        missing = [name for name in ("images", "labels") if name not in arrays]
        raise ValueError(
            f"{path} has no {' and no '.join(missing)}: numpy.savez({path.name!r}, images=..., labels=...), or train_images, "
            "train_labels, test_images and test_labels"
        )
    return found


def _set(path: Path, split: str, images: np.ndarray, labels: np.ndarray, names: np.ndarray | None) -> ImageSet:
    classes = () if names is None or names.ndim != 1 else tuple(map(str, names.tolist()))
    try:
        if images.dtype.kind != "f" and images.dtype != np.uint8:
            raise ValueError(f"images must be floats in [0, 1] or uint8 in 0..255, not {images.dtype}")
        if images.ndim not in (3, 4):
            raise ValueError(f"images must be NCHW [n, channels, height, width], not shape {images.shape}")
        if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2):
            raise ValueError(f"labels must be integers, one an image, not {labels.dtype} of shape {labels.shape}")
        if labels.size and int(labels.max()) >= 2**31:
            raise ValueError(f"labels must be in 0..classes - 1, not up to {int(labels.max())}")
        return in_memory(images_of(images), labels, name=path.name, split=split or "given", classes=classes)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _folders(folder: Path) -> dict[str, ImageSet | IndexedImages]:
    inside = {each.name: each for each in sorted(folder.iterdir()) if each.is_dir() and not each.name.startswith(".")}
    splits = {split: [inside[name] for name in names if name in inside] for split, names in _FOLDERS.items()}
    if not splits["train"]:
        return {WHOLE: _indexed(folder, folder.name, "given")}
    if len(splits["test"]) != 1:
        raise ValueError(
            f"{folder} has {splits['train'][0].name}/ and {len(splits['test'])} folders of test images: have one, test/, or give "
            "the folder of the classes alone"
        )
    train = _indexed(splits["train"][0], folder.name, "train")
    return {"train": train, "test": _indexed(splits["test"][0], folder.name, "test", train.classes)}


def _indexed(folder: Path, name: str, split: str, classes: tuple[str, ...] | None = None) -> IndexedImages:
    found = PictureFolder(folder, classes)
    return IndexedImages(found, name=name, split=split, classes=found.classes)


class PictureFolder:
    """Pictures in a folder for each class, by their number: classes and files in the order of their names.

    All must be of one size. They are colour, unless all are grey.

    Args:
        classes: those of the training pictures; None: the names of the folders.

    Raises:
        ValueError: no pictures, of several sizes, or of a class that `classes` does not have.
        DamagedFileError: one is damaged.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...] | None = None) -> None:
        named = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
        self.classes = tuple(named) if classes is None else classes
        more = [name for name in named if name not in self.classes]
        if more:
            raise ValueError(f"{folder} has the class {more[0]!r}, of which there are no training pictures")
        self._files = [
            (path, label)
            for label, name in enumerate(self.classes)
            if (folder / name).is_dir()
            for path in sorted((folder / name).iterdir())
            if path.suffix.lower() in _ENDINGS
        ]
        if len(named) < 2 or not self._files:
            raise ValueError(
                f"{folder} must have a folder of pictures for each class, two or more ({', '.join(_ENDINGS)}); it has "
                f"{len(named)} folders and {len(self._files)} pictures in them"
            )
        self._size: tuple[int, int] | None = None
        grey = [self._is_grey(path) for path, _ in self._files]
        self._grey = all(grey)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        path, label = self._files[place]
        data = io.BytesIO(read_bytes(path, most=_MOST_BYTES))
        with _opened(path, data) as picture:
            found = image_of(unpacked(picture))
        if self._grey or len(found) == 3:
            return found, label
        return found.expand(3, -1, -1), label

    def _is_grey(self, path: Path) -> bool:
        if not path.exists():
            raise FileNotFoundError(f"the picture {path} is a link, and what it links to is not there: remove it")
        check_file(path, most=_MOST_BYTES)
        with _opened(path, path) as picture:
            size, grey, deep = picture.size, is_grey(picture), is_deep(picture)
        if deep:
            raise ValueError(
                f"the picture {path} has more than 8 bits a pixel: write it with 8, or give an .npz of floats"
            )
        if size[0] * size[1] > _MOST_PIXELS:
            raise DamagedFileError(f"the picture {path} has {size[0]:,} x {size[1]:,} pixels: give smaller ones")
        if self._size is None:
            self._size = size
        if size != self._size:
            (a, b), (c, d) = self._size, size
            raise ValueError(
                f"pictures must be of one size, and {path} has {c} x {d} pixels, others {a} x {b}: resize them"
            )
        return grey


def _pillow() -> Any:
    return library("PIL.Image", "reading pictures")


@contextmanager
def _opened(path: Path, data: Any) -> Iterator[Any]:
    """A picture whose pixels are not unpacked yet; what is wrong with it is blamed on the file."""
    pillow = _pillow()
    with (
        damaged(f"the picture {path}", "write it again, or remove it", pillow.DecompressionBombError),
        pillow.open(data, formats=_FORMATS) as picture,
    ):
        yield picture
