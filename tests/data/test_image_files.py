"""Files and folders of images: what their layouts mean, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from groundglass.core import DamagedFileError
from groundglass.data import given, load
from groundglass.data.image_files import WHOLE, PictureFolder, read_sets

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 6, 5), dtype=np.uint8)
LABELS = np.arange(30) % 3


def folder(place: Path, *, mode: str = "L", classes: str = "abc", count: int = 30) -> Path:
    for k in range(count):
        (inside := place / classes[k % len(classes)]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[k]).convert(mode).save(inside / f"{k:02}.png")
    (place / ".hidden").mkdir()
    (place / "notes.txt").write_text("not a picture")
    return place


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_a_folder_has_its_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = PictureFolder(folder(tmp_path / "x"))
    assert found.classes == ("a", "b", "c")
    assert [found[k][1] for k in range(30)] == sorted(LABELS.tolist())
    assert np.array_equal(found[1][0].numpy(), PIXELS[None, 3])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "CMYK"])
def test_pictures_are_colour_unless_all_are_grey(mode: str, tmp_path: Path) -> None:
    if mode == "CMYK":
        folder(tmp_path / "x")
        Image.fromarray(PIXELS[0]).convert("CMYK").save(tmp_path / "x" / "a" / "00.tif")
    else:
        folder(tmp_path / "x", mode=mode)
    found = PictureFolder(tmp_path / "x")
    assert {found[k][0].shape[0] for k in range(len(found))} == {1 if mode == "1" else 3}


@pytest.mark.parametrize(
    "names",
    [("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test")],
)
def test_splits_by_their_usual_names(names: tuple[str, ...], tmp_path: Path) -> None:
    values = PIXELS[:20], LABELS[:20, None], PIXELS[20:], LABELS[20:, None].astype(np.uint8)
    data = load(npz(tmp_path / "mine.npz", **dict(zip(names, values, strict=True)), other=np.zeros(3)))
    assert (len(data.train), len(data.test), data.num_classes, data.size) == (20, 10, 3, (6, 5))
    assert np.array_equal(data.test.images.numpy(), PIXELS[20:, None])
    assert data.test.labels.tolist() == LABELS[20:].tolist()
    assert (data.mean, data.std, data.augment) == ((0.5,), (0.5,), None)
    with pytest.raises(ValueError, match=r"load\(.*mine.npz'\).train"):
        given(tmp_path / "mine.npz")


def test_a_folder_with_splits(tmp_path: Path) -> None:
    folder(tmp_path / "x" / "train", count=20)
    folder(tmp_path / "x" / "val", classes="ca", count=10)
    data = load(tmp_path / "x")
    assert (len(data.train), len(data.test), data.classes) == (20, 10, ("a", "b", "c"))
    assert sorted(data.test.labels.tolist()) == [0] * 5 + [2] * 5
    assert data.test.labels.tolist() != sorted(data.test.labels.tolist()), (
        "class by class, the first n would be of one class"
    )
    folder(tmp_path / "y" / "train")
    with pytest.raises(ValueError, match="test/"):
        load(tmp_path / "y")
    folder(tmp_path / "y" / "test", classes="ad")
    with pytest.raises(ValueError, match="class 'd'"):
        load(tmp_path / "y")


def test_without_splits_a_fifth_is_held_out_always_the_same(tmp_path: Path) -> None:
    one, two = (load(npz(tmp_path / f"{name}.npz", images=PIXELS, labels=LABELS)) for name in ("a", "b"))
    assert (len(one.train), len(one.test)) == (24, 6)
    assert torch.equal(one.test.images, two.test.images)
    both = torch.cat([one.test.images, one.train.images]).flatten(1)
    assert len(both.unique(dim=0)) == 30
    with pytest.raises(ValueError, match="at least 5"):
        load(npz(tmp_path / "few.npz", images=PIXELS[:4], labels=LABELS[:4]))


def test_a_name_says_what_the_images_are(tmp_path: Path) -> None:
    first = load(npz(tmp_path / "my data.npz", images=PIXELS, labels=LABELS)).name
    assert first.startswith("my-data-")
    assert load(str(tmp_path / "my data.npz")).name == first
    assert load(npz(tmp_path / "my data.npz", images=PIXELS, labels=LABELS[::-1])).name != first
    assert load(npz(tmp_path / "my data.npz", images=255 - PIXELS, labels=LABELS)).name != first
    told = load(npz(tmp_path / "my data.npz", images=PIXELS, labels=LABELS, classes=np.array(["x", "y", "z"])))
    assert told.classes == ("x", "y", "z")
    assert told.name != first


def test_the_first_images_of_each_split_alone(tmp_path: Path) -> None:
    path = npz(tmp_path / "mine.npz", images=PIXELS / 255, labels=LABELS)
    whole, part = load(path), load(f"{path}[:4]")
    assert part.name == f"{whole.name}[:4]"
    assert (len(part.train), len(part.test)) == (4, 4)
    assert torch.equal(part.test.images, whole.test.images[:4])
    assert load(f"{path}[:24]").name == whole.name
    assert load("shapes[:30]").name == "shapes[:30]"
    assert len(load("shapes[:30]").train) == 30
    with pytest.raises(ValueError, match=":0"):
        load(f"{path}[:0]")


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (
            lambda x: Image.fromarray(PIXELS[0, :3]).save(x / "b" / "01.png"),
            ValueError,
            "one size, and .*01.png has 5 x 3",
        ),
        (
            lambda x: Image.fromarray(np.zeros((6, 5), np.uint16)).save(x / "b" / "01.png"),
            ValueError,
            "01.png has more than 8 bits",
        ),
        (lambda x: (x / "b" / "01.png").write_bytes(b"GIF"), DamagedFileError, "01.png is damaged"),
        (
            lambda x: (x / "b" / "01.png").write_bytes((x / "b" / "01.png").read_bytes()[:70]),
            DamagedFileError,
            "01.png",
        ),
    ],
)
def test_pictures_that_cannot_be_used_are_named(spoil, error, said: str, tmp_path: Path) -> None:
    folder(tmp_path / "x")
    spoil(tmp_path / "x")
    with pytest.raises(error, match=said):
        load(tmp_path / "x")


def test_what_is_no_set_of_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="each class"):
        read_sets(tmp_path / "empty")
    with pytest.raises(ValueError, match="no labels"):
        load(npz(tmp_path / "a.npz", images=PIXELS))
    with pytest.raises(ValueError, match=r"a.npz: .*0\.\."):
        load(npz(tmp_path / "a.npz", images=PIXELS, labels=LABELS - 1))
    with pytest.raises(ValueError, match=r"a.npz: .*normalised"):
        load(npz(tmp_path / "a.npz", images=PIXELS / 127.5 - 1, labels=LABELS))
    with pytest.raises(FileNotFoundError, match="gone"):
        load(tmp_path / "gone.npz")
    assert list(read_sets(npz(tmp_path / "b.npz", images=PIXELS, labels=LABELS))) == [WHOLE]
