import pytest
import torch

from groundglass.data import Dataset, ImageSet


def image_set(n: int = 5, classes: tuple[str, ...] = ("a", "b", "c")) -> ImageSet:
    images = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet("toy", "train", images, torch.arange(n) % len(classes), classes)


def test_floats_are_bytes_over_255_exactly():
    images = torch.arange(256, dtype=torch.uint8).repeat(12).reshape(1, 3, 32, 32)
    floats = ImageSet("toy", "test", images, torch.tensor([0]), ("a",)).floats()
    assert floats.dtype == torch.float32
    assert floats.shape == (1, 3, 32, 32)
    assert floats.min() == 0
    assert floats.max() == 1
    assert torch.equal((floats.double() * 255).round().to(torch.uint8), images)


def test_floats_takes_an_index_or_a_slice():
    images = image_set()
    index = torch.tensor([4, 0, 4])
    assert torch.equal(images.floats(index), images.floats()[index])
    assert torch.equal(images.floats(slice(1, 3)), images.floats()[1:3])
    before = images.images.clone()
    images.floats().zero_()
    images.floats(slice(0, 2)).zero_()
    assert torch.equal(images.images, before), "the bytes are left alone"


def test_head():
    images = image_set()
    head = images.head(2)
    assert len(head) == 2
    assert torch.equal(head.images, images.images[:2])
    assert torch.equal(head.labels, images.labels[:2])
    assert (head.name, head.split, head.classes) == (images.name, images.split, images.classes)
    assert len(images.head(5)) == 5
    for n in (-1, 6):
        with pytest.raises(ValueError, match=r"must be in 0\.\.5"):
            images.head(n)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": torch.zeros(2, 3, 32, 32)}, TypeError, "must be uint8"),
        ({"images": torch.zeros(2, 32, 32, 3, dtype=torch.uint8)}, ValueError, r"shape \[n, 3, 32, 32\]"),
        ({"images": torch.zeros(3, 3, 32, 32, dtype=torch.uint8)}, ValueError, "labels must have shape"),
        ({"labels": torch.tensor([0, 2])}, ValueError, r"labels must be in 0\.\.1"),
        ({"labels": torch.tensor([0, -1])}, ValueError, r"labels must be in 0\.\.1"),
        ({"labels": torch.tensor([0.0, 1.0])}, ValueError, "labels must be integers"),
        ({"labels": torch.tensor([0, 1], dtype=torch.int32)}, TypeError, "labels must be int64"),
    ],
)
def test_bad_sets_are_refused(change, error, message):
    fields = {
        "name": "toy",
        "split": "test",
        "images": torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        "labels": torch.tensor([0, 1]),
        "classes": ("a", "b"),
    }
    ImageSet(**fields)
    with pytest.raises(error, match=message):
        ImageSet(**(fields | change))


def test_dataset_takes_its_classes_from_both_splits():
    half = (0.5, 0.5, 0.5)
    data = Dataset("toy", image_set(), image_set(3), mean=half, std=half)
    assert data.classes == ("a", "b", "c")
    assert data.num_classes == 3
    assert data.augment is None
    with pytest.raises(ValueError, match="same classes"):
        Dataset("toy", image_set(), image_set(3, ("a", "b", "d")), mean=half, std=half)
