"""The peers of the benchmark do what it says they do."""

import pytest

from groundglass.bench import JOBS, Bench, subjects
from tests.bench.fakes import TINY


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    subjects._train(folder / subjects.FILE, width=TINY.width, learned=TINY.learned, seed=0)
    return Bench(TINY, 0, folder)


@pytest.mark.parametrize("name", ["pgd-all", "square"])
def test_every_peer_does_as_much_as_we_do(name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many images go through the network: of PGD a step of each, and at most one check; of Square its queries."""
    network, seen = subjects.attacked(bench, 1).network, [0]
    network.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    monkeypatch.setattr(subjects, "load_model", lambda file: network)
    contest = JOBS[name].prepare(bench)
    least = TINY.images * TINY.steps if name == "pgd-all" else TINY.asked * (TINY.queries - 1)
    assert len(contest.peers) == {"pgd-all": 3, "square": 2}[name]
    for peer, make in contest.peers.items():
        part = make()
        seen.clear()
        part.run()
        # ART's Square asks three times for each of its queries.
        assert least <= sum(seen) <= (4 if (peer, name) == ("ART", "square") else 1.5) * least
