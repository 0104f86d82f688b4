"""CIFAR-10 and CIFAR-100 from the binary layout that their authors publish.

A file is a row of records: one label byte (CIFAR-10) or two (CIFAR-100: coarse, then fine), then 3072 pixel bytes,
red then green then blue, each row by row. Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from groundglass.core import DamagedFileError
from groundglass.core.untrusted import check_file
from groundglass.data.dataset import CHANNELS, SIZE, ImageSet

PIXEL_BYTES = CHANNELS * SIZE * SIZE


@dataclass(frozen=True)
class Layout:
    """Where a published data set keeps what, and what its files must look like.

    Attributes:
        folder: that the archive unpacks to.
        archive, md5: the published archive's file name and checksum.
        train, test: the binary files of each split, in order.
        records: images in one training file, and in one test file.
        label_classes: how many classes each label byte of a record counts; the last byte is the one that is used.
        names: the text file with the names of the classes, one a line.
    """

    name: str
    folder: str
    archive: str
    md5: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    records: tuple[int, int]
    label_classes: tuple[int, ...]
    names: str

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are read."""
        return (*self.train, *self.test, self.names)


CIFAR10 = Layout(
    name="cifar10",
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    train=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    test=("test_batch.bin",),
    records=(10_000, 10_000),
    label_classes=(10,),
    names="batches.meta.txt",
)
CIFAR100 = Layout(
    name="cifar100",
    folder="cifar-100-binary",
    archive="cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    train=("train.bin",),
    test=("test.bin",),
    records=(50_000, 10_000),
    label_classes=(20, 100),
    names="fine_label_names.txt",
)


def read_cifar(layout: Layout, folder: Path) -> tuple[ImageSet, ImageSet]:
    """The training and the test split, pixels bit for bit as they are on disk, in the files' order.

    Sizes and labels of all files are checked; the order of the images is not.

    Args:
        folder: the folder with the binary files.

    Raises:
        FileNotFoundError: one of the files is missing.
        DamagedFileError: a file is truncated, too long, or holds a label that is not a class.
    """
    missing = [name for name in layout.files if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} is incomplete: {', '.join(missing)} missing. {_repair(layout, folder)}")
    # All sizes first: a bad last file is known at once, not after reading the others.
    for names, records in ((layout.train, layout.records[0]), (layout.test, layout.records[1])):
        for name in names:
            _check_size(layout, folder / name, records)
    classes = _class_names(layout, folder)
    return (
        _split(layout, folder, "train", layout.train, classes),
        _split(layout, folder, "test", layout.test, classes),
    )


def _split(layout: Layout, folder: Path, split: str, names: tuple[str, ...], classes: tuple[str, ...]) -> ImageSet:
    parts = [_read_file(layout, folder / name) for name in names]
    # One copy into place: the label bytes lie between the images, so a view would not be contiguous.
    images = np.concatenate([part[:, -PIXEL_BYTES:] for part in parts]).reshape(-1, CHANNELS, SIZE, SIZE)
    labels = np.concatenate([part[:, -PIXEL_BYTES - 1] for part in parts]).astype(np.int64)
    return ImageSet(layout.name, split, torch.from_numpy(images), torch.from_numpy(labels), classes)


def _record_bytes(layout: Layout) -> int:
    return len(layout.label_classes) + PIXEL_BYTES


def _check_size(layout: Layout, path: Path, records: int) -> None:
    expected, actual = records * _record_bytes(layout), path.stat().st_size
    if actual != expected:
        how = "truncated" if actual < expected else "altered"
        raise DamagedFileError(
            f"{path} is {how}: it has {actual:,} bytes and must have {expected:,} "
            f"({records:,} records of {_record_bytes(layout):,}). {_repair(layout, path.parent)}"
        )


def _read_file(layout: Layout, path: Path) -> NDArray[np.uint8]:
    """The records of a file, uint8 [n, record], labels checked."""
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, _record_bytes(layout))
    for byte, classes in enumerate(layout.label_classes):
        wrong = np.flatnonzero(records[:, byte] >= classes)
        if len(wrong):
            raise DamagedFileError(
                f"{path} is altered: {len(wrong):,} of its {len(records):,} labels are not in 0..{classes - 1} "
                f"(the first is {records[wrong[0], byte]}, in record {wrong[0]}). {_repair(layout, path.parent)}"
            )
    return records


def _class_names(layout: Layout, folder: Path) -> tuple[str, ...]:
    path, expected = folder / layout.names, layout.label_classes[-1]
    check_file(path, most=2**16)
    names = tuple(path.read_text(encoding="utf-8", errors="replace").split())
    if len(names) != expected:
        raise DamagedFileError(
            f"{path} is damaged: it has {len(names)} names of classes and must have {expected}. "
            f"{_repair(layout, folder)}"
        )
    return names


def _repair(layout: Layout, folder: Path) -> str:
    return (
        f"Remove {folder} and run again to have it downloaded, "
        f"or unpack {layout.archive} (md5 {layout.md5}) there once more"
    )
