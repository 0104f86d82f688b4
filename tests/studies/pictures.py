"""Images that an untrained network tells apart nearly, and a step or two of training teaches."""

import torch

from groundglass.data import Dataset, ImageSet


def pictures(
    name: str,
    *,
    mean: tuple[float, ...] = (0.5,) * 3,
    std: tuple[float, ...] = (0.5,) * 3,
    n_train: int,
    n_test: int,
    classes: int = 10,
) -> Dataset:
    """Ten pictures of big squares, each under noise."""
    return Dataset(
        name, _images(name, "train", n_train, classes), _images(name, "test", n_test, classes), mean=mean, std=std
    )


def _images(name: str, split: str, count: int, classes: int) -> ImageSet:
    squares = torch.rand(classes, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(count)
    labels = torch.randint(0, classes, (count,), generator=g)
    clean = squares.repeat_interleave(8, 2).repeat_interleave(8, 3)
    pixels = 225 * clean[labels] + 12 * torch.rand(count, 3, 32, 32, generator=g)
    return ImageSet(name, split, pixels.to(torch.uint8), labels, tuple("abcdefghij"[:classes]))
