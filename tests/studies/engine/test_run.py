"""`run_study`, on a study of one's own that does next to nothing."""

import pytest
import torch

from groundglass.results import OtherStudyError, Run
from groundglass.studies import Study, run_study
from groundglass.studies.engine import planned as planned_module
from groundglass.studies.engine import run as run_module
from groundglass.studies.engine.cell import perform
from groundglass.studies.engine.context import Context
from groundglass.studies.kit import TargetsConfig
from groundglass.studies.recipe import Recipe, configure
from groundglass.training import fastest_precision, times_slower
from groundglass.training import precision as precision_module
from tests.cards import Cards
from tests.studies import tiny
from tests.studies.engine import study as toy_plan
from tests.studies.engine.toys import Toy
from tests.studies.tiny import DATA, Listener

TOYS = Study("toys", "tests.studies.engine")


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    monkeypatch.setattr(planned_module, "load", lambda name, data_dir=None: DATA)


def run(folder, **changes):
    return tiny.run(TOYS, folder, **{"device_seed": None, **changes})


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_of_ones_own_runs_in_its_order_and_has_a_frame(jobs, tmp_path):
    heard = Listener()
    assert run(tmp_path, jobs=jobs, listener=heard) == 4
    found = Run.open(tmp_path)
    assert [record.name for record in found.records] == ["first", "left", "right", "last"]
    assert heard.order[0] == "+first"
    assert found.frame("toy").total.tolist() == [1, 2, 3, 6]
    assert set(found.frames) == {"toy"}
    assert found.frame("toy").studies.unique().tolist() == ["toys"]
    assert run(tmp_path) == 0


def test_interrupted_after_any_cell_it_goes_on(tmp_path):
    for left in (3, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, listener=Listener(after=1))
        assert len(Run.open(tmp_path).records) == 4 - left
        assert Run.open(tmp_path).progress.missing == ("left", "right", "last")[3 - left :]
    assert run(tmp_path) == 1
    assert Run.open(tmp_path).frame("toy").total.tolist() == [1, 2, 3, 6]


def test_a_folder_of_something_else_or_with_other_settings_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OtherStudyError, match="something else"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    run(tmp_path / "run")
    with pytest.raises(OtherStudyError, match="seed: 0 -> 1"):
        run(tmp_path / "run", seed=1)


@pytest.fixture
def growing(monkeypatch):
    """A plan of as many toys as images are audited."""
    monkeypatch.setattr(toy_plan, "cells", lambda config, dataset: [Toy(str(i)) for i in range(config.audit_images)])


def test_what_it_computes_on_is_recorded_and_a_change_is_said(tmp_path, monkeypatch):
    def goes_on(said):
        monkeypatch.setattr(run_module.accelerator, "described", lambda where: said)
        heard = Listener(after=1)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, device="cpu", listener=heard)
        return [note for note in heard.notes if "another" in note or "last digits" in note]

    assert goes_on({"device": "cuda", "card": "Toy H1"}) == []
    (told,) = goes_on({"device": "cuda", "card": "Toy H1", "repeatable": "no: CUDA had begun, in another program"})
    assert told.endswith("in another program")
    assert goes_on({"device": "cuda:0", "card": "Toy H1"}) == []
    (told,) = goes_on({"device": "cpu"})
    assert "on cpu" in told
    assert "Toy H1" in told
    made = Run.open(tmp_path).manifest
    assert [one["machine"]["device"] for one in (made, *made["continued"])] == ["cuda", "cuda", "cuda:0", "cpu"]
    with pytest.raises(ValueError, match="`device`"):
        run(tmp_path / "new", device="gpu")
    assert not (tmp_path / "new").exists()


