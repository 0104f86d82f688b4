"""Devices of every kind, as cells."""

from dataclasses import replace

from groundglass.optics import Camera
from groundglass.studies.cells.network import DeviceCell
from groundglass.studies.engine.cell import as_json, key_of
from groundglass.studies.engine.context import Context
from tests.studies.tiny import DATA


def test_a_dense_device_is_who_it_was_and_another_kind_is_another():
    dense = DeviceCell(in_features=48, out_features=96, camera=Camera())
    assert set(as_json(dense.config())) == {"in_features", "out_features", "camera"}
    others = [replace(dense, device_kind=kind) for kind in ("procedural", "structured")]
    assert len({key_of(cell) for cell in (dense, *others)}) == 3
    assert [cell.config().device_kind for cell in others] == ["procedural", "structured"]
    assert others[1].name == "device 48 -> 96, structured"


def test_a_studys_procedural_device_is_its_dense_one_and_its_structured_one_is_not(tmp_path):
    found = {}
    for kind in ("dense", "procedural", "structured"):
        cell = DeviceCell(in_features=48, out_features=96, camera=Camera(), device_kind=kind)
        context = Context(tmp_path / kind, dataset=DATA, device_seed=7)
        found[kind] = cell.prepare((), context).fingerprint
        assert context.devices.find(found[kind]).kind == kind
    assert found["dense"] == found["procedural"] != found["structured"]


def test_a_record_says_whether_the_seed_was_given_and_the_key_does_not(tmp_path):
    cell = DeviceCell(in_features=48, out_features=96, camera=Camera())
    for name, seed, public in (("given", 7, True), ("drawn", None, False)):
        context = Context(tmp_path / name, dataset=DATA, device_seed=seed)
        result = cell.prepare((), context)
        assert result.public_seed is public
        assert context.devices.find(result.fingerprint).public is public
