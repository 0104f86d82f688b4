import json
import stat

import numpy as np
import pytest

from groundglass.audit import AuditConfig
from groundglass.core import DamagedFileError
from groundglass.data import load_shapes
from groundglass.results import OtherStudyError, RecordStore
from groundglass.studies import RECIPES, Recipe, WhiteBoxConfig, run_study
from groundglass.studies import run as run_module
from groundglass.studies.white_box.study import cells
from groundglass.training import TrainingConfig

DEVICE_SEED = 31415926535897

# Five steps of .05 do not cross the control without a bound, and the attack says so.
pytestmark = pytest.mark.filterwarnings("ignore:5 steps of 0.05 cannot reach:RuntimeWarning")


def tiny(data, seed, precision):
    training = TrainingConfig(epochs=1, batch_size=50, learning_rate=0.02, precision=precision)
    return WhiteBoxConfig(
        data=data,
        width=0.05,
        device_in=48,
        device_out=96,
        baseline=training,
        hybrid=training,
        n_images=12,
        eps_paper=(0.02, 0.2),
        eps_l2=(0.5,),
        steps=5,
        step_size=0.02,
        fit_images=60,
        cw_images=2,
        gallery=2,
        seed=seed,
        audit_images=24,
        audit=AuditConfig(steps=4, queries=10, query_images=4, probes=12, fit_images=40),
    )


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    monkeypatch.setitem(RECIPES, ("white-box", "tiny"), Recipe("white-box", "tiny", ("shapes",), "", "", tiny, cells))
    monkeypatch.setattr(run_module, "load", lambda name, data_dir=None: load_shapes(n_train=150, n_test=40, seed=0))


def run(folder, **changes):
    settings = {"device_seed": DEVICE_SEED, "precision": "float32", **changes}
    return run_study("white-box", "tiny", folder, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, ("white-box", "tiny"), Recipe("white-box", "tiny", ("shapes",), "", "", tiny, cells))
        patch.setattr(run_module, "load", lambda name, data_dir=None: load_shapes(n_train=150, n_test=40, seed=0))
        run(folder)
    return folder


def comparable(folder):
    """Results without times, which no seed decides."""
    timed = {"train_seconds", "images_per_second", "epochs", "timing"}
    return {r.key: {k: v for k, v in r.result.items() if k not in timed} for r in RecordStore.read(folder).records}


def test_every_rule_has_a_curve_and_every_check_a_verdict(finished):
    store = RecordStore.read(finished)
    attacks = [r for r in store.records if r.kind == "attack"]
    figure = {
        (r.config["model"], r.config["rule"], r.config["norm"]) for r in attacks if r.config["purpose"] == "figure"
    }
    rules = {"dfa", "dfa-fresh", "fa", "bpda-drawn", "bpda-fit-linear", "bpda-fit-network", "exact"}
    assert figure == {("VGG-16", "bp", n) for n in ("linf", "l2")} | {
        ("VGG-OPU", r, n) for r in rules for n in ("linf", "l2")
    }
    assert {r.config["eps_paper"]: r.config["eps"] for r in attacks if r.config["eps_paper"]} == {0.02: 0.01, 0.2: 0.1}
    checks = [r for r in store.records if r.kind == "check"]
    assert len(checks) == 7
    assert all(isinstance(r.result["passed"], bool) for r in checks)
    assert len(store) == len(store.manifest["cells"])


def test_records_agree_with_their_arrays(finished):
    store = RecordStore.read(finished)
    for record in (r for r in store.records if r.kind == "attack"):
        arrays = store.arrays(record)
        right = arrays["clean_correct"] & ~arrays["success"]
        assert record.result["robust_accuracy"] == right.mean()
        assert record.result["correct"] == right.sum()
        assert not (arrays["success"] & ~arrays["clean_correct"]).any()
        bound = record.config["eps"] + 1e-5
        if record.config["attack"] != "CW":
            assert (arrays["norm"] <= bound).all()
        if record.config["gallery"]:
            moved = np.abs(arrays["adversarial"] - arrays["original"]).reshape(2, -1)
            size = moved.max(1) if record.config["norm"] == "linf" else np.linalg.norm(moved, axis=1)
            assert (size <= bound).all()
            assert arrays["adversarial"].min() >= 0
            assert arrays["adversarial"].max() <= 1