def test_a_cell_on_a_card_repeats_itself_and_says_how_much_of_it_it_took(tmp_path, monkeypatch):
    cards = Cards(monkeypatch, 2)
    cards.held[1] = 9

    class Large(Toy):
        def run(self, inputs, context):
            assert cards.held[1] == 0, "what came before is not counted"
            cards.held[1] = 5 * 2**30
            assert torch.backends.cudnn.deterministic
            assert torch.get_deterministic_debug_mode() == 1
            return super().run(inputs, context)

    record, _ = perform(Large("large"), [], Context(tmp_path, dataset=DATA, where="cuda:1"))
    assert record.device_memory == 5 * 2**30
    assert not torch.backends.cudnn.deterministic
    record, _ = perform(Toy("small"), [], Context(tmp_path, dataset=DATA, where="cpu"))
    assert record.device_memory is None


def test_a_plan_grows_in_its_folder_and_what_is_there_is_kept(tmp_path, growing):
    assert run(tmp_path, changes=["audit_images=2"]) == 2
    heard = Listener()
    assert run(tmp_path, config={"audit_images": 4}, listener=heard) == 2
    assert heard.names == ["2", "3"]
    assert "audit_images: 2 -> 4): 2 results are new, 2 stay" in heard.notes[0]
    (grown,) = Run.open(tmp_path).manifest["grown"]
    assert (grown["settings"], grown["new"], grown["kept"], grown["left"]) == (["audit_images: 2 -> 4"], 2, 2, 0)
    assert Run.open(tmp_path).manifest["changed"] == ["audit_images: 8 -> 4"]

    heard = Listener()
    assert run(tmp_path, changes=["audit_images=1"], listener=heard) == 0
    assert "3 are kept but no longer shown" in heard.notes[0]
    found = Run.open(tmp_path)
    assert [record.name for record in found.records] == ["0"]
    assert run(tmp_path, changes=["audit_images=3"]) == 0, "they are there again"
    assert len(Run.open(tmp_path).records) == 3
    assert len(Run.open(tmp_path).manifest["grown"]) == 3
    assert run(tmp_path, changes=["audit_images=3", "baseline.epochs=9"]) == 0
    assert len(Run.open(tmp_path).manifest["grown"]) == 3, "no cell knows of it"
    for other in ({"seed": 1}, {"data": "shapes", "seed": 2}):
        with pytest.raises(OtherStudyError, match="seed"):
            run(tmp_path, changes=["audit_images=4"], **other)


