import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from groundglass.data import Augment


def noise(n: int, height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(1))


def spot(x: float, y: float, *, height: int = 32, width: int = 32) -> torch.Tensor:
    """One image with a soft spot at (x, y) pixels from the centre."""
    across = torch.arange(width) + 0.5 - width / 2 - x
    down = torch.arange(height) + 0.5 - height / 2 - y
    return torch.exp(-(across[None, :] ** 2 + down[:, None] ** 2) / 4).expand(1, 1, height, width)


def centroids(images: torch.Tensor) -> np.ndarray:
    """Where the brightness of each image lies, pixels from the centre: x, y."""
    mass = images[:, 0].double()
    height, width = mass.shape[1:]
    total = mass.sum((1, 2))
    x = (mass.sum(1) * (torch.arange(width) + 0.5 - width / 2)).sum(1) / total
    y = (mass.sum(2) * (torch.arange(height) + 0.5 - height / 2)).sum(1) / total
    return torch.stack([x, y], 1).numpy()


def test_without_rotation_it_is_pad_crop_and_flip_bit_for_bit():
    count = 800
    image = noise(1)
    out = Augment(crop=2, rotation=0)(image.expand(count, -1, -1, -1), torch.arange(count), seed=0, epoch=0)
    padded = functional.pad(image[0], (2, 2, 2, 2))
    seen = {}
    for row in range(5):
        for column in range(5):
            window = padded[:, row : row + 32, column : column + 32]
            for flipped in (False, True):
                same = (out == (window.flip(-1) if flipped else window)).flatten(1).all(1)
                seen[row, column, flipped] = int(same.sum())
    assert sum(seen.values()) == count, "every output is one of the 50 windows"
    assert min(seen.values()) > 0, "and every window is drawn"
    assert max(seen.values()) < 3 * count / 50
    assert abs(sum(n for key, n in seen.items() if key[2]) / count - 0.5) < 0.08


def test_nothing_asked_nothing_done():
    images = noise(3)
    assert torch.equal(Augment(crop=0, flip=False, rotation=0)(images, torch.arange(3), seed=0, epoch=0), images)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 48)])
def test_rotation_turns_by_angles_up_to_its_limit(height, width):
    count, radius = 600, 9.0
    image = spot(radius, 0, height=height, width=width).expand(count, -1, -1, -1)
    out = Augment(crop=0, flip=False, rotation=15)(image, torch.arange(count), seed=0, epoch=0)
    x, y = centroids(out).T
    assert np.abs(np.hypot(x, y) - radius).max() < 0.05, "about the centre, without a change of scale"
    degrees = np.degrees(np.arctan2(y, x))
    assert 14 < np.abs(degrees).max() < 15.1
    assert abs(degrees.mean()) < 1.2
    assert abs(degrees.std() - 15 / math.sqrt(3)) < 0.7


def test_flip_mirrors_left_and_right_only():
    out = Augment(crop=0, rotation=0)(spot(6, 3).expand(50, -1, -1, -1), torch.arange(50), seed=0, epoch=0)
    x, y = centroids(out).T
    assert np.abs(np.abs(x) - 6).max() < 1e-3
    assert (x > 0).any()
    assert (x < 0).any()
    assert np.abs(y - 3).max() < 1e-3


def test_an_image_comes_out_the_same_in_any_batch():
    images, augment = noise(40), Augment()
    whole = augment(images, torch.arange(40), seed=3, epoch=7)
    index = torch.tensor([39, 2, 17, 2])
    assert torch.equal(augment(images[index], index, seed=3, epoch=7), whole[index])
    assert torch.equal(augment(images[5:6], torch.tensor([5]), seed=3, epoch=7), whole[5:6])


def test_seed_epoch_and_index_each_change_the_draws():
    image, augment = noise(1), Augment()

    def draw(index, seed, epoch):
        return augment(image, torch.tensor([index]), seed=seed, epoch=epoch)

    outputs = [draw(0, 0, 0), draw(1, 0, 0), draw(0, 1, 0), draw(0, 0, 1)]
    for i in range(4):
        for j in range(i):
            assert not torch.equal(outputs[i], outputs[j])


def test_white_stays_within_the_range_and_black_comes_in_at_the_border():
    white = torch.ones(200, 3, 32, 32)
    out = Augment()(white, torch.arange(200), seed=0, epoch=0)
    assert out.min() == 0
    assert out.max() == 1
    assert out[:, :, 10:22, 10:22].min() > 0.9999
    assert torch.equal(white, torch.ones_like(white)), "the input is left alone"


@pytest.mark.parametrize("bad", [{"crop": -1}, {"crop": 1.5}, {"rotation": -1}, {"rotation": 181}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Augment(**bad)


@pytest.mark.parametrize("index", [torch.arange(3), torch.zeros(2, 1, dtype=torch.int64), torch.tensor([0.0, 1.0])])
def test_a_bad_index_is_refused(index):
    with pytest.raises(ValueError, match="index"):
        Augment()(noise(2), index, seed=0, epoch=0)
