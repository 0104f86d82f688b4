import pytest

from groundglass.core.phases import undisturbed
from groundglass.results.kinds import TRAIN
from groundglass.studies.frontier.report import trained
from groundglass.studies.frontier.study import Trial
from tests.studies.contract import Contract
from tests.studies.tiny import network

pytestmark = pytest.mark.slow

STUDY = "frontier"
OTHER = "width 0.04, 3 epochs, smoothing 0.1, averaged over 0.5, growing until 0.6, 4 layers still after 0.5"


class TestContract(Contract):
    study, stop_at = STUDY, OTHER
    reuses = False  # there is nothing but networks
    refused = (
        ({"trials": ()}, "empty"),
        ({"trials": (Trial(epochs=2), Trial(epochs=2, defended=True))}, "2 epochs"),
    )


def test_each_training_is_what_its_name_says(finished):
    found = {e.name: e for e in finished.entries(TRAIN)}
    assert set(found) == {"VGG-16 standard", "VGG-OPU standard", f"VGG-16 {OTHER}"}
    told = found[f"VGG-16 {OTHER}"].config
    assert told.model["width"] == 0.04
    assert told.training["growing"] == {"start": 0.5, "until": 0.6}
    assert told.training["freezing"] == {"layers": 4, "after": 0.5}
    assert (told.training["average"], told.training["label_smoothing"], told.epochs) == (0.5, 0.1, 3)
    assert "growing" not in found["VGG-16 standard"].config.training
    assert network(finished.folder, "VGG-OPU standard").device is not None


def test_core_seconds_are_those_of_all_threads(finished):
    threads = finished.manifest["machine"]["threads"]
    for one in trained(finished):
        (entry,) = (e for e in finished.entries(TRAIN) if e.name == f"{one.network} {one.label}")
        assert all(epoch.core_seconds > 0 for epoch in entry.result.epochs)
        each = [min(epoch.core_seconds, threads * epoch.seconds) for epoch in entry.result.epochs]
        assert one.core_seconds == pytest.approx(undisturbed(entry.config.training, each))
