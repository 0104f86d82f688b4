"""On the published files themselves, where GROUNDGLASS_DATA says they are."""

import os
from pathlib import Path

import pytest
import torch

from groundglass.data import load
from groundglass.data.cifar import CIFAR10, CIFAR100

DATA = os.environ.get("GROUNDGLASS_DATA", "")

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA, reason="NOT TESTED ON REAL CIFAR: GROUNDGLASS_DATA is not set"),
]


@pytest.mark.parametrize(
    ("layout", "per_class", "first", "last"),
    [(CIFAR10, (5000, 1000), "airplane", "truck"), (CIFAR100, (500, 100), "apple", "worm")],
    ids=["cifar10", "cifar100"],
)
def test_published_files(layout, per_class, first, last):
    data = load(layout.name, download=False)
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert (data.classes[0], data.classes[-1]) == (first, last)
    for split, count in zip((data.train, data.test), per_class, strict=True):
        assert torch.equal(split.labels.bincount(), torch.full((data.num_classes,), count))
    last_file = (Path(DATA) / layout.folder / layout.test[0]).read_bytes()[-3072:]
    assert bytes(data.test.images[-1].flatten().tolist()) == last_file


def test_cifar100_is_normalised_by_its_own_statistics():
    data = load("cifar100", download=False)
    pixels = data.train.head(10_000).floats().transpose(0, 1).flatten(1)
    assert torch.allclose(pixels.mean(1), torch.tensor(data.mean), atol=0.004)
    assert torch.allclose(pixels.std(1), torch.tensor(data.std), atol=0.004)
