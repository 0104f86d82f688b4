import numpy as np
import pytest

from groundglass.attacks import NES, Bandits, Parsimonious, RayS, Square
from groundglass.core import derive_seed
from groundglass.old_report import build
from groundglass.results import RecordStore
from groundglass.studies import (
    RECIPES,
    BlackBoxConfig,
    Recipe,
    WhiteBoxConfig,
    black_box,
    query_cells,
    run_study,
    white_box,
)
from groundglass.studies import run as run_module

from .pictures import pictures
from .tiny import targets

DATA = pictures("shapes", n_train=300, n_test=60)
BUDGET, EPS = 60, 0.2


def tiny(data, seed, precision):
    return BlackBoxConfig(
        **targets(data, seed, precision),
        n_images=12,
        eps=EPS,
        budget=BUDGET,
        sigmas=(0.5, 2.0),
        nes=NES(samples=10),
        others=(Bandits(), Parsimonious(), Square(), RayS()),
        reference_steps=5,
    )


def tiny_white(data, seed, precision):
    return WhiteBoxConfig(
        **targets(data, seed, precision),
        n_images=8,
        eps_paper=(0.1,),
        eps_l2=(),
        steps=3,
        step_size=0.05,
        fit_images=60,
        rules=("dfa", "exact"),
    )


STUDIES = {
    "white-box": (tiny_white, white_box.cells),
    "black-box": (tiny, black_box.cells),
}

pytestmark = pytest.mark.filterwarnings("ignore:3 steps of 0.05 cannot reach:RuntimeWarning")


@pytest.fixture(scope="module", autouse=True)
def small_world():
    with pytest.MonkeyPatch.context() as patch:
        for study, (make, plan) in STUDIES.items():
            patch.setitem(RECIPES, (study, "tiny"), Recipe(study, "tiny", ("shapes",), "", "", make, plan))
        patch.setattr(run_module, "load", lambda name, data_dir=None: DATA)
        yield


def run(folder, study="black-box", **changes):
    return run_study(study, "tiny", folder, **{"device_seed": 7, "precision": "float32", **changes})


def counting(patch, calls, errors=()):
    """Have `calls` count how often a network is asked; with that many calls made, each of `errors` is raised once."""
    ask = query_cells.Stopwatch.__call__

    def call(self, images):
        calls["n"] += 1
        for at, error in errors:
            if calls["n"] == at:
                raise error
        return ask(self, images)

    patch.setattr(query_cells.Stopwatch, "__call__", call)


@pytest.fixture(scope="module")
def calls():
    """How often the networks were asked in the `finished` study."""
    return {"n": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_world, calls):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        counting(patch, calls)
        run(folder)
    return folder


def comparable(folder):
    """Results by what was asked, without clocks."""
    store = RecordStore.read(folder)
    clocks = ("forwards_per_second", "model_share")
    return {
        r.key: (
            {k: v for k, v in r.result.items() if k not in clocks},
            {name: array.tolist() for name, array in store.arrays(r).items()},
        )
        for r in store.records
        if r.kind in ("query", "choice", "check")
    }


def test_every_attack_meets_both_networks_and_counts_add_up(finished):
    store = RecordStore.read(finished)
    queries = [r for r in store.records if r.kind == "query"]
    assert {(r.config["model"], r.config["attack"]) for r in queries} == {
        (model, attack)
        for model in ("VGG-16", "VGG-OPU")
        for attack in ("NES", "Bandits", "Parsimonious", "Square", "RayS")
    }
    for record in queries:
        found, arrays = record.result, store.arrays(record)
        spent = arrays["loss_queries"] + arrays["check_queries"]
        assert spent.max() == found["most_queries"] <= BUDGET
        assert int(arrays["clean_correct"].sum()) == found["clean_correct"]
        assert int(arrays["success"].sum()) == found["fooled"]
        assert not (arrays["success"] & ~arrays["clean_correct"]).any()
        assert (arrays["loss_queries"].sum(), arrays["check_queries"].sum()) == (
            found["loss_queries"],
            found["check_queries"],
        )
        assert found["success_at"] == [[BUDGET, found["fooled"]]]
        assert (arrays["norm"] <= EPS + 1e-6).all()
        assert (arrays["prediction"][arrays["success"]] != arrays["label"][arrays["success"]]).all()
        if found["fooled"]:
            assert found["median_queries"] == np.median(spent[arrays["success"]])
        # One that was wrong at first was looked at, and left alone.
        assert (spent[~arrays["clean_correct"]] == 1).all()
    assert sum(r.result["fooled"] for r in queries) > 0


