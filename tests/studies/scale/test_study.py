import json
import statistics
from dataclasses import replace
from types import SimpleNamespace

import pytest

from groundglass.optics import DeviceStore
from groundglass.optics.fidelity import STANDINS
from groundglass.results.kinds import ATTACK, COST, FIDELITY, ROWS, TRAIN
from groundglass.studies.cells import cost
from groundglass.studies.cells.cost_probe import probe
from tests.studies.contract import Contract
from tests.studies.tiny import enter, network, scale

pytestmark = pytest.mark.slow

STUDY = "scale"
CONFIG = scale()


def measured_here(command, **_):
    """In place of a process of its own, which tests of the cell start."""
    asked = json.loads(command[-1])
    del asked["threads"]
    return SimpleNamespace(returncode=0, stdout=json.dumps(probe(**asked)))


@pytest.fixture(scope="module")
def world(world):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "subprocess", SimpleNamespace(run=measured_here))
        yield


class TestContract(Contract):
    study, stop_at = STUDY, "VGG-OPU 48x192 <- dfa ("
    refused = (({"per_input": 2}, "per_input"), ({"rows": 97}, "rows"))

    def test_an_interruption_changes_nothing(self, finished, tmp_path, monkeypatch):
        # Costs are times, and no two runs find the same.
        enter(monkeypatch, STUDY, lambda *asked: replace(scale(*asked), costs=()))
        super().test_an_interruption_changes_nothing(finished, tmp_path, monkeypatch)


def test_a_projected_cost_is_that_of_its_block_times_the_blocks_and_says_so(finished):
    found = {e.config.device_kind: e for e in finished.entries(COST)}
    whole, part = found["dense"].result, found["procedural"].result
    assert (whole.projected, part.projected) == (False, True)
    assert whole.one_seconds == statistics.median(whole.one)
    assert whole.held_bytes == 2 * 64 * 64
    assert found["procedural"].config.block == 64
    assert part.one_seconds == pytest.approx(statistics.median(part.one) * 256 / 64)
    assert part.each_seconds == pytest.approx(statistics.median(part.batch) * 4 / 4)
    assert part.held_bytes == 0


def test_the_dense_device_keeps_every_law_and_each_stand_in_fails_some(finished):
    laws = finished.entries(FIDELITY)
    found = {e.config.medium: e.result for e in laws}
    assert found["dense"].holding == found["dense"].of == len(found["dense"].laws)
    assert set(found) == {"dense", "structured", *STANDINS}
    # At so small a size two of the stand-ins are nearly right; the real matrix and H D never are.
    assert all(found[name].holding < found[name].of - 5 for name in ("real matrix", "H D"))
    assert {(e.config.in_features, e.config.out_features) for e in laws} == {CONFIG.laws, CONFIG.padded}


def test_networks_of_one_n_share_their_features_and_name_their_device(finished):
    trained = {e.name: e for e in finished.entries(TRAIN)}
    ours = {name: e for name, e in trained.items() if name.startswith("VGG-OPU")}
    assert set(ours) == {"VGG-OPU 48x96", "VGG-OPU 48x192", "VGG-OPU 48x96 structured"}
    store = DeviceStore(finished.folder / "devices")
    for name, entry in ours.items():
        assert trained["VGG-DFA N=48"].key in entry.inputs
        noted = entry.result.device
        assert noted.kind == store.find(noted.fingerprint).kind == ("structured" if "structured" in name else "dense")
        assert network(finished.folder, name).device.fingerprint == noted.fingerprint
        assert entry.result.clean_accuracy > 0.5


def test_rules_that_hold_a_matrix_attack_where_it_fits(finished):
    rules = {}
    for entry in finished.entries(ATTACK):
        rules.setdefault(entry.config.model, set()).add(entry.config.rule)
    small = set(CONFIG.rules)
    assert rules == {
        "VGG-16": {"bp"},
        "VGG-OPU 48x96": small,
        "VGG-OPU 48x96 structured": small,
        "VGG-OPU 48x192": small - {"bpda-drawn", "exact"},
    }


def test_rows_are_retrieved_on_either_kind(finished):
    found = {(e.config.device_kind, e.config.in_features): e for e in finished.entries(ROWS)}
    assert set(found) == {("dense", 48), ("dense", 80), ("structured", 48)}
    for (_, n), entry in found.items():
        result = entry.result
        assert (result.rows, result.frames) == (16, 12 * n)
        assert result.median_error < 0.1
        assert result.row_seconds == pytest.approx(result.compute_seconds / 16)
        assert result.failed == int((entry.arrays()["error"] > 0.1).sum())
