import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundglass.data import Augment, ImageSet, batches


def image_set(n: int) -> ImageSet:
    images = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet("toy", "train", images, torch.arange(n) % 7, tuple("abcdefg"))


def order(images, **options):
    return torch.cat([batch.index for batch in batches(images, **options)])


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 40), size=st.integers(1, 50), epoch=st.integers(0, 5), shuffle=st.booleans())
def test_every_image_comes_once_with_its_label(n, size, epoch, shuffle):
    images = image_set(n)
    parts = list(batches(images, batch_size=size, seed=1, epoch=epoch, shuffle=shuffle))
    assert [len(part) for part in parts] == [size] * (n // size) + [n % size] * (n % size > 0)
    for part in parts:
        assert torch.equal(part.images, images.floats(part.index))
        assert torch.equal(part.labels, images.labels[part.index])
    assert sorted(i for part in parts for i in part.index.tolist()) == list(range(n))


def test_order_is_set_by_seed_and_epoch_alone():
    images = image_set(100)
    first = order(images, batch_size=8, seed=3, epoch=2)
    assert torch.equal(first, order(images, batch_size=33, seed=3, epoch=2))
    assert not torch.equal(first, order(images, batch_size=8, seed=3, epoch=3))
    assert not torch.equal(first, order(images, batch_size=8, seed=4, epoch=2))
    assert not torch.equal(first, torch.arange(100))
    assert torch.equal(order(images, batch_size=8, seed=3, epoch=2, shuffle=False), torch.arange(100))


def test_augmentation_is_of_the_image_not_of_the_batch():
    images, augment = image_set(30), Augment()
    small = list(batches(images, batch_size=4, seed=5, epoch=1, augment=augment))
    whole = next(batches(images, batch_size=30, seed=5, epoch=1, augment=augment, shuffle=False))
    for batch in small:
        assert torch.equal(batch.images, whole.images[batch.index])
    assert not torch.equal(whole.images, images.floats())
    later = next(batches(images, batch_size=30, seed=5, epoch=2, augment=augment, shuffle=False))
    assert not torch.equal(later.images, whole.images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": -4}, "batch_size"),
        ({"epoch": -1}, "epoch"),
        ({"start": -1}, "start"),
    ],
)
def test_bad_sizes_are_refused_at_the_call(options, message):
    with pytest.raises(ValueError, match=message):
        batches(image_set(3), **({"batch_size": 2, "seed": 0, "epoch": 0} | options))


def test_a_start_gives_the_rest_of_the_epoch_and_makes_nothing_before_it(monkeypatch):
    images, options = image_set(30), {"batch_size": 4, "seed": 5, "epoch": 1, "augment": Augment()}
    whole = list(batches(images, **options))
    made = []
    floats = ImageSet.floats
    monkeypatch.setattr(ImageSet, "floats", lambda self, index=None: made.append(len(index)) or floats(self, index))
    for start in (0, 1, 7, 8, 9):
        made.clear()
        rest = list(batches(images, **options, start=start))
        assert len(rest) == len(made) == max(0, 8 - start)
        for a, b in zip(rest, whole[start:], strict=True):
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.index, b.index)
