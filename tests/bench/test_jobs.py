"""Every job of the benchmark runs, at a size of seconds."""

from pathlib import Path

import pytest

from groundglass.bench import JOBS, Bench, measure, subjects
from groundglass.models import load_model, predict_logits
from tests.bench.fakes import TINY

RUNS = Path(__file__).parents[2] / "docs" / "results"
#: They begin processes that import all there is, so they are only done once.
DEAR = ("import-all", "report")
#: Who is always there.
PEERS = {"device": "complex64 in torch", "device-one": "complex64 in torch", "hybrid-step": "backpropagation"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    subjects._train(folder / subjects.FILE, width=TINY.width, learned=TINY.learned, seed=0)
    return Bench(TINY, 0, folder, run=RUNS / "full-width")


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", [name for name in JOBS if name not in DEAR])
def test_a_job_runs(name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other libraries take long to import; tests/interop runs them.
    monkeypatch.setattr("groundglass.bench.peers._imported", lambda module, name: 1 / 0)
    found = measure(JOBS[name], bench, turns=1)
    assert found.job == name
    assert found.floor is not None
    assert (found.peer.what if found.peer else None) == PEERS.get(name)
    assert set(found.skipped) == (
        {"torchattacks", "foolbox", "ART"}
        if name.startswith("pgd")
        else {"torchattacks", "ART"}
        if name == "square"
        else set()
    )
    assert "{" not in found.what
    assert str(TINY.width) in found.what or "VGG" not in found.what
    if name == "audit":
        assert found.share.median < 1


@pytest.mark.slow
@pytest.mark.parametrize("name", DEAR)
def test_a_dear_job_runs(name: str, bench: Bench) -> None:
    contest = JOBS[name].prepare(bench)
    found = contest.work()
    assert contest.peak(found) is None or contest.peak(found) > 2**20
    assert len(contest.floors(found)) == 1
    if name == "report":
        assert contest.of == "56 results"
        assert (bench.folder / "page" / "report.html").exists()


def test_the_least_of_what_images_need_counts_every_gradient(bench: Bench) -> None:
    """All steps of all images, or those until each was fooled."""
    every, until = (JOBS[name].prepare(bench) for name in ("pgd-all", "pgd-stopping"))
    found = every.work()
    assert int(found.gradients.sum()) == TINY.images * TINY.steps
    assert {part.times for part in every.floors(found).values()} == {TINY.steps}
    found = until.work()
    assert {part.times for part in until.floors(found).values()} == {int(found.gradients.sum()) / TINY.images}


def test_queries_are_counted(bench: Bench) -> None:
    for name in ("nes", "rays"):
        contest = JOBS[name].prepare(bench)
        found = contest.work()
        assert not found.success.any()
        assert contest.units(found) == int(found.queries.sum()) / 1000
        assert 0 < int(found.queries.max()) <= TINY.queries


def test_the_attacked_network_gets_its_images_right(bench: Bench) -> None:
    subject = subjects.attacked(bench, 5)
    again = load_model(bench.folder / subjects.FILE)
    assert bool((predict_logits(again, subject.images).argmax(1) == subject.labels).all())
    assert not any(one.requires_grad for one in subject.network.parameters())
