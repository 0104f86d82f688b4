import numpy as np
import pytest
import torch

from groundglass.results.kinds import GUARD, RETRIEVE, WATCH
from groundglass.results.kinds.guard import Noticed
from groundglass.service.guard import NaturalBits
from groundglass.studies.cells.guard import HONEST, RETRIEVALS, _drawn
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import DATA, DEVICE_SEED, SIZES

pytestmark = pytest.mark.slow

STUDY = "service"
N, M = SIZES


def watched(found, watched, limit=1000.0, traffic="images"):
    noticed = Noticed(limit=limit, found=found, watched=watched, median=None, low=None, high=None, name="pairs")
    return made(WATCH, {"traffic": traffic}, {"streams": 20, "noticed": (noticed,)})


TOLD = (([watched(5, 3000), watched(20, 100, traffic="pairs")], [watched(8, 3000)]),)


class TestContract(Contract):
    study, stop_at = STUDY, "N frames of shares"
    told = TOLD
    refused = (({"limits": (1e6, 1e4)}, "must rise"), ({"per_input": (3,)}, r"at least 6\.00"))


def by(finished, **config):
    found = [e for e in finished.entries(WATCH) if all(getattr(e.config, k) == v for k, v in config.items())]
    (one,) = found
    return one.result


def test_each_guard_is_sent_every_kind_of_rows(finished):
    entries = finished.entries(WATCH)
    for by_class in (False, True):
        kinds = [(e.config.traffic, e.config.share) for e in entries if e.config.by_class == by_class]
        assert kinds == [*((one, 1.0) for one in (*HONEST, *RETRIEVALS)), ("fixed-exposure", 0.5)]


def test_a_guard_is_calibrated_with_new_images_and_its_file_holds_no_secret(finished):
    plain, by_class = finished.entries(GUARD)
    assert (plain.result.fitted, plain.result.calibrated) == (len(DATA.train), len(DATA.test) // 2)
    # Groups of three rows say little: whatever is beyond all of them may be most of what comes.
    assert plain.result.beyond_all < 0.3 < by_class.result.beyond_all
    guard = NaturalBits.load(finished.folder / plain.result.guard)
    assert guard.in_features == N
    assert str(DEVICE_SEED).encode() not in (finished.folder / plain.result.guard).read_bytes()


def test_retrievals_are_seen_within_a_few_frames_and_honest_clients_are_not(finished):
    for traffic in RETRIEVALS:
        last = by(finished, traffic=traffic, share=1.0, by_class=False).last
        assert last.found == 3, traffic
        assert last.median <= 25, traffic
        assert last.low <= last.median <= last.high
    honest = by(finished, traffic="images", by_class=False).last
    assert (honest.found, honest.watched, honest.median) == (0, 450, None)
    # At a lower limit it speaks sooner, and of rows among natural ones later.
    first, last = by(finished, traffic="fixed-exposure", share=1.0, by_class=False).noticed
    assert first.median < last.median
    assert by(finished, share=0.5, by_class=False).noticed[0].median > first.median


def test_frames_watched_are_those_until_it_spoke(finished):
    for entry in finished.entries(WATCH):
        for one in entry.result.noticed:
            rest = (entry.result.streams - one.found) * entry.config.frames
            spoke = one.watched - rest
            assert one.found <= spoke <= one.found * entry.config.frames
            assert (one.name != "") == (one.found > 0)


def test_unseen_inputs_are_of_the_networks_own_device(finished):
    found = finished.entries(RETRIEVE)
    assert [e.config.settings["inputs"] for e in found] == ["natural", "shares", "pairs"]
    for entry in found:
        assert (entry.config.in_features, entry.config.purpose, entry.config.exposure_control) == (N, "guard", False)
        assert entry.result.rows == 12
        assert entry.result.matrix is None
        # Predicted for inputs of their own kind, the readings are right.
        assert entry.result.held_out.median < 0.1 * entry.result.held_out.chance
        assert entry.arrays()["error"].shape == (12,)
    shares = found[1].result
    assert shares.error.median < 0.05


@pytest.mark.parametrize("count", [5, 12, 31])
def test_rows_are_drawn_in_rounds(count):
    rows = torch.arange(12, dtype=torch.int64)[:, None]
    found = _drawn(rows, count, seed=3)[:, 0].numpy()
    assert len(found) == count
    assert np.bincount(found, minlength=12).max() - np.bincount(found, minlength=12).min() <= 1
    assert np.array_equal(found, _drawn(rows, count, seed=3)[:, 0].numpy())