def test_the_best_sigma_is_chosen_for_each_network(finished):
    store = RecordStore.read(finished)
    choices = [r for r in store.records if r.kind == "choice"]
    assert [c.config["model"] for c in choices] == ["VGG-16", "VGG-OPU"]
    for choice in choices:
        swept = [store.get(key).result["success_rate"] for key in choice.inputs]
        assert store.get(choice.result["key"]).result["success_rate"] == max(swept)
        assert choice.result["chosen"] == store.get(choice.result["key"]).config["settings"]["sigma"]


def test_among_equals_fewer_queries_are_better():
    cells = tuple(
        query_cells.QueryCell(
            target=None, attack=NES(sigma=s), norm="linf", eps=0.1, budget=9, n_images=1, seed=0, purpose="sweep"
        )
        for s in (0.1, 0.2, 0.3)
    )

    class Swept:
        def __init__(self, key, sigma, rate, mean):
            self.key, self.config = key, {"settings": {"sigma": sigma}}
            self.result = {"success_rate": rate, "mean_queries": mean}

    def chosen(*rows):
        return query_cells.ChoiceCell("sigma", cells).run([Swept(*row) for row in rows], None).result["key"]

    assert chosen(("a", 0.1, 0.5, 20.0), ("b", 0.2, 0.5, 10.0), ("c", 0.3, 0.4, 1.0)) == "b"
    assert chosen(("a", 0.1, 0.0, None), ("b", 0.2, 0.1, 90.0), ("c", 0.3, 0.0, None)) == "b"
    assert chosen(("a", 0.1, 0.0, None), ("b", 0.2, 0.0, None), ("c", 0.3, 0.0, None)) == "a"


def test_an_interrupted_study_goes_on_to_the_same_results(finished, calls, tmp_path, monkeypatch):
    """A third of the way a model fails, and at two thirds comes Ctrl-C: nothing changes, or is left over."""
    folder = tmp_path / "again"
    errors = (
        (calls["n"] // 3, TimeoutError("the service did not answer")),
        (2 * calls["n"] // 3, KeyboardInterrupt()),
    )
    counting(monkeypatch, {"n": 0}, errors)
    for _, error in errors:
        with pytest.raises(type(error)):
            run(folder)
    run(folder)
    assert comparable(folder) == comparable(finished)
    query_keys = {r.key for r in RecordStore.read(folder).records if r.kind == "query"}
    assert not [p for p in (folder / "checkpoints").iterdir() if p.stem in query_keys]
    assert run(folder) == 0


def test_the_secret_is_in_no_record(finished):
    secret = str(derive_seed(7, "device", 48, 96))
    for path in finished.rglob("*.json*"):
        assert secret not in path.read_text()


def test_the_page_shows_figure_3(finished):
    page = build(finished).read_text()
    assert 'id="black-box"' in page
    assert "Figure 3" in page
    assert (finished / "figures" / "figure-3.png").exists()


def test_reuse_takes_networks_with_their_device_and_nothing_else(tmp_path, finished, monkeypatch):
    from groundglass.studies import networks

    monkeypatch.setattr(networks, "train", lambda *a, **k: pytest.fail("trained again"))
    folder = tmp_path / "other"
    run(folder, reuse=[finished], device_seed=None)
    here, there = RecordStore.read(folder), RecordStore.read(finished)
    for record in there.records:
        if record.kind in ("device", "train"):
            assert here.get(record.key).result == record.result
    assert comparable(folder) == comparable(finished)


def test_a_network_is_not_reused_on_another_device(tmp_path, finished, monkeypatch):
    """The folder has a device of its own already: the other network's weights are for another secret."""
    from groundglass.studies import networks

    folder, train = tmp_path / "own", networks.train
    monkeypatch.setattr(networks, "train", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(folder, device_seed=8)
    (device,) = RecordStore.read(folder).records
    trained = []
    monkeypatch.setattr(networks, "train", lambda *a, **k: trained.append(k["name"]) or train(*a, **k))
    run(folder, device_seed=8, reuse=[finished])
    assert trained == ["VGG-OPU"]
    found = {r.name: r.result for r in RecordStore.read(folder).records if r.kind == "train"}
    assert found["VGG-OPU"]["device"]["fingerprint"] == device.result["fingerprint"]


def test_reuse_of_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "new", reuse=[tmp_path / "nothing"])
    assert not (tmp_path / "new").exists()


def test_settings_that_cannot_be_are_refused():
    common = targets("shapes", 0, "float32")
    with pytest.raises(ValueError, match="n_images"):
        BlackBoxConfig(**common, n_images=0)
    with pytest.raises(ValueError, match="sigmas"):
        BlackBoxConfig(**common, n_images=1, sigmas=())
