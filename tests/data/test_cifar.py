import os

import pytest
import torch

from groundglass.core import DamagedFileError
from groundglass.data.cifar import CIFAR10, CIFAR100, read_cifar
from tests.data.conftest import label, pixel, write_layout


def expected_images(layout, names, first_file):
    count = layout.records[1 if names == layout.test else 0]
    where = torch.cartesian_prod(*(torch.arange(k) for k in (len(names), count, 3, 32, 32)))
    file, record, channel, row, column = where.T
    return pixel(file + first_file, record, channel, row, column).to(torch.uint8).reshape(-1, 3, 32, 32)


def test_pixels_labels_and_names_are_those_on_disk(tiny, tmp_path):
    train, test = read_cifar(tiny, write_layout(tiny, tmp_path))
    assert torch.equal(train.images, expected_images(tiny, tiny.train, 0))
    assert torch.equal(test.images, expected_images(tiny, tiny.test, len(tiny.train)))
    classes = tiny.label_classes[-1]
    per_file = range(tiny.records[0])
    assert train.labels.tolist() == [label(f, r, classes) for f in range(len(tiny.train)) for r in per_file]
    assert test.labels.tolist() == [label(len(tiny.train), r, classes) for r in range(tiny.records[1])]
    assert train.classes == test.classes == tuple(f"class_{k}" for k in range(classes))
    assert (train.name, train.split, test.split) == (tiny.name, "train", "test")
    assert train.images.is_contiguous()


def test_the_published_sizes():
    assert [len(CIFAR10.train), *CIFAR10.records] == [5, 10_000, 10_000]
    assert [len(CIFAR100.train), *CIFAR100.records] == [1, 50_000, 10_000]
    assert CIFAR10.md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert CIFAR100.md5 == "03b5dce01913d631647c71ecec9e9cb8"


@pytest.mark.parametrize(("change", "word"), [(-1, "truncated"), (-3073, "truncated"), (+1, "altered")])
def test_a_file_of_another_size_is_refused(tiny, tmp_path, change, word):
    folder = write_layout(tiny, tmp_path)
    for path in (folder / name for name in (*tiny.train, *tiny.test)):
        whole = path.read_bytes()
        os.truncate(path, len(whole) + change)
        sizes = rf"has {len(whole) + change:,} bytes and must have {len(whole):,} .* Remove .*{tiny.archive}"
        with pytest.raises(DamagedFileError, match=rf"{path} is {word}: it {sizes}"):
            read_cifar(tiny, folder)
        path.write_bytes(whole)


def test_every_label_byte_is_checked(tiny, tmp_path):
    folder = write_layout(tiny, tmp_path)
    path = folder / tiny.test[0]
    record = len(tiny.label_classes) + 3072
    for byte, classes in enumerate(tiny.label_classes):
        content = bytearray(path.read_bytes())
        whole = bytes(content)
        content[2 * record + byte] = classes  # the first value that is no class
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=rf"1 of its .* labels are not in 0\.\.{classes - 1}.*in record 2"):
            read_cifar(tiny, folder)
        path.write_bytes(whole)


def test_a_missing_file_is_named(tiny, tmp_path):
    folder = write_layout(tiny, tmp_path)
    (folder / tiny.test[0]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"incomplete: {tiny.test[0]} missing\. Remove"):
        read_cifar(tiny, folder)


def test_the_list_of_names_must_be_whole(tiny, tmp_path):
    folder = write_layout(tiny, tmp_path)
    path = folder / tiny.names
    path.write_text("\n".join(path.read_text().split()[:-1]))
    with pytest.raises(DamagedFileError, match=rf"{tiny.names} is damaged: it has {tiny.label_classes[-1] - 1} names"):
        read_cifar(tiny, folder)
