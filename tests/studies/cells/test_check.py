"""Checks that compare image by image: what overlapping intervals hide is seen, and chance is not taken for a difference."""

from pathlib import Path

import pytest

from groundglass.results import RecordStore
from groundglass.studies.black_box import study as black_box
from groundglass.studies.cells.check import Seen, entries
from groundglass.studies.transfer import study as transfer
from tests.runs import RunFolder, right


def seen(folder: RunFolder) -> Seen:
    folder.store.close()
    store = RecordStore.read(folder.folder)
    return Seen.of(store.records, store.arrays)


@pytest.mark.parametrize(("first", "found"), [(0, {"VGG-16, 5.1/255": [0.6, 0.5]}), (45, {})])
def test_white_box_beside_transfer_is_paired(tmp_path: Path, first: int, found) -> None:
    # 60 and 50 of 100: their intervals overlap. Ten images alone differ, all one way; or 55 one way and 45 the other.
    folder = RunFolder(tmp_path / "run", "transfer")
    folder.attack("VGG-16", right(60), eps=0.02, purpose="transfer")
    folder.transfer("VGG-16", right(50, first=first + (first > 0) * 5))
    records = seen(folder)
    assert transfer._weaker_than_transfer(records) == found
    assert transfer._weaker_than_transfer(tuple(records)) == {}, "without arrays two shares are compared"


@pytest.mark.parametrize(("first", "found"), [(0, {"PGD -> VGG-16": 0.1}), (40, {})])
def test_a_rise_with_the_radius_is_paired(tmp_path: Path, first: int, found) -> None:
    folder = RunFolder(tmp_path / "run", "transfer")
    folder.transfer("VGG-16", right(50, first=first))
    folder.transfer("VGG-16", right(60), eps=0.04, eps_paper=0.08)
    assert transfer._rising(seen(folder)) == found


@pytest.mark.parametrize(("fooled", "found"), [(60, {"VGG-16 <- bp": [0.5, 0.6]}), (52, {})])
def test_gradients_beside_queries_are_paired_on_images_that_were_right(tmp_path: Path, fooled: int, found) -> None:
    folder, clean = RunFolder(tmp_path / "run", "black-box"), right(100, 120)
    folder.attack("VGG-16", right(50, 120), clean=clean)
    # Both fool the same 50 images, the queries some more.
    folder.query("VGG-16", "Square", [5 if i >= 100 - fooled else None for i in range(120)], clean=clean)
    assert black_box._weaker_than_queries(seen(folder)) == found


def test_entries_of_records_that_were_seen_have_arrays(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "transfer")
    folder.transfer("VGG-16", right(50))
    records = seen(folder)
    ((with_them,), (without,)) = (entries(some, transfer.TRANSFER) for some in (records, tuple(records)))
    assert with_them.arrays()["correct"].sum() == 50
    assert without.arrays() == {}
