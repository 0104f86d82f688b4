"""Transferred attacks as the report reads them: the curve, and what is refused."""

from typing import Any

import pytest

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report.transfers import Common, Crafted, Transferred, transfer_curves
from tests.old_report import synthetic_transfers as made_up
from tests.old_report.synthetic_transfers import COMMON, craft, transfer


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        ("craft", {"fooled": COMMON + 1}),
        ("craft", {"rules": []}),
        ("craft", {"gradients": "many"}),
        ("transfer", {"correct": -1}),
        ("transfer", {"correct": COMMON + 1}),
        ("transfer", {"also_fooled": COMMON}),
        ("transfer", {"also_fooled": 0}),
        ("transfer", {"n_images": 0}),
        ("transfer", {"eps": None}),
    ],
)
def test_impossible_records_are_named(make: str, wrong: dict[str, Any]) -> None:
    base = craft("PGD", 0.05)
    record = base[0] if make == "craft" else transfer(base, "VGG-16", 0.3)[0]
    reader: Any = Crafted if make == "craft" else Transferred
    reader.from_record(record)
    for fields in (record.config, record.result):
        fields.update({name: value for name, value in wrong.items() if name in fields})
    with pytest.raises(DamagedFileError, match=rf"{record.key} \(.*PGD at 0.05\)"):
        reader.from_record(record)


@pytest.mark.parametrize("wrong", [{"common": -1}, {"common": 2000}, {"right": [["VGG-16", 3]]}, {"right": None}])
def test_an_impossible_common_set_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(DamagedFileError, match="is no set of common images"):
        Common.from_record(made_up.common(**wrong)[0])


def test_a_radius_tried_twice_counts_by_the_stronger_attempt() -> None:
    weak, strong = craft("PGD", 0.05), craft("PGD", 0.05, seed=1)
    cells = [Transferred.from_record(transfer(one, "VGG-16", s)[0]) for one, s in ((weak, 0.5), (strong, 0.25))]
    for order in (cells, cells[::-1]):
        (curve,) = transfer_curves(order, norm="linf")
        assert curve.series == [(0.0, Proportion(COMMON, COMMON)), (0.025, Proportion(160, COMMON))]
