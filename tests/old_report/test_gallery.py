"""Pictures on the page are the pictures in the records."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from groundglass.old_report.drawing import Folder
from groundglass.old_report.gallery import GallerySection, Wall, amplification, png_uri
from groundglass.old_report.study import Study
from groundglass.results.records import RecordStore
from tests.old_report import synthetic_study


def decoded(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    picture: np.ndarray = imread(io.BytesIO(base64.b64decode(data)), format="png")
    return picture.transpose(2, 0, 1)


def test_a_picture_comes_back_to_the_byte() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 7)) / 255
    assert np.rint(255 * decoded(png_uri(image))) == pytest.approx(np.rint(255 * image))
    assert decoded(png_uri(np.full((3, 2, 2), 1.7))).min() == 1


@pytest.mark.parametrize(
    ("largest", "factor"), [(0.025, 20), (8 / 255, 15), (0.5, 1), (0.9, 1), (0.0, 100), (0.1, 5), (0.00001, 100)]
)
def test_the_change_fills_the_grey_scale_and_never_clips(largest: float, factor: int) -> None:
    assert amplification(largest) == factor
    assert factor == 1 or factor * largest <= 0.5 + 1e-6


def walls(folder: Path, **extra: np.ndarray) -> tuple[dict[str, np.ndarray], list[Wall]]:
    record, arrays = synthetic_study.attack("VGG-OPU", "dfa", eps=0.025, eps_paper=0.05, accuracy=0.4, gallery=4)
    arrays |= extra
    with RecordStore.open(folder, synthetic_study.manifest()) as store:
        store.add(record, arrays)
        other = synthetic_study.attack("VGG-OPU", "fa", eps=0.025, accuracy=0.4)
        store.add(*other)
    section = GallerySection().render(Study(RecordStore.read(folder), Folder(folder)))
    assert section is not None
    return arrays, section.context["walls"]


def test_pictures_predictions_and_factor(tmp_path: Path) -> None:
    arrays, (wall,) = walls(tmp_path)
    assert wall.factor == 20
    assert wall.title == "VGG-OPU ← DFA, PGD, L∞ ε = 6.38/255"
    assert len(wall.pictures) == 4
    for i, picture in enumerate(wall.pictures):
        before, after = decoded(picture.original), decoded(picture.adversarial)
        assert before == pytest.approx(arrays["original"][i], abs=0.5 / 255 + 1e-6)
        assert after == pytest.approx(arrays["adversarial"][i], abs=0.5 / 255 + 1e-6)
        change = 0.5 + 20 * (arrays["adversarial"][i] - arrays["original"][i])
        assert decoded(picture.perturbation) == pytest.approx(change, abs=0.5 / 255 + 1e-5)
        assert picture.label == synthetic_study.CLASSES[arrays["label"][i]]
        assert picture.after == synthetic_study.CLASSES[arrays["prediction"][i]]
        expected = (
            "wrong before" if not arrays["clean_correct"][i] else "fooled" if arrays["success"][i] else "withstood"
        )
        assert picture.outcome == expected
    assert {p.outcome for p in wall.pictures} > {"fooled"}


def test_a_record_may_say_which_images_it_shows(tmp_path: Path) -> None:
    rows = np.array([11, 3, 500, 7])
    arrays, (wall,) = walls(tmp_path, gallery=rows)
    assert [p.after for p in wall.pictures] == [synthetic_study.CLASSES[i] for i in arrays["prediction"][rows]]