def test_running_again_does_nothing(finished):
    before = (finished / "records.jsonl").read_bytes()
    assert run(finished) == 0
    assert (finished / "records.jsonl").read_bytes() == before


def test_side_by_side_gives_the_same(finished, tmp_path):
    assert run(tmp_path / "two", jobs=2) == len(RecordStore.read(finished).records)
    assert comparable(tmp_path / "two") == comparable(finished)
    one, two = RecordStore.read(finished), RecordStore.read(tmp_path / "two")
    assert [r.key for r in two.records] == [r.key for r in one.records]  # in the plan's order, whoever was first
    for record in one.records:
        mine, theirs = one.arrays(record), two.arrays(two.get(record.key))
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[name], theirs[name], equal_nan=True) for name in mine)
    with pytest.raises(ValueError, match="`jobs`"):
        run(tmp_path / "none", jobs=0)


def test_an_interrupted_study_continues_to_the_same_results(finished, tmp_path):
    class Interrupt:
        def __init__(self, after):
            self.left = after

        def note(self, text):
            pass

        def announce(self, text):
            pass

        def finished(self, name, result, seconds):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    folder = tmp_path / "parts"
    for after in (1, 2, 6):
        with pytest.raises(KeyboardInterrupt):
            run(folder, listener=Interrupt(after))
    assert len(RecordStore.read(folder)) == 9
    assert run(folder) == len(RecordStore.read(finished)) - 9
    assert comparable(folder) == comparable(finished)


def test_the_secret_is_in_the_device_file_and_nowhere_else(finished):
    holders = []
    for path in (p for p in finished.rglob("*") if p.is_file()):
        content = path.read_bytes()
        forms = (str(DEVICE_SEED).encode(), f"{DEVICE_SEED:x}".encode())
        if any(form in content for form in forms):
            holders.append(path)
        if path.parent.name == "devices":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert holders == []  # not even there: the device's own seed is derived from it
    assert len(list((finished / "devices").iterdir())) == 1


def test_a_changed_study_is_refused_with_the_difference(finished):
    with pytest.raises(OtherStudyError, match="seed"):
        run(finished, seed=1)
    with pytest.raises(OtherStudyError, match="recipe"):
        run_study("white-box", "quick", finished)


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OtherStudyError, match="something else"):
        run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_unknown_names_are_refused_before_anything_is_written(tmp_path):
    folder = tmp_path / "new"
    for arguments, match in (
        (("whitebox", "tiny"), "did you mean 'white-box'"),
        (("white-box", "labtop"), "did you mean 'laptop'"),
    ):
        with pytest.raises(ValueError, match=match):
            run_study(*arguments, folder)
    with pytest.raises(ValueError, match="did you mean 'shapes'"):
        run_study("white-box", "tiny", folder, data="shape")
    with pytest.raises(ValueError, match="is for shapes, not for cifar10"):
        run_study("white-box", "tiny", folder, data="cifar10")
    assert not folder.exists()


def test_a_missing_device_file_is_named(finished, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "devices")
    lines = (folder / "records.jsonl").read_text().splitlines()
    keep = [line for line in lines if json.loads(line)["kind"] in ("device", "train")]
    (folder / "records.jsonl").write_text("\n".join(keep) + "\n")
    fingerprint = next(json.loads(line) for line in keep)["result"]["fingerprint"]
    with pytest.raises(FileNotFoundError, match=fingerprint):
        run(folder)


def test_an_altered_model_is_refused(finished, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    lines = (folder / "records.jsonl").read_text().splitlines()
    (folder / "records.jsonl").write_text("\n".join(lines[:3]) + "\n")
    path = folder / "models" / "vgg-16.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedFileError, match="altered"):
        run(folder)