@pytest.mark.parametrize(
    ("study", "recipe", "changes", "match"),
    [
        ("whitebox", "quick", {}, "did you mean 'white-box'"),
        ("white-box", "labtop", {}, "did you mean 'laptop'"),
        (TOYS, "tinny", {}, "did you mean 'tiny'"),
        (TOYS, "tiny", {"data": "shape"}, "did you mean 'shapes'"),
        (TOYS, "tiny", {"data": "cifar10"}, "is for shapes, not for cifar10; no recipe of toys is for cifar10"),
        (TOYS, "tiny", {"device_kind": "structurd"}, "did you mean 'structured'"),
        (TOYS, "tiny", {"jobs": 0}, "`jobs`"),
        (TOYS, "tiny", {"executor": "ray"}, r"as groundglass\.studies\.Ray\(\)"),
        (TOYS, "tiny", {"reuse": ["nothing"]}, "there is no folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(study, recipe, changes, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "reuse" in changes:
        changes = {"reuse": [tmp_path / "nothing"]}
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=match):
        run_study(study, recipe, tmp_path / "new", **changes)
    assert list(tmp_path.iterdir()) == []


def test_two_networks_of_one_name_are_refused(tmp_path, monkeypatch):
    class Network(Toy):
        kind = "train"

    twins = [Network("VGG 16"), Network("vgg-16", (Toy("other"),))]
    monkeypatch.setattr(toy_plan, "cells", lambda config, dataset: [Toy("other"), *twins])
    with pytest.raises(ValueError, match="two networks called vgg-16"):
        run(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_recipe_is_found_by_its_name_with_devices_of_a_kind():
    assert isinstance(toy_plan.RECIPES[0], Recipe)
    asked = {"data": None, "seed": 3, "precision": "float32"}
    config = configure(TOYS, "tiny", **asked, device_kind="structured")
    assert isinstance(config, TargetsConfig)
    assert (config.data, config.seed, config.device_kind) == ("shapes", 3, "structured")


@pytest.fixture
def notes(monkeypatch, tmp_path):
    def told(bfloat16, float32, precision=None):
        """What a run in one folder says of itself, where a step takes so long."""
        monkeypatch.setattr(precision_module, "step_seconds", lambda where: {"bfloat16": bfloat16, "float32": float32})
        heard = Listener(at="first")
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", precision=precision, listener=heard)
        return heard.notes

    return told


@pytest.mark.parametrize(
    ("bfloat16", "float32", "fastest"), [(1.0, 2.0, "bfloat16"), (0.9, 1.0, "float32"), (9.0, 1.0, "float32")]
)
def test_the_faster_precision_is_taken_and_said(notes, bfloat16, float32, fastest):
    assert notes(bfloat16, float32) == [f"training in {fastest}, the faster here"]
    assert fastest_precision() == fastest


def test_a_precision_that_is_fast_and_wrong_is_not_taken(monkeypatch):
    monkeypatch.setattr(precision_module, "bfloat16_is_right", lambda where: False)
    monkeypatch.setattr(precision_module, "step_seconds", precision_module.step_seconds.__wrapped__)
    assert fastest_precision() == "float32"
    assert times_slower("float32") == 0


@pytest.mark.parametrize("wrong", ["conv2d", "relu"])
def test_bfloat16_is_right_unless_it_is_not(monkeypatch, wrong):
    right = getattr(torch.nn.functional, wrong)

    def half(*given, **options):
        out = right(*given, **options)
        return out / 2 if torch.is_autocast_enabled("cpu") else out

    assert precision_module.bfloat16_is_right.__wrapped__()
    monkeypatch.setattr(torch.nn.functional, wrong, half)
    assert not precision_module.bfloat16_is_right.__wrapped__()


def test_a_precision_that_is_slow_here_is_said_to_be(notes):
    warning = "; float32 would be 8.0 times as fast here, in a new folder"
    assert notes(8.0, 1.0, "bfloat16") == [f"training in bfloat16, as asked{warning}"]
    assert times_slower("bfloat16") == 8
    # Continued, perhaps on another machine: in the precision that it began with.
    assert notes(8.0, 1.0) == [f"training in bfloat16, as before{warning}"]
    assert notes(1.0, 1.2) == ["training in bfloat16, as before"]


class Elsewhere:
    """Workers on other machines, none of which starts; says what they would have computed on."""

    def __init__(self, *, elsewhere):
        self.elsewhere = elsewhere

    def check(self, where):
        assert where in ("cpu", "cuda")

    def start(self, setup):
        raise InterruptedError(setup.where)


def test_workers_elsewhere_have_the_card_that_this_machine_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asked = {"executor": Elsewhere(elsewhere=True), "device": "cuda"}
    with pytest.raises(ValueError, match="--precision"):
        run(tmp_path, **asked, precision=None)
    assert not list(tmp_path.iterdir())
    for precision in ("bfloat16", None):  # and then as the folder began
        heard = Listener()
        with pytest.raises(InterruptedError, match=r"^cuda$"):
            run(tmp_path, **asked, precision=precision, listener=heard)
        assert heard.notes[-1] == f"training in bfloat16, {'as asked' if precision else 'as before'}"
    assert Run.open(tmp_path).manifest["machine"]["device"] == "cuda"
    with pytest.raises(ValueError, match=r"card|CUDA"):
        run(tmp_path, executor=Elsewhere(elsewhere=False), device="cuda")
    with pytest.raises(InterruptedError, match=r"^cpu$"):
        run(tmp_path, executor=Elsewhere(elsewhere=True), device="auto")
