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
        ({"images": torch.zeros(2, 3, 32, 32).double()}, TypeError, "float32"),
        ({"images": torch.full((2, 3, 32, 32), 2.0)}, ValueError, r"in \[0, 1\]"),
        ({"images": torch.zeros(2, 32, 32, 3, dtype=torch.uint8)}, ValueError, r"permute"),
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


def test_floats_are_kept_as_they_are():
    floats = image_set().floats()
    kept = ImageSet("toy", "train", floats.clone(), image_set().labels, ("a", "b", "c"))
    for index in (None, slice(1, 3), torch.tensor([4, 0])):
        assert torch.equal(kept.floats(index), image_set().floats(index))
        kept.floats(index).zero_()
    assert torch.equal(kept.images, floats), "the set is left alone"


def test_images_may_have_any_size_and_number_of_channels():
    for shape in ((1, 28, 28), (4, 5, 9), (1, 1, 1)):
        images = ImageSet("toy", "test", torch.zeros(2, *shape, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"))
        assert images.shape == shape
        data = Dataset("toy", images, images, mean=(0.5,) * shape[0], std=(0.5,) * shape[0])
        assert data.size == shape[1:]
        with pytest.raises(ValueError, match="one value a channel"):
            Dataset("toy", images, images, mean=(0.5,) * 2, std=(0.5,) * 2)
        with pytest.raises(ValueError, match="one size"):
            Dataset("toy", images, image_set(2, ("a", "b")), mean=(0.5,) * shape[0], std=(0.5,) * shape[0])


def test_dataset_takes_its_classes_from_both_splits():
    half = (0.5, 0.5, 0.5)
    data = Dataset("toy", image_set(), image_set(3), mean=half, std=half)
    assert data.classes == ("a", "b", "c")
    assert data.num_classes == 3
    assert data.augment is None
    with pytest.raises(ValueError, match="same classes"):
        Dataset("toy", image_set(), image_set(3, ("a", "b", "d")), mean=half, std=half)
